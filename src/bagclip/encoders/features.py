"""Features that were made elsewhere, taken as they are: the patches of slides, or regions of any other images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bagclip.bags import Bag
from bagclip.data import features
from bagclip.data.study import Image
from bagclip.encoders.base import ImageEncoder
from bagclip.encoders.hub import projection

if TYPE_CHECKING:
    from jaxtyping import Float


class Features(ImageEncoder):
    """A linear projection of given features; a study's bag holds the rows of all its matrices, one region a row.

    Regions lie on no grid, so there is no map in pixels. ``model.method.score.region_map(images, phrases)`` gives a
    value for each region (rows, in their order) and each instance of the phrases (columns): which regions answer a
    phrase. ``image.coords()`` tells where they lie, if the file does.

    Args:
        width: size of a given feature.
        dim: size of a region's feature. The projection to it starts as the identity if both are the same, otherwise
            orthogonal.

    Example:
        >>> import numpy as np
        >>> from bagclip.data import ArrayFeatures
        >>> encoder = Features(width=64, dim=32)
        >>> rows = [encoder.read(ArrayFeatures(np.zeros((n, 64), np.float16))) for n in (900, 1500)]
        >>> bag = encoder.bags(torch.cat(rows), [900, 1500])
        >>> bag.lengths.tolist(), bag.dim, bag.grid
        ([900, 1500], 32, None)
    """

    def __init__(self, width: int, dim: int = 128) -> None:
        super().__init__()
        for name, value in (("width", width), ("dim", dim)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
        self.width, self.dim = width, dim
        self.project = projection(width, dim)

    def forward(self, features: Float[Tensor, "regions width"]) -> Float[Tensor, "regions dim"]:
        """Regions of given features."""
        return self.project(features)

    def read(self, image: Image) -> Float[Tensor, "regions width"]:
        """The features of an image, a row each.

        Raises:
            ValueError: if it has none, or they are of another width.
        """
        if not isinstance(image, features.Features):
            raise ValueError(
                "the image is made of pixels, and the encoder Features takes features; give it feature files."
            )
        if image.shape[1] != self.width:
            raise ValueError(
                f"the features are of width {image.shape[1]}, and the encoder takes width {self.width}; build it for "
                f"them, Features(width={image.shape[1]})."
            )
        # A copy only where torch cannot wrap the array, as it is mapped for reading, say.
        return torch.from_numpy(np.require(image.features(), requirements=["C", "W"]))

    def bags(self, inputs: Float[Tensor, "regions width"], counts: Sequence[int]) -> Bag:
        """One bag a study, of as many regions as it has rows."""
        return Bag(self(inputs), torch.tensor(counts))

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"class": "Features", "width": self.width, "dim": self.dim}
