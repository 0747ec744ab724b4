"""A scene: one study before it is drawn, the same at any resolution."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.cases import sample_findings
from bagclip.data.readers.phantom.exposure import Exposure
from bagclip.data.readers.phantom.findings.base import Chest, Finding
from bagclip.data.readers.phantom.patient import Patient
from bagclip.data.readers.phantom.reports import write
from bagclip.data.study import Annotation, Box, Image, Mask, Sentence

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8


def stream(seed: int, index: int, number: int) -> np.random.Generator:
    """An independent source of randomness for a study: stream 0 for what it is, stream 1 for its noise."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, index], spawn_key=(number,))))


@dataclass(frozen=True)
class Scene:
    """A patient with findings, how they are exposed, and what is written about them.

    ``lines`` are the report's sentences, each with the index of the finding it is about, or None.
    """

    seed: int
    index: int
    patient: Patient
    findings: tuple[Finding, ...]
    exposure: Exposure
    lines: tuple[tuple[str, int | None], ...]

    @classmethod
    def sample(cls, seed: int, index: int) -> Scene:
        """The scene with this index; it depends on nothing but the two numbers."""
        rng = stream(seed, index, 0)
        chest = Chest(Patient.sample(rng))
        findings = sample_findings(rng, chest)
        return cls(seed, index, chest.patient, tuple(findings), Exposure.sample(rng), tuple(write(rng, findings)))

    def draw(self, size: int, without: Collection[str] = ()) -> UInt8[np.ndarray, "size size"]:
        """The picture; findings named in ``without`` are left out, all else, noise included, stays as it is."""
        view = View(self.patient, size)
        layers = view.layers()
        for finding in self.findings:
            if finding.name not in without:
                finding.paint(view, layers)
        return self.exposure.take(layers.absorption(), view, stream(self.seed, self.index, 1))

    def sentences(self) -> tuple[Sentence, ...]:
        """The report's sentences, one space apart."""
        sentences, start = [], 0
        for text, _ in self.lines:
            sentences.append(Sentence(text, start, start + len(text)))
            start += len(text) + 1
        return tuple(sentences)

    def annotations(self, size: int) -> tuple[Annotation, ...]:
        """Where each positive sentence is seen."""
        return tuple(
            PhantomAnnotation(
                phrase=text,
                label=self.findings[k].name,
                kind=self.findings[k].kind,
                mask=PhantomMask(self, k, size),
                sentence=number,
            )
            for number, (text, k) in enumerate(self.lines)
            if k is not None
        )


def box_around(part: Bool[np.ndarray, "size size"]) -> Box:
    """The smallest box around all that is True."""
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


@dataclass(frozen=True)
class PhantomMask(Mask):
    """Where one finding of a scene is seen, drawn when asked for."""

    scene: Scene
    finding: int
    side_length: int

    def parts(self) -> list[Bool[np.ndarray, "size size"]]:
        """One mask for each connected part: True where it covers half a pixel or more."""
        view = View(self.scene.patient, self.side_length)
        return [part >= 0.5 for part in self.scene.findings[self.finding].parts(view)]

    def pixels(self) -> Bool[np.ndarray, "size size"]:
        """True where any of its parts is."""
        return np.logical_or.reduce(self.parts())


class PhantomAnnotation(Annotation):
    """An annotation whose boxes, one around each part of its mask, are found when first asked for.

    Most readers of a study never ask, and finding them takes longer than all the rest of it.
    """

    mask: PhantomMask

    def __post_init__(self) -> None:
        super().__post_init__()
        # Out of the way of the property below, unless somebody has replaced them.
        if not self.__dict__["boxes"]:
            del self.__dict__["boxes"]

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        """The smallest box around each part."""
        return tuple(box_around(part) for part in self.mask.parts())


@dataclass(frozen=True)
class PhantomImage(Image):
    """The picture of a scene, drawn when asked for."""

    scene: Scene
    side_length: int
    view: str = "PA"

    @property
    def size(self) -> tuple[int, int]:  # type: ignore[override]
        """(height, width) in pixels."""
        return self.side_length, self.side_length

    def pixels(self) -> UInt8[np.ndarray, "size size"]:
        """The picture, 8-bit gray."""
        return self.scene.draw(self.side_length)
