"""Edema: the finding that is everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.findings.base import Chest, Finding, between, pick
from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import CARINA, SIDES, Side
from bagclip.data.readers.phantom.shapes import Waves, bump, mottle, random_waves, soft

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field


@dataclass(frozen=True)
class Edema(Finding):
    """Fluid in both lungs: haze around the hila, thickened septa between the lobules."""

    name: ClassVar[str] = "edema"
    severity: float
    lean: float
    waves: Waves

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> Edema | None:
        """Always on both sides, sometimes more on one."""
        lean = between(rng, 0.25, 0.45) * pick(rng, (-1, 1)) if rng.random() < 0.35 else 0.0
        return cls(float(rng.random()), lean, random_waves(rng, 7, 0.032))

    def parts(self, view: View) -> list[Field]:
        """Each lung where the haze is thick."""
        haze = soft(self._haze(view) - 0.35, 0.10) * view.seen_lung
        return [haze * view.on(side) for side in SIDES]

    def _haze(self, view: View) -> Field:
        du, dv = view.a - 0.13, view.v - (CARINA + 0.13)
        reach = 0.75 + 0.5 * self.severity
        return bump(du * du * (9 / reach) + dv * dv * (4.2 / reach))

    def paint(self, view: View, layers: Layers) -> None:
        """Haze and a net of septa, more on the side it leans to."""
        haze = self._haze(view) * view.lung
        net = 1 - np.abs(mottle(view.u, view.v, self.waves))
        amount = (0.30 + 0.42 * self.severity) * (1 + self.lean * np.sign(view.u))
        layers.displace(np.minimum(haze * amount * (0.9 + 0.22 * net), 0.95))

    @property
    def words(self) -> dict[str, str]:
        """Severity and asymmetry."""
        k = int(3 * self.severity)
        more = "right greater than left" if self.lean < 0 else "left greater than right"
        return {
            "severity": ("mild", "moderate", "severe")[k],
            "character": ("interstitial", "[interstitial|pulmonary]", "[alveolar|pulmonary]")[k],
            "lean": f", {more}" if self.lean else "",
        }
