"""Cross-attention head: a small transformer scores a bag against each instance of the other bag."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bagclip import segments
from bagclip.aggregators.base import Aggregator, ScoresGivenOther
from bagclip.bags import Bag


class CrossAttentionHead(Aggregator, ScoresGivenOther):
    """Score of a bag given an instance y of the other bag, which passes a transformer decoder that attends to the bag.

        MLP(LN(h_L)),   h_0 = LN(y),   h' = h + attention(LN'(h), X, X),   h_l = h' + FF(LN''(h')),   X = LN(x)

    One LN is shared, LN' and LN'' are each layer's own, FF and the MLP have ReLU. There is no self-attention, so the
    instances of the other bag do not see each other, and there are no positions. CARZero (Lai et al., 2024), whose
    features have size 768, without its dropout of 0.1.

    Args:
        dim: size of the features.
        heads: of each attention; they divide dim.
        layers: of the decoder, L.
        hidden: sizes of the hidden layers of the MLP.
        feedforward: size of the hidden layer of each FF.

    Raises:
        ValueError: if the heads do not divide dim.

    Example:
        >>> import torch
        >>> head = CrossAttentionHead(dim=4, heads=2, layers=1, hidden=(8,), feedforward=8)
        >>> head.score_given(Bag.dense(torch.rand(2, 9, 4)), Bag.dense(torch.rand(3, 5, 4))).shape
        torch.Size([2, 15])
    """

    def __init__(
        self,
        dim: int,
        heads: int = 4,
        layers: int = 4,
        hidden: Sequence[int] = (1024, 512, 256),
        feedforward: int = 1024,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"CrossAttentionHead splits dim {dim} among {heads} heads; their number must divide it.")
        self.dim = dim
        self.heads = heads
        self.layers = layers
        self.hidden = tuple(hidden)
        self.feedforward = feedforward
        self.norm = nn.LayerNorm(dim)
        self.decoder = nn.ModuleList(_Layer(dim, heads, feedforward) for _ in range(layers))
        self.mlp = nn.Sequential()
        for size in self.hidden:
            self.mlp += nn.Sequential(nn.Linear(dim, size), nn.ReLU())
            dim = size
        self.mlp.append(nn.Linear(dim, 1))
        for name, parameter in self.named_parameters():
            if name.endswith("weight") and parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def score_given(self, bag: Bag, other: Bag) -> Tensor:
        """See `ScoresGivenOther`."""
        x, y = self.norm(bag.instances), self.norm(other.instances)
        pieces, places = [], []
        for rows in segments.by_length(bag.lengths, x.device):
            h = y.expand(len(rows), *y.shape)
            for layer in self.decoder:
                h = layer(h, x[rows])
            pieces.append(self.mlp(self.norm(h)).squeeze(-1))
            places.append(bag.owners[rows[:, 0]])
        return torch.cat(pieces)[torch.cat(places).argsort()]


class _Layer(nn.Module):
    """A pre-norm layer of a transformer decoder without self-attention."""

    def __init__(self, dim: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.before_feedforward = nn.LayerNorm(dim)
        self.feedforward = nn.Sequential(nn.Linear(dim, feedforward), nn.ReLU(), nn.Linear(feedforward, dim))

    def forward(self, h: Tensor, bag: Tensor) -> Tensor:
        h = h + self.attention(self.before_attention(h), bag, bag, need_weights=False)[0]
        return h + self.feedforward(self.before_feedforward(h))
