"""What is known about a batch of pairs beside the pairs themselves."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Known:
    """What is known about a batch of pairs beside the pairs themselves; each loss reads what it needs.

    Args:
        same: ``same[i, j]`` says that document j describes image i as well, so is no negative.
        labels: what each pair shows, 1 for present and 0 for absent.
        prior: for each pair, the probability that another pair, drawn at random, is of its class, so a false negative.

    Example:
        >>> Known(same=torch.eye(3, dtype=torch.bool)).labels is None
        True
    """

    same: Bool[Tensor, "pairs pairs"] | None = None
    labels: Float[Tensor, "pairs classes"] | None = None
    prior: Float[Tensor, " pairs"] | None = None

    @property
    def T(self) -> Known:
        """The same with images and documents exchanged."""
        return self if self.same is None else Known(self.same.mT, self.labels, self.prior)

    def to(self, device: torch.device | str) -> Known:
        """What is known, on a device."""
        values = (getattr(self, field.name) for field in fields(self))
        return Known(*(None if value is None else value.to(device) for value in values))
