"""Soft-edged shapes in unit coordinates: everything the phantom draws is made of these few functions.

A *field* is a float32 image. A *distance* is a field that is positive inside a shape and negative outside, in the units
of the coordinates; ``soft`` turns it into a *coverage* between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32

    Field = Float32[np.ndarray, "height width"]

Point = tuple[float, float]
Waves = tuple[tuple[float, float, float], ...]


@lru_cache(maxsize=8)
def pixel_centres(size: int) -> Float32[np.ndarray, "size"]:
    """Centres of the pixels of a row or column of an image that is 1 wide; one read-only array a size."""
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    centres.setflags(write=False)
    return centres


def soft(distance: Field, edge: float) -> Field:
    """Coverage: 0 where distance <= -edge, 1 where distance >= edge, one half at the border, smooth between."""
    t = distance * (0.5 / edge)
    t += 0.5
    t.clip(0, 1, out=t)
    rising = t * -2
    rising += 3
    rising *= t
    rising *= t
    return rising


def bump(squared: Field) -> Field:
    """1 at 0, falling smoothly to 0 at 1 and beyond: a Gaussian's look for the price of a polynomial."""
    t = 1 - squared
    t.clip(0, 1, out=t)
    return t * t


def join(one: Field, other: Field, fillet: float) -> Field:
    """Distance to the union of two shapes, whose corner is rounded over a length ``fillet``."""
    near = fillet - np.abs(one - other)
    near.clip(0, fillet, out=near)
    near *= near
    near *= 0.25 / fillet
    near += np.maximum(one, other)
    return near


def ellipse(u: Field, v: Field, centre: Point, radii: Point, angle: float = 0.0) -> Field:
    """Distance to the border of an ellipse turned clockwise by ``angle``; exact in sign and nearly so in size."""
    du, dv = u - centre[0], v - centre[1]
    cos, sin = math.cos(angle), math.sin(angle)
    along, across = du * (cos / radii[0]) + dv * (sin / radii[0]), dv * (cos / radii[1]) - du * (sin / radii[1])
    return (1 - np.sqrt(along * along + across * across)) * min(radii)


def stroke(u: Field, v: Field, points: Sequence[Point]) -> Field:
    """Distance to a line through the points: minus how far away the nearest segment is."""
    nearest: Field | None = None
    for (u0, v0), (u1, v1) in pairwise(points):
        du, dv = u1 - u0, v1 - v0
        pu, pv = u - u0, v - v0
        t = pu * (du / (du * du + dv * dv)) + pv * (dv / (du * du + dv * dv))
        t.clip(0, 1, out=t)
        pu -= t * du
        pv -= t * dv
        squared = pu * pu + pv * pv
        nearest = squared if nearest is None else np.minimum(nearest, squared, out=nearest)
    if nearest is None:
        raise ValueError("a stroke needs at least two points.")
    return -np.sqrt(nearest)


def curve(points: Sequence[Point], pieces: int = 4) -> list[Point]:
    """A smooth line (Catmull and Rom, 1974) through the points, with ``pieces`` straight ones from each to the next."""
    ends = [points[0], *points, points[-1]]
    line = [points[0]]
    for a, b, c, d in zip(ends[:-3], ends[1:-2], ends[2:-1], ends[3:], strict=True):
        for t in (k / pieces for k in range(1, pieces + 1)):
            weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
            line.append(
                (
                    0.5 * sum(w * p[0] for w, p in zip(weights, (a, b, c, d), strict=True)),
                    0.5 * sum(w * p[1] for w, p in zip(weights, (a, b, c, d), strict=True)),
                )
            )
    return line


def mottle(u: Field, v: Field, waves: Waves) -> Field:
    """A smooth random texture of unit variance: plane waves (frequency along u, along v, phase), averaged."""
    total = np.zeros(np.broadcast_shapes(u.shape, v.shape), dtype=np.float32)
    for ku, kv, phase in waves:
        total += np.cos(u * ku + (v * kv + phase))
    total *= math.sqrt(2 / len(waves))
    return total


def random_waves(rng: np.random.Generator, count: int, wavelength: float) -> Waves:
    """Plane waves of about this wavelength for ``mottle``, in directions spread over the half circle."""
    waves = []
    for k, (turn, stretch, phase) in enumerate(rng.random((count, 3)).tolist()):
        direction, frequency = math.pi * (k + turn) / count, 2 * math.pi * (0.6 + 0.8 * stretch) / wavelength
        waves.append((frequency * math.cos(direction), frequency * math.sin(direction), 2 * math.pi * phase))
    return tuple(waves)
