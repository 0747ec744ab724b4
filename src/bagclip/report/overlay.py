"""The overlay: a heat map on the image it belongs to, with the true region drawn around.

* The image is shown in gray. The opacity of the map's colour grows with the square of its value within ``limits``: low
  values leave the image untouched, and even the highest do not hide it.
* Colours are the middle of inferno, from red to yellow: perceptually uniform and rising in lightness, so that they read
  the same to colour-blind eyes. Its dark and pale ends are left out, since they look like air and bone.
* Pixels that the model has not seen (NaN) are hatched, so that they look neither black nor low.
* The true region is outlined in cyan and boxes in white, edged in black to show on any ground. Lines run outside of
  what they enclose and hide none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from bagclip.data.study import Box
from bagclip.report.resize import resize_boxes, resize_image, resize_map, resize_region

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

OPACITY = 0.7
"""Opacity of the highest value."""

REGION, BOX, EDGE = (0, 225, 255), (255, 255, 255), (0, 0, 0)
"""Colours of the region's outline, of boxes, and of the edge beside both."""

# Dark and bright stripes, and how much of the image is left to see between them.
STRIPES, HATCHED = (70.0, 120.0), 0.5


def overlay(
    image: UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"],
    heat: Float[np.ndarray, "height width"],
    *,
    region: Bool[np.ndarray, "height width"] | None = None,
    boxes: Sequence[Box] = (),
    limits: tuple[float, float] | None = None,
    scale: float = 1.0,
) -> UInt8[np.ndarray, "rows columns 3"]:
    """The image in gray with the map over it.

    Args:
        image: gray or RGB.
        heat: a value for each of its pixels, NaN where unseen.
        region: the true region, True inside.
        boxes: rectangles in pixels of the image.
        limits: the values at which the colour is absent and full; `extent` of the map when None.
        scale: factor by which to enlarge before drawing, so that lines stay crisp.

    Raises:
        ValueError: if shapes differ, the map has an infinite value, or the limits are not in order.

    Example:
        >>> image = np.full((2, 2), 100, dtype=np.uint8)
        >>> drawn = overlay(image, np.array([[0.0, 0.5], [1.0, 0.0]]))
        >>> drawn.shape, drawn[0, 0].tolist()
        ((2, 2, 3), [100, 100, 100])
    """
    _check(image, heat, region)
    low, high = extent(heat) if limits is None else limits
    if not -np.inf < low <= high < np.inf:
        raise ValueError(f"limits must be two finite numbers, the lower one first, got {limits}.")
    if scale != 1:
        size = max(1, round(scale * heat.shape[0])), max(1, round(scale * heat.shape[1]))
        boxes = resize_boxes(boxes, heat.shape, size)
        image, heat = resize_image(image, size), resize_map(heat, size)
        region = None if region is None else resize_region(region, size)
    drawn = _blend(image, heat, low, high)
    for box in boxes:
        _outline(drawn, _inside(box, heat.shape), BOX)
    if region is not None:
        _outline(drawn, region, REGION)
    return drawn


def extent(heat: Float[np.ndarray, "height width"]) -> tuple[float, float]:
    """Lowest and highest value of the seen pixels, (0, 0) if there are none.

    Example:
        >>> extent(np.array([[0.25, np.nan], [-0.5, 0.0]]))
        (-0.5, 0.25)
    """
    seen = heat[~np.isnan(heat)]
    return (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)


def _check(image: np.ndarray, heat: np.ndarray, region: np.ndarray | None) -> None:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"an image must be uint8 of shape (height, width) or (height, width, 3), got {image.dtype} of "
            f"shape {image.shape}."
        )
    if heat.shape != image.shape[:2]:
        raise ValueError(f"the map has shape {heat.shape}, but its image {image.shape[:2]}; enlarge it to the image.")
    if region is not None and (region.dtype != bool or region.shape != heat.shape):
        raise ValueError(
            f"the region must be boolean and of the image's shape {heat.shape}, got {region.dtype} of {region.shape}."
        )
    if np.isinf(heat).any():
        row, column = np.argwhere(np.isinf(heat))[0]
        raise ValueError(f"the map is infinite at row {row}, column {column}; unseen pixels must be NaN.")


def _blend(image: np.ndarray, heat: np.ndarray, low: float, high: float) -> UInt8[np.ndarray, "height width 3"]:
    from PIL import Image

    gray = np.asarray(Image.fromarray(image).convert("L").convert("RGB"), dtype=np.float64)
    unseen = np.isnan(heat)
    # Without a difference there is nothing to show: a constant map has no colour.
    strength = np.clip((np.where(unseen, low, heat) - low) / ((high - low) or np.inf), 0, 1)
    mixed = gray + OPACITY * strength[..., None] ** 2 * (_colours()[np.rint(255 * strength).astype(int)] - gray)
    mixed[unseen] = (HATCHED * gray + (1 - HATCHED) * _hatching(unseen.shape))[unseen]
    return np.rint(mixed).astype(np.uint8)


def _outline(
    drawn: UInt8[np.ndarray, "height width 3"], inside: Bool[np.ndarray, "height width"], colour: tuple[int, int, int]
) -> None:
    from scipy.ndimage import maximum_filter

    width = max(1, round(max(inside.shape) / 250))
    line = maximum_filter(inside, 2 * width + 1)
    edge = maximum_filter(line, 2 * -(-width // 2) + 1)
    drawn[edge & ~line] = EDGE
    drawn[line & ~inside] = colour


def _inside(box: Box, shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    # As for annotations, a pixel is inside when its centre is.
    y, x = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
    return ((y >= box.top) & (y < box.bottom))[:, None] & ((x >= box.left) & (x < box.right))


def _hatching(shape: tuple[int, int]) -> Float[np.ndarray, "height width 1"]:
    width = max(2, max(shape) // 100)
    diagonal = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) // width
    return np.where(diagonal % 2, *STRIPES)[..., None]


@cache
def _colours() -> Float[np.ndarray, "256 3"]:
    import matplotlib

    return 255 * matplotlib.colormaps["inferno"](np.linspace(0.4, 0.88, 256))[:, :3]
