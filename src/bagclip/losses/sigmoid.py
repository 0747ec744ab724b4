"""Sigmoid loss: every entry of the score matrix is asked on its own whether its image and document belong together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from bagclip.bags import Bag
from bagclip.engine import matrix
from bagclip.engine.distributed import Share
from bagclip.losses.base import false_negatives
from bagclip.losses.known import Known
from bagclip.losses.tempered import Tempered
from bagclip.scale import Learned, Scale
from bagclip.scores import Score, scored

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def pairwise_sigmoid(
    logits: Float[Tensor, "rows pairs"], excluded: Bool[Tensor, "rows pairs"] | None = None, first: int = 0
) -> Float[Tensor, ""]:
    """Logistic loss of all entries, the diagonal positive and the rest negative, summed and divided by the rows.

    Args:
        logits: scores over temperature plus bias; row i belongs to column first + i.
        excluded: entries off the diagonal that are true are no negatives and left out.
        first: the column that the first row belongs to.

    Example:
        >>> round(float(pairwise_sigmoid(torch.zeros(3, 3))), 4)  # 3 log 2
        2.0794
    """
    signs = torch.full_like(logits, -1.0)
    signs.diagonal(first).fill_(1.0)
    terms = -logsigmoid(signs * logits)
    if excluded is not None:
        terms = terms.masked_fill(excluded, 0.0)
    return terms.sum() / len(logits)


class Sigmoid(Tempered):
    """Logistic loss of every image with every document of the batch, each pair on its own.

    With z = 1 for a pair that belongs together and -1 otherwise, temperature t and bias b, over B pairs

        -1/B sum_ij log sigmoid(z_ij (h_ij / t + b)).

    SigLIP (Zhai et al., 2023). It is divided by the number of pairs, not of entries. The bias starts low because nearly
    all entries are negative.

    Args:
        score: h.
        temperature: divides the scores: a number, `Annealed` or `Learned`; learned from 0.1 when None.
        bias: where the bias, which is learned, starts.

    Raises:
        ValueError: if the temperature is no positive number or the bias no finite one.

    Example:
        >>> from bagclip.aggregators import Max, Mean
        >>> from bagclip.scores import chain
        >>> from bagclip.similarity import Cosine
        >>> loss = Sigmoid(chain(Cosine(), Max().over("regions"), Mean().over("sentences")))
        >>> ones = Bag.dense(torch.ones(2, 4, 8))
        >>> round(loss(ones, ones).item(), 4)  # all logits are 0: 2 log 2
        1.3863
    """

    def __init__(self, score: Score, temperature: Scale | None = None, bias: float = -10.0) -> None:
        super().__init__(temperature, Learned(0.1))
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not math.isfinite(bias):
            raise ValueError(f"the bias of Sigmoid starts at a finite number, got {bias!r}.")
        self.score = scored(score, "Sigmoid")
        self.bias = bias
        self.offset = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Tensor:
        """See `Loss.forward`."""
        share = Share.of(images, documents)
        logits = self.sharpness * matrix(self.score, *share.join(images, documents)) + self.offset
        return share.average(pairwise_sigmoid(logits, false_negatives(known, share), share.first))
