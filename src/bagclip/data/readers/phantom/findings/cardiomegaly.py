"""An enlarged heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.findings.base import Chest, Finding
from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import SIDES, Side
from bagclip.data.readers.phantom.shapes import soft

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field


@dataclass(frozen=True)
class Cardiomegaly(Finding):
    """A heart that fills more than half of the chest's width."""

    name: ClassVar[str] = "cardiomegaly"
    severity: float
    ratio: float
    enlargement: float

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> Cardiomegaly | None:
        """Enlarge the patient's heart to a cardiothoracic ratio between 0.53 and 0.69."""
        severity = float(rng.random())
        ratio = 0.53 + 0.16 * severity
        enlargement = ratio * 2 * chest.patient.width / sum(chest.patient.heart)
        chest.patient = replace(chest.patient, enlargement=enlargement)
        return cls(severity, ratio, enlargement)

    def parts(self, view: View) -> list[Field]:
        """The whole heart."""
        return [soft(view.heart(self.enlargement), 1.7 * view.edge) * soft(view.above_diaphragm + 0.01, view.edge)]

    def paint(self, view: View, layers: Layers) -> None:
        """Draw the heart's new border over its old one."""
        grown = view.silhouette(self.enlargement) - view.usual_silhouette
        np.maximum(grown, 0, out=grown)
        grown *= view.above_diaphragm > -0.02
        layers.tissue += 0.16 * grown
        layers.displace(0.82 * grown)

    @property
    def words(self) -> dict[str, str]:
        """Severity and cardiothoracic ratio."""
        k = int(3 * self.severity)
        return {
            "severity": ("mild", "moderate", "severe")[k],
            "severely": ("mildly", "moderately", "[severely|markedly]")[k],
            "ratio": f"{self.ratio:.2f}",
        }
