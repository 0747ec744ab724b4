"""The attention of published methods as plain loops over one pair of bags, in Python lists and double precision.

Each is a function (regions, sentences, **parameters) of lists of vectors, and gives one entry for each sentence. Layers
are read from ``state``, the state_dict of the aggregator as lists. Written from the methods' own code or listings.
"""

from __future__ import annotations

import math

from reference import average, combine, cosine, softmax, unit


def dot(a, b):
    return sum(u * v for u, v in zip(a, b, strict=True))


def linear(x, weight, bias=None):
    return [dot(row, x) + (bias[i] if bias is not None else 0.0) for i, row in enumerate(weight)]


def relu(x):
    return [max(v, 0.0) for v in x]


def tanh(x):
    return [math.tanh(v) for v in x]


def sigmoid(v):
    return 1 / (1 + math.exp(-v))


def add(a, b):
    return [u + v for u, v in zip(a, b, strict=True)]


def times(a, b):
    return [u * v for u, v in zip(a, b, strict=True)]


def layer_norm(x, weight, bias):
    mean = average(x)
    variance = average([(v - mean) ** 2 for v in x])
    return [w * (v - mean) / math.sqrt(variance + 1e-5) + b for v, w, b in zip(x, weight, bias, strict=True)]


def gated_attention(regions, *, state):
    logits = []
    for x in regions:
        hidden = tanh(linear(x, state["inner.weight"], state["inner.bias"]))
        gate = [sigmoid(v) for v in linear(x, state["gate.weight"], state["gate.bias"])]
        logits.append(dot(state["outer.weight"][0], times(hidden, gate)))
    return combine(softmax(logits), regions)


def pcam(regions, *, state):
    p = [sigmoid(dot(state["logit.weight"][0], x) + state["logit.bias"][0]) for x in regions]
    return combine([v / sum(p) for v in p], regions)


def query(x, kind, state):
    if kind == "identity":
        return x
    if kind == "linear":
        return linear(x, state["affinity.weight"])
    hidden = relu(linear(x, state["affinity.0.weight"], state["affinity.0.bias"]))
    return tanh(linear(hidden, state["affinity.2.weight"], state["affinity.2.bias"]))


def around(regions, shares, *, state, temperature, kind, normalised, learned):
    """A bag's embedding around a key whose query is the mean of the regions' queries by these shares."""
    features = [unit(x) for x in regions] if normalised else regions
    queries = [query(x, kind, state) for x in features]
    key = combine(shares, queries)
    scale = math.sqrt(len(key)) if temperature is None else temperature
    weights = softmax([dot(q, key) / scale for q in queries])
    return combine(weights, [linear(x, state["content.weight"]) for x in features] if learned else features)


def non_local(
    regions, sentences, *, state=None, temperature=None, kind="linear", normalised=True, learned=False, keys=1
):
    """Cosine of each sentence with the regions around its ``keys`` most similar ones: DSMIL's for one key."""
    scores = []
    for y in sentences:
        similarities = [cosine(x, y) for x in regions]
        best = sorted(range(len(regions)), key=lambda n: -similarities[n])[:keys]
        shares = [(n in best) / len(best) for n in range(len(regions))]
        pooled = around(
            regions, shares, state=state, temperature=temperature, kind=kind, normalised=normalised, learned=learned
        )
        scores.append(cosine(pooled, y))
    return scores


def soft_key(
    regions, sentences, *, sharpness, state=None, temperature=None, kind="linear", normalised=True, learned=False
):
    """Cosine of each sentence with the regions around the key that is mixed for it."""
    scores = []
    for y in sentences:
        shares = softmax([sharpness * cosine(x, y) for x in regions])
        pooled = around(
            regions, shares, state=state, temperature=temperature, kind=kind, normalised=normalised, learned=learned
        )
        scores.append(cosine(pooled, y))
    return scores


def attended(regions, sentences, table, sharpness):
    """For each sentence, the regions weighted by the softmax of its column of a table regions x sentences."""
    return [
        combine(softmax([sharpness * table[n][m] for n in range(len(regions))]), regions) for m in range(len(sentences))
    ]


def plain_contexts(regions, sentences, *, sharpness):
    return attended(regions, sentences, [[cosine(x, y) for y in sentences] for x in regions], sharpness)


def gloria_contexts(regions, sentences, *, sharpness):
    """Inner products, softmax over words first, then over regions."""
    return attended(regions, sentences, [softmax([dot(x, y) for y in sentences]) for x in regions], sharpness)


