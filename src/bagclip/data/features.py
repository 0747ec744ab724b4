"""Features: an image of which only features of its regions are given, made elsewhere."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bagclip.data.study import Image

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64


class Features(Image):
    """An image of which only features of its regions are known: the patches of a slide, say.

    ``shape`` is (regions, width) and is known without reading them. There are no pixels: an encoder of features takes
    it, and nothing is drawn on it.
    """

    shape: tuple[int, int]

    @abstractmethod
    def features(self) -> Float32[np.ndarray, "regions width"]:
        """One row a region; ``OSError`` with the file's name if it cannot be read."""

    def coords(self) -> Float64[np.ndarray, "regions 2"] | None:
        """Where each region lies, in the units of whoever made them, if that is known."""
        return None

    @property
    def size(self) -> tuple[int, int]:  # type: ignore[override]
        """Unknown: raises a ``ValueError``."""
        raise ValueError(_NO_PIXELS)

    def pixels(self) -> np.ndarray:
        """Unknown: raises a ``ValueError``."""
        raise ValueError(_NO_PIXELS)


_NO_PIXELS = (
    "an image that is given as features has no pixels; encode it with encoders.Features, and see which regions answer "
    "a phrase with model.method.score.region_map(images, phrases)."
)


@dataclass(frozen=True)
class ArrayFeatures(Features):
    """Features that are already in memory.

    Args:
        array: (regions, width), floats without NaN and infinities.
        view: how the image was taken, or empty.
        places: what ``coords`` gives, or None.

    Raises:
        ValueError: if it is anything else.

    Example:
        >>> ArrayFeatures(np.zeros((900, 64), np.float16)).shape
        (900, 64)
    """

    array: np.ndarray
    view: str = ""
    places: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.array.dtype.kind != "f" or self.array.ndim != 2 or not self.array.size:
            raise ValueError(
                f"features must be a matrix of floats (regions, width) and not empty, got {self.array.dtype} of shape "
                f"{self.array.shape}."
            )
        if not np.isfinite(self.features()).all():
            raise ValueError(
                "features hold NaN, infinite values or some too large for float32; look at what made them."
            )
        if self.places is not None and self.places.shape != (len(self.array), 2):
            raise ValueError(
                f"coords of {len(self.array)} regions must be ({len(self.array)}, 2), got {self.places.shape}."
            )

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        """(regions, width)."""
        return self.array.shape[0], self.array.shape[1]

    def features(self) -> np.ndarray:
        """The array as float32."""
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(self.array, dtype=np.float32)

    def coords(self) -> np.ndarray | None:
        """The places given."""
        return None if self.places is None else np.asarray(self.places, dtype=np.float64)
