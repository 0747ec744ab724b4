"""Zero-shot classification: a finding is asked for in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from bagclip import metrics
from bagclip.bags import Bag
from bagclip.data.study import Study
from bagclip.evaluation.result import Result
from bagclip.metrics import Estimate
from bagclip.model import Model

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Pool = Literal["mean", "max"]

Prompts = Mapping[str, tuple[Sequence[str], Sequence[str]]]
"""For each class the sentences that affirm it and those that deny it (which may be none)."""


def classification(
    model: Model,
    studies: Sequence[Study],
    prompts: Prompts,
    *,
    pool: Pool = "mean",
    attribute: str | None = None,
    seed: int = 0,
) -> Result:
    """Area under the ROC curve of each class, asked for by prompts, and their mean.

    The score of a class is the mean or the highest score of the image with its affirming prompts, each a document of
    one sentence, less that of its denying prompts. Scores are pooled, not embeddings: a bag score is not linear in the
    sentence. Chance is 0.5. Intervals: bootstrap over patients.

    Args:
        model: scores the prompts.
        studies: to classify.
        prompts: the classes and their sentences.
        pool: "mean" for paraphrases, as in MedCLIP (Wang et al., 2022); "max" for alternatives of which one need be
            true, places say, as in GLoRIA (Huang et al., 2021).
        attribute: where a study's class stands, a column such as "view"; its labels when None. Studies without a value
            there are left out.
        seed: of the bootstrap.

    Returns:
        ``macro_auroc`` and ``auroc/<class>`` for each class that some studies have and some lack.

    Raises:
        ValueError: if no class has both, or a class has no affirming prompt.
    """
    studies = [study for study in studies if attribute is None or study.attributes.get(attribute)]
    positive = _positive(studies, list(prompts), attribute)
    usable = [name for i, name in enumerate(prompts) if 0 < positive[:, i].sum() < len(studies)]
    if not usable:
        where = "labels" if attribute is None else f"column {attribute!r}"
        raise ValueError(
            f"none of {list(prompts)} is present in some of the {len(studies)} studies and absent in others; look at "
            f"their {where} and at the names of the prompts."
        )
    positive = positive[:, [name in usable for name in prompts]]
    scores = zero_shot(model, studies, {name: prompts[name] for name in usable}, pool)
    patients = [study.patient for study in studies]
    interval = metrics.bootstrap_weighted(
        lambda weights: metrics.macro_auroc_weighted(scores, positive, weights), patients, seed=seed
    )
    measured = {"macro_auroc": Estimate(metrics.macro_auroc(scores, positive), *interval, 0.5, len(studies))}
    for i, name in enumerate(usable):
        score, truth = scores[:, i], positive[:, i]
        interval = metrics.bootstrap_weighted(
            lambda weights, score=score, truth=truth: metrics.auroc_weighted(score, truth, weights),  # type: ignore[misc]
            patients,
            seed=seed,
        )
        measured[f"auroc/{name}"] = Estimate(metrics.auroc(score, truth), *interval, 0.5, int(truth.sum()))
    context: dict[str, str | int] = {
        "studies": len(studies),
        "classes": len(usable),
        "patients": len(set(patients)),
        "convention": f"{pool} score of affirming prompts less that of denying ones; n of a class is its positives",
    }
    if len(usable) < len(prompts):
        context["left out, of one kind only"] = ", ".join(sorted(set(prompts) - set(usable)))
    return Result("classification", measured, context)


def zero_shot(
    model: Model, studies: Sequence[Study], prompts: Prompts, pool: Pool = "mean"
) -> Float[np.ndarray, "studies classes"]:
    """Score of each class for each study, by its prompts."""
    images, _ = model.encode_studies(studies)
    columns = []
    for name, (affirming, denying) in prompts.items():
        if not affirming:
            raise ValueError(
                f"class {name!r} has no affirming prompt; write at least one sentence that says it is there."
            )
        column = _pooled(model, images, affirming, pool)
        columns.append(column - _pooled(model, images, denying, pool) if denying else column)
    return np.stack(columns, axis=1)


def _pooled(model: Model, images: Bag, prompts: Sequence[str], pool: Pool) -> Float[np.ndarray, "studies"]:
    scores = model.score(images, model.encode_documents([[prompt] for prompt in prompts])).numpy()
    return scores.mean(1) if pool == "mean" else scores.max(1)


def _positive(
    studies: Sequence[Study], names: Sequence[str], attribute: str | None
) -> Bool[np.ndarray, "studies classes"]:
    if attribute is None:
        return np.array([[name in study.labels for name in names] for study in studies])
    # The views of a study may differ: "PA|L".
    return np.array([[name in study.attributes[attribute].split("|") for name in names] for study in studies])
