"""Log-sum-exp pooling of scores: between mean and maximum."""

from __future__ import annotations

from torch import Tensor

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsScores
from bagclip.scale import Scale, scale, value


class LogSumExp(Aggregator, PoolsScores):
    """Smooth maximum of a bag's scores, (1/r) [log sum_n exp(r s_n) - log N], of sharpness r.

    Normalised by log N (the default) it lies between mean (r -> 0) and maximum (r -> infinity) and does not change when
    the bag is repeated; without, it lies above the maximum, by up to (log N) / r: large bags gain. Its gradient is
    softmax_n(r s_n): attention in the backward pass (Ramon and De Raedt, 2000; Pinheiro and Collobert, 2015).

    In float32 a sharpness far below 1 loses as many digits as it has zeros: for a mean take `Mean`.

    Args:
        sharpness: r > 0, which multiplies the scores; fixed, learned or annealed.
        normalised: whether log N is subtracted.

    Raises:
        ValueError: if the sharpness is neither a positive number nor learned or annealed.

    Example:
        >>> import torch
        >>> scores, lengths = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([3])
        >>> LogSumExp(5.0).pool_scores(scores, lengths, dim=0)
        tensor([0.7973])
        >>> LogSumExp(5.0, normalised=False).pool_scores(scores, lengths, dim=0)
        tensor([1.0170])
    """

    def __init__(self, sharpness: Scale, normalised: bool = True) -> None:
        super().__init__()
        self.sharpness = scale(sharpness, "the sharpness of LogSumExp")
        self.normalised = normalised

    @property
    def replication_invariant(self) -> bool:  # type: ignore[override]
        """Only the normalised form is."""
        return self.normalised

    def pool_scores(self, scores: Tensor, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsScores`."""
        sharpness = value(self.sharpness)
        pool = segments.logmeanexp if self.normalised else segments.logsumexp
        return pool(sharpness * scores, lengths, dim) / sharpness
