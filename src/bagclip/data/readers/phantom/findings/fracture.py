"""A broken rib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.findings.base import Chest, Finding, between, pick
from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import SIDES, Side, sign
from bagclip.data.readers.phantom.shapes import soft

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


@dataclass(frozen=True)
class Fracture(Finding):
    """A rib that is broken: a dark gap and bright, displaced ends, or a knob of callus once it has healed."""

    name: ClassVar[str] = "rib fracture"
    side: Side
    rib: int
    lateral: float
    healed: bool

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> Fracture | None:
        """On one of the third to eighth ribs, behind or at the side."""
        return cls(pick(rng, sides), int(between(rng, 2, 8)), between(rng, 0.50, 0.88), rng.random() < 0.3)

    def _local(self, view: View) -> tuple[Field, Field, Field]:
        """Coordinates around the break, along and across the rib, and coverage of a disc around it."""
        p = view.patient
        n = self.lateral
        first, spacing, drop = p.ribs
        v = first + spacing * (self.rib + 0.5) + drop * (1 - math.sqrt(1 - n * n)) - 0.035 * n
        u = sign(self.side) * n * (p.lateral(v) + 0.012)
        du, dv = (view.u - u) * sign(self.side), view.v - v
        slope = (drop * n / math.sqrt(1 - n * n) - 0.035) / (p.lateral(v) + 0.012)
        cos = 1 / math.sqrt(1 + slope * slope)
        along, across = du * cos + dv * slope * cos, dv * cos - du * slope * cos
        return along, across, soft(0.030 - np.sqrt(du * du + dv * dv), view.edge)

    def parts(self, view: View) -> list[Field]:
        """A disc around the break."""
        return [self._local(view)[2]]

    def paint(self, view: View, layers: Layers) -> None:
        """A gap with ends that do not meet, or callus."""
        along, across, disc = self._local(view)
        half = 0.17 * view.patient.ribs[1]
        if self.healed:
            knob = soft(1 - np.sqrt((along * (1 / 0.026)) ** 2 + (across * (1 / (1.5 * half))) ** 2), 0.35)
            layers.tissue += 0.36 * knob * disc
            return
        # The outer end has slipped down, the inner one up; both are bright where they overlap other bone.
        step = np.where(along > 0, np.float32(0.9 * half), np.float32(-0.9 * half))
        ends = soft(half - np.abs(across - step), view.edge) * disc
        gap = soft(view.at_least(0.006) - np.abs(along), view.edge) * soft(1.6 * half - np.abs(across), view.edge)
        layers.tissue += 0.34 * ends * (1 - gap)
        layers.tissue -= 0.30 * gap * disc

    @property
    def words(self) -> dict[str, str]:
        """Side, rib and place along it."""
        where = "posterolateral" if self.lateral < 0.7 else "lateral"
        return {
            "side": self.side,
            "rib": f"[{ORDINALS[self.rib]}|{self.rib + 1}th]" if self.rib > 2 else f"[{ORDINALS[self.rib]}|3rd]",
            "where": where,
            "age": "[healed|old healed|healing]" if self.healed else "[acute|displaced|mildly displaced]",
        }
