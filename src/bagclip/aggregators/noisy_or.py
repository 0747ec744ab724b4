"""Noisy-OR pooling of probabilities: at least one instance is positive."""

from __future__ import annotations

import torch
from torch import Tensor

from bagclip import segments
from bagclip.aggregators.probability import PoolsProbabilities, Probabilities


class NoisyOr(PoolsProbabilities):
    """Probability that at least one of a bag's independent instances is positive, 1 - prod_n (1 - p_n).

    It is at least the largest p_n and grows with the size of the bag: of many instances nearly every bag is positive
    (Maron and Lozano-Pérez, 1998; Viola, Platt and Zhang, 2005).

    Args:
        sharpness: see `PoolsProbabilities`.
        threshold: see `PoolsProbabilities`.

    Raises:
        ValueError: see `PoolsProbabilities`.

    Example:
        >>> NoisyOr(sharpness=None).pool_scores(torch.tensor([0.1, 0.5, 0.8]), torch.tensor([3]), dim=0)
        tensor([0.9100])
    """

    replication_invariant = False

    def pool_probabilities(self, probabilities: Probabilities, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsProbabilities`."""
        log_none = segments.sum(probabilities.log_complement, lengths, dim)
        # expm1 keeps small probabilities exact; near 1 its gradient, result + 1, would round to 0.
        return torch.where(log_none < -1, 1 - log_none.exp(), -torch.expm1(log_none))
