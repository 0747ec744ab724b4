"""InfoNCE, both ways: each image picks its document out of the batch, and each document its image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

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


def learned_temperature() -> Learned:
    """A temperature that is learned from 0.07 and never less than 0.01, as in CLIP (Radford et al., 2021)."""
    return Learned(0.07, minimum=0.01)


def info_nce(
    logits: Float[Tensor, "rows pairs"], excluded: Bool[Tensor, "rows pairs"] | None = None, first: int = 0
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the diagonal among its row: each row's pick of its own column.

    Args:
        logits: scores over temperature; row i belongs to column first + i.
        excluded: entries off the diagonal that are true are no negatives and leave the row's denominator.
        first: the column that the first row belongs to.

    Example:
        >>> import torch
        >>> round(float(info_nce(torch.zeros(4, 4))), 4)  # log 4
        1.3863
    """
    if excluded is not None:
        logits = logits.masked_fill(excluded, float("-inf"))
    return (logits.logsumexp(1) - logits.diagonal(first)).mean()


def _info_nce_of_columns(
    logits: Float[Tensor, "rows pairs"], excluded: Bool[Tensor, "rows pairs"] | None, share: Share
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the diagonal among its column, of which each process has some rows."""
    if excluded is not None:
        logits = logits.masked_fill(excluded, float("-inf"))
    return share.column_logsumexp(logits).mean() - share.average(logits.diagonal(share.first).mean())


class InfoNCE(Tempered):
    """Weighted sum of the image-to-text and text-to-image InfoNCE of a score.

    Oord et al. (2018); both ways as in ConVIRT (Zhang et al., 2020) and CLIP (Radford et al., 2021).

    Args:
        score: contrasted both ways.
        temperature: divides the scores: a number, `Annealed` or `Learned`; learned from 0.07 and never less than 0.01
            when None.
        weights: of the image-to-text and the text-to-image direction: (0.5, 0.5) their mean, (1.0, 1.0) their sum as in
            GLoRIA, (0.75, 0.25) as in ConVIRT.
        image_to_text: contrasted instead of ``score`` when an image picks its document.
        text_to_image: contrasted instead of ``score`` when a document picks its image.

    Raises:
        ValueError: if a direction has no score, a score is given that no direction uses, the temperature is no positive
            number, or a weight is negative or both are 0.

    Example:
        >>> import torch
        >>> from bagclip.aggregators import Max, Mean
        >>> from bagclip.scores import chain
        >>> from bagclip.similarity import Cosine
        >>> maxsim = chain(Cosine(), Max().over("regions"), Mean().over("sentences"))
        >>> filip = InfoNCE(image_to_text=maxsim.T, text_to_image=maxsim)
        >>> loss = filip(Bag.dense(torch.ones(2, 4, 8)), Bag.dense(torch.ones(2, 3, 8)))
        >>> round(loss.item(), 4)  # log 2
        0.6931
    """

    def __init__(
        self,
        score: Score | None = None,
        temperature: Scale | None = None,
        weights: tuple[float, float] = (0.5, 0.5),
        image_to_text: Score | None = None,
        text_to_image: Score | None = None,
    ) -> None:
        super().__init__(temperature, learned_temperature())
        if score is None and (image_to_text is None or text_to_image is None):
            raise ValueError("InfoNCE needs a score for both directions: InfoNCE(score), or both by name.")
        if score is not None and image_to_text is not None and text_to_image is not None:
            raise ValueError("InfoNCE was given a score for each direction and a third that neither uses; drop it.")
        if len(weights) != 2 or not all(math.isfinite(w) and w >= 0 for w in weights) or not sum(weights) > 0:
            raise ValueError(f"the weights of InfoNCE are those of its two directions, not negative, got {weights!r}.")
        for each in (score, image_to_text, text_to_image):
            if each is not None:
                scored(each, "InfoNCE")
        self.score = score
        self.weights = (float(weights[0]), float(weights[1]))
        self.image_to_text = image_to_text
        self.text_to_image = text_to_image

    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Tensor:
        """See `Loss.forward`."""
        share = Share.of(images, documents)
        images, documents = share.join(images, documents)
        rows = self._direction(self.image_to_text, images, documents)
        one = self.image_to_text is self.text_to_image
        columns = rows if one else self._direction(self.text_to_image, images, documents)
        excluded, sharpness = false_negatives(known, share), self.sharpness
        document_of_image = share.average(info_nce(sharpness * rows, excluded, share.first))
        if share.alone:
            image_of_document = info_nce(sharpness * columns.mT, None if excluded is None else excluded.mT)
        else:
            image_of_document = _info_nce_of_columns(sharpness * columns, excluded, share)
        return self.weights[0] * document_of_image + self.weights[1] * image_of_document

    def _direction(self, score: Score | None, images: Bag, documents: Bag) -> Tensor:
        chosen = self.score if score is None else score
        assert chosen is not None
        return matrix(chosen, images, documents)
