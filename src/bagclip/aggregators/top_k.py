"""Top-k pooling of scores: between mean and maximum, by choosing."""

from __future__ import annotations

import torch
from torch import Tensor

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsScores


class TopK(Aggregator, PoolsScores):
    """Mean of the k largest scores of a bag, (1/k) sum_{n <= k} s_(n) with s_(1) >= s_(2) >= ...

    Of equal scores the first are taken, and the gradient goes to what was taken alone. A bag of fewer than k is
    averaged whole. ``TopK(1)`` is the maximum, ``TopK(1.0)`` the mean. Top instances (Li and Vasconcelos, 2015).

    Args:
        k: how many: an int is a count, a float in (0, 1] a share of each bag, rounded up.

    Raises:
        ValueError: if k is neither.

    Example:
        >>> scores, lengths = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([3])
        >>> TopK(2).pool_scores(scores, lengths, dim=0)
        tensor([0.7500])
        >>> TopK(1.0).pool_scores(scores, lengths, dim=0)
        tensor([0.5000])
    """

    replication_invariant = False

    def __init__(self, k: int | float) -> None:
        super().__init__()
        count = isinstance(k, int) and not isinstance(k, bool) and k >= 1
        share = isinstance(k, float) and 0 < k <= 1
        if not (count or share):
            raise ValueError(f"the k of TopK must be a count (1, 2, ...) or a share (a float in (0, 1]), got {k!r}.")
        self.k = k

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """Only where everything is taken."""
        return isinstance(self.k, float) and self.k == 1

    def pool_scores(self, scores: Tensor, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsScores`."""
        if isinstance(self.k, int):
            taken = lengths.clamp(max=self.k)
        else:
            # Rounded before it is rounded up: 0.07 * 100 is 7.000000000000001 in floating point.
            taken = (self.k * lengths.double()).round(decimals=9).ceil().clamp(min=1).to(lengths)
        owner = segments.owners(lengths)
        rank = torch.arange(len(owner)) - (lengths.cumsum(0) - lengths)[owner]
        largest = (rank < taken[owner]).nonzero().flatten().to(scores.device)
        return segments.mean(segments.sort(scores, lengths, dim).index_select(dim, largest), taken, dim)
