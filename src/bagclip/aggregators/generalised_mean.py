"""Generalised-mean pooling of probabilities: from the mean to the maximum."""

from __future__ import annotations

from torch import Tensor

from bagclip import segments
from bagclip.aggregators.probability import PoolsProbabilities, Probabilities
from bagclip.scale import Scale, scale, value


class GeneralisedMean(PoolsProbabilities):
    """Power mean of a bag's probabilities, ((1/N) sum_n p_n^r)^(1/r), of power r.

    r = 1 is the arithmetic mean, r -> 0 the geometric mean, r -> infinity the maximum (Babenko, Dollár, Tu and
    Belongie, 2008). Where scores are probabilities already, one of exactly 0 counts in the mean but has no gradient,
    for the derivative there is infinite for r < 1.

    Args:
        power: r > 0; fixed, learned or annealed.
        sharpness: see `PoolsProbabilities`.
        threshold: see `PoolsProbabilities`.

    Raises:
        ValueError: if the power is neither a positive number nor learned or annealed; and see `PoolsProbabilities`.

    Example:
        >>> import torch
        >>> GeneralisedMean(2.0, sharpness=None).pool_scores(torch.tensor([0.1, 0.5, 0.8]), torch.tensor([3]), dim=0)
        tensor([0.5477])
    """

    def __init__(self, power: Scale, sharpness: Scale | None = 10.0, threshold: float = 0.0) -> None:
        super().__init__(sharpness, threshold)
        self.power = scale(power, "the power of GeneralisedMean")

    def pool_probabilities(self, probabilities: Probabilities, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsProbabilities`."""
        power = value(self.power)
        return (segments.logmeanexp(power * probabilities.log, lengths, dim) / power).exp()
