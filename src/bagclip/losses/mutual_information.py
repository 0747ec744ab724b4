"""Mutual information of images and documents: a lower bound of it, raised."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from bagclip.bags import Bag
from bagclip.losses.base import Loss, false_negatives, whole
from bagclip.losses.known import Known
from bagclip.scores import Score, scored

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Bound = Literal["dv", "infonce"]


def mutual_information(
    scores: Float[Tensor, "pairs pairs"], bound: Bound = "dv", excluded: Bool[Tensor, "pairs pairs"] | None = None
) -> Float[Tensor, ""]:
    """Lower bound of the mutual information by a critic's scores of what belongs together and of what does not.

    Args:
        scores: row i belongs to column i, and all entries off the diagonal are negatives.
        bound: ``"dv"``, mean of the positives minus log of the mean exp of the negatives; ``"infonce"``, minus log of
            their sum.
        excluded: entries off the diagonal that are true are no negatives.

    Returns:
        The bound; 0, which always is one, if there are no negatives.

    Example:
        >>> float(mutual_information(torch.eye(3)))
        1.0
    """
    spared = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if excluded is not None:
        spared = spared | excluded
    negatives = scores[~spared]
    if not len(negatives):
        return 0.0 * scores.sum()
    mass = negatives.logsumexp(0)
    return scores.diagonal().mean() - (mass - math.log(len(negatives)) if bound == "dv" else mass)


class MutualInformation(Loss):
    """Minus a lower bound of the mutual information of images and documents.

    With scores h of a critic over B pairs, and K entries off the diagonal that are negatives,

        -[1/B sum_i h_ii - log 1/K sum_(i,j) exp(h_ij)]

    is the bound of Donsker and Varadhan, as in MINE (Belghazi et al., 2018). Local MI (Liao et al., 2021) takes it, or
    what it calls the InfoNCE bound: the same without 1/K, so that for one number of negatives both have one gradient.
    Neither has a temperature: the score, of a `Critic`, say, is free in its scale.

    Args:
        score: h.
        bound: ``"dv"`` or ``"infonce"``.

    Raises:
        ValueError: if the bound is another, or, when called, there is only one pair.

    Example:
        >>> from bagclip.aggregators import Max, Mean
        >>> from bagclip.scores import chain
        >>> from bagclip.similarity import Critic
        >>> loss = MutualInformation(chain(Critic(dim=8), Max().over("regions"), Mean().over("sentences")))
        >>> ones = Bag.dense(torch.ones(3, 4, 8))
        >>> loss(ones, ones).abs().item() < 1e-5  # what looks alike says nothing
        True
    """

    def __init__(self, score: Score, bound: Bound = "dv") -> None:
        super().__init__()
        if bound not in ("dv", "infonce"):
            raise ValueError(f'the bound of MutualInformation is "dv" or "infonce", not {bound!r}.')
        self.score = scored(score, "MutualInformation")
        self.bound = bound

    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Tensor:
        """See `Loss.forward`."""
        scores, _, known = whole(self.score, images, documents, known)
        if len(scores) == 1:
            raise ValueError("mutual information needs pairs that do not belong together; give at least two pairs.")
        return -mutual_information(scores, self.bound, false_negatives(known))
