"""Consolidation: air spaces filled with something else, as in pneumonia."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.findings.base import Chest, Finding, between, place
from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import SIDES, ZONES, Side, Zone, opposite
from bagclip.data.readers.phantom.shapes import Point, Waves, ellipse, mottle, random_waves, soft

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field


@dataclass(frozen=True)
class Consolidation(Finding):
    """Airspace disease: an ill-defined, mottled patch in one zone, in two, or on both sides."""

    name: ClassVar[str] = "consolidation"
    sides: tuple[Side, ...]
    zones: tuple[Zone, ...]
    patches: tuple[tuple[Point, Point, float], ...]
    severity: float
    waves: Waves

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> Consolidation | None:
        """A patch, sometimes over two zones of a lung, sometimes a second one on the other side."""
        claimed = chest.claim(rng, sides)
        if claimed is None:
            return None
        (side, zone), spread = claimed, rng.random()
        severity = float(rng.random())
        where, zones = [side], [zone]
        if spread < 0.3 and len(sides) == 2 and chest.claim(rng, (opposite(side),), (zone,)):
            where = list(SIDES)
        elif spread > 0.75:
            below = ZONES[ZONES.index(zone) + 1 : ZONES.index(zone) + 2]
            if below and chest.claim(rng, (side,), below):
                zones += below
        patches = []
        for s in where:
            ends = [chest.patient.visible(s, z, 0.03, between(rng, 0.3, 0.7), between(rng, 0.3, 0.7)) for z in zones]
            centre = (sum(p[0] for p in ends) / len(ends), sum(p[1] for p in ends) / len(ends))
            tall = between(rng, 0.065, 0.095) + 0.02 * severity if len(ends) == 1 else 0.165
            radii = (between(rng, 0.075, 0.105) + 0.02 * severity, tall)
            patches.append((centre, radii, between(rng, -0.4, 0.4)))
        return cls(tuple(where), tuple(zones), tuple(patches), severity, random_waves(rng, 7, 0.09))

    def parts(self, view: View) -> list[Field]:
        """A ragged ellipse a side, as far as lung is seen."""
        ragged = 0.011 * mottle(view.u, view.v, self.waves)
        return [
            soft(ellipse(view.u, view.v, centre, radii, angle) + ragged, 0.026) * view.seen_lung
            for centre, radii, angle in self.patches
        ]

    def paint(self, view: View, layers: Layers) -> None:
        """The more severe the denser, with a little air left in it."""
        texture = 1 - 0.08 * mottle(view.u * 2.6, view.v * 2.6, self.waves)
        for part in self.parts(view):
            layers.displace((0.42 + 0.45 * self.severity) * part * np.minimum(texture, 1.15))

    @property
    def words(self) -> dict[str, str]:
        """Severity and place."""
        if len(self.zones) == 2:
            where = f"the {self.sides[0]} {self.zones[0]} and {self.zones[1]} [zones|lung zones]"
        else:
            where = place(self.sides, self.zones[0])
        severities = "[mild|faint|subtle]", "[moderate|patchy]", "[dense|severe|extensive]"
        return {"severity": severities[int(3 * self.severity)], "place": where}
