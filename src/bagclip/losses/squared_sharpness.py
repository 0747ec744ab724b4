"""Squared sharpness of adaptive pooling: a penalty that keeps it near the mean."""

from __future__ import annotations

import torch
from torch import Tensor

from bagclip.aggregators.auto_pool import AutoPool
from bagclip.bags import Bag
from bagclip.losses.base import Loss
from bagclip.losses.known import Known
from bagclip.scores import Score, scored


class SquaredSharpness(Loss):
    """Sum of alpha^2 over the `AutoPool` aggregators of a score, whatever the batch.

    Added with a weight it makes auto-pool regularised auto-pool (RAP; McFee, Salamon and Bello, 2018):
    ``InfoNCE(score) + 1e-4 * SquaredSharpness(score)``.

    Args:
        score: what the aggregators are part of; one that is used twice counts once.

    Raises:
        ValueError: if it has none.

    Example:
        >>> from bagclip.aggregators import Mean
        >>> from bagclip.scores import chain
        >>> from bagclip.similarity import Cosine
        >>> penalty = SquaredSharpness(chain(Cosine(), AutoPool().over("regions"), Mean().over("sentences")))
        >>> ones = Bag.dense(torch.ones(2, 4, 8))
        >>> penalty(ones, ones).item()  # alpha starts at 0
        0.0
    """

    def __init__(self, score: Score) -> None:
        super().__init__()
        if not any(isinstance(part, AutoPool) for part in score.modules()):
            raise ValueError(f"{score!r} has no AutoPool, whose sharpness SquaredSharpness could hold down.")
        self.score = scored(score, "SquaredSharpness")

    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Tensor:
        """See `Loss.forward`."""
        return torch.stack([part.alpha.square() for part in self.score.modules() if isinstance(part, AutoPool)]).sum()
