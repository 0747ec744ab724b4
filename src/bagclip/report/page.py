"""The page: all that a run has shown, and how it becomes one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bagclip import weights
from bagclip.data.study import Box
from bagclip.metrics import Estimate
from bagclip.report.render import render

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8


@dataclass(frozen=True, eq=False)
class GroundingExample:
    """A phrase and its map on an image.

    Args:
        image: gray or RGB.
        heat: a value for each of its pixels, NaN where unseen.
        sentence: the phrase.
        label: the finding it belongs to.
        region: where it is truly seen, pixel by pixel; None if only boxes are known.
        boxes: where it is truly seen, as boxes.
        cnr: signed contrast-to-noise ratio of the map.
        note: what else is to be said of it.
    """

    image: UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"]
    heat: Float[np.ndarray, "height width"]
    sentence: str
    label: str
    region: Bool[np.ndarray, "height width"] | None
    boxes: tuple[Box, ...]
    cnr: float
    note: str = ""


@dataclass(frozen=True, eq=False)
class Candidate:
    """What a search found: an image or a document, and the sentence that scored best in the pair.

    Args:
        image: the image found, or None.
        text: the document found, or None.
        score: of the pair.
        best_sentence: of all sentences of the pair's document, the one with the highest score.
        best_sentence_score: that score.
        relevant: whether it belongs to the query.
    """

    image: UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"] | None
    text: str | None
    score: float
    best_sentence: str
    best_sentence_score: float
    relevant: bool


@dataclass(frozen=True, eq=False)
class RetrievalExample:
    """A search and the first candidates found, best first.

    Args:
        query_text: the document searched with, or None.
        query_image: the image searched with, or None.
        candidates: the first, second, ... of the ranking.
        rank: where the best relevant candidate stands, from 1.
        kind: which way the search goes.
    """

    query_text: str | None
    query_image: UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"] | None
    candidates: tuple[Candidate, ...]
    rank: int
    kind: Literal["text_to_image", "image_to_text"]


@dataclass(frozen=True, eq=False)
class Report:
    """All that the page shows; what is empty is left out.

    Args:
        title: heading of the page.
        lead: a few sentences on what was done, with what.
        formula: of the score.
        loss: that was minimised.
        equation: of the method.
        reference: of the method.
        results: an estimate for each metric of each task.
        context: for each task, counts (whole numbers) and conventions (text) without which its numbers say little.
        history: one entry an epoch: "epoch", "loss", and under "val" a number for each validation metric.
        grounding: examples, failures among them.
        retrieval: examples of both directions.
        data: counts and descriptions of the data, with rows that were rejected.
        environment: versions and the like.
        commands: what to type to get the same again.
    """

    title: str
    lead: str = ""
    formula: str = ""
    loss: str = ""
    equation: str = ""
    reference: str = ""
    results: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    context: Mapping[str, Mapping[str, str | int]] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    grounding: Sequence[GroundingExample] = ()
    retrieval: Sequence[RetrievalExample] = ()
    data: Mapping[str, str | int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[str] = ()


def write_report(path: str | Path, report: Report) -> None:
    """Write a report as one HTML file, which loads nothing from anywhere.

    Raises:
        ValueError: if an example's image, map and region do not fit each other.
        OSError: if it cannot be written; an older file of that name is then untouched.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "report.html"
        >>> write_report(path, Report("A first run", formula="chain(Cosine(), ...)"))
        >>> "<h1>A first run</h1>" in path.read_text(encoding="utf-8")
        True
    """
    # A lone surrogate (from a file name, say) has no place in UTF-8; everything else has.
    weights.write(Path(path), render(report).encode("utf-8", errors="replace"))
