"""Vector attention: a score from the vectors that a bag is compared by."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsVectors


class VectorAttention(Aggregator, PoolsVectors):
    """Score of a bag from the vectors u_m that compare it, pooled by self-attention whose query is their mean u.

        sigmoid(w . p + c),   p = sum_m a_m u_m, l2-normalised,
        a = softmax_m(v . (tanh(P u_m + b) * tanh(Q u + d))),   u = (1/M) sum_m u_m

    LIMITR (Dawidowicz et al., 2023), where the vectors are `Hadamard`; without its dropout of 0.4. There is no batch
    norm as in SGRAF (Diao et al., 2021), with which a pair's score would depend on the other pairs. With v = 0 the
    vectors are averaged.

    Args:
        dim: size of the vectors.

    Example:
        >>> import torch
        >>> VectorAttention(dim=4).pool_vectors(torch.rand(3, 5, 4), torch.tensor([2, 3]), dim=1).shape
        torch.Size([3, 2])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.vector = nn.Linear(dim, dim)
        self.mean = nn.Linear(dim, dim)
        # The authors' code has a bias here, too, which the softmax cancels.
        self.logit = nn.Linear(dim, 1, bias=False)
        self.score = nn.Linear(dim, 1)
        for layer in (self.vector, self.mean, self.logit):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (self.vector, self.mean):
            nn.init.zeros_(layer.bias)

    def pool_vectors(self, vectors: Tensor, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsVectors`."""
        query = torch.tanh(self.mean(segments.mean(vectors, lengths, dim)))
        query = query.index_select(dim, segments.owners(lengths, vectors.device))
        weights = segments.softmax(self.logit(torch.tanh(self.vector(vectors)) * query), lengths, dim)
        pooled = normalize(segments.sum(weights * vectors, lengths, dim), dim=-1)
        return self.score(pooled).squeeze(-1).sigmoid()
