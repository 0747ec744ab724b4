"""Rendering: a report put into words, geometry and pictures, and these into the page's template."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bagclip.metrics import Estimate
from bagclip.report.figures import HEIGHT, WIDTH, Interval, axis, curves, interval
from bagclip.report.names import label, number
from bagclip.report.overlay import extent, overlay
from bagclip.report.save import colour_bar

if TYPE_CHECKING:
    from bagclip.report.page import GroundingExample, Report

HEADLINES = ("text_to_image/R@10", "macro_auroc", "cnr_signed")
"""The metrics that stand at the top of the page, where they are among the results."""

LARGE, SMALL = 400, 220
"""Pixels of the longer side of an image in the gallery and among the candidates of a search."""


def render(report: Report) -> str:
    """The page of a report as HTML."""
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
    n: int
    place: Interval
    ends: tuple[str, str]
    value: str
    low: str
    high: str
    chance: str


def _table(metrics: Mapping[str, Estimate]) -> dict[str, list[Row]]:
    """Lines of a table by their group; all metrics of one quantity lie on one axis."""
    groups: dict[str, list[Row]] = {}
    for name, estimate in metrics.items():
        group, words, quantity = label(name)
        ends = axis(x for other in metrics if label(other).quantity == quantity for x in _numbers(metrics[other]))
        printed = (number(x, 1 if quantity.endswith("rank") else 3) for x in _numbers(estimate))
        at, axis_ends = interval(estimate, ends), (_short(ends[0]), _short(ends[1]))
        groups.setdefault(group, []).append(Row(name, words, group, estimate.n, at, axis_ends, *printed))
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
    low, high = (number(x, 2) for x in extent(example.heat))
    return Grounded(example, _jpeg(example.image), _jpeg(drawn), low, high, bool(np.isnan(example.heat).any()))


def _short(x: float) -> str:
    return f"{x:.6g}".replace("-", "−")


def _shown(value: str | int) -> str:
    return value if isinstance(value, str) else f"{value:,}"
