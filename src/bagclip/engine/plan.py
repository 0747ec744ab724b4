"""Plans: which parts of a score have a closed form, and how each part is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bagclip.aggregators import (
    CrossAttention,
    LogSumExp,
    Max,
    Mean,
    NonLocal,
    Over,
    PoolsEmbeddings,
)
from bagclip.scores import Chain, Scaled, Score, Sum
from bagclip.similarity import Bilinear, Cosine, Dot

Form = Literal["vectors", "pooled", "around", "attended"]
"""Closed forms: one vector a bag or a sentence, so that nothing is large; pooled products of regions and sentences; the
same around a key; attention by the Gram matrix of the regions."""


@dataclass(frozen=True)
class Term:
    """A chain of a score with its weight and its closed form, None if it has none."""

    weight: float
    score: Score
    form: Form | None


def plan(score: Score) -> list[Term]:
    """A score as a weighted sum of terms.

    Example:
        >>> from bagclip import methods
        >>> [(term.weight, term.form) for term in plan(methods.lse_nl(dim=8).score)]
        [(0.5, 'pooled'), (0.5, 'around')]
    """
    return [Term(weight, part, form(part)) for weight, part in _terms(score)]


def form(score: Score) -> Form | None:
    """The closed form of one term."""
    if not isinstance(score, Chain) or not isinstance(score.middle, Cosine | Dot | Bilinear):
        return None
    left = {over.axis: over.aggregator for over in score.left}
    regions, sentences = left.get("regions"), left.get("sentences")
    if sentences is not None and not isinstance(sentences, PoolsEmbeddings):
        return None
    if regions is None:
        return "pooled" if _regions_first(score.right) else None
    if isinstance(regions, PoolsEmbeddings):
        return "vectors"
    if type(regions) is NonLocal:
        return "around"
    if type(regions) is CrossAttention and type(score.middle) is Cosine:
        return "attended" if type(regions.similarity) in (Cosine, Dot) else None
    return None


def _regions_first(right: list[Over]) -> bool:
    """Whether regions are pooled before sentences, by what has a closed form."""
    return right[0].axis == "regions" and type(right[0].aggregator) in (LogSumExp, Max, Mean)


def _terms(score: Score, weight: float = 1.0) -> Iterator[tuple[float, Score]]:
    if isinstance(score, Sum):
        yield from _terms(score.left, weight)
        yield from _terms(score.right, weight)
    elif isinstance(score, Scaled):
        yield from _terms(score.score, weight * score.weight)
    else:
        yield weight, score
