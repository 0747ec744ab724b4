"""Lines, tubes and pacemakers: thin, bright, and named in the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.findings.base import Chest, Finding, between, pick
from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import CARINA, SIDES, WIDTH_CM, Side, sign
from bagclip.data.readers.phantom.shapes import Point, curve, ellipse, soft, stroke

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field


class Device(Finding):
    """Something a doctor has put in."""

    kind: ClassVar[str] = "device"
    brightness: ClassVar[float]

    def paint(self, view: View, layers: Layers) -> None:
        """Brighter than what lies behind it, even than the lung."""
        for part in self.parts(view):
            layers.tissue += self.brightness * part
            layers.displace(0.9 * part)


@dataclass(frozen=True)
class EndotrachealTube(Device):
    """A tube in the windpipe; its tip should lie some centimetres above the carina."""

    name: ClassVar[str] = "endotracheal tube"
    brightness: ClassVar[float] = 0.9
    above_carina: float
    bend: float

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> EndotrachealTube | None:
        """With its tip 2 to 7 cm above the carina."""
        return cls(round(between(rng, 2, 7), 1), between(rng, -0.006, 0.006))

    def _middle(self, view: View) -> Field:
        tip = CARINA - self.above_carina / WIDTH_CM
        return stroke(view.u, view.v, curve([(self.bend, -0.1), (-self.bend, 0.08), (self.bend, tip)], 3))

    def parts(self, view: View) -> list[Field]:
        """A tube down the midline."""
        return [soft(self._middle(view) + view.thick(0.018), view.edge)]

    def paint(self, view: View, layers: Layers) -> None:
        """A bright stripe in a tube full of air, so that it shows on the spine too."""
        (tube,) = self.parts(view)
        layers.tissue -= 0.3 * tube
        layers.tissue += self.brightness * soft(self._middle(view) + view.thick(0.009), view.edge)

    @property
    def words(self) -> dict[str, str]:
        """Height of the tip."""
        return {"cm": f"{self.above_carina:.1f} cm", "height": "high" if self.above_carina > 5.5 else "satisfactory"}


@dataclass(frozen=True)
class CentralLine(Device):
    """A catheter that enters at the neck or under a clavicle and ends near the heart."""

    name: ClassVar[str] = "central venous catheter"
    brightness: ClassVar[float] = 0.2
    side: Side
    jugular: bool
    depth: int

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> CentralLine | None:
        """More often from the right."""
        side: Side = "right" if rng.random() < 0.65 else "left"
        return cls(side, rng.random() < 0.5, pick(rng, (0, 1, 2)))

    def parts(self, view: View) -> list[Field]:
        """A line from the skin to the tip, which lies right of the midline whichever side it comes from."""
        s = sign(self.side)
        way: list[Point] = (
            [(0.085 * s, -0.02), (0.065 * s, 0.13)] if self.jugular else [(0.31 * s, 0.20), (0.14 * s, 0.19)]
        )
        way += [(-0.045, 0.27)] if self.side == "right" else [(0.045, 0.25), (-0.035, 0.31)]
        tip = (0.39, 0.48, 0.57)[self.depth]
        way += [(-0.047, (way[-1][1] + tip) / 2), (-0.046, tip)]
        return [soft(stroke(view.u, view.v, curve(way, 3)) + view.thick(0.0035), view.edge)]

    @property
    def words(self) -> dict[str, str]:
        """Side, vein and where the tip lies."""
        return {
            "side": self.side,
            "vein": "[internal jugular|IJ]" if self.jugular else "subclavian",
            "tip": ("[mid superior vena cava|mid SVC]", "cavoatrial junction", "right atrium")[self.depth],
        }


@dataclass(frozen=True)
class Pacemaker(Device):
    """A box under the skin of the chest, with one or two leads to the heart."""

    name: ClassVar[str] = "pacemaker"
    brightness: ClassVar[float] = 0.32
    side: Side
    leads: int
    turn: float

    @classmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> Pacemaker | None:
        """More often on the left."""
        order: tuple[Side, Side] = ("left", "right") if rng.random() < 0.75 else ("right", "left")
        claimed = chest.claim(rng, order[:1], ("upper",)) or chest.claim(rng, order[1:], ("upper",))
        return None if claimed is None else cls(claimed[0], pick(rng, (1, 2)), between(rng, -0.5, 0.5))

    def parts(self, view: View) -> list[Field]:
        """The box with its leads."""
        s, p = sign(self.side), view.patient
        box = (0.235 * s, 0.265)
        whole = ellipse(view.u, view.v, box, (0.045, 0.034), self.turn)
        neck: list[Point] = [box, (0.15 * s, 0.20), (0.05 * s, 0.25), (-0.035, 0.32)]
        ends: list[list[Point]] = [[(-0.04, 0.50), (0.02, p.heart_v + 0.04), (0.65 * p.heart[1], p.heart_v + 0.055)]]
        if self.leads == 2:
            ends.append([(-0.045, 0.5), (-0.05, p.heart_v), (-0.025, p.heart_v - 0.035)])
        for end in ends:
            np.maximum(whole, stroke(view.u, view.v, curve(neck + end, 2)) + view.thick(0.0035), out=whole)
        return [soft(whole, view.edge)]

    @property
    def words(self) -> dict[str, str]:
        """Side and number of leads."""
        return {
            "side": self.side,
            "leads": ("[single-lead|single-chamber]", "[dual-lead|dual-chamber]")[self.leads - 1],
        }
