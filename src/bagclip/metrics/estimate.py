"""What a metric reports: its value, its interval, chance and how much it rests on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Estimate:
    """A metric with all that is needed to judge it.

    Args:
        value: the metric.
        low: lower end of its interval, NaN if there is none.
        high: upper end of its interval, NaN if there is none.
        chance: what a model that knows nothing would reach, NaN if unknown.
        n: how many units (queries, studies, phrases) the value rests on.

    Example:
        >>> print(Estimate(0.712, 0.66, 0.75, chance=0.02, n=500))
        0.71 [0.66, 0.75] (chance 0.02, n=500)
    """

    value: float
    low: float
    high: float
    chance: float
    n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain numbers for JSON, which knows no NaN: what is not finite becomes None."""
        plain = {name: float(x) if math.isfinite(x) else None for name, x in asdict(self).items()}
        return {**plain, "n": int(self.n)}

    def __str__(self) -> str:
        value, low, high, chance = (_digits(x) for x in (self.value, self.low, self.high, self.chance))
        return f"{value} [{low}, {high}] (chance {chance}, n={self.n})"


def _digits(x: float) -> str:
    # Two decimals would show a chance of 0.002 as 0.00; ranks in the hundreds need no hundredths.
    if 0 < abs(x) < 0.1:
        return f"{x:.2g}"
    return f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"
