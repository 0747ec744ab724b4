"""The patient: numbers that say how one chest is built and how it stands before the detector.

Body coordinates: u runs from the midline (0) to the image's right, which is the patient's **left**; v runs from the top
(0) to the bottom (1). One unit is the width of the image, 40 cm of patient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bagclip.data.readers.phantom.shapes import Point

Side = Literal["right", "left"]
Zone = Literal["upper", "mid", "lower"]

SIDES: tuple[Side, ...] = ("right", "left")
ZONES: tuple[Zone, ...] = ("upper", "mid", "lower")
WIDTH_CM = 40.0
CARINA = 0.40
"""Where the windpipe divides, in v."""


def opposite(side: Side) -> Side:
    """The other side."""
    return "left" if side == "right" else "right"


def sign(side: Side) -> float:
    """Where a side lies in the picture: radiographs are seen face to face, so the patient's right is at negative u."""
    return -1.0 if side == "right" else 1.0


@dataclass(frozen=True)
class Patient:
    """One chest, in body coordinates.

    Args:
        angle: rotation of the whole patient in the picture, radians.
        scale: how large the patient appears, 1 on average.
        shift: where the patient's middle is, relative to the picture's.
        width: how far the lungs reach from the midline.
        apex: v of the top of the lungs.
        waist: v below which the side walls of the chest run straight down.
        domes: v of the top of the right and the left half of the diaphragm.
        fat: thickness of soft tissue, 0 to 1.
        breast: brightness of breast shadows, mostly 0.
        heart: half-widths of the heart to the patient's right and left of the midline.
        heart_v: height of the heart's middle.
        tilt: rotation of the heart's axis, radians.
        ribs: v of the first rib, distance from rib to rib, and how far ribs drop to the side.
        bone: brightness of bones.
        vessels: where the first vessel leaves the hilum, as a share of the gap to the next.
        blur: half the width of an edge.
        enlargement: how much larger than usual the heart is; 1 unless the patient has cardiomegaly.
    """

    angle: float
    scale: float
    shift: Point
    width: float
    apex: float
    waist: float
    domes: tuple[float, float]
    fat: float
    breast: float
    heart: tuple[float, float]
    heart_v: float
    tilt: float
    ribs: tuple[float, float, float]
    bone: float
    vessels: float
    blur: float
    enlargement: float = 1.0

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Patient:
        """Draw a patient."""
        r = iter(rng.random(24).tolist())

        def between(low: float, high: float) -> float:
            return low + (high - low) * next(r)

        width = between(0.325, 0.375)
        apex = between(0.10, 0.15)
        dome = between(0.73, 0.81)
        return cls(
            angle=between(-0.06, 0.06),
            scale=between(0.93, 1.06),
            shift=(between(-0.022, 0.022), between(-0.025, 0.025)),
            width=width,
            apex=apex,
            waist=between(0.60, 0.68),
            domes=(dome, dome + between(0.01, 0.035)),
            fat=between(0.0, 1.0),
            breast=max(0.0, between(-1.0, 1.0)),
            heart=(width * between(0.20, 0.27), width * between(0.58, 0.70)),
            heart_v=dome - between(0.07, 0.10),
            tilt=between(0.30, 0.60),
            ribs=(apex + between(0.005, 0.035), between(0.066, 0.076), between(0.15, 0.22)),
            bone=between(0.8, 1.2),
            vessels=between(0.0, 1.0),
            blur=between(0.0025, 0.005),
        )

    def lung_middle(self, v: float) -> float:
        """How far from the midline the middle of the lung is at this height."""
        return self.width - 0.165 - 0.06 * self.narrowing(v)

    def narrowing(self, v: float) -> float:
        """0 where the chest is widest, growing to 1 at the apex."""
        return min(max((self.waist - v) / (self.waist - self.apex), 0.0), 1.0)

    def lateral(self, v: float) -> float:
        """How far from the midline the side wall of the lung is at this height."""
        return self.lung_middle(v) + 0.165 * math.sqrt(max(1 - self.narrowing(v) ** 2, 0.0))

    def medial(self, side: Side, v: float) -> float:
        """How far from the midline the lung begins to be seen: beyond the mediastinum and the heart."""
        reach = self.enlargement * self.heart[SIDES.index(side)]
        bulge = 1 - ((v - self.heart_v) / (0.14 * self.enlargement)) ** 2
        return max(0.075, reach * math.sqrt(bulge) if bulge > 0 else 0.0)

    def dome(self, side: Side, a: float) -> float:
        """v of the diaphragm at a distance from the midline."""
        return self.domes[SIDES.index(side)] + 2.2 * (a - 0.16) ** 2

    def band(self, zone: Zone, side: Side) -> tuple[float, float]:
        """From which to which v a zone reaches: a third of the lung's height."""
        third = (self.domes[SIDES.index(side)] - self.apex) / 3
        top = self.apex + third * ZONES.index(zone)
        return top, top + third

    def visible(self, side: Side, zone: Zone, margin: float, across: float, down: float) -> Point:
        """A point where lung is seen, ``margin`` away from its borders where there is room.

        ``across`` and ``down`` in [0, 1] choose it: from the mediastinum to the side wall, from the zone's top to its
        bottom.
        """
        top, bottom = self.band(zone, side)
        v = top + (0.2 + 0.65 * down) * (bottom - top)
        v = max(v, self.apex + 0.6 * margin + 0.03)
        inner, outer = self.medial(side, v) + margin, self.lateral(v) - margin
        a = (inner + outer) / 2 if inner > outer else inner + across * (outer - inner)
        return sign(side) * a, min(v, self.dome(side, a) - margin)
