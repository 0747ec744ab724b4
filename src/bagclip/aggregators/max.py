"""Max pooling of scores."""

from __future__ import annotations

from torch import Tensor

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsScores


class Max(Aggregator, PoolsScores):
    """Maximum of a bag's scores, max_n s_n; the gradient goes to the key region alone (the first of equal ones).

    It is the standard MIL assumption: a sentence matches an image if at least one region shows it
    (Dietterich, Lathrop and Lozano-Pérez, 1997).

    Example:
        >>> import torch
        >>> Max().pool_scores(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([3]), dim=0)
        tensor([1.])
    """

    smooth = False

    def pool_scores(self, scores: Tensor, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsScores`."""
        return segments.max(scores, lengths, dim)
