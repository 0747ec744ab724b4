"""Bags: a batch of variable-size sets, packed end to end so that no padding exists.

A batch of bags is one matrix of *instances* and one vector of *lengths*. Nothing is ever padded, so nothing has to be
masked, and a padded row can never win a maximum or add mass to a log-sum-exp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bagclip import segments

if TYPE_CHECKING:
    from jaxtyping import Float, Int64


@dataclass(frozen=True, eq=False)
class Bag:
    """A batch of bags: region features of images, or sentence features of documents.

    Args:
        instances: ``Float[Tensor, "total dim"]``, the instances of all bags, one bag after the other.
        lengths: ``Int64[Tensor, "bags"]``, how many instances each bag has; on the CPU, each at least 1.
        grid: for images, (rows, columns) of the region grid in row-major order. A bag then holds one grid for each
            view of its study, so every length is a multiple of rows * columns.

    Raises:
        ValueError: if a bag is empty, lengths do not add up to the instances, or the grid does not divide them.

    Example:
        >>> import torch
        >>> bag = Bag.from_list([torch.zeros(2, 8), torch.zeros(3, 8)])
        >>> len(bag), bag.dim, bag.lengths.tolist()
        (2, 8, [2, 3])
        >>> [tuple(rows.shape) for rows in bag]
        [(2, 8), (3, 8)]
    """

    instances: Float[Tensor, "total dim"]
    lengths: Int64[Tensor, "bags"]
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.instances.ndim != 2 or not self.instances.is_floating_point():
            raise ValueError(
                f"instances must be a floating-point matrix (total, dim), got {tuple(self.instances.shape)} "
                f"of {self.instances.dtype}; for a list of matrices use Bag.from_list."
            )
        if self.lengths.ndim != 1 or self.lengths.dtype != torch.int64 or self.lengths.device.type != "cpu":
            raise ValueError(
                f"lengths must be an int64 vector on the CPU, got {tuple(self.lengths.shape)} "
                f"of {self.lengths.dtype} on {self.lengths.device}."
            )
        sizes = self.lengths.tolist()
        if not sizes:
            raise ValueError("there are no bags; give at least one.")
        empty = [i for i, size in enumerate(sizes) if size < 1]
        if empty:
            raise ValueError(f"bags {empty[:10]} are empty; a bag needs at least one instance to have a score.")
        if sum(sizes) != self.instances.shape[0]:
            raise ValueError(f"lengths add up to {sum(sizes)}, but there are {self.instances.shape[0]} instances.")
        if self.grid is not None:
            cells = self.grid[0] * self.grid[1]
            ragged = [i for i, size in enumerate(sizes) if size % cells]
            if ragged:
                raise ValueError(
                    f"bags {ragged[:10]} do not hold whole {self.grid[0]} x {self.grid[1]} grids: "
                    f"lengths {[sizes[i] for i in ragged[:10]]} are no multiples of {cells}."
                )

    @classmethod
    def from_list(cls, bags: Sequence[Float[Tensor, "instances dim"]], names: Sequence[str] | None = None) -> Bag:
        """Pack a list of matrices, one a bag; ``names`` (study ids, say) are used in error sentences."""
        if not bags:
            raise ValueError("cannot pack zero bags; give at least one (instances, dim) matrix.")
        name = (lambda i: f"bag {names[i]!r}") if names is not None else (lambda i: f"bag {i}")
        for i, rows in enumerate(bags):
            if rows.ndim != 2:
                raise ValueError(f"{name(i)} must be a matrix (instances, dim), got shape {tuple(rows.shape)}.")
            if rows.shape[0] == 0:
                raise ValueError(f"{name(i)} is empty; a bag needs at least one instance to have a score.")
            if rows.shape[1] != bags[0].shape[1]:
                raise ValueError(
                    f"{name(i)} has dim {rows.shape[1]}, but {name(0)} has dim {bags[0].shape[1]}; all must agree."
                )
        return cls(torch.cat(list(bags)), torch.tensor([len(rows) for rows in bags]))

    @classmethod
    def dense(cls, bags: Float[Tensor, "bags instances dim"], grid: tuple[int, int] | None = None) -> Bag:
        """Pack bags that all have one length."""
        count, size, dim = bags.shape
        return cls(bags.reshape(count * size, dim), torch.full((count,), size, dtype=torch.int64), grid)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[Float[Tensor, "instances dim"]]:
        return iter(self.instances.split(self.lengths.tolist()))

    @property
    def dim(self) -> int:
        """Size of an instance."""
        return self.instances.shape[1]

    @cached_property
    def owners(self) -> Int64[Tensor, "total"]:
        """The bag each instance belongs to, on the instances' device."""
        return segments.owners(self.lengths, self.instances.device)

    def with_instances(self, instances: Float[Tensor, "total other_dim"]) -> Bag:
        """The same bags with other features of their instances, as after a projection."""
        return Bag(instances, self.lengths, self.grid)

    def singletons(self) -> Bag:
        """Every instance as a bag of its own."""
        return Bag(self.instances, torch.ones(len(self.instances), dtype=torch.int64))

    def select(self, indices: Sequence[int]) -> Bag:
        """The bags at these indices, in this order, repeats allowed."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        lengths, starts = self.lengths[chosen], self.lengths.cumsum(0) - self.lengths
        shift = starts[chosen] - (lengths.cumsum(0) - lengths)
        rows = torch.arange(int(lengths.sum())) + shift.repeat_interleave(lengths)
        return Bag(self.instances[rows.to(self.instances.device)], lengths, self.grid)

    def split(self, bags: int) -> Iterator[Bag]:
        """The same bags in batches of at most ``bags``."""
        batches = self.lengths.split(bags)
        pieces = self.instances.split([int(lengths.sum()) for lengths in batches])
        for lengths, instances in zip(batches, pieces, strict=True):
            yield Bag(instances, lengths, self.grid)

    def to(self, target: torch.device | str | torch.dtype) -> Bag:
        """The bags with instances moved to a device or dtype; lengths stay on the CPU."""
        return self.with_instances(self.instances.to(target))

    @staticmethod
    def concatenate(bags: Sequence[Bag]) -> Bag:
        """Several batches of bags as one."""
        return Bag(torch.cat([b.instances for b in bags]), torch.cat([b.lengths for b in bags]), bags[0].grid)
