"""The six methods again, as plain loops over one pair at a time, in numpy and double precision."""

from __future__ import annotations

import math

import numpy as np


def cosine(a, b):
    na, nb = math.sqrt(sum(v * v for v in a)), math.sqrt(sum(v * v for v in b))
    return sum(u * v for u, v in zip(a, b, strict=True)) / (na * nb) if na and nb else 0.0


def unit(a):
    norm = math.sqrt(sum(v * v for v in a))
    return [v / norm for v in a]


def softmax(values):
    top = max(values)
    powers = [math.exp(v - top) for v in values]
    return [p / sum(powers) for p in powers]


def combine(weights, rows):
    return [sum(w * row[d] for w, row in zip(weights, rows, strict=True)) for d in range(len(rows[0]))]


def average(values):
    return sum(values) / len(values)


def clip(regions, sentences, *, inner, bias, outer, **_):
    logits = []
    for x in regions:
        hidden = [math.tanh(sum(v * u for v, u in zip(row, x, strict=True)) + b) for row, b in zip(inner, bias)]  # noqa: B905
        logits.append(sum(w * h for w, h in zip(outer[0], hidden, strict=True)))
    pooled = combine(softmax(logits), regions)
    return cosine(pooled, combine([1 / len(sentences)] * len(sentences), sentences))


def biovil(regions, sentences, **_):
    return cosine(
        combine([1 / len(regions)] * len(regions), regions), combine([1 / len(sentences)] * len(sentences), sentences)
    )


def maxsim(regions, sentences, **_):
    return average([max(cosine(x, y) for x in regions) for y in sentences])


def lse(regions, sentences, *, sharpness, normalised=True, **_):
    pooled = []
    for y in sentences:
        total = sum(math.exp(sharpness * cosine(x, y)) for x in regions)
        pooled.append(math.log(total / len(regions) if normalised else total) / sharpness)
    return average(pooled)


def nl(regions, sentences, *, affinity, temperature, **_):
    normal = [unit(x) for x in regions]
    mapped = [[sum(a * u for a, u in zip(row, x, strict=True)) for row in affinity] for x in normal]
    pooled = []
    for y in sentences:
        similarities = [cosine(x, y) for x in regions]
        key = similarities.index(max(similarities))
        logits = [sum(u * v for u, v in zip(q, mapped[key], strict=True)) / temperature for q in mapped]
        pooled.append(cosine(combine(softmax(logits), normal), y))
    return average(pooled)


def lse_nl(regions, sentences, **parameters):
    return 0.5 * (lse(regions, sentences, **parameters) + nl(regions, sentences, **parameters))


def matrix(function, images, documents, **parameters):
    """Scores of all pairs, one pair at a time."""
    lists = lambda bag: [rows.double().tolist() for rows in bag]  # noqa: E731
    return np.array([[function(x, y, **parameters) for y in lists(documents)] for x in lists(images)])
