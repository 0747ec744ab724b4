"""Examples for a report, drawn by lot: what is shown is not what went well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bagclip import metrics
from bagclip.bags import Bag
from bagclip.data.batches import same
from bagclip.data.features import Features
from bagclip.data.study import Study
from bagclip.evaluation import ground_all
from bagclip.model import Model
from bagclip.report import Candidate, GroundingExample, RetrievalExample


def grounding_examples(
    model: Model, studies: Sequence[Study], *, kinds: Sequence[str] | None = None, count: int = 16, seed: int = 0
) -> list[GroundingExample]:
    """Annotated phrases with their maps: one of each label in turn, studies in random order, until there are enough."""
    by_label: dict[str, list[tuple[Study, int]]] = {}
    for i in np.random.default_rng(seed).permutation(len(studies)):
        study = studies[int(i)]
        for j, annotation in enumerate(study.annotations):
            if kinds is None or annotation.kind in kinds:
                by_label.setdefault(annotation.label, []).append((study, j))
    chosen: list[tuple[Study, int]] = []
    while len(chosen) < count and any(by_label.values()):
        for label in sorted(by_label):
            if by_label[label] and len(chosen) < count:
                chosen.append(by_label[label].pop(0))
    examples = []
    for study, j in chosen:
        annotation = study.annotations[j]
        grounded = next(g for g in ground_all(model, [study], kinds) if g.annotation is annotation)
        image = study.images[annotation.image]
        examples.append(
            GroundingExample(
                image=image.pixels(),
                heat=grounded.heat,
                sentence=annotation.phrase,
                label=annotation.label,
                # The boxes are drawn as boxes.
                region=None if annotation.mask is None or annotation.boxes else annotation.mask.pixels(),
                boxes=annotation.boxes,
                cnr=grounded.metrics.cnr,
            )
        )
    return examples


def retrieval_examples(
    model: Model, studies: Sequence[Study], *, count: int = 4, depth: int = 3, seed: int = 0
) -> list[RetrievalExample]:
    """Random queries in both directions with their best candidates and the sentence that scored best for each.

    An image that is given as features has no picture; what it would show is left out.
    """
    studies = list(studies)
    images, documents = model.encode_studies(studies)
    scores, relevant = model.score(images, documents).numpy(), same(studies).numpy()
    image_bags = list(images.split(1))
    queries = np.random.default_rng(seed).permutation(len(studies))[:count].tolist()
    examples = []
    directions: tuple[tuple[Literal["text_to_image", "image_to_text"], np.ndarray], ...] = (
        ("text_to_image", scores.T),
        ("image_to_text", scores),
    )
    for kind, matrix in directions:
        ranks = metrics.ranks(matrix, relevant)
        for query in queries:
            candidates = []
            for other in np.argsort(-matrix[query], kind="stable")[:depth].tolist():
                image, document = (other, query) if kind == "text_to_image" else (query, other)
                sentence, value = _best_sentence(model, image_bags[image], studies[document])
                candidates.append(
                    Candidate(
                        image=_picture(studies[other]) if kind == "text_to_image" else None,
                        text=studies[other].document if kind == "image_to_text" else None,
                        score=float(matrix[query, other]),
                        best_sentence=sentence,
                        best_sentence_score=value,
                        relevant=bool(relevant[query, other]),
                    )
                )
            examples.append(
                RetrievalExample(
                    kind=kind,
                    query_text=studies[query].document if kind == "text_to_image" else None,
                    query_image=_picture(studies[query]) if kind == "image_to_text" else None,
                    candidates=tuple(candidates),
                    rank=int(ranks[query]),
                )
            )
    return examples


def _picture(study: Study) -> np.ndarray | None:
    image = study.images[0]
    return None if isinstance(image, Features) else image.pixels()


def _best_sentence(model: Model, image: Bag, study: Study) -> tuple[str, float]:
    """Which sentence of a study, taken as a document of its own, matches an image best, and its score."""
    sentences = [sentence.text for sentence in study.sentences]
    values = model.score(image, model.encode_documents([[sentence] for sentence in sentences]))[0]
    return sentences[int(values.argmax())], float(values.max())
