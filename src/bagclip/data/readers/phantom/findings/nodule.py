"""Nodules: small, round, easily missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.findings.base import Chest, Finding, between, measure, place
from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import SIDES, WIDTH_CM, Side, Zone
from bagclip.data.readers.phantom.shapes import Point, ellipse, soft

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field


@dataclass(frozen=True)
class Nodule(Finding):
    """One small round opacity, or several scattered over both lungs."""

    name: ClassVar[str] = "nodule"
    side: Side
    zone: Zone
    spots: tuple[tuple[Point, float], ...]
    calcified: bool
    strength: float

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> Nodule | None:
        """One nodule, or sometimes many when both sides are asked for."""
        claimed = chest.claim(rng, sides)
        if claimed is None:
            return None
        side, zone = claimed
        cells = [claimed]
        if len(sides) == 2 and rng.random() < 0.25:
            others = sorted(chest.free - {claimed})
            cells += [others[k] for k in rng.permutation(len(others))[:5]]
        # With several, the first is the largest: reports name its size.
        largest = between(rng, 1.0, 2.9)
        spots = []
        for k, (s, z) in enumerate(cells):
            cm = largest if k == 0 else largest * between(rng, 0.55, 0.95)
            radius = round(cm, 1) / WIDTH_CM / 2
            spots.append(
                (chest.patient.visible(s, z, radius + 0.012, float(rng.random()), float(rng.random())), radius)
            )
        return cls(side, zone, tuple(spots), len(spots) == 1 and rng.random() < 0.3, between(rng, 0.75, 1.0))

    def parts(self, view: View) -> list[Field]:
        """A disc a nodule."""
        return [
            soft(ellipse(view.u, view.v, centre, (view.at_least(radius),) * 2), view.edge)
            for centre, radius in self.spots
        ]

    def paint(self, view: View, layers: Layers) -> None:
        """Denser than lung; calcified ones are as bright as bone."""
        for disc in self.parts(view):
            layers.displace(self.strength * disc)
            if self.calcified:
                layers.tissue += 0.22 * disc

    @property
    def words(self) -> dict[str, str]:
        """Size, place, side and character."""
        cm = self.spots[0][1] * 2 * WIDTH_CM
        return {
            "size": measure(self.spots[0][1]),
            "place": place((self.side,), self.zone),
            "small": "tiny" if cm < 1.5 else "small",
            "character": "calcified" if self.calcified else "[noncalcified|solid|round]",
        }

    @property
    def template(self) -> str:
        """One or many."""
        return "nodule" if len(self.spots) == 1 else "nodules"
