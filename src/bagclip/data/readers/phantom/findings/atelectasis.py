"""Atelectasis: lung that has lost its air."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.findings.base import Chest, Finding, between
from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import CARINA, SIDES, Side, Zone, opposite
from bagclip.data.readers.phantom.shapes import Point, ellipse, soft

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field


@dataclass(frozen=True)
class Atelectasis(Finding):
    """Lung without air: thin bands, or a wedge on the diaphragm when a lobe has collapsed."""

    name: ClassVar[str] = "atelectasis"
    sides: tuple[Side, ...]
    zone: Zone
    bands: tuple[tuple[Point, Point], ...]
    wedge: bool
    severity: float

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> Atelectasis | None:
        """Mostly at a base, sometimes at both, sometimes a band in the mid zone."""
        zone: Zone = "mid" if rng.random() < 0.25 else "lower"
        claimed = chest.claim(rng, sides, (zone,)) or chest.claim(rng, sides, ("lower", "mid"))
        if claimed is None:
            return None
        side, zone = claimed
        severity, where = float(rng.random()), [side]
        both = zone == "lower" and len(sides) == 2 and rng.random() < 0.35
        if both and chest.claim(rng, (opposite(side),), ("lower",)):
            where = list(SIDES)
        wedge = zone == "lower" and severity > 2 / 3
        bands = []
        for s in where:
            u, v = chest.patient.visible(s, zone, 0.045, between(rng, 0.35, 0.65), between(rng, 0.3, 0.8))
            half, slope = between(rng, 0.05, 0.08), between(rng, -0.35, 0.35)
            bands.append(((u - half, v - half * slope), (u + half, v + half * slope)))
        return cls(tuple(where), zone, tuple(bands), wedge, severity)

    def parts(self, view: View) -> list[Field]:
        """A band or a wedge a side, as far as lung is seen."""
        if not self.wedge:
            thick = 0.012 + 0.008 * self.severity
            return [self._band(view, band, max(thick, view.pixel)) * view.seen_lung for band in self.bands]
        return [self._wedge(view, side) * view.seen_lung * view.on(side) for side in self.sides]

    def _wedge(self, view: View, side: Side) -> Field:
        """A triangle with its tip at the hilum that stands on the diaphragm, beside the heart."""
        p = view.patient
        top, foot = CARINA + 0.08, p.domes[0]
        reach = p.medial(side, foot - 0.03) + 0.03 + 0.06 * self.severity
        border = 0.085 + (reach - 0.085) / (foot - top) * (view.v - top)
        return soft(np.minimum(border - view.a, view.v - top), 0.009)

    @staticmethod
    def _band(view: View, band: tuple[Point, Point], thick: float) -> Field:
        (u0, v0), (u1, v1) = band
        centre, angle = ((u0 + u1) / 2, (v0 + v1) / 2), math.atan2(v1 - v0, u1 - u0)
        return soft(ellipse(view.u, view.v, centre, (math.hypot(u1 - u0, v1 - v0) / 2, thick), angle), view.edge)

    def paint(self, view: View, layers: Layers) -> None:
        """Dense."""
        for part in self.parts(view):
            layers.displace((0.65 + 0.3 * self.severity) * part)

    @property
    def words(self) -> dict[str, str]:
        """Side, place and severity."""
        low = self.zone == "lower"
        if len(self.sides) == 2:
            where, base = "[both lung bases|both lower zones]", "bibasilar"
        else:
            side = self.sides[0]
            where = f"the {side} [lung base|lower zone]" if low else f"the {side} mid [zone|lung]"
            base = f"{side} [basilar|lower lobe|lower zone]" if low else f"{side} mid zone"
        return {
            "severity": ("[minimal|mild]", "[mild|moderate]", "[moderate|severe]")[int(3 * self.severity)],
            "place": where,
            "base": base,
        }

    @property
    def template(self) -> str:
        """Bands or a collapsed lobe."""
        return "collapse" if self.wedge else "atelectasis"
