"""Whole methods as plain loops over one pair of bags, in Python lists and double precision."""

from __future__ import annotations

import reference
import reference_attention as attention
from reference import average, combine, cosine
from reference_aggregators import exp_softmax


def mean_vector(rows):
    return combine([1 / len(rows)] * len(rows), rows)


def abmil(regions, sentences, **state):
    return average([reference.clip(regions, [y], **state) for y in sentences])


def filip(regions, sentences, **_):
    return 0.5 * (reference.maxsim(regions, sentences) + reference.maxsim(sentences, regions))


def xclip(regions, sentences, *, sharpness):
    def pool(values):
        return exp_softmax(values, sharpness)

    image, document = mean_vector(regions), mean_vector(sentences)
    table = [[cosine(x, y) for y in sentences] for x in regions]
    columns = [list(column) for column in zip(*table, strict=True)]
    fine = 0.5 * (pool([pool(column) for column in columns]) + pool([pool(row) for row in table]))
    coarse = cosine(image, document) + pool([cosine(image, y) for y in sentences])
    return (coarse + pool([cosine(x, document) for x in regions]) + fine) / 4


def critic(x, y, state):
    hidden = attention.add(
        attention.linear(x, state["region.weight"], state["region.bias"]), attention.linear(y, state["sentence.weight"])
    )
    for layer in (1, 3):
        hidden = attention.linear(attention.relu(hidden), state[f"rest.{layer}.weight"], state[f"rest.{layer}.bias"])
    return hidden[0]


def local_mi(regions, sentences, *, state):
    return average([max(critic(x, y, state) for x in regions) for y in sentences])


def dsmil(regions, sentences, *, state):
    attended = attention.non_local(regions, sentences, state=state, kind="mlp", normalised=False)
    return 0.5 * (reference.maxsim(regions, sentences) + average(attended))


def gloria(regions, sentences, **_):
    best = max(attention.gloria(regions, sentences, sharpness=4.0))
    return 0.5 * (5 * best + reference.biovil(regions, sentences))


def gloria_separable(regions, sentences, *, sharpness):
    values = []
    for y in sentences:
        logits = [sharpness * attention.dot(x, y) / len(y) ** 0.5 for x in regions]
        values.append(cosine(combine(reference.softmax(logits), regions), y))
    return 0.5 * (average(values) + average([reference.biovil(regions, [y]) for y in sentences]))


def scan_t2i(regions, sentences, **_):
    return attention.lse_sum(attention.scan(regions, sentences, sharpness=9.0), sharpness=6.0)


def scan_i2t(regions, sentences, **_):
    return attention.lse_sum(attention.scan(sentences, regions, sharpness=4.0), sharpness=5.0)


def limitr(regions, sentences, *, words, patches):
    of_words = attention.vector_attention(attention.limitr_vectors(regions, sentences, sharpness=4.0), state=words)
    of_regions = attention.vector_attention(attention.limitr_vectors(sentences, regions, sharpness=4.0), state=patches)
    return 0.5 * (0.5 * (of_words + of_regions) + reference.biovil(regions, sentences))


def carzero(regions, sentences, *, state, heads):
    of_image = attention.carzero(regions, [mean_vector(sentences)], state=state, heads=heads)[0]
    of_document = attention.carzero(sentences, [mean_vector(regions)], state=state, heads=heads)[0]
    return 0.5 * (of_image + of_document)


def over_regions(pool):
    """Scores pooled over regions by a plain function of a list, then the mean over sentences."""
    return lambda regions, sentences, **p: average([pool([cosine(x, y) for x in regions], **p) for y in sentences])
