"""Retrieval: how far up the right candidate is found.

Conventions, since published ones differ:

* A query may have several relevant candidates and the best of them counts (as for images with five captions). Relevant
  candidates never push each other down, so marking every candidate with the identical document as relevant credits
  duplicates; collapsing identical documents to one candidate (CXR-CLIP) also makes the list shorter and so the task a
  little easier. Always report the number of candidates, and chance for it.
* Ties count against the query: a candidate that is not relevant and scores the same stands above. A model that gives
  every pair the same score gets the worst rank, whereas sorting in index order would reward it. An identical document
  that is not marked as relevant is such a tie.
* Ranks count from 1, and the median of an even number of ranks is the mean of the middle two. Older code counts from 0
  and reports floor(median) + 1: the same number with the half dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def ranks(
    scores: Float[np.ndarray, "queries candidates"], relevant: Bool[np.ndarray, "queries candidates"]
) -> Int[np.ndarray, "queries"]:
    """Rank of each query's best relevant candidate, from 1; ties with candidates that are not relevant count above it.

    For the other direction transpose both.

    Raises:
        ValueError: if the shapes differ, ``relevant`` is not boolean, a score is NaN or a query has nothing relevant.

    Example:
        >>> scores = np.array([[0.9, 0.1, 0.4], [0.5, 0.5, 0.2]])
        >>> ranks(scores, np.array([[True, False, False], [False, True, False]])).tolist()
        [1, 2]
    """
    scores, relevant = np.asarray(scores), np.asarray(relevant)
    if scores.ndim != 2 or scores.shape != relevant.shape or relevant.dtype != bool:
        raise ValueError(
            f"scores and relevant must be matrices (queries, candidates) of one shape, relevant boolean; "
            f"got {scores.shape} and {relevant.shape} of {relevant.dtype}."
        )
    unscored, hopeless = np.isnan(scores).any(axis=1), ~relevant.any(axis=1)
    if unscored.any():
        raise ValueError(f"row {int(np.argmax(unscored))} of the scores has a NaN; a rank needs every score.")
    if hopeless.any():
        raise ValueError(f"query {int(np.argmax(hopeless))} has no relevant candidate; leave it out or add one.")
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    return 1 + np.count_nonzero((scores >= best) & ~relevant, axis=1)


def recall_at(ranks: Int[np.ndarray, "queries"], k: int) -> Float[np.ndarray, "queries"]:
    """1 for each query with a relevant candidate among its first k, else 0; R@k is the mean.

    Example:
        >>> recall_at(np.array([1, 7, 3]), 5).tolist()
        [1.0, 0.0, 1.0]
    """
    return (np.asarray(ranks) <= k).astype(np.float64)


def median_rank(ranks: Int[np.ndarray, "queries"]) -> float:
    """Median of the ranks, from 1: the lower the better; NaN without a query.

    Example:
        >>> median_rank(np.array([1, 7, 3, 2]))
        2.5
    """
    return float(np.median(ranks)) if len(ranks) else float("nan")


def chance_recall_at(relevant_counts: Int[np.ndarray, "queries"], candidates: int, k: int) -> float:
    """R@k of a random order, exactly: the mean over queries of 1 - C(n - r, k) / C(n, k).

    Args:
        relevant_counts: how many candidates are relevant to each query, r.
        candidates: how many there are in all, n.
        k: length of the list that is looked at.

    Raises:
        ValueError: if a count is not between 1 and the number of candidates, or k is below 1.

    Example:
        >>> chance_recall_at(np.array([1, 1]), candidates=10, k=5)
        0.5
    """
    counts = np.asarray(relevant_counts)
    if not counts.size:
        raise ValueError("there is no query, so there is no chance level; give at least one count.")
    if k < 1 or counts.min() < 1 or counts.max() > candidates:
        raise ValueError(
            f"k must be at least 1 and every query needs 1 to {candidates} relevant candidates; "
            f"got k={k} and counts from {counts.min()} to {counts.max()}."
        )
    # C(n - r, k) / C(n, k) is the chance that the r relevant ones, placed one by one, all miss the first k places.
    placed = np.arange(counts.max())
    misses = np.cumprod(np.maximum(candidates - k - placed, 0) / (candidates - placed))
    return float(1 - misses[counts - 1].mean())


def chance_median_rank(relevant_counts: Int[np.ndarray, "queries"], candidates: int) -> int:
    """Median rank of a random order: the smallest k at which its R@k reaches one half.

    Example:
        >>> chance_median_rank(np.array([1, 1]), candidates=10)
        5
    """
    low, high = 1, candidates
    while low < high:
        middle = (low + high) // 2
        # An R@k of exactly one half must not be missed for a rounding error.
        if chance_recall_at(relevant_counts, candidates, middle) >= 0.5 - 1e-12:
            high = middle
        else:
            low = middle + 1
    return low
