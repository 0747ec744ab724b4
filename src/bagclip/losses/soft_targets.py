"""Soft targets: each image picks its document, and to some extent those that say something similar; and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bagclip import segments
from bagclip.bags import Bag
from bagclip.losses.base import whole
from bagclip.losses.info_nce import learned_temperature
from bagclip.losses.known import Known
from bagclip.losses.tempered import Tempered
from bagclip.scale import Learned, Scale, scale, value
from bagclip.scores import Score, scored
from bagclip.scores.chain import full_precision

if TYPE_CHECKING:
    from jaxtyping import Float


def soft_cross_entropy(
    logits: Float[Tensor, "*batch rows columns"], targets: Float[Tensor, "*batch rows columns"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the rows' softmax with target distributions.

    Example:
        >>> round(float(soft_cross_entropy(torch.zeros(4, 4), torch.full((4, 4), 0.25))), 4)  # log 4
        1.3863
    """
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


def label_similarity(labels: Float[Tensor, "pairs classes"]) -> Float[Tensor, "pairs pairs"]:
    """Cosine of the pairs' label vectors. Pairs without any label are alike (all normal, say), and like no other.

    Example:
        >>> label_similarity(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
        tensor([[1., 0., 0.],
                [0., 1., 1.],
                [0., 1., 1.]])
    """
    none = (labels == 0).all(1, keepdim=True).to(labels)
    directions = normalize(torch.cat([labels, none], dim=1), dim=1)
    return directions @ directions.mT


def text_similarity(documents: Bag) -> Float[Tensor, "documents documents"]:
    """Cosine of the documents' mean sentences.

    Example:
        >>> text_similarity(Bag.from_list([torch.eye(2), torch.ones(1, 2)])).round()
        tensor([[1., 1.],
                [1., 1.]])
    """
    directions = normalize(segments.mean(documents.instances, documents.lengths), dim=1)
    return directions @ directions.mT


class SoftTargets(Tempered):
    """Cross-entropy, both ways, of the scores' softmax with that of how similar the pairs are known to be.

    With scores h over temperature t and similarities s over temperature u, over B pairs, the mean of

        -1/B sum_ij q_ij log p_ij,   p = softmax_j(h_ij / t),   q = softmax_j(s_ij / u)

    and the same over columns. MedCLIP (Wang et al., 2022), whose code has the inner product of labels of -1, 0 and 1
    where s here is a cosine, and u = 1. Then the targets are flat: no pair is more than e times as probable as one of
    another class, however large the batch. A smaller u asks more for the pair and its likes; u -> 0 with distinct
    labels gives InfoNCE.

    A pair has similarity 1 with itself and with what is known to be the same. The targets have no gradient.

    Args:
        score: h.
        temperature: t, a number, `Annealed` or `Learned`; learned from 0.07 and never less than 0.01 when None.
        targets: what s compares: the ``"labels"`` of the pairs, where pairs without any label are alike, or the mean
            sentence features of their documents (``"text"``).
        target_temperature: u, a number or `Annealed`.

    Raises:
        ValueError: if a temperature is no positive number, u is learned, the targets are neither kind, or, when called,
            labels are needed and not known.

    Example:
        >>> from bagclip.aggregators import Max, Mean
        >>> from bagclip.scores import chain
        >>> from bagclip.similarity import Cosine
        >>> loss = SoftTargets(chain(Cosine(), Max().over("regions"), Mean().over("sentences")))
        >>> ones = Bag.dense(torch.ones(2, 4, 8))
        >>> round(loss(ones, ones, Known(labels=torch.eye(2))).item(), 4)  # log 2
        0.6931
    """

    def __init__(
        self,
        score: Score,
        temperature: Scale | None = None,
        targets: Literal["labels", "text"] = "labels",
        target_temperature: Scale = 1.0,
    ) -> None:
        super().__init__(temperature, learned_temperature())
        if targets not in ("labels", "text"):
            raise ValueError(f'the targets of SoftTargets are of "labels" or of "text", not of {targets!r}.')
        if isinstance(target_temperature, Learned):
            raise ValueError("the target temperature of SoftTargets cannot be learned: targets are not the model's.")
        self.score = scored(score, "SoftTargets")
        self.targets = targets
        self.target_temperature = scale(target_temperature, "the target temperature of SoftTargets")

    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Tensor:
        """See `Loss.forward`."""
        scores, documents, known = whole(self.score, images, documents, known)
        logits = self.sharpness * scores
        with torch.no_grad():
            similarity = self._similarity(images, documents, known).to(logits) / value(self.target_temperature)
            rows, columns = similarity.softmax(1), similarity.mT.softmax(1)
        return 0.5 * (soft_cross_entropy(logits, rows) + soft_cross_entropy(logits.mT, columns))

    def _similarity(self, images: Bag, documents: Bag, known: Known | None) -> Float[Tensor, "pairs pairs"]:
        with full_precision(images, documents) as (_, texts):
            if self.targets == "text":
                similarity = text_similarity(texts)
            else:
                similarity = label_similarity(self._labels(known, len(documents)).to(texts.instances))
        alike = None if known is None else known.alike
        itself = torch.eye(len(documents), dtype=torch.bool, device=similarity.device)
        return similarity.masked_fill(itself if alike is None else itself | alike, 1.0)

    def _labels(self, known: Known | None, pairs: int) -> Float[Tensor, "pairs classes"]:
        if known is None or known.labels is None:
            raise ValueError(
                "SoftTargets compares the labels of pairs, and none are known: give the studies labels, or take the "
                'similarity of their texts with SoftTargets(..., targets="text").'
            )
        if known.labels.ndim != 2 or len(known.labels) != pairs:
            raise ValueError(f"labels are (pairs, classes), got {tuple(known.labels.shape)} for {pairs} pairs.")
        return known.labels
