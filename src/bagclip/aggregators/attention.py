"""Attention pooling of embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsEmbeddings
from bagclip.bags import Bag


class Attention(Aggregator, PoolsEmbeddings):
    """Attention-weighted mean of a bag's features, sum_n a_n x_n with a = softmax_n(w . tanh(V x_n)).

    ABMIL (Ilse, Tomczak and Welling, 2018). Limits: w = 0 is the mean; as w grows, one instance alone.

    Args:
        dim: size of the features.
        hidden: size of the hidden layer; 128 in the paper.

    Example:
        >>> import torch
        >>> Attention(dim=4).pool_embeddings(Bag.from_list([torch.zeros(2, 4), torch.zeros(3, 4)])).shape
        torch.Size([2, 4])
    """

    def __init__(self, dim: int, hidden: int = 128) -> None:
        super().__init__()
        self.dim = dim
        self.hidden = hidden
        self.inner = nn.Linear(dim, hidden)
        self.outer = nn.Linear(hidden, 1, bias=False)

    def pool_embeddings(self, bag: Bag) -> Tensor:
        """See `PoolsEmbeddings`."""
        weights = segments.softmax(self.outer(torch.tanh(self.inner(bag.instances))), bag.lengths)
        return segments.sum(weights * bag.instances, bag.lengths)
