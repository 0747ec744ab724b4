"""Noisy-AND pooling of probabilities: enough instances are positive."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bagclip import segments
from bagclip.aggregators.probability import PoolsProbabilities, Probabilities
from bagclip.scale import Scale, scale, value


class NoisyAnd(PoolsProbabilities):
    """Soft step of the mean probability m of a bag, from 0 at m = 0 to 1 at m = 1, where it passes a learned share b.

        [sigmoid(a (m - b)) - sigmoid(-a b)] / [sigmoid(a (1 - b)) - sigmoid(-a b)],   m = (1/N) sum_n p_n

    Kraus, Ba and Frey (2016), with one b for all sentences, kept in (0, 1) by its logit. a -> 0 is the mean,
    a -> infinity asks whether m exceeds b.

    Args:
        slope: a > 0, how steep the step is; fixed, learned or annealed.
        share: b at first, in (0, 1).
        sharpness: see `PoolsProbabilities`.
        threshold: see `PoolsProbabilities`.

    Raises:
        ValueError: if the slope is neither a positive number nor learned or annealed, or the share not in (0, 1); and
            see `PoolsProbabilities`.

    Example:
        >>> NoisyAnd(sharpness=None).pool_scores(torch.tensor([0.1, 0.5, 0.8]), torch.tensor([3]), dim=0).detach()
        tensor([0.4163])
    """

    def __init__(
        self, slope: Scale = 10.0, share: float = 0.5, sharpness: Scale | None = 10.0, threshold: float = 0.0
    ) -> None:
        super().__init__(sharpness, threshold)
        self.slope = scale(slope, "the slope of NoisyAnd")
        if not isinstance(share, float) or not 0 < share < 1:
            raise ValueError(f"the share of NoisyAnd must be a number between 0 and 1, both excluded, got {share!r}.")
        self.share = share
        self.logit = nn.Parameter(torch.tensor(math.log(share) - math.log1p(-share)))

    def pool_probabilities(self, probabilities: Probabilities, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsProbabilities`."""
        slope, share = value(self.slope), self.logit.sigmoid()

        def step(mean: Tensor) -> Tensor:
            # sigmoid(x) - sigmoid(y) = (1 - e^(y - x)) sigmoid(x) sigmoid(-y), where nothing cancels; the last factor
            # is the same for both steps.
            return -torch.expm1(-slope * mean) * torch.sigmoid(slope * (mean - share))

        mean = segments.mean(probabilities.value, lengths, dim)
        return step(mean) / step(mean.new_ones(()))
