"""A study: the one record that every reader yields and every evaluator reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8


class Image(ABC):
    """One picture of a study, decoded only when asked for.

    ``size`` is (height, width) in pixels and is known without decoding. ``view`` says how it was taken ("PA",
    "lateral"), or is empty.
    """

    size: tuple[int, int]
    view: str

    @abstractmethod
    def pixels(self) -> UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"]:
        """The picture as 8-bit gray or RGB values; ``OSError`` with the file's name if it cannot be read."""


@dataclass(frozen=True)
class ArrayImage(Image):
    """An image that is already in memory, 8-bit, (height, width) or (height, width, 3)."""

    array: np.ndarray
    view: str = ""

    def __post_init__(self) -> None:
        if self.array.dtype != np.uint8 or self.array.ndim not in (2, 3) or self.array.shape[2:] not in ((), (3,)):
            raise ValueError(
                f"an image array must be uint8 of shape (height, width) or (height, width, 3), "
                f"got {self.array.dtype} of shape {self.array.shape}."
            )

    @property
    def size(self) -> tuple[int, int]:  # type: ignore[override]
        """(height, width) in pixels."""
        return self.array.shape[0], self.array.shape[1]

    def pixels(self) -> np.ndarray:
        """The array itself."""
        return self.array


class Mask(ABC):
    """A region of an image drawn by pixel, decoded only when asked for."""

    @abstractmethod
    def pixels(self) -> Bool[np.ndarray, "height width"]:
        """True inside, in the pixels of the image it belongs to."""


@dataclass(frozen=True)
class ArrayMask(Mask):
    """A mask that is already in memory, boolean (height, width)."""

    array: np.ndarray

    def pixels(self) -> np.ndarray:
        """The array itself."""
        return self.array


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the original image: left and top inclusive, right and bottom exclusive."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Sentence:
    """A sentence with its place in the document: ``document[start:end] == text``."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Annotation:
    """Where a phrase is seen: boxes, a mask or both (their union counts), in one image of the study.

    Args:
        phrase: what is shown there, in words; the query of a grounding evaluation.
        label: the finding or structure it belongs to, for averages per finding; the phrase itself if nothing better.
        kind: what sort of thing it is, "lesion", "anatomy" or "device", say; evaluations choose by it.
        image: index of the image in the study.
        boxes: rectangles in pixels of the original image.
        mask: a mask of the original image's size.
        sentence: index of the sentence it belongs to, or None when it belongs to the label alone.
    """

    phrase: str
    label: str
    kind: str = "lesion"
    image: int = 0
    boxes: tuple[Box, ...] = ()
    mask: Mask | None = None
    sentence: int | None = None

    def __post_init__(self) -> None:
        if not self.boxes and self.mask is None:
            raise ValueError(f"the annotation of {self.phrase!r} has neither a box nor a mask; give it one.")

    def region(self, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
        """Union of boxes and mask as a boolean image of ``size`` (height, width).

        A pixel is inside a box when its centre is.
        """
        height, width = size
        inside = np.zeros(size, dtype=bool) if self.mask is None else self.mask.pixels().copy()
        y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
        for box in self.boxes:
            inside |= ((y >= box.top) & (y < box.bottom))[:, None] & ((x >= box.left) & (x < box.right))[None]
        return inside


@dataclass(frozen=True)
class Study:
    """Images and the document that describes them.

    Args:
        id: unique in its data set; pairs of one study are never each other's negatives.
        images: at least one image (one a view), or features of its regions.
        document: the whole text.
        sentences: its sentences in order, at least one, with offsets into the document.
        patient: whose study it is; intervals are clustered by it. The id when unknown.
        group: what must not be divided between splits (patient, source case); the patient when unknown.
        split: "train", "val" or "test", or empty when undecided.
        labels: names of what is known to be present.
        annotations: where phrases are seen.
        attributes: other columns, "view" or "sex", say, as text.

    Raises:
        ValueError: if there is no image or no sentence, or a sentence's offsets do not give its text.
    """

    id: str
    images: tuple[Image, ...]
    document: str
    sentences: tuple[Sentence, ...]
    patient: str = ""
    group: str = ""
    split: str = ""
    labels: frozenset[str] = frozenset()
    annotations: tuple[Annotation, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError(f"study {self.id!r} has no image.")
        if not self.sentences:
            raise ValueError(f"study {self.id!r} has no sentence; its document is {self.document[:40]!r}.")
        for i, s in enumerate(self.sentences):
            if self.document[s.start : s.end] != s.text or not s.text.strip():
                raise ValueError(
                    f"study {self.id!r}: sentence {i} says {s.text!r}, but characters {s.start} to {s.end} of the "
                    f"document are {self.document[s.start : s.end]!r}."
                )
        for a in self.annotations:
            if not 0 <= a.image < len(self.images) or (a.sentence is not None and a.sentence >= len(self.sentences)):
                raise ValueError(f"study {self.id!r}: the annotation of {a.phrase!r} points outside the study.")
        # Frozen, so defaults that depend on other fields are set the long way.
        object.__setattr__(self, "patient", self.patient or self.id)
        object.__setattr__(self, "group", self.group or self.patient)
