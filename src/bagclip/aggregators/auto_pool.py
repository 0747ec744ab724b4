"""Adaptive pooling: softmax-weighted scores whose sharpness is learned, from the mean on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsScores
from bagclip.scale import positive


class AutoPool(Aggregator, PoolsScores):
    """Mean of a bag's scores weighted by their softmax, sum_n w_n s_n with w = softmax_n(alpha s) and alpha learned.

    Auto-pool (McFee, Salamon and Bello, 2018), with one alpha for all sentences. It starts as the mean, alpha = 0;
    alpha = 1 is `ExpSoftmax`, alpha -> infinity the maximum and alpha -> -infinity the minimum.

    Args:
        nonnegative: whether alpha is held at 0 or above, as a constrained form of the paper (CAP) does.
        most: alpha is held between -most and most, as another does; no limit when None.

    Raises:
        ValueError: if the limit is not a positive number.

    Example:
        >>> AutoPool().pool_scores(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([3]), dim=0).detach()
        tensor([0.5000])
    """

    def __init__(self, nonnegative: bool = False, most: float | None = None) -> None:
        super().__init__()
        self.nonnegative = nonnegative
        self.most = None if most is None else positive(most, "the limit of AutoPool")
        self.alpha = nn.Parameter(torch.tensor(0.0))

    def pool_scores(self, scores: Tensor, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsScores`."""
        if self.nonnegative or self.most is not None:
            with torch.no_grad():
                # The parameter itself is held back, not its use, so that it can always come back.
                least = 0.0 if self.nonnegative else -float(self.most or 0.0)
                self.alpha.clamp_(min=least, max=self.most)
        # A copy, for another forward may hold the parameter back before this one's backward.
        weights = segments.softmax(self.alpha.clone() * scores, lengths, dim)
        return segments.sum(weights * scores, lengths, dim)
