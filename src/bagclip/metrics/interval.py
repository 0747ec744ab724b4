"""Bootstrap intervals clustered by patient.

Units of one patient (studies, phrases, queries) resemble each other, so an interval that resamples units is too
narrow. Here a draw takes whole clusters with replacement (Field and Welsh, 2007), and the interval is the percentile
interval of the statistic over draws. It is meant for many clusters: with fewer than about thirty it is too narrow.

A draw is a multiset of units. `bootstrap` hands it to any statistic as indices; `bootstrap_weighted` hands over many
draws as a matrix of multiplicities, and the mean, macro mean and median build on that. For the same clusters and seed
all of them see the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from .averages import group_codes, mean_of_counted, ratio

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Draws are made in blocks of about this many multiplicities (32 MB), so that memory does not grow with the data.
BLOCK = 2**22


def bootstrap(
    statistic: Callable[[Int[np.ndarray, "sample"]], float],
    clusters: Iterable[Hashable],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of any statistic of units, resampling whole clusters.

    Args:
        statistic: takes the indices of a sample of units, repeats included, and gives a number, NaN if it is undefined.
        clusters: for each unit the cluster (patient) it belongs to, in any hashable type.
        draws: how many samples to draw.
        level: share of the draws that lie inside the interval.
        seed: the same seed gives the same samples.

    Returns:
        (low, high). Draws whose statistic is undefined are left out. There is no interval, (NaN, NaN), if more than
        half of the draws are undefined or there are fewer than two clusters: one cluster says nothing about others.

    Example:
        >>> heights = np.array([1.0, 1.1, 2.0, 2.1, 3.0])
        >>> low, high = bootstrap(lambda sample: np.median(heights[sample]), ["ann", "ann", "bob", "bob", "cyd"])
        >>> 1.0 <= low < high <= 3.0
        True
    """

    def one_by_one(weights: Int[np.ndarray, "draws units"]) -> Float[np.ndarray, "draws"]:
        units = np.arange(weights.shape[1])
        return np.array([statistic(np.repeat(units, times)) for times in weights], dtype=np.float64)

    return bootstrap_weighted(one_by_one, clusters, draws=draws, level=level, seed=seed)


def bootstrap_weighted(
    statistic: Callable[[Int[np.ndarray, "draws units"]], Float[np.ndarray, "draws"]],
    clusters: Iterable[Hashable],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of a statistic that is computed for many draws at once; the rest is as in `bootstrap`.

    ``statistic`` takes a matrix that says how often each unit is in each draw, and gives one number a draw. It may be
    called several times, each time with a block of the draws.

    Example:
        >>> present = np.array([True, False, True, True])
        >>> def share(weights):
        ...     return weights[:, present].sum(axis=1) / weights.sum(axis=1)
        >>> low, high = bootstrap_weighted(share, ["ann", "ann", "bob", "bob"])
        >>> low, high
        (0.5, 1.0)
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws must be at least 1 and level between 0 and 1, got draws={draws} and level={level}.")
    codes, count = group_codes(clusters)
    if count < 2:
        return float("nan"), float("nan")
    generator = np.random.Generator(np.random.Philox(seed))
    block = max(1, BLOCK // len(codes))
    values = np.empty(draws)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        picks = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(picks.ravel(), minlength=size * count).reshape(size, count)
        part = np.asarray(statistic(times[:, codes]))
        if part.shape != (size,):
            raise ValueError(
                f"the statistic must give one number for each of {size} draws, but gave shape {part.shape}."
            )
        values[start : start + size] = part
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < draws:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_mean(
    values: Float[np.ndarray, "units"],
    clusters: Iterable[Hashable],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of `micro`, the mean over units; NaN values are not counted, the rest is as in `bootstrap`.

    Example:
        >>> bootstrap_mean([0.0, 0.0, 1.0, 1.0], ["ann", "ann", "bob", "bob"])
        (0.0, 1.0)
    """
    return bootstrap_macro(values, ["all"] * len(values), clusters, draws=draws, level=level, seed=seed)


def bootstrap_macro(
    values: Float[np.ndarray, "units"],
    groups: Iterable[Hashable],
    clusters: Iterable[Hashable],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of `macro`, the mean over groups of the groups' means; the rest is as in `bootstrap`.

    NaN values are not counted. A draw without any unit of a group averages the groups that it has.

    Example:
        >>> bootstrap_macro([1.0, 0.0, 1.0, 0.0], ["edema", "mass", "edema", "mass"], ["ann", "ann", "bob", "bob"])
        (0.5, 0.5)
    """
    values, units = _one_cluster_each(values, clusters)
    codes, count = group_codes(groups)
    if len(codes) != len(values):
        raise ValueError(f"there are {len(values)} values, but {len(codes)} groups; every value needs one.")
    member = (codes[:, None] == np.arange(count)) & ~np.isnan(values)[:, None]
    amount = np.where(member, values[:, None], 0.0)

    def means(weights: Int[np.ndarray, "draws units"]) -> Float[np.ndarray, "draws"]:
        times = weights.astype(np.float64)
        return mean_of_counted(ratio(times @ amount, times @ member))

    return bootstrap_weighted(means, units, draws=draws, level=level, seed=seed)


def bootstrap_median(
    values: Float[np.ndarray, "units"],
    clusters: Iterable[Hashable],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the median over units; NaN values are not counted, the rest is as in `bootstrap`.

    Example:
        >>> bootstrap_median([1.0, 2.0, 2.0, 50.0], ["ann", "ann", "bob", "bob"])
        (1.5, 26.0)
    """
    values, units = _one_cluster_each(values, clusters)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]
    # An empty draw has no element to point at, so it points here.
    ascending = np.append(values[order], np.nan)

    def medians(weights: Int[np.ndarray, "draws units"]) -> Float[np.ndarray, "draws"]:
        reached = np.cumsum(weights[:, order], axis=1)
        total = weights[:, order].sum(axis=1, keepdims=True)
        # The elements (total + 1) // 2 and total // 2 + 1 of a sample, counted from 1, are its middle one or two.
        lower = np.count_nonzero(reached < (total + 1) // 2, axis=1)
        upper = np.count_nonzero(reached < total // 2 + 1, axis=1)
        return (ascending[lower] + ascending[upper]) / 2

    return bootstrap_weighted(medians, units, draws=draws, level=level, seed=seed)


def _one_cluster_each(
    values: Float[np.ndarray, "units"], clusters: Iterable[Hashable]
) -> tuple[Float[np.ndarray, "units"], list[Hashable]]:
    values, units = np.asarray(values, dtype=np.float64), list(clusters)
    if values.shape != (len(units),):
        raise ValueError(f"values of shape {values.shape} need one cluster each, but there are {len(units)} clusters.")
    if np.isinf(values).any():
        raise ValueError(
            f"value {int(np.argmax(np.isinf(values)))} is infinite; values must be finite, or NaN to be skipped."
        )
    return values, units
