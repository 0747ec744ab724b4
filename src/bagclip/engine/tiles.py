"""Tiles: the products of some images' regions with some sentences, one after the other in memory that is taken once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bagclip import segments

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

CPU_TILE = 1 << 19
"""Products in a tile on a CPU: two megabytes of float32, which stay in the cache of a core."""

GPU_TILE = 1 << 26
"""Products in a tile elsewhere, where launching a kernel costs more than memory."""

SAFE = 80.0
"""While sums of exp(r s) are within exp(-80) and exp(80), they are taken as they are, in float32 as well; beyond, the
maximum is subtracted first."""


class Tile:
    """The products of some images of one size with some sentences."""

    def __init__(self, bags: Tensor | slice, rows: Tensor | slice, size: int, columns: slice) -> None:
        self.bags, self.rows, self.size, self.columns = bags, rows, size, columns
        count = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        self._images = count // size

    def take(self, values: Tensor) -> Float[Tensor, "rows dim"]:
        """The rows of these images."""
        return values[self.rows]

    def give(self, target: Tensor, values: Float[Tensor, "rows dim"]) -> None:
        """Add to the rows of these images."""
        if isinstance(self.rows, slice):
            target[self.rows] += values
        else:
            target.index_add_(0, self.rows, values)

    def products(self, x: Tensor, y: Tensor, scale: float, room: Room) -> Float[Tensor, "images size columns"]:
        """Of all rows with all columns, times a number."""
        rows, columns = self.take(x), y[self.columns]
        target = room.products[: len(rows) * len(columns)].view(len(rows), len(columns))
        torch.addmm(target, rows, columns.mT, beta=0, alpha=scale, out=target)
        return target.unflatten(0, (-1, self.size))

    def _places(self, key: Tensor) -> Tensor:
        """Packed rows of keys."""
        if isinstance(self.rows, slice):
            first = torch.arange(self.rows.start, self.rows.stop, self.size, device=key.device)
        else:
            first = self.rows[:: self.size]
        return (first[:, None] + key).flatten()

    def products_at(
        self, values: Tensor, key: Int64[Tensor, "images columns"], y: Float[Tensor, "columns dim"]
    ) -> Float[Tensor, "images columns"]:
        """The products of the keys' rows with the columns' sentences."""
        found = torch.empty(key.shape, dtype=y.dtype, device=y.device)
        for part in self._parts(y):
            rows = values.index_select(0, self._places(key[:, part])).unflatten(0, (len(key), -1))
            torch.sum(rows.mul_(y[part]), -1, out=found[:, part])
        return found

    def spread(
        self,
        weights: Float[Tensor, "images columns"],
        key: Int64[Tensor, "images columns"],
        source: Tensor,
        y: Float[Tensor, "columns dim"],
        into_source: Tensor,
        into_y: Float[Tensor, "columns dim"],
    ) -> None:
        """Add the gradients of `products_at` to the keys' rows and to the sentences."""
        for part in self._parts(y):
            places, weight = self._places(key[:, part]), weights[:, part, None]
            rows = source.index_select(0, places).unflatten(0, (len(key), -1))
            into_y[part] += rows.mul_(weight).sum(0)
            into_source.index_add_(0, places, torch.mul(y[part], weight, out=rows).flatten(0, 1))

    def _parts(self, y: Tensor) -> Iterator[slice]:
        """The columns in parts whose vectors, one for each image, are as large as half of a tile."""
        budget = CPU_TILE // 2 if y.device.type == "cpu" else GPU_TILE
        width = max(1, budget // max(1, self._images * y.shape[1]))
        for start in range(0, len(y), width):
            yield slice(start, min(start + width, len(y)))


class Room:
    """Memory for a tile, taken once: a tile that is allocated anew costs as much time as its exponentials."""

    def __init__(self, x: Tensor, y: Tensor, lengths: Tensor) -> None:
        self.products = x.new_empty(min(max(budget_of(x), int(lengths.max())), len(x) * len(y)))
        self._scratch: Tensor | None = None

    def scratch(self) -> Tensor:
        """As much again."""
        if self._scratch is None:
            self._scratch = torch.empty_like(self.products)
        return self._scratch


class Sums:
    """From sentences to documents, a tile at a time, and back for gradients; or sentences as they are."""

    def __init__(self, y: Tensor, documents: Tensor | None) -> None:
        self.owners = None
        if documents is not None:
            self.owners = segments.owners(documents, y.device)
            self.share = (1 / documents.to(y)).index_select(0, self.owners)

    def add(self, target: Tensor, tile: Tile, values: Float[Tensor, "images columns"]) -> None:
        """Add what a tile gives to a table."""
        if self.owners is None:
            target[tile.bags, tile.columns] = values
        elif isinstance(tile.bags, slice):
            target[tile.bags].index_add_(1, self.owners[tile.columns], values * self.share[tile.columns])
        else:
            part = target[tile.bags]
            part.index_add_(1, self.owners[tile.columns], values * self.share[tile.columns])
            target[tile.bags] = part

    def gradient(self, gradient: Tensor, tile: Tile) -> Float[Tensor, "images columns"]:
        """The gradient of what a tile gave."""
        if self.owners is None:
            return gradient[tile.bags, tile.columns]
        return gradient[tile.bags].index_select(1, self.owners[tile.columns]) * self.share[tile.columns]


def tiles(x: Tensor, y: Tensor, lengths: Tensor) -> Iterator[Tile]:
    """All images with all sentences, in tiles of images of one size."""
    budget = budget_of(x)
    sizes = lengths.unique().tolist()
    starts = lengths.cumsum(0) - lengths
    for size in sizes:
        # About as many rows as columns make the best products; a bag that is larger than a tile has narrow ones.
        together = max(1, round(budget**0.5) // size)
        width = max(1, budget // (size * together))
        bags = (lengths == size).nonzero().flatten()
        for group in bags.split(together):
            if len(sizes) == 1:
                first, last = int(group[0]), int(group[-1]) + 1
                where: Tensor | slice = slice(first, last)
                rows: Tensor | slice = slice(first * size, last * size)
            else:
                where = group.to(x.device)
                rows = (starts[group, None] + torch.arange(size)).flatten().to(x.device)
            for start in range(0, len(y), width):
                yield Tile(where, rows, size, slice(start, min(start + width, len(y))))


def budget_of(x: Tensor) -> int:
    """Products in a tile where these features are."""
    return CPU_TILE if x.device.type == "cpu" else GPU_TILE


def exponentials(s: Float[Tensor, "images size columns"], safe: bool) -> tuple[Tensor, Tensor | None]:
    """Make products their exponentials, in place; their sums, and what was subtracted before if anything."""
    if safe:
        return s.exp_().sum(1), None
    highest = s.amax(1)
    return s.sub_(highest[:, None]).exp_().sum(1), highest


def highest_of(s: Float[Tensor, "images size columns"], room: Room) -> tuple[Tensor, Int64[Tensor, "images columns"]]:
    """Maximum over each image's regions and the first region that has it.

    By four simple passes, which on a CPU take half of the time of ``s.max(1)``.
    """
    highest, size = s.amax(1), s.shape[1]
    countdown = torch.arange(size, 0, -1, dtype=s.dtype, device=s.device)[:, None]
    scratch = room.scratch()[: s.numel()].view(s.shape)
    return highest, size - torch.ge(s, highest[:, None], out=scratch).mul_(countdown).amax(1).long()


def is_safe(x: Tensor, y: Tensor, sharpness: float, lengths: Tensor) -> bool:
    """Whether sums of exp(r s) over a bag neither overflow nor vanish, whatever its products are."""
    longest = [torch.linalg.vector_norm(rows, dim=1).amax() for rows in (x, y)]
    return bool(sharpness * longest[0] * longest[1] + math.log(int(lengths.max())) < SAFE)


def smallest_index(size: int) -> torch.dtype:
    """The smallest type that counts the instances of a bag."""
    return torch.uint8 if size <= 1 << 8 else torch.int16 if size <= 1 << 15 else torch.int32
