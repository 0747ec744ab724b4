"""Grounding: does the map of a phrase light up where the phrase is seen?

One map and one mask, both in the pixels of the original image. The mask is the union of everything drawn for the
phrase. NaN in the map means unseen: pixels that a crop removed. Conventions, since published ones differ:

* Contrast-to-noise ratio (as used by Boecking et al., 2022): population variances over seen pixels. Signed by default,
  because the absolute value rewards an inverted map.
* Intersection over union: of the map as it is, ``map >= threshold``, unseen pixels being below every threshold. It
  changes with the map's scale, so numbers of raw and of min-max scaled maps must not be compared.
* A region of which nothing is seen counts as a miss, 0 in every metric, and so does an empty prediction. Dropping such
  pairs, as some do, flatters; `GroundingMetrics` has the share that is seen, so that they can be counted.
* The pointing game shares a hit among tied pixels: order never decides, and a constant map scores the region's share of
  the seen area.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# The thresholds over which mIoU averages.
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)

# A map that is constant inside and constant outside has no noise: its ratio is infinite and is cut to this. All ratios
# are, so that a rounding error cannot decide; those of real maps are near 1.
CNR_LIMIT = 100.0


class GroundingMetrics(NamedTuple):
    """What `grounding_metrics` gives; ``seen`` is the share of the mask's pixels that the map covers."""

    cnr: float
    cnr_abs: float
    miou: float
    pointing: float
    seen: float


def cnr(
    heat: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"], *, signed: bool = True
) -> float:
    """Contrast-to-noise ratio: difference of the means inside and outside over the root of the summed variances.

    0 if no pixel inside or none outside is seen, and for a constant map; never beyond +-`CNR_LIMIT`, which a map
    reaches that is constant inside and constant outside. No positive affine map of the values changes it.

    Raises:
        ValueError: if the shapes differ, the mask is not boolean or the map has an infinite value.

    Example:
        >>> heat = np.array([[3.0, 5.0], [0.0, 2.0]])
        >>> round(cnr(heat, np.array([[True, True], [False, False]])), 3)  # (4 - 1) / sqrt(1 + 1)
        2.121
    """
    ratio = _cnr(_split(heat, mask))
    return ratio if signed else abs(ratio)


def iou(heat: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"], threshold: float) -> float:
    """Intersection over union of the mask with the pixels at or above a threshold; 0 for an empty prediction.

    Errors are those of `cnr`.

    Example:
        >>> heat = np.array([[0.9, 0.3], [0.6, 0.0]])
        >>> iou(heat, np.array([[True, True], [False, False]]), threshold=0.5)
        0.3333333333333333
    """
    return _iou(_split(heat, mask), threshold)


def miou(
    heat: Float[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    thresholds: Sequence[float] = THRESHOLDS,
) -> float:
    """Mean of `iou` over thresholds.

    Example:
        >>> miou(np.array([[0.35, 0.0]]), np.array([[True, False]]))
        0.6
    """
    return _miou(_split(heat, mask), thresholds)


def pointing_game(heat: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]) -> float:
    """1 if the highest pixel is in the mask, 0 if not, the share that is in the mask if several are highest.

    0 if nothing is seen. Errors are those of `cnr`. Source: Zhang et al., 2016, there with a margin of 15 pixels.

    Example:
        >>> pointing_game(np.array([[0.9, 0.9], [0.1, np.nan]]), np.array([[True, False], [True, False]]))
        0.5
    """
    return _pointing(_split(heat, mask))


def grounding_metrics(
    heat: Float[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    thresholds: Sequence[float] = THRESHOLDS,
) -> GroundingMetrics:
    """All metrics of one map and one mask, in about the time of one.

    Example:
        >>> heat = np.array([[0.9, 0.9], [0.1, np.nan]])
        >>> metrics = grounding_metrics(heat, np.array([[True, False], [False, True]]))
        >>> metrics.pointing, metrics.seen
        (0.5, 0.5)
    """
    split = _split(heat, mask)
    ratio = _cnr(split)
    seen = split.inside.size / split.area if split.area else 0.0
    return GroundingMetrics(ratio, abs(ratio), _miou(split, thresholds), _pointing(split), seen)


class _Split(NamedTuple):
    inside: Float[np.ndarray, "inside"]
    outside: Float[np.ndarray, "outside"]
    area: int


def _split(heat: np.ndarray, mask: np.ndarray) -> _Split:
    # The seen values inside and outside the mask; no metric cares where they lie.
    heat, mask = np.asarray(heat), np.asarray(mask)
    if heat.ndim != 2 or heat.shape != mask.shape or mask.dtype != bool:
        raise ValueError(
            f"map and mask must be images (height, width) of one shape, the mask boolean; "
            f"got {heat.shape} and {mask.shape} of {mask.dtype}."
        )
    if np.isinf(heat).any():
        row, column = np.argwhere(np.isinf(heat))[0]
        raise ValueError(f"the map is infinite at row {row}, column {column}; unseen pixels must be NaN.")
    inside, outside = heat[mask], heat[~mask]
    return _Split(inside[~np.isnan(inside)], outside[~np.isnan(outside)], inside.size)


def _cnr(split: _Split) -> float:
    if not split.inside.size or not split.outside.size:
        return 0.0
    # Measured from one of its own values, a constant map is exactly 0 everywhere and a large offset costs no precision.
    inside = np.subtract(split.inside, split.inside[0], dtype=np.float64)
    outside = np.subtract(split.outside, split.inside[0], dtype=np.float64)
    contrast, noise = inside.mean() - outside.mean(), np.sqrt(inside.var() + outside.var())
    if abs(contrast) >= CNR_LIMIT * noise:
        return float(np.sign(contrast) * CNR_LIMIT)
    return float(contrast / noise)


def _iou(split: _Split, threshold: float) -> float:
    hit, stray = (np.count_nonzero(values >= float(threshold)) for values in (split.inside, split.outside))
    return float(hit / (split.area + stray)) if hit else 0.0


def _miou(split: _Split, thresholds: Sequence[float]) -> float:
    return float(np.mean([_iou(split, threshold) for threshold in thresholds]))


def _pointing(split: _Split) -> float:
    if not split.inside.size:
        return 0.0
    best = max(values.max() for values in (split.inside, split.outside) if values.size)
    hit, stray = (np.count_nonzero(values == best) for values in (split.inside, split.outside))
    return float(hit / (hit + stray))
