"""Image, map, region and boxes brought to another size together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bagclip.data.study import Box

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8


def resize_image(
    image: UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"], size: tuple[int, int]
) -> np.ndarray:
    """A gray or RGB image at another size (height, width), smoothly."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS))


def resize_map(heat: Float[np.ndarray, "height width"], size: tuple[int, int]) -> Float[np.ndarray, "rows columns"]:
    """A map at another size, linearly between seen pixels; unseen pixels neither grow nor bleed into the others.

    Example:
        >>> resize_map(np.array([[1.0, np.nan]]), (2, 4)).tolist()
        [[1.0, 1.0, nan, nan], [1.0, 1.0, nan, nan]]
    """
    seen = ~np.isnan(heat)
    share = _linear(seen, size)
    total = _linear(np.where(seen, heat, 0), size)
    return np.divide(total, share, out=np.full(size, np.nan), where=share >= 0.5)


def resize_region(inside: Bool[np.ndarray, "height width"], size: tuple[int, int]) -> Bool[np.ndarray, "rows columns"]:
    """A region at another size; when it shrinks, what is thinner than a pixel (a catheter) is kept."""
    return _linear(inside, size) >= (0.5 if size[0] >= inside.shape[0] else 0.1)


def resize_boxes(boxes: Sequence[Box], old: tuple[int, int], new: tuple[int, int]) -> tuple[Box, ...]:
    """Boxes of an image of size ``old`` (height, width) in the pixels of one of size ``new``.

    Example:
        >>> resize_boxes([Box(1, 1, 3, 2)], old=(4, 4), new=(8, 8))
        (Box(left=2.0, top=2.0, right=6.0, bottom=4.0),)
    """
    y, x = new[0] / old[0], new[1] / old[1]
    return tuple(Box(b.left * x, b.top * y, b.right * x, b.bottom * y) for b in boxes)


def _linear(values: np.ndarray, size: tuple[int, int]) -> Float[np.ndarray, "rows columns"]:
    from PIL import Image

    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR), dtype=np.float64)
