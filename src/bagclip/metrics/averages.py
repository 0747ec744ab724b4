"""Averages over units: micro counts every unit once, macro counts every group once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def micro(values: Float[np.ndarray, "units"]) -> float:
    """Mean over units; NaN values are not counted, and with nothing to count the mean is NaN.

    Example:
        >>> micro([1.0, float("nan"), 2.0])
        1.5
    """
    return float(mean_of_counted(np.asarray(values, dtype=np.float64)))


def macro(values: Float[np.ndarray, "units"], groups: Iterable[Hashable]) -> float:
    """Mean over groups of the groups' means, so that a rare finding weighs as much as a common one.

    NaN values are not counted, and a group of nothing else is left out.

    Example:
        >>> macro([1.0, 1.0, 1.0, 0.0], ["effusion", "effusion", "effusion", "edema"])
        0.5
    """
    values = np.asarray(values, dtype=np.float64)
    codes, count = group_codes(groups)
    if values.shape != codes.shape:
        raise ValueError(f"values of shape {values.shape} need one group each, but there are {len(codes)} groups.")
    return micro(np.array([micro(values[codes == group]) for group in range(count)]))


def group_codes(labels: Iterable[Hashable]) -> tuple[Int[np.ndarray, "units"], int]:
    """Number the groups 0, 1, ... in order of appearance: the number of each unit's group, and how many there are.

    Raises:
        ValueError: if a label is missing (None or NaN): units without a group are not one group.

    Example:
        >>> codes, count = group_codes(["ann", "bob", "ann"])
        >>> codes.tolist(), count
        ([0, 1, 0], 2)
    """
    numbers: dict[Hashable, int] = {}
    codes = []
    for unit, label in enumerate(labels):
        if label is None or label != label:
            raise ValueError(f"unit {unit} has no group ({label}); give it one, its own id if nothing better is known.")
        codes.append(numbers.setdefault(label, len(numbers)))
    return np.array(codes, dtype=np.int64), len(numbers)


def mean_of_counted(values: Float[np.ndarray, "*rest units"]) -> Float[np.ndarray, "*rest"]:
    """Mean over the last axis of what is not NaN; NaN where nothing is, as numpy's nanmean but without its warning.

    Example:
        >>> mean_of_counted(np.array([[1.0, np.nan, 2.0], [np.nan, np.nan, np.nan]])).tolist()
        [1.5, nan]
    """
    counted = ~np.isnan(values)
    return ratio(np.where(counted, values, 0.0).sum(axis=-1), counted.sum(axis=-1))


def ratio(amount: Float[np.ndarray, "*shape"], count: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """``amount / count``, NaN where the count is 0.

    Example:
        >>> ratio(np.array([3.0, 0.0]), np.array([2, 0])).tolist()
        [1.5, nan]
    """
    return np.divide(amount, count, out=np.full(np.shape(amount), np.nan), where=np.asarray(count) > 0)
