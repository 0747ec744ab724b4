"""A mass: what is called a nodule up to 3 cm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.findings.base import Chest, Finding, between, measure, pick, place
from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import SIDES, WIDTH_CM, Side, Zone
from bagclip.data.readers.phantom.shapes import Point, soft

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field


@dataclass(frozen=True)
class Mass(Finding):
    """A large opacity, smooth, lobulated or spiculated."""

    name: ClassVar[str] = "mass"
    margins: ClassVar[Mapping[str, tuple[int, float]]] = {
        "[well-circumscribed|smoothly marginated]": (2, 0.02),
        "lobulated": (3, 0.09),
        "spiculated": (11, 0.07),
    }
    side: Side
    zone: Zone
    centre: Point
    radius: float
    margin: str
    phase: float
    strength: float

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> Mass | None:
        """A mass in a free zone."""
        claimed = chest.claim(rng, sides)
        if claimed is None:
            return None
        radius = round(between(rng, 3.2, 6.6), 1) / WIDTH_CM / 2
        centre = chest.patient.visible(*claimed, radius, float(rng.random()), float(rng.random()))
        phase = between(rng, 0, 2 * math.pi)
        return cls(*claimed, centre, radius, pick(rng, tuple(cls.margins)), phase, between(rng, 0.75, 0.95))

    def parts(self, view: View) -> list[Field]:
        """A disc with a wavy border, as far as lung is seen."""
        du, dv = view.u - self.centre[0], view.v - self.centre[1]
        lobes, depth = self.margins[self.margin]
        theta = np.arctan2(dv, du) + self.phase
        # Two waves that drift apart make lobes, or spicules, of unequal length.
        wavy = np.cos(lobes * theta) + 0.7 * np.cos((lobes + 4) * theta + self.phase)
        radius = self.radius * (1 + depth * wavy)
        return [soft(radius - np.sqrt(du * du + dv * dv), 1.7 * view.edge) * view.seen_lung]

    def paint(self, view: View, layers: Layers) -> None:
        """Almost as dense as the heart."""
        (part,) = self.parts(view)
        layers.displace(self.strength * part)
        layers.tissue += 0.08 * part

    @property
    def words(self) -> dict[str, str]:
        """Size, place and margin."""
        cm = self.radius * 2 * WIDTH_CM
        return {
            "size": measure(self.radius),
            "place": place((self.side,), self.zone),
            "margin": self.margin,
            "large": "large" if cm > 5 else "[rounded|focal]",
        }