def scan_contexts(regions, sentences, *, sharpness):
    """Cosines, leaky ReLU, l2-normalised over words, then softmax over regions."""
    table = []
    for x in regions:
        row = [s if s > 0 else 0.1 * s for s in (cosine(x, y) for y in sentences)]
        norm = math.sqrt(sum(s * s for s in row)) + 1e-8
        table.append([s / norm for s in row])
    return attended(regions, sentences, table, sharpness)


def sparc_contexts(regions, sentences, *, compare=dot):
    contexts = []
    for y in sentences:
        s = [compare(x, y) for x in regions]
        if max(s) == min(s):
            s = [1.0] * len(s)
        else:
            s = [(v - min(s)) / (max(s) - min(s)) for v in s]
            s = [v if v >= 1 / len(s) else 0.0 for v in s]
        contexts.append(combine([v / sum(s) for v in s], regions))
    return contexts


def plain(regions, sentences, **parameters):
    return [cosine(c, y) for c, y in zip(plain_contexts(regions, sentences, **parameters), sentences, strict=True)]


def gloria(regions, sentences, **parameters):
    return [cosine(c, y) for c, y in zip(gloria_contexts(regions, sentences, **parameters), sentences, strict=True)]


def scan(regions, sentences, **parameters):
    return [cosine(c, y) for c, y in zip(scan_contexts(regions, sentences, **parameters), sentences, strict=True)]


def sparc(regions, sentences, **parameters):
    return [cosine(c, y) for c, y in zip(sparc_contexts(regions, sentences, **parameters), sentences, strict=True)]


def limitr_vectors(regions, sentences, *, sharpness):
    """The normalised elementwise product of each sentence with its context, which is GLoRIA's."""
    contexts = gloria_contexts(regions, sentences, sharpness=sharpness)
    return [unit(times(c, y)) for c, y in zip(contexts, sentences, strict=True)]


def vector_attention(vectors, *, state):
    """One number for a list of vectors, pooled by LIMITR's self-attention with their mean as query."""
    mean = tanh(linear(combine([1 / len(vectors)] * len(vectors), vectors), state["mean.weight"], state["mean.bias"]))
    logits = []
    for u in vectors:
        local = tanh(linear(u, state["vector.weight"], state["vector.bias"]))
        logits.append(dot(state["logit.weight"][0], times(local, mean)))
    pooled = unit(combine(softmax(logits), vectors))
    return sigmoid(dot(state["score.weight"][0], pooled) + state["score.bias"][0])


def carzero(regions, sentences, *, state, heads):
    """Each sentence through the decoder without self-attention, and through the head."""
    norm = lambda x, name: layer_norm(x, state[f"{name}.weight"], state[f"{name}.bias"])  # noqa: E731
    apply = lambda x, name: linear(x, state[f"{name}.weight"], state[f"{name}.bias"])  # noqa: E731
    count = lambda name: 1 + max(int(k.split(".")[1]) for k in state if k.startswith(name))  # noqa: E731
    memory = [norm(x, "norm") for x in regions]
    scores = []
    for y in sentences:
        h = norm(y, "norm")
        for i in range(count("decoder.")):
            layer = f"decoder.{i}"
            h = add(h, _attention(norm(h, f"{layer}.before_attention"), memory, state, f"{layer}.attention", heads))
            hidden = relu(apply(norm(h, f"{layer}.before_feedforward"), f"{layer}.feedforward.0"))
            h = add(h, apply(hidden, f"{layer}.feedforward.2"))
        h = norm(h, "norm")
        last = count("mlp.") - 1
        for i in range(0, last, 2):
            h = relu(apply(h, f"mlp.{i}"))
        scores.append(apply(h, f"mlp.{last}")[0])
    return scores


def _attention(x, memory, state, name, heads):
    """Multi-head attention of one query, whose three maps lie below each other in one matrix."""
    weight, bias = state[f"{name}.in_proj_weight"], state[f"{name}.in_proj_bias"]
    dim = len(x)
    part = lambda v, i: linear(v, weight[i * dim : (i + 1) * dim], bias[i * dim : (i + 1) * dim])  # noqa: E731
    q, keys, values = part(x, 0), [part(v, 1) for v in memory], [part(v, 2) for v in memory]
    size = dim // heads
    joined = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        weights = softmax([dot(q[own], k[own]) / math.sqrt(size) for k in keys])
        joined += combine(weights, [v[own] for v in values])
    return linear(joined, state[f"{name}.out_proj.weight"], state[f"{name}.out_proj.bias"])


def lse_sum(scores, *, sharpness):
    """Log-sum-exp without the number of sentences, as GLoRIA and SCAN pool."""
    return math.log(sum(math.exp(sharpness * s) for s in scores)) / sharpness
