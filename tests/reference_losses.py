"""The losses again, as plain loops over the entries of a matrix, on Python floats."""

from __future__ import annotations

import math


def others(i, excluded, count):
    """The negatives of a row."""
    return [j for j in range(count) if j != i and not excluded[i][j]]


def transpose(matrix):
    return [list(column) for column in zip(*matrix, strict=True)]


def info_nce(logits, excluded):
    total = 0.0
    for i, row in enumerate(logits):
        mass = math.exp(row[i]) + sum(math.exp(row[j]) for j in others(i, excluded, len(logits)))
        total += math.log(mass) - row[i]
    return total / len(logits)


def pairwise_sigmoid(logits, excluded):
    total = 0.0
    for i, row in enumerate(logits):
        total += math.log(1 + math.exp(-row[i]))
        total += sum(math.log(1 + math.exp(row[j])) for j in others(i, excluded, len(logits)))
    return total / len(logits)


def hinge(scores, margin, hardest, excluded):
    total = 0.0
    for i, row in enumerate(scores):
        costs = [max(0.0, margin - row[i] + row[j]) for j in others(i, excluded, len(scores))]
        total += (max(costs) if hardest else sum(costs)) if costs else 0.0
    return total


def mutual_information(scores, bound, excluded):
    count = len(scores)
    negatives = [scores[i][j] for i in range(count) for j in others(i, excluded, count)]
    if not negatives:
        return 0.0
    mass = math.log(sum(math.exp(value) for value in negatives))
    return sum(scores[i][i] for i in range(count)) / count - mass + (math.log(len(negatives)) if bound == "dv" else 0.0)


def debiased(logits, prior, lowest, excluded):
    """As in the code of Chuang et al., in powers and not in logarithms."""
    total = 0.0
    for i, row in enumerate(logits):
        negatives = others(i, excluded, len(logits))
        if not negatives:
            continue
        left_out = len(logits) - 1 - len(negatives)
        share = max(0.0, (prior[i] * (len(logits) - 1) - left_out) / len(negatives))
        positive, count = math.exp(row[i]), len(negatives)
        rest = (sum(math.exp(row[j]) for j in negatives) - share * count * positive) / (1 - share)
        total -= math.log(positive / (positive + max(rest, count * math.exp(lowest))))
    return total / len(logits)


def softmax(values):
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def soft_cross_entropy(logits, targets):
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        total -= sum(q * math.log(p) for p, q in zip(softmax(row), target, strict=True))
    return total / len(logits)


def cosine(a, b):
    norms = math.sqrt(sum(u * u for u in a)) * math.sqrt(sum(v * v for v in b))
    return sum(u * v for u, v in zip(a, b, strict=True)) / norms if norms else 0.0


def attended(query, rows, sharpness):
    """Mean of rows weighted by the softmax of their cosine with a query."""
    weights = softmax([sharpness * cosine(query, row) for row in rows])
    return [sum(w * row[d] for w, row in zip(weights, rows, strict=True)) for d in range(len(query))]


def positives(count, grid, radius):
    """Which regions a region means, one grid a view: all within the radius, by their distance."""
    table = []
    for n in range(count):
        weights = []
        for k in range(count):
            cells = grid[0] * grid[1]
            rows, columns = n % cells // grid[1] - k % cells // grid[1], n % grid[1] - k % grid[1]
            distance = math.hypot(rows, columns) / math.hypot(*grid)
            near = n // cells == k // cells and distance <= radius + 1e-9
            weights.append(math.exp(-distance) if near else 0.0)
        table.append([weight / sum(weights) for weight in weights])
    return table


def within_pair(bags, tokens, sharpness, temperature, grid=None, radius=0.0):
    """The bags are pooled for each token of the other side; the mean over tokens, then over pairs."""
    total = 0.0
    for rows, own in zip(bags, tokens, strict=True):
        pooled = [attended(token, rows, sharpness) for token in own]
        logits = [[cosine(c, y) / temperature for y in own] for c in pooled]
        if grid is None:
            targets = [[float(m == k) for k in range(len(own))] for m in range(len(own))]
        else:
            targets = positives(len(own), grid, radius)
        total += soft_cross_entropy(logits, targets) + soft_cross_entropy(transpose(logits), targets)
    return total / (2 * len(tokens))
