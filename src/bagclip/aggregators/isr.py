"""Integrated-segmentation-and-recognition pooling of probabilities: the odds add."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bagclip import segments
from bagclip.aggregators.probability import PoolsProbabilities, Probabilities


class ISR(PoolsProbabilities):
    """Probability whose odds are the sum of a bag's odds, v / (1 + v) with v = sum_n p_n / (1 - p_n).

    With p_n = sigmoid(z_n) it is sigmoid(log sum_n exp(z_n)), which is what is computed: it has no singularity. It is
    at least the largest p_n and grows with the size of the bag (Keeler, Rumelhart and Leow, 1990).

    Args:
        sharpness: see `PoolsProbabilities`.
        threshold: see `PoolsProbabilities`.

    Raises:
        ValueError: see `PoolsProbabilities`.

    Example:
        >>> ISR(sharpness=None).pool_scores(torch.tensor([0.1, 0.5, 0.8]), torch.tensor([3]), dim=0)
        tensor([0.8364])
    """

    replication_invariant = False

    def pool_probabilities(self, probabilities: Probabilities, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsProbabilities`."""
        # The gradient of sigmoid itself, result * (1 - result), would round to 0 near 1.
        return torch.exp(logsigmoid(segments.logsumexp(probabilities.logit, lengths, dim)))
