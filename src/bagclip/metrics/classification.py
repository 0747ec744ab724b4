"""Classification: the area under the ROC curve, per finding and macro, also for many bootstrap draws at once.

The area is the probability that a positive unit scores above a negative one, a tie counting one half (Hanley and
McNeil, 1982); chance is 0.5. Where a sample holds only one class there is no such pair and the area is NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .averages import mean_of_counted, micro, ratio

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def auroc(scores: Float[np.ndarray, "units"], positive: Bool[np.ndarray, "units"]) -> float:
    """Area under the ROC curve of one finding, ties one half; NaN if all units are of one class.

    Raises:
        ValueError: if a score is NaN or ``positive`` is not boolean (of labels 1, 0, -1 choose the certain ones first).

    Example:
        >>> auroc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
        0.875
    """
    return float(auroc_weighted(scores, positive, np.ones((1, len(scores))))[0])


def auroc_weighted(
    scores: Float[np.ndarray, "units"],
    positive: Bool[np.ndarray, "units"],
    weights: Float[np.ndarray, "draws units"],
) -> Float[np.ndarray, "draws"]:
    """`auroc` for each row of weights; how often each unit is in each draw, say. Exact for whole numbers.

    Sorting is done once for all draws. Errors are those of `auroc`, and negative or NaN weights are refused.

    Example:
        >>> scores, positive = np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False])
        >>> auroc_weighted(scores, positive, np.array([[1, 1, 1, 1], [0, 1, 2, 0], [1, 1, 0, 0]])).tolist()
        [0.875, 0.5, nan]
    """
    scores, positive, weights = np.asarray(scores), np.asarray(positive), np.asarray(weights)
    if scores.ndim != 1 or scores.shape != positive.shape or positive.dtype != bool:
        raise ValueError(
            f"scores and positive must be vectors of one length, positive boolean; "
            f"got {scores.shape} and {positive.shape} of {positive.dtype}."
        )
    if np.isnan(scores).any():
        raise ValueError(f"the score of unit {int(np.argmax(np.isnan(scores)))} is NaN; an area needs every score.")
    if weights.ndim != 2 or weights.shape[1] != len(scores) or not (weights >= 0).all():
        raise ValueError(
            f"weights must be a matrix (draws, {len(scores)}) of numbers from 0 up, got shape {weights.shape}."
        )
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(scores[negatives])]
    ones, zeros = weights[:, positive], weights[:, negatives]
    below = np.pad(np.cumsum(zeros, axis=1), ((0, 0), (1, 0)))
    first = np.searchsorted(scores[negatives], scores[positive], side="left")
    last = np.searchsorted(scores[negatives], scores[positive], side="right")
    # Negatives between first and last are ties: the mean of the two counts takes half of them.
    wins = (ones * (below[:, first] + below[:, last])).sum(axis=1) / 2
    return ratio(wins, ones.sum(axis=1) * below[:, -1])


def macro_auroc(scores: Float[np.ndarray, "units findings"], positive: Bool[np.ndarray, "units findings"]) -> float:
    """Mean of `auroc` over the findings that have both classes; NaN if none has.

    Example:
        >>> scores = np.array([[0.9, 0.2], [0.1, 0.3]])
        >>> macro_auroc(scores, np.array([[True, False], [False, False]]))
        1.0
    """
    return micro(macro_auroc_weighted(scores, positive, np.ones((1, len(scores)))))


def macro_auroc_weighted(
    scores: Float[np.ndarray, "units findings"],
    positive: Bool[np.ndarray, "units findings"],
    weights: Float[np.ndarray, "draws units"],
) -> Float[np.ndarray, "draws"]:
    """`macro_auroc` for each row of weights; a draw averages the findings of which it holds both classes.

    Example:
        >>> from bagclip.metrics import bootstrap_weighted
        >>> scores = np.array([[0.9], [0.8], [0.2], [0.1]])
        >>> positive = np.array([[True], [True], [False], [False]])
        >>> bootstrap_weighted(lambda weights: macro_auroc_weighted(scores, positive, weights), ["a", "b", "c", "d"])
        (1.0, 1.0)
    """
    scores, positive = np.asarray(scores), np.asarray(positive)
    if scores.ndim != 2 or scores.shape != positive.shape:
        raise ValueError(
            f"scores and positive must be matrices (units, findings) of one shape, "
            f"got {scores.shape} and {positive.shape}."
        )
    areas = np.empty((len(weights), scores.shape[1]))
    for finding in range(scores.shape[1]):
        areas[:, finding] = auroc_weighted(scores[:, finding], positive[:, finding], weights)
    return mean_of_counted(areas)
