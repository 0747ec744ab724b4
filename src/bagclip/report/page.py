"""The page: everything a run has shown, in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from bagclip import weights
from bagclip.data.study import Box
from bagclip.metrics import Estimate
from bagclip.report.figures import HEIGHT, WIDTH, Interval, axis, curves, interval
from bagclip.report.names import label, number
from bagclip.report.overlay import extent, overlay
from bagclip.report.save import colour_bar

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

HEADLINES = ("text_to_image/R@10", "macro_auroc", "cnr_signed")
"""The metrics that stand at the top of the page, where they are among the results."""

LARGE, SMALL = 400, 220
"""Pixels of the longer side of an image in the gallery and among the candidates of a search."""


@dataclass(frozen=True)
class GroundingExample:
    """A phrase and its map on an image.

    Args:
        image: gray or RGB.
        heat: a value for each of its pixels, NaN where unseen.
        sentence: the phrase.
        label: the finding it belongs to.
        region: where it is truly seen, or None.
        boxes: the same as boxes.
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
        history: one entry an epoch, as `bagclip.report.curves` takes it.
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
    weights.write(Path(path), _render(report).encode("utf-8", errors="replace"))


def _render(report: Report) -> str:
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("bagclip", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"number": number, "jpeg": _jpeg, "shown": _shown}
    tables = {task: _table(metrics) for task, metrics in report.results.items() if metrics}
    rows = [row for groups in tables.values() for group in groups.values() for row in group]
    context = {task: report.context.get(task, {}).items() for task in tables}
    recipe = {
        "Score": report.formula,
        "Loss": report.loss,
        "Equation": report.equation,
        "Reference": report.reference,
    }
    return templates.get_template("report.html.j2").render(
        report=report,
        headlines=[row for name in HEADLINES for row in rows if row.name == name],
        recipe={name: text for name, text in recipe.items() if text},
        charts=curves(report.history),
        size=(WIDTH, HEIGHT),
        tables=tables,
        counts={task: [(k, v) for k, v in items if not isinstance(v, str)] for task, items in context.items()},
        conventions={task: [(k, v) for k, v in items if isinstance(v, str)] for task, items in context.items()},
        grounding=[_ground(example) for example in report.grounding],
        colours=_jpeg(colour_bar(12, 200)),
        small=SMALL,
    )


class Row(NamedTuple):
    """A line of a table: an estimate in words, and its place on an axis."""

    name: str
    words: str
    group: str
    value: str
    low: str
    high: str
    chance: str
    n: int
    place: Interval
    ends: tuple[str, str]


def _table(metrics: Mapping[str, Estimate]) -> dict[str, list[Row]]:
    """Lines of a table by their group; all metrics of one quantity lie on one axis."""
    groups: dict[str, list[Row]] = {}
    for name, estimate in metrics.items():
        group, words, quantity = label(name)
        ends = axis(x for other in metrics if label(other).quantity == quantity for x in _numbers(metrics[other]))
        printed = (number(x, 1 if quantity.endswith("rank") else 3) for x in _numbers(estimate))
        row = Row(name, words, group, *printed, estimate.n, interval(estimate, ends), (_short(ends[0]), _short(ends[1])))
        groups.setdefault(group, []).append(row)
    return groups


def _numbers(estimate: Estimate) -> tuple[float, float, float, float]:
    return estimate.value, estimate.low, estimate.high, estimate.chance


def _jpeg(image: np.ndarray, longest: int = LARGE) -> str:
    """An image as a data address, of at most so many pixels on its longer side."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


class Grounded(NamedTuple):
    """A grounding example as it is shown: its pictures, and the ends of its colours."""

    example: GroundingExample
    original: str
    drawn: str
    low: str
    high: str
    hatched: bool


def _ground(example: GroundingExample) -> Grounded:
    drawn = overlay(
        example.image,
        example.heat,
        region=example.region,
        boxes=example.boxes,
        scale=LARGE / max(example.image.shape[:2]),
    )
    ends = (number(x, 2) for x in extent(example.heat))
    return Grounded(example, _jpeg(example.image), _jpeg(drawn), *ends, bool(np.isnan(example.heat).any()))


def _short(x: float) -> str:
    return f"{x:.6g}".replace("-", "−")


def _shown(value: str | int) -> str:
    return value if isinstance(value, str) else f"{value:,}"
