"""The score aggregators again, as plain loops over one bag: a list of floats and the class's arguments give a float."""

from __future__ import annotations

import math


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def probabilities(scores, sharpness, threshold):
    return list(scores) if sharpness is None else [sigmoid(sharpness * (s - threshold)) for s in scores]


def mean(scores):
    return sum(scores) / len(scores)


def maximum(scores):
    return max(scores)


def top_k(scores, k):
    if isinstance(k, float):
        # The smallest count that is no less than the share.
        k = next(count for count in range(1, len(scores) + 1) if count >= k * len(scores) - 1e-9)
    return mean(sorted(scores, reverse=True)[:k])


def log_sum_exp(scores, sharpness, normalised=True):
    total = sum(math.exp(sharpness * s) for s in scores)
    return math.log(total / len(scores) if normalised else total) / sharpness


def exp_softmax(scores, sharpness=1.0):
    powers = [math.exp(sharpness * s) for s in scores]
    return sum(w * s for w, s in zip(powers, scores, strict=True)) / sum(powers)


def auto_pool(scores, alpha):
    return exp_softmax(scores, alpha)


def generalised_mean(scores, power, sharpness=10.0, threshold=0.0):
    return mean([p**power for p in probabilities(scores, sharpness, threshold)]) ** (1 / power)


def noisy_or(scores, sharpness=10.0, threshold=0.0):
    none = 1.0
    for p in probabilities(scores, sharpness, threshold):
        none *= 1 - p
    return 1 - none


def isr(scores, sharpness=10.0, threshold=0.0):
    p = probabilities(scores, sharpness, threshold)
    if 1.0 in p:
        return 1.0
    odds = sum(q / (1 - q) for q in p)
    return odds / (1 + odds)


def noisy_and(scores, slope=10.0, share=0.5, sharpness=10.0, threshold=0.0):
    m = mean(probabilities(scores, sharpness, threshold))
    low, high = sigmoid(-slope * share), sigmoid(slope * (1 - share))
    return (sigmoid(slope * (m - share)) - low) / (high - low)


def linear_softmax(scores, sharpness=10.0, threshold=0.0):
    p = probabilities(scores, sharpness, threshold)
    return sum(q * q for q in p) / sum(p) if sum(p) else 0.0
