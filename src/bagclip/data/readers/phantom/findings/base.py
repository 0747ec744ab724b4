"""What a finding is: something drawn into a patient, that knows where it lies and which words describe it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import SIDES, WIDTH_CM, ZONES, Patient, Side, Zone

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field

T = TypeVar("T")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all alike."""
    return options[int(rng.random() * len(options))]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between two."""
    return low + (high - low) * float(rng.random())


@dataclass
class Chest:
    """A patient while findings are put in: which zones of the lungs are still free, so that none hides another."""

    patient: Patient
    free: set[tuple[Side, Zone]] = field(default_factory=lambda: {(side, zone) for side in SIDES for zone in ZONES})

    def claim(
        self, rng: np.random.Generator, sides: Sequence[Side] = SIDES, zones: Sequence[Zone] = ZONES
    ) -> tuple[Side, Zone] | None:
        """Take one free zone among these; None when there is none."""
        open_ = [(side, zone) for side in sides for zone in zones if (side, zone) in self.free]
        if not open_:
            return None
        chosen = pick(rng, open_)
        self.free.discard(chosen)
        return chosen


class Finding(ABC):
    """Something to be seen in a patient.

    ``name`` is its label, ``kind`` is "lesion" or "device", ``template`` says which sentences describe it.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = "lesion"

    @classmethod
    @abstractmethod
    def sample(cls, rng: np.random.Generator, chest: Chest, sides: Sequence[Side] = SIDES) -> Finding | None:
        """Draw one on these sides (some findings may lie on both at once, if given both); None if there is no room."""

    @abstractmethod
    def parts(self, view: View) -> list[Field]:
        """Coverage of each connected part; what is covered by a half or more is its mask."""

    @abstractmethod
    def paint(self, view: View, layers: Layers) -> None:
        """Draw it into the layers."""

    @property
    @abstractmethod
    def words(self) -> dict[str, str]:
        """The words its sentences need: side, place, size, severity."""

    @property
    def template(self) -> str:
        """Name of its set of sentences."""
        return self.name


def place(sides: Sequence[Side], zone: Zone) -> str:
    """A zone in words, "[a|b]" leaving a choice: "the right upper [zone|lung zone|lobe]"."""
    names = {
        "upper": "[zone|zone|lung zone|lobe]",
        "mid": "[zone|lung zone|lung]",
        "lower": "[zone|zone|lung zone|lobe]",
    }
    if len(sides) == 2:
        return f"both {zone} [zones|lung zones]"
    return f"the {sides[0]} {zone} {names[zone]}"


def measure(radius: float) -> str:
    """A diameter in millimetres or centimetres, as the dictation goes: "[8 mm|0.8 cm]"."""
    cm = 2 * radius * WIDTH_CM
    return f"[{10 * cm:.0f} mm|{cm:.1f} cm]" if cm < 3 else f"{cm:.1f} cm"
