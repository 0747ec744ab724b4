"""Figures as plain geometry, which the page draws in its own colours: training curves, and intervals on an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bagclip.metrics import Estimate
from bagclip.report.names import label, number

WIDTH, HEIGHT = 440, 230
"""Size of a chart."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 30


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    text: str


class Line(NamedTuple):
    """A curve: its points as SVG writes them, and the last one with its value."""

    name: str
    points: str
    end: tuple[float, float]
    value: str


class Chart(NamedTuple):
    """Curves over epochs, in pixels of a picture of ``WIDTH`` x ``HEIGHT``."""

    title: str
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    lines: tuple[Line, ...]


class Interval(NamedTuple):
    """Where an estimate lies on its axis, in percent of the length; None where there is nothing to draw."""

    value: float | None
    low: float | None
    high: float | None
    chance: float | None


def curves(history: Sequence[Mapping[str, Any]]) -> tuple[Chart, ...]:
    """Loss and validation recall over epochs; a chart without a finite value is left out.

    Args:
        history: one entry an epoch: "epoch" and "loss", and under "val" a number for each validation metric, of which
            recall at 10 is drawn, or all if there is none.

    Example:
        >>> [chart.title for chart in curves([{"epoch": 1, "loss": 4.8, "val": {"text_to_image/R@10": 0.2}}])]
        ['Training loss by epoch', 'Validation recall at 10 by epoch']
    """
    measured = {name for entry in history for name in entry.get("val", {})}
    recalls = {name for name in measured if name.endswith("R@10")}
    charts = {
        "Training loss by epoch": {"": [(entry["epoch"], entry["loss"]) for entry in history]},
        "Validation recall at 10 by epoch" if recalls else "Validation by epoch": {
            label(name).group if recalls else label(name).words: [
                (entry["epoch"], entry["val"][name]) for entry in history if name in entry.get("val", {})
            ]
            for name in sorted(recalls or measured, reverse=True)
        },
    }
    finite = {
        title: {name: [p for p in points if math.isfinite(p[1])] for name, points in series.items()}
        for title, series in charts.items()
    }
    return tuple(_chart(title, series) for title, series in finite.items() if any(series.values()))


def axis(values: Iterable[float]) -> tuple[float, float]:
    """Ends of an axis that holds 0 and all finite values: 0 to 1 if they fit in there, round numbers otherwise.

    Example:
        >>> axis([0.2, 0.9]), axis([-0.13, 1.71]), axis([250.5])
        ((0.0, 1.0), (-0.5, 2.0), (0.0, 300.0))
    """
    finite = [x for x in values if math.isfinite(x)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    power = 10.0 ** math.floor(math.log10(high - low))
    step = power / 2 if high - low < 5 * power else power
    return math.floor(low / step) * step, math.ceil(high / step) * step


def interval(estimate: Estimate, ends: tuple[float, float]) -> Interval:
    """Where an estimate lies on an axis.

    Example:
        >>> interval(Estimate(0.5, 0.25, 0.75, chance=float("nan"), n=9), (0.0, 1.0))
        Interval(value=50.0, low=25.0, high=75.0, chance=None)
    """

    def place(x: float) -> float | None:
        return 100 * (x - ends[0]) / (ends[1] - ends[0]) if math.isfinite(x) else None

    return Interval(place(estimate.value), place(estimate.low), place(estimate.high), place(estimate.chance))


def _chart(title: str, series: Mapping[str, Sequence[tuple[int, float]]]) -> Chart:
    from matplotlib.ticker import MaxNLocator

    epochs = [x for points in series.values() for x, _ in points]
    values = [y for points in series.values() for _, y in points]
    first, last = min(epochs), max(epochs)
    levels = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(min(values), max(values))

    def x(epoch: float) -> float:
        share = (epoch - first) / (last - first) if last > first else 0.5
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        share = (value - levels[0]) / (levels[-1] - levels[0])
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)

    lines = [
        Line(
            name,
            " ".join(f"{x(e)},{y(v)}" for e, v in points),
            (x(points[-1][0]), y(points[-1][1])),
            number(points[-1][1]),
        )
        for name, points in series.items()
        if points
    ]
    marks = [
        t for t in MaxNLocator(6, steps=[1, 2, 5, 10], integer=True).tick_values(first, last) if first <= t <= last
    ]
    decimals = max(len(f"{t:.6g}".partition(".")[2]) for t in levels)
    return Chart(
        title,
        tuple(Tick(x(t), f"{t:.0f}") for t in marks),
        tuple(Tick(y(t), number(t, decimals)) for t in levels),
        tuple(lines),
    )
