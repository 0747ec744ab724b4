"""InfoNCE, both ways: each image picks its document out of the batch, and each document its image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bagclip.bags import Bag
from bagclip.losses.base import Loss
from bagclip.scores import Score

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SHARPEST = 100.0
"""Upper limit of 1 / temperature, as in CLIP (Radford et al., 2021)."""


def info_nce(
    logits: Float[Tensor, "pairs pairs"], same: Bool[Tensor, "pairs pairs"] | None = None
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the diagonal among its row: each row's pick of its own column.

    Args:
        logits: scores over temperature; row i belongs to column i.
        same: entries off the diagonal that are true are no negatives and leave the row's denominator.

    Example:
        >>> round(float(info_nce(torch.zeros(4, 4))), 4)  # log 4
        1.3863
    """
    if same is not None:
        excluded = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
        logits = logits.masked_fill(excluded, float("-inf"))
    return (logits.logsumexp(1) - logits.diagonal()).mean()


class InfoNCE(Loss):
    """Mean of the image-to-text and text-to-image InfoNCE of a score, with a learned temperature.

    Oord et al. (2018); both ways as in ConVIRT (Zhang et al., 2020) and CLIP (Radford et al., 2021).

    Args:
        score: contrasted both ways.
        temperature: divides the scores at first; it is learned, and 1 / temperature never exceeds 100.
        image_to_text: contrasted instead of ``score`` when an image picks its document.
        text_to_image: contrasted instead of ``score`` when a document picks its image.

    Raises:
        ValueError: if a direction has no score, a score is given that no direction uses, or the temperature is not
            between 0.01 and infinity.

    Example:
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
        temperature: float = 0.07,
        image_to_text: Score | None = None,
        text_to_image: Score | None = None,
    ) -> None:
        super().__init__()
        if score is None and (image_to_text is None or text_to_image is None):
            raise ValueError("InfoNCE needs a score for both directions: InfoNCE(score), or both by name.")
        if score is not None and image_to_text is not None and text_to_image is not None:
            raise ValueError("InfoNCE was given a score for each direction and a third that neither uses; drop it.")
        if not (math.isfinite(temperature) and temperature >= 1 / SHARPEST):
            raise ValueError(f"the temperature of InfoNCE must be at least {1 / SHARPEST}, got {temperature!r}.")
        self.score = score
        self.temperature = temperature
        self.image_to_text = image_to_text
        self.text_to_image = text_to_image
        self.log_sharpness = nn.Parameter(torch.tensor(-math.log(temperature)))

    @property
    def sharpness(self) -> Float[Tensor, ""]:
        """1 / temperature as it is now."""
        return self.log_sharpness.exp()

    def forward(self, images: Bag, documents: Bag, same: Tensor | None = None) -> Tensor:
        """See `Loss.forward`."""
        if len(images) != len(documents):
            raise ValueError(f"a batch pairs image i with document i, got {len(images)} and {len(documents)}.")
        with torch.no_grad():
            # The parameter itself is held back, not its use, so that it can always come down again.
            self.log_sharpness.clamp_(max=math.log(SHARPEST))
        rows = self._direction(self.image_to_text, images, documents)
        columns = (
            rows if self.image_to_text is self.text_to_image else self._direction(self.text_to_image, images, documents)
        )
        return 0.5 * (
            info_nce(self.sharpness * rows, same)
            + info_nce(self.sharpness * columns.mT, None if same is None else same.mT)
        )

    def _direction(self, score: Score | None, images: Bag, documents: Bag) -> Tensor:
        chosen = self.score if score is None else score
        assert chosen is not None
        return chosen(images, documents)
