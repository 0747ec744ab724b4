"""Visual grounding: where in the image a phrase is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from bagclip import metrics
from bagclip.data.study import Annotation, Study
from bagclip.evaluation.result import Result
from bagclip.metrics import Estimate, GroundingMetrics
from bagclip.model import Model

if TYPE_CHECKING:
    from jaxtyping import Float

NAMES = {"cnr_signed": "cnr", "cnr_abs": "cnr_abs", "miou": "miou", "pointing_game": "pointing"}


@dataclass(frozen=True)
class Grounded:
    """One phrase, its map in pixels of the original image, and how well it fits the drawn region."""

    study: Study
    annotation: Annotation
    heat: Float[np.ndarray, "height width"]
    metrics: GroundingMetrics


def grounding(model: Model, studies: Sequence[Study], *, kinds: Sequence[str] | None = None, seed: int = 0) -> Result:
    """Compare the map of each annotated phrase with the region drawn for it, in pixels of the original image.

    Every annotation is one phrase: the union of its boxes or its mask, in one image. CNR signed and absolute, mean IoU
    of the raw map at thresholds .1 to .5, pointing game; see `bagclip.metrics` for their conventions. Micro averages
    count every phrase once, those under ``macro/`` every label once. Chance is what the same maps reach when each is
    dealt to another phrase or image, so that a liking for the middle of the image earns nothing. Intervals: bootstrap
    over patients.

    Args:
        model: draws the maps.
        studies: with annotations; those without are left out.
        kinds: which annotations count ("lesion", say); all when None.
        seed: of the bootstrap and of the deal.

    Raises:
        ValueError: if there are fewer than two annotated phrases of these kinds.
    """
    phrases, maps = _maps(model, studies, kinds)
    if len(phrases) < 2:
        known = sorted({a.kind for study in studies for a in study.annotations})
        raise ValueError(
            f"grounding needs at least two annotated phrases, got {len(phrases)} of kinds {kinds or 'any'}; the "
            f"studies have annotations of kinds {known}."
        )
    fits, chance = [], []
    deal = metrics.derangement(len(phrases), seed)
    for i, (study, annotation) in enumerate(phrases):
        fits.append(_fit(model, study, annotation, maps[i]))
        chance.append(_fit(model, study, annotation, maps[deal[i]]))
    labels = [annotation.label for _, annotation in phrases]
    patients = [study.patient for study, _ in phrases]
    measured = {}
    for name, field in NAMES.items():
        values = np.array([getattr(fit, field) for fit in fits])
        by_chance = np.array([getattr(fit, field) for fit in chance])
        interval = metrics.bootstrap_mean(values, patients, seed=seed)
        measured[name] = Estimate(metrics.micro(values), *interval, metrics.micro(by_chance), len(values))
        interval = metrics.bootstrap_macro(values, labels, patients, seed=seed)
        measured[f"macro/{name}"] = Estimate(
            metrics.macro(values, labels), *interval, metrics.macro(by_chance, labels), len(set(labels))
        )
    signed = np.array([fit.cnr for fit in fits])
    by_chance = np.array([fit.cnr for fit in chance])
    for label in sorted(set(labels)):
        chosen = np.array([other == label for other in labels])
        interval = metrics.bootstrap_mean(
            signed[chosen], [p for p, c in zip(patients, chosen, strict=True) if c], seed=seed
        )
        measured[f"cnr_signed/{label}"] = Estimate(
            metrics.micro(signed[chosen]), *interval, metrics.micro(by_chance[chosen]), int(chosen.sum())
        )
    context: dict[str, str | int] = {
        "phrases": len(phrases),
        "labels": len(set(labels)),
        "images": len({(study.id, annotation.image) for study, annotation in phrases}),
        "patients": len(set(patients)),
        "regions outside what the encoder sees": sum(fit.seen == 0 for fit in fits),
        "convention": "union of boxes or mask; raw maps in original pixels; chance: each map for another phrase",
    }
    return Result("grounding", measured, context)


def ground_all(model: Model, studies: Sequence[Study], kinds: Sequence[str] | None = None) -> list[Grounded]:
    """The map of every annotated phrase, in order; what `grounding` averages, to look at."""
    phrases, maps = _maps(model, studies, kinds)
    grounded = []
    for (study, annotation), values in zip(phrases, maps, strict=True):
        heat = _heat(model, study, annotation, values)
        region = annotation.region(study.images[annotation.image].size)
        grounded.append(Grounded(study, annotation, heat, metrics.grounding_metrics(heat, region)))
    return grounded


def _maps(
    model: Model, studies: Sequence[Study], kinds: Sequence[str] | None
) -> tuple[list[tuple[Study, Annotation]], list[Float[np.ndarray, "rows columns"]]]:
    """Every annotated phrase and its map on the grid of regions."""
    annotated = [study for study in studies if any(_counts(a, kinds) for a in study.annotations)]
    phrases, maps = [], []
    if annotated:
        images, _ = model.encode_studies(annotated)
        for study, image in zip(annotated, images.split(1), strict=True):
            chosen = [a for a in study.annotations if _counts(a, kinds)]
            values = model.region_map(image, model.encode_documents([[a.phrase] for a in chosen])).numpy()
            phrases += [(study, annotation) for annotation in chosen]
            maps += [values[i, annotation.image] for i, annotation in enumerate(chosen)]
    return phrases, maps


def _counts(annotation: Annotation, kinds: Sequence[str] | None) -> bool:
    return kinds is None or annotation.kind in kinds


def _heat(model: Model, study: Study, annotation: Annotation, values: np.ndarray) -> np.ndarray:
    return model.geometry(study.images[annotation.image]).to_original(torch.from_numpy(values)).numpy()


def _fit(model: Model, study: Study, annotation: Annotation, values: np.ndarray) -> GroundingMetrics:
    region = annotation.region(study.images[annotation.image].size)
    return metrics.grounding_metrics(_heat(model, study, annotation, values), region)
