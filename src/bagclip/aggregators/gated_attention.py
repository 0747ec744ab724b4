"""Gated attention pooling of embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsEmbeddings
from bagclip.bags import Bag


class GatedAttention(Aggregator, PoolsEmbeddings):
    """Attention-weighted mean of a bag's features whose hidden layer is gated.

        sum_n a_n x_n,   a = softmax_n(w . (tanh(V x_n + b) * sigmoid(U x_n + c)))

    Gated ABMIL (Ilse, Tomczak and Welling, 2018). With w = 0 it is the mean, with the gate wide open `Attention`.

    Args:
        dim: size of the features.
        hidden: size of the hidden layer and of its gate; 128 in the paper.

    Example:
        >>> import torch
        >>> GatedAttention(dim=4).pool_embeddings(Bag.from_list([torch.zeros(2, 4), torch.zeros(3, 4)])).shape
        torch.Size([2, 4])
    """

    def __init__(self, dim: int, hidden: int = 128) -> None:
        super().__init__()
        self.dim = dim
        self.hidden = hidden
        self.inner = nn.Linear(dim, hidden)
        self.gate = nn.Linear(dim, hidden)
        # The authors' code has a bias here, too, which the softmax cancels.
        self.outer = nn.Linear(hidden, 1, bias=False)

    def pool_embeddings(self, bag: Bag) -> Tensor:
        """See `PoolsEmbeddings`."""
        x = bag.instances
        weights = segments.softmax(self.outer(torch.tanh(self.inner(x)) * torch.sigmoid(self.gate(x))), bag.lengths)
        return segments.sum(weights * x, bag.lengths)
