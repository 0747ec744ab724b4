"""Probabilistic class-activation-map pooling of embeddings."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsEmbeddings
from bagclip.bags import Bag


class PCAM(Aggregator, PoolsEmbeddings):
    """Mean of a bag's features weighted by their learned probabilities.

        sum_n sigmoid(z_n) x_n / sum_k sigmoid(z_k),   z_n = w . x_n + b

    Probabilistic class activation maps (Ye et al., 2020), with one w for all sentences. As b -> infinity it is the
    mean; as b -> -infinity it is attention pooling with a = softmax_n(w . x_n).

    Args:
        dim: size of the features.

    Example:
        >>> import torch
        >>> PCAM(dim=4).pool_embeddings(Bag.from_list([torch.zeros(2, 4), torch.zeros(3, 4)])).shape
        torch.Size([2, 4])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.logit = nn.Linear(dim, 1)

    def pool_embeddings(self, bag: Bag) -> Tensor:
        """See `PoolsEmbeddings`."""
        # The quotient by logarithms: where all probabilities are almost 0 it would be 0 / 0.
        weights = segments.softmax(logsigmoid(self.logit(bag.instances)), bag.lengths)
        return segments.sum(weights * bag.instances, bag.lengths)
