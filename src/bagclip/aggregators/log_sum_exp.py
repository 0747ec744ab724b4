"""Log-sum-exp pooling of scores: between mean and maximum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsScores


class LogSumExp(Aggregator, PoolsScores):
    """Smooth maximum of a bag's scores, (1/r) [log sum_n exp(r s_n) - log N], of sharpness r.

    Normalised by log N (the default) it lies between mean (r -> 0) and maximum (r -> infinity) and does not change when
    the bag is repeated; without, it lies above the maximum, by up to (log N) / r: large bags gain. Its gradient is
    softmax_n(r s_n): attention in the backward pass (Ramon and De Raedt, 2000; Pinheiro and Collobert, 2015).

    Args:
        sharpness: r > 0, which multiplies the scores.
        normalised: whether log N is subtracted.

    Raises:
        ValueError: if the sharpness is not a positive number.

    Example:
        >>> import torch
        >>> scores, lengths = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([3])
        >>> LogSumExp(5.0).pool_scores(scores, lengths, dim=0)
        tensor([0.7973])
        >>> LogSumExp(5.0, normalised=False).pool_scores(scores, lengths, dim=0)
        tensor([1.0170])
    """

    def __init__(self, sharpness: float, normalised: bool = True) -> None:
        super().__init__()
        if not (math.isfinite(sharpness) and sharpness > 0):
            raise ValueError(f"the sharpness of LogSumExp must be a positive number, got {sharpness!r}.")
        self.sharpness = float(sharpness)
        self.normalised = normalised

    @property
    def replication_invariant(self) -> bool:  # type: ignore[override]
        """Only the normalised form is."""
        return self.normalised

    def pool_scores(self, scores: Tensor, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsScores`."""
        pooled = segments.logsumexp(self.sharpness * scores, lengths, dim)
        if self.normalised:
            shape = [1] * scores.ndim
            shape[dim] = -1
            pooled = pooled - torch.log(lengths.to(scores)).reshape(shape)
        return pooled / self.sharpness
