"""Debiased InfoNCE: negatives that are of the pair's own class are expected, and their share is taken out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bagclip.bags import Bag
from bagclip.losses.base import false_negatives, whole
from bagclip.losses.info_nce import learned_temperature
from bagclip.losses.known import Known
from bagclip.losses.tempered import Tempered
from bagclip.scale import Scale
from bagclip.scores import Score, scored

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def debiased_info_nce(
    logits: Float[Tensor, "pairs pairs"],
    prior: Float[Tensor, " pairs"],
    lowest: float | Float[Tensor, ""],
    excluded: Bool[Tensor, "pairs pairs"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE of the rows, where a share of each row's other entries is taken to be positive and is subtracted.

    Args:
        logits: scores over temperature; row i belongs to column i.
        prior: for each row, the share of the other entries that is expected to be of its class, in [0, 1).
        lowest: the lowest logit there can be; the mean exp of the true negatives is never taken to be less than its.
        excluded: entries off the diagonal that are true are no negatives. They are left out, and of the expected false
            negatives they are the first.

    Example:
        >>> round(float(debiased_info_nce(torch.zeros(4, 4), torch.full((4,), 0.1), lowest=-1.0)), 4)  # log 4
        1.3863
    """
    spared = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    if excluded is not None:
        spared = spared | excluded
    count = (~spared).sum(1)
    # A row without negatives keeps them here, and its loss is 0 below, so that no gradient is of an empty sum.
    counted = count.clamp(min=1).to(logits)
    mass = logits.masked_fill(spared & (count > 0)[:, None], float("-inf")).logsumexp(1)
    positive = logits.diagonal()

    others = len(logits) - 1
    prior = ((prior.to(logits) * others - (others - count)) / counted).clamp(min=0)
    mean = mass - counted.log()
    taken = prior.log() + positive - mean
    below = ~(taken >= 0)  # so that what is no number stays none
    # log[(exp(mean) - prior exp(positive)) / (1 - prior)], the estimate of what true negatives weigh.
    rest = mean + (-torch.expm1(torch.where(below, taken, -1.0))).log() - (-prior).log1p()
    floor = torch.as_tensor(lowest).to(logits)
    true = torch.maximum(torch.where(below, rest, floor), floor)
    terms = -logsigmoid(positive - counted.log() - true)
    return torch.where(count > 0, terms, 0.0).mean()


class Debiased(Tempered):
    """InfoNCE, both ways, that expects a share of the negatives to be false, and corrects for them.

    For a pair with score p and N others of scores u_j, all over the temperature t, and class probability c,

        -log e^p / (e^p + N g),   g = max{[1/N sum_j e^(u_j) - c e^p] / (1 - c), e^(-1/t)}.

    Debiased contrastive learning (Chuang et al., 2020), with one c for all pairs. With a c of each pair it is a form
    of sample-specific debiasing (Wang et al., 2023), derived here from the idea, not from that paper's equations. The
    mean over pairs and over both directions. c = 0 is InfoNCE, and e^(-1/t) the least that a cosine can give.

    What is known to be the same is left out of the N negatives, as in InfoNCE, and counts as so many of the c N false
    ones, so that these are not corrected for twice.

    Args:
        score: contrasted both ways.
        prior: c, the probability that a pair drawn at random is of a pair's class; `Known.prior` when None.
        temperature: t, a number, `Annealed` or `Learned`; learned from 0.07 and never less than 0.01 when None.
        lowest: the lowest value of the score; -1 for a mean of cosines.

    Raises:
        ValueError: if a prior is not in [0, 1), the temperature no positive number, the lowest score no finite one, or,
            when called, the priors are needed and not known.

    Example:
        >>> from bagclip.aggregators import Max, Mean
        >>> from bagclip.scores import chain
        >>> from bagclip.similarity import Cosine
        >>> loss = Debiased(chain(Cosine(), Max().over("regions"), Mean().over("sentences")), prior=0.2)
        >>> ones = Bag.dense(torch.ones(2, 4, 8))
        >>> round(loss(ones, ones).item(), 4)  # log 2
        0.6931
    """

    def __init__(
        self,
        score: Score,
        prior: float | None = 0.1,
        temperature: Scale | None = None,
        lowest: float = -1.0,
    ) -> None:
        super().__init__(temperature, learned_temperature())
        if prior is not None and not 0 <= prior < 1:
            raise ValueError(f"the prior of Debiased is a probability of at least 0 and less than 1, got {prior!r}.")
        if not math.isfinite(lowest):
            raise ValueError(f"the lowest score of Debiased must be a finite number, got {lowest!r}.")
        self.score = scored(score, "Debiased")
        self.prior = prior
        self.lowest = lowest

    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Tensor:
        """See `Loss.forward`."""
        scores, _, known = whole(self.score, images, documents, known)
        logits, excluded = self.sharpness * scores, false_negatives(known)
        prior, lowest = self._prior(known, logits), self.sharpness * self.lowest
        rows = debiased_info_nce(logits, prior, lowest, excluded)
        columns = debiased_info_nce(logits.mT, prior, lowest, None if excluded is None else excluded.mT)
        return 0.5 * (rows + columns)

    def _prior(self, known: Known | None, logits: Tensor) -> Float[Tensor, " pairs"]:
        if self.prior is not None:
            return logits.new_full((len(logits),), self.prior)
        if known is None or known.prior is None:
            raise ValueError(
                "Debiased needs the probability of each pair's class, and none are known; give Known(prior=...), "
                "or one prior for all with Debiased(score, prior=0.1)."
            )
        if known.prior.shape != (len(logits),):
            raise ValueError(f"there is one prior a pair, got {tuple(known.prior.shape)} for {len(logits)} pairs.")
        wrong = (~((known.prior >= 0) & (known.prior < 1))).nonzero().flatten().tolist()
        if wrong:
            raise ValueError(
                f"the priors of pairs {wrong[:10]} are {known.prior[wrong[:10]].tolist()}: a prior is a probability of "
                "at least 0 and less than 1, and where all pairs are of one class there is nothing to contrast."
            )
        return known.prior
