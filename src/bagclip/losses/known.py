"""What is known about a batch of pairs beside the pairs themselves."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bagclip.engine.distributed import Share

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64


@dataclass(frozen=True)
class Known:
    """What is known about a batch of pairs beside the pairs themselves; each loss reads what it needs.

    Args:
        same: ``same[i, j]`` says that document j describes image i as well, so is no negative. It tells of the pairs of
            one process; where several work together, give keys.
        labels: what each pair shows, 1 for present and 0 for absent.
        prior: for each pair, the probability that another pair, drawn at random, is of its class, so a false negative.
        keys: numbers of each pair, of its study and of its wording, say: in place of ``same``, two pairs are the same
            where they have any of these numbers in common.

    Raises:
        ValueError: if both ``same`` and ``keys`` are given, or one is no matrix of its type.

    Example:
        >>> Known(keys=torch.tensor([[7, 1], [7, 2], [8, 3]])).alike
        tensor([[ True,  True, False],
                [ True,  True, False],
                [False, False,  True]])
    """

    same: Bool[Tensor, "pairs pairs"] | None = None
    labels: Float[Tensor, "pairs classes"] | None = None
    prior: Float[Tensor, " pairs"] | None = None
    keys: Int64[Tensor, "pairs kinds"] | None = None

    def __post_init__(self) -> None:
        if self.same is not None and self.keys is not None:
            raise ValueError("which pairs are the same is told by keys or by the matrix same; give one of them.")
        if self.same is not None and (self.same.dtype != torch.bool or self.same.ndim != 2):
            raise ValueError(f"same is a boolean matrix, got {tuple(self.same.shape)} of {self.same.dtype}.")
        if self.keys is not None and (self.keys.dtype != torch.int64 or self.keys.ndim != 2):
            raise ValueError(f"keys are int64 (pairs, kinds), got {tuple(self.keys.shape)} of {self.keys.dtype}.")

    @property
    def alike(self) -> Bool[Tensor, "pairs pairs"] | None:
        """Which pairs are the same, or None if nothing is known of it."""
        return self.same if self.keys is None else _alike(self.keys, self.keys)

    def to(self, device: torch.device | str) -> Known:
        """What is known, on a device."""
        values = (getattr(self, field.name) for field in fields(self))
        return Known(*(None if value is None else value.to(device) for value in values))

    def rows(self, share: Share) -> Bool[Tensor, "own pairs"] | None:
        """Which pairs of all processes are the same as each of this one's, or None if nothing is known of it."""
        if share.alone:
            return self.alike
        self._check(share)
        return None if self.keys is None else _alike(self.keys, share.gather(self.keys))

    def gather(self, share: Share) -> Known:
        """What is known of the pairs of all processes."""
        if share.alone:
            return self
        self._check(share)
        values = (getattr(self, field.name) for field in fields(self))
        return Known(*(None if value is None else share.gather(value) for value in values))

    def _check(self, share: Share) -> None:
        if self.same is not None:
            raise ValueError(
                f"the matrix same tells of the pairs of one process, but {len(share.pairs)} work together; give "
                "Known(keys=...), which tell the pairs of all of them apart."
            )


def _alike(own: Int64[Tensor, "own kinds"], every: Int64[Tensor, "pairs kinds"]) -> Bool[Tensor, "own pairs"]:
    return (own[:, None] == every).any(-1)
