"""What an evaluation gives: metrics with chance and intervals, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bagclip.metrics import Estimate


@dataclass(frozen=True)
class Result:
    """The metrics of one task; prints as a table.

    Args:
        task: "retrieval", "classification" or "grounding".
        metrics: each with its value, 95 % interval, chance level and number of units.
        context: counts and conventions that a reader needs in order to compare.

    Example:
        >>> print(Result("retrieval", {"R@1": Estimate(0.5, 0.4, 0.6, chance=0.01, n=100)}, {"candidates": 100}))
        retrieval (candidates: 100)
                         value  95 % interval     chance        n
          R@1            0.500  [0.400, 0.600]     0.010      100
    """

    task: str
    metrics: Mapping[str, Estimate]
    context: Mapping[str, str | int]

    def to_dict(self) -> dict[str, dict[str, float | int | None]]:
        """Metrics as plain numbers, by name."""
        return {name: estimate.to_dict() for name, estimate in self.metrics.items()}

    def __str__(self) -> str:
        width = max(14, *(len(name) for name in self.metrics))
        counts = ", ".join(f"{name}: {value}" for name, value in self.context.items() if isinstance(value, int))
        lines = [f"{self.task} ({counts})", f"  {'':{width}} {'value':>5}  {'95 % interval':16} {'chance':>7} {'n':>8}"]
        for name, e in self.metrics.items():
            digits = 1 if "rank" in name else 3
            interval = f"[{e.low:.{digits}f}, {e.high:.{digits}f}]"
            lines.append(f"  {name:{width}} {e.value:5.{digits}f}  {interval:16} {e.chance:7.{digits}f} {e.n:8}")
        return "\n".join(lines)
