"""Pleural effusion: fluid between lung and chest wall, which sinks to the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.findings.base import Chest, Finding, between
from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import SIDES, Side, opposite
from bagclip.data.readers.phantom.shapes import soft

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field


@dataclass(frozen=True)
class Effusion(Finding):
    """Pleural fluid on one side or both, from a blunted angle to half a chest."""

    name: ClassVar[str] = "pleural effusion"
    sides: tuple[Side, ...]
    amounts: tuple[float, ...]

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> Effusion | None:
        """Fluid at the base of these sides: one of them, or both with much the same amount."""
        claimed = chest.claim(rng, sides, ("lower",))
        if claimed is None:
            return None
        side, amount = claimed[0], float(rng.random())
        where = [side]
        if len(sides) == 2 and rng.random() < 0.5 and chest.claim(rng, (opposite(side),), ("lower",)):
            where = list(SIDES)
        # Both sides are of one size, since one word describes them.
        size = int(3 * amount)
        amounts = [amount if s == side else (size + between(rng, 0.1, 0.9)) / 3 for s in where]
        if size == 2:
            for s in where:
                chest.free.discard((s, "mid"))
        return cls(tuple(where), tuple(amounts))

    def _wet(self, view: View) -> list[Field]:
        """Below the fluid's surface, which climbs along the chest wall."""
        wet = []
        n = np.minimum(view.lateral, 1)
        for side, amount in zip(self.sides, self.amounts, strict=True):
            depth = 0.055 + 0.33 * amount
            surface = view.patient.dome(side, view.patient.width) - depth + (0.11 - 0.05 * amount) * (1 - n * n * n)
            wet.append(soft(view.v - surface, 0.010 + 0.5 * view.edge) * view.on(side))
        return wet

    def parts(self, view: View) -> list[Field]:
        """All lung below the surface, as far as it is seen."""
        # At the chest wall fluid lies before even the largest heart, so no effusion is hidden altogether.
        seen = np.maximum(view.seen_lung, view.lung * soft(view.lateral - 0.86, 0.03))
        return [wet * seen for wet in self._wet(view)]

    def paint(self, view: View, layers: Layers) -> None:
        """As dense as the abdomen, so the diaphragm is lost."""
        for wet, part in zip(self._wet(view), self.parts(view), strict=True):
            # Squared, so that no dark seam is left along the border of the heart.
            layers.displace(0.94 * wet * (1 - view.own_silhouette**2))
            layers.tissue += 0.10 * part

    @property
    def words(self) -> dict[str, str]:
        """Side and size."""
        k = int(3 * self.amounts[0])
        return {
            "side": self.sides[0] if len(self.sides) == 1 else "bilateral",
            "sides": f"the {self.sides[0]}" if len(self.sides) == 1 else "both sides",
            "angle": f"the {self.sides[0]} costophrenic angle" if len(self.sides) == 1 else "both costophrenic angles",
            "size": ("small", "moderate", "large")[k],
            "s": "" if len(self.sides) == 1 else "s",
        }

    @property
    def template(self) -> str:
        """Small ones are also called a blunted angle."""
        return "small pleural effusion" if self.amounts[0] < 1 / 3 else "pleural effusion"
