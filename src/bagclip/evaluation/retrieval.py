"""Cross-modal retrieval, in both directions."""

from __future__ import annotations

from collections.abc import Sequence

from bagclip import metrics
from bagclip.data.batches import same
from bagclip.data.study import Study
from bagclip.evaluation.result import Result
from bagclip.metrics import Estimate
from bagclip.model import Model

DEPTHS = (1, 5, 10)


def retrieval(model: Model, studies: Sequence[Study], *, seed: int = 0) -> Result:
    """Find the document of an image among those of all studies, and the image of a document.

    Candidates are studies (all views of one count as one image). A candidate whose document is identical, but for case
    and white space, is as right as the query's own, and the best right one counts; a wrong candidate of the same score
    ranks above it. Chance is that of a random order, exactly. Intervals: bootstrap over patients, the candidates fixed.

    Args:
        model: scores the pairs.
        studies: queries and candidates, at least two.
        seed: of the bootstrap.

    Returns:
        R@1, R@5, R@10 and the median rank under ``text_to_image/`` and ``image_to_text/``.
    """
    studies = list(studies)
    if len(studies) < 2:
        raise ValueError(f"retrieval needs at least two studies, got {len(studies)}.")
    scores = model.score(*model.encode_studies(studies)).numpy()
    relevant = same(studies).numpy()
    counts, patients = relevant.sum(1), [study.patient for study in studies]
    measured: dict[str, Estimate] = {}
    for direction, matrix in (("text_to_image", scores.T), ("image_to_text", scores)):
        ranks = metrics.ranks(matrix, relevant)
        for depth in DEPTHS:
            hits = metrics.recall_at(ranks, depth)
            interval = metrics.bootstrap_mean(hits, patients, seed=seed)
            chance = metrics.chance_recall_at(counts, len(studies), depth)
            measured[f"{direction}/R@{depth}"] = Estimate(float(hits.mean()), *interval, chance, len(studies))
        interval = metrics.bootstrap_median(ranks, patients, seed=seed)
        chance = metrics.chance_median_rank(counts, len(studies))
        measured[f"{direction}/median_rank"] = Estimate(metrics.median_rank(ranks), *interval, chance, len(studies))
    context: dict[str, str | int] = {
        "candidates": len(studies),
        "distinct documents": len({tuple(row) for row in relevant.tolist()}),
        "patients": len(set(patients)),
        "convention": "study-level candidates; identical documents count as hits; ties rank against the query",
    }
    return Result("retrieval", measured, context)
