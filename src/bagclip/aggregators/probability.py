"""Probabilities: how scores become them, and the forms of them in which pooling is stable."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bagclip.aggregators.base import Aggregator, Axis, PoolsScores
from bagclip.scale import Scale, scale, value

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

LOG_ZERO = -1e20
"""Stands for log 0: its exponential is 0 beside any other, yet it is finite, so that no inf - inf arises."""


class Probabilities(Protocol):
    """The probabilities of a bag's instances, in the forms in which one formula or the other is stable."""

    @property
    def value(self) -> Tensor:
        """Themselves, p."""

    @property
    def log(self) -> Tensor:
        """Log p."""

    @property
    def log_complement(self) -> Tensor:
        """Log (1 - p)."""

    @property
    def logit(self) -> Tensor:
        """Log p - log (1 - p)."""


@dataclass(frozen=True)
class FromLogits:
    """Probabilities sigmoid(z) of finite z: strictly between 0 and 1, where nothing is singular."""

    logit: Tensor

    @property
    def value(self) -> Tensor:
        """See `Probabilities`."""
        return self.logit.sigmoid()

    @property
    def log(self) -> Tensor:
        """See `Probabilities`."""
        return logsigmoid(self.logit)

    @property
    def log_complement(self) -> Tensor:
        """See `Probabilities`."""
        return logsigmoid(-self.logit)


@dataclass(frozen=True)
class Given:
    """Probabilities as they are, 0 and 1 included, where some of the forms are singular.

    In `log` a 0 weighs nothing and has no gradient. In `log_complement` a 1, and in `logit` a 0 or 1, counts as being a
    step from the end so small that no value shows it, which leaves a pooled value its derivative there.
    """

    value: Tensor

    @property
    def log(self) -> Tensor:
        """See `Probabilities`."""
        positive = self.value > 0
        return torch.where(positive, torch.where(positive, self.value, 1.0).log(), LOG_ZERO)

    @property
    def log_complement(self) -> Tensor:
        """See `Probabilities`."""
        below = self.value < 1
        inside = torch.log1p(-torch.where(below, self.value, 0.0))
        return torch.where(below, inside, torch.log(1 - self.value + self._step))

    @property
    def logit(self) -> Tensor:
        """See `Probabilities`."""
        return torch.log(self.value + self._step) - self.log_complement

    @property
    def _step(self) -> float:
        return math.sqrt(torch.finfo(self.value.dtype).tiny)


class PoolsProbabilities(Aggregator, PoolsScores, spelled=False):
    """An aggregator of scores that pools them as probabilities, p = sigmoid(sharpness (s - threshold)).

    What it gives is a probability, too. Next in a chain, an aggregator with ``sharpness=None`` takes it as it is.

    Args:
        sharpness: positive, which multiplies the scores; fixed, learned or annealed. None if the scores are
            probabilities already.
        threshold: the score of probability one half.

    Raises:
        ValueError: if the sharpness is none of these, or the threshold not a finite number, or given without need; when
            pooling with a sharpness of None, if a score is not in [0, 1].
    """

    def __init__(self, sharpness: Scale | None = 10.0, threshold: float = 0.0) -> None:
        super().__init__()
        name = type(self).__name__
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
            raise ValueError(f"the threshold of {name} must be a finite number, got {threshold!r}.")
        if sharpness is None and threshold:
            raise ValueError(
                f"{name} has a threshold, {threshold!r}, but no sharpness: scores taken for probabilities are not "
                "moved. Give it a sharpness or leave the threshold out."
            )
        self.sharpness = None if sharpness is None else scale(sharpness, f"the sharpness of {name}")
        self.threshold = float(threshold)

    @abstractmethod
    def pool_probabilities(
        self, probabilities: Probabilities, lengths: Int64[Tensor, "bags"], dim: int
    ) -> Float[Tensor, "..."]:
        """Pool each bag's slice of ``dim``, whose size becomes the number of bags."""

    def pool_scores(self, scores: Tensor, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsScores`."""
        if self.sharpness is not None:
            return self.pool_probabilities(FromLogits(value(self.sharpness) * (scores - self.threshold)), lengths, dim)
        low, high = (float(end) for end in scores.detach().aminmax())
        # Sums of products that should end at 0 or 1, such as a cosine, end beside it.
        rounding = 10 * torch.finfo(scores.dtype).eps
        if not (low >= -rounding and high <= 1 + rounding):
            axis = dict(enumerate(get_args(Axis))).get(dim % scores.ndim, f"dimension {dim}")
            raise ValueError(
                f"{self!r} over {axis} takes scores for probabilities, in [0, 1], but they go from {low:.4g} to "
                f"{high:.4g}; give it a sharpness, or put what gives probabilities before it."
            )
        return self.pool_probabilities(Given(scores.clamp(0, 1)), lengths, dim)
