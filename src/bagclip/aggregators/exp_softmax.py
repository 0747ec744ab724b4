"""Exponential softmax pooling: the mean of a bag's scores, weighted by their own softmax."""

from __future__ import annotations

from torch import Tensor

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsScores
from bagclip.scale import Scale, scale, value


class ExpSoftmax(Aggregator, PoolsScores):
    """Mean of a bag's scores weighted by their softmax, sum_n w_n s_n with w = softmax_n(r s), of sharpness r.

    For any real scores; the mean as r -> 0, the maximum as r -> infinity (Wang, Li and Metze, 2019, with r = 1). The
    gradient of a score far below the others can be negative: the value need not grow with every score.

    Args:
        sharpness: r > 0, which multiplies the scores; fixed, learned or annealed.

    Raises:
        ValueError: if the sharpness is neither a positive number nor learned or annealed.

    Example:
        >>> import torch
        >>> ExpSoftmax(5.0).pool_scores(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([3]), dim=0)
        tensor([0.9561])
    """

    def __init__(self, sharpness: Scale = 1.0) -> None:
        super().__init__()
        self.sharpness = scale(sharpness, "the sharpness of ExpSoftmax")

    def pool_scores(self, scores: Tensor, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsScores`."""
        weights = segments.softmax(value(self.sharpness) * scores, lengths, dim)
        return segments.sum(weights * scores, lengths, dim)
