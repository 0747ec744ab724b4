"""Pneumothorax: air between lung and chest wall, which rises to the apex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bagclip.data.readers.phantom.anatomy import VESSEL, View
from bagclip.data.readers.phantom.findings.base import Chest, Finding
from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import SIDES, WIDTH_CM, Side
from bagclip.data.readers.phantom.shapes import soft

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field


@dataclass(frozen=True)
class Pneumothorax(Finding):
    """Air between lung and chest wall: a dark crescent without vessels, bounded by a thin line."""

    name: ClassVar[str] = "pneumothorax"
    side: Side
    amount: float

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> Pneumothorax | None:
        """At the apex of one side."""
        claimed = chest.claim(rng, sides, ("upper",))
        if claimed is None:
            return None
        amount = float(rng.random())
        if amount > 1 / 3:
            chest.free.discard((claimed[0], "mid"))
        return cls(claimed[0], amount)

    @property
    def _sink(self) -> float:
        """How far the top of the lung has sunk."""
        return 0.045 + 0.13 * self.amount

    def _border(self, view: View) -> Field:
        """Distance to the collapsed lung's border, positive outside it."""
        p, sink, shrink = view.patient, self._sink, 0.010 + 0.05 * self.amount
        up = np.maximum((p.waist - view.v) * (1 / (p.waist - p.apex - sink)), 0)
        across = (view.a - view.lung_middle + shrink) * (1 / (0.165 - shrink))
        return (np.sqrt(across * across + up * up) - 1) * (0.165 - shrink)

    def parts(self, view: View) -> list[Field]:
        """What the lung has left empty."""
        return [self._air(view, self._border(view))]

    def _air(self, view: View, border: Field) -> Field:
        fade = soft(view.patient.waist + 0.05 * self.amount - view.v, 0.03)
        outer = soft(view.a - 0.055, 0.01)
        return soft(border, view.edge) * view.lung * fade * outer * view.on(self.side)

    def paint(self, view: View, layers: Layers) -> None:
        """Blacker than lung, vessels gone, the pleura a thin bright line."""
        border = self._border(view)
        air = self._air(view, border)
        layers.displace((1 - 1.26 / (1 - VESSEL * view.vessels)) * air)
        line = soft(view.at_least(0.0025) - np.abs(border), view.edge) * soft(view.cage - 0.005, view.edge)
        line *= soft(view.patient.waist - view.v, 0.03) * soft(view.a - 0.07, 0.01) * view.on(self.side)
        layers.tissue += 0.11 * line

    @property
    def words(self) -> dict[str, str]:
        """Side and size."""
        k = int(3 * self.amount)
        return {
            "side": self.side,
            "size": ("small", "moderate", "large")[k],
            "apical": ("apical ", "", "")[k],
            "mm": f"{10 * WIDTH_CM * self._sink:.0f} mm",
        }
