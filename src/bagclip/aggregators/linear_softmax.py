"""Linear softmax pooling of probabilities: their mean, weighted by themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from bagclip import segments
from bagclip.aggregators.probability import PoolsProbabilities, Probabilities


class LinearSoftmax(PoolsProbabilities):
    """Mean of a bag's probabilities weighted by themselves, sum_n p_n^2 / sum_n p_n.

    Between the mean and the maximum; instances below half the value are pushed down when it is pushed up (Wang, Li and
    Metze, 2019). A bag of zeros gives 0.

    Args:
        sharpness: see `PoolsProbabilities`.
        threshold: see `PoolsProbabilities`.

    Raises:
        ValueError: see `PoolsProbabilities`.

    Example:
        >>> LinearSoftmax(sharpness=None).pool_scores(torch.tensor([0.1, 0.5, 0.8]), torch.tensor([3]), dim=0)
        tensor([0.6429])
    """

    def pool_probabilities(self, probabilities: Probabilities, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsProbabilities`."""
        p = probabilities.value
        # What is divided by is a normal number, so that the quotient and its gradient are finite.
        total = segments.sum(p, lengths, dim).clamp(min=torch.finfo(p.dtype).tiny)
        weights = p / total.index_select(dim, segments.owners(lengths, p.device))
        return segments.sum(weights * p, lengths, dim)
