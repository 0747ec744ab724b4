"""Hinge loss: each pair scores higher, by a margin, than the negatives of its image and of its document."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bagclip.bags import Bag
from bagclip.losses.base import Loss, false_negatives, whole
from bagclip.losses.known import Known
from bagclip.scores import Score, scored

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def hinge(
    scores: Float[Tensor, "pairs pairs"],
    margin: float,
    hardest: bool = True,
    excluded: Bool[Tensor, "pairs pairs"] | None = None,
) -> Float[Tensor, ""]:
    """How much the negatives of each row come within the margin of its diagonal entry, summed over the rows.

    Args:
        scores: row i belongs to column i.
        margin: by how much the diagonal should be higher.
        hardest: whether only the highest negative of a row counts, not all of them.
        excluded: entries off the diagonal that are true are no negatives.

    Example:
        >>> float(hinge(torch.tensor([[1.0, 0.5], [0.75, 0.5]]), margin=0.25))  # 0 and 0.25 + 0.75 - 0.5
        0.5
    """
    spared = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if excluded is not None:
        spared = spared | excluded
    violations = (margin + scores - scores.diagonal()[:, None]).clamp(min=0).masked_fill(spared, 0.0)
    return violations.max(1).values.sum() if hardest else violations.sum()


class HardestHinge(Loss):
    """Hinge loss with the hardest negative of each image and of each document.

    With margin m, over B pairs, the sum (not the mean, as in the papers' code)

        sum_i max_j [m - h_ii + h_ij]_+  +  sum_i max_j [m - h_ii + h_ji]_+,   j not i,

    or with a sum over j in the place of the maximum. VSE++ (Faghri et al., 2018), as in SCAN (Lee et al., 2018). A pair
    without negatives adds nothing. As a sum it grows with the batch: ``1 / batch * HardestHinge(...)`` is the mean.

    Args:
        score: h.
        margin: m, on the scale of the score.
        hardest: whether only the hardest negative counts, not all of them.

    Raises:
        ValueError: if the margin is negative or no finite number.

    Example:
        >>> from bagclip.aggregators import Max, Mean
        >>> from bagclip.scores import chain
        >>> from bagclip.similarity import Cosine
        >>> loss = HardestHinge(chain(Cosine(), Max().over("regions"), Mean().over("sentences")))
        >>> ones = Bag.dense(torch.ones(3, 4, 8))
        >>> round(loss(ones, ones).item(), 4)  # 6 times the margin
        1.2
    """

    def __init__(self, score: Score, margin: float = 0.2, hardest: bool = True) -> None:
        super().__init__()
        if not math.isfinite(margin) or margin < 0:
            raise ValueError(f"the margin of HardestHinge must be a number of at least 0, got {margin!r}.")
        self.score = scored(score, "HardestHinge")
        self.margin = margin
        self.hardest = hardest

    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Tensor:
        """See `Loss.forward`."""
        scores, _, known = whole(self.score, images, documents, known)
        excluded = false_negatives(known)
        rows = hinge(scores, self.margin, self.hardest, excluded)
        columns = hinge(scores.mT, self.margin, self.hardest, None if excluded is None else excluded.mT)
        return rows + columns
