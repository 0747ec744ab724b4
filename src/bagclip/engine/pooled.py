"""Pooled inner products of packed bags in closed form: the tensor of all regions with all sentences is never there.

For regions x_n of image i and a sentence y_t, with s_n = <x_n, y_t> and the key k = argmax_n s_n, three poolings of one
tile of products at a time:

    log-sum-exp   l_it = (1/r) log (1/N) sum_n exp(r s_n)     dx_n = w p_n y_t,  dy_t = sum_n w p_n x_n,  p = softmax(r
    s) maximum       b_it = s_k                                  dx_k = w y_t,      dy_t = w x_k around        u_it =
    <z_k, y_t>                           dz_k = w y_t,      dy_t = w z_k

where w is the gradient of l, b or u. The backward pass computes the tiles again; only the keys are kept, a byte each
where bags have at most 256 regions. With the mean over the sentences of each document taken in place, nothing is left
that is larger than images x documents, but for these keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bagclip import segments
from bagclip.engine.once import once

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

CPU_TILE = 1 << 19
"""Products in a tile on a CPU: two megabytes of float32, which stay in the cache of a core."""

GPU_TILE = 1 << 26
"""Products in a tile elsewhere, where launching a kernel costs more than memory."""

SAFE = 80.0
"""Up to here exp(r s) can be summed as it is in float32; beyond, the maximum is subtracted first."""


@dataclass(frozen=True)
class Pooled:
    """What `pooled` gives, None where it was not asked for.

    Args:
        lse: log-sum-exp over each image's regions, normalised by their number.
        best: maximum.
        around: the product of each key's context.
    """

    lse: Float[Tensor, "images columns"] | None
    best: Float[Tensor, "images columns"] | None
    around: Float[Tensor, "images columns"] | None


def pooled(
    regions: Float[Tensor, "regions dim"],
    lengths: Int64[Tensor, "images"],
    sentences: Float[Tensor, "sentences dim"],
    *,
    contexts: Float[Tensor, "regions dim"] | None = None,
    sharpness: float | Float[Tensor, ""] | None = None,
    best: bool = False,
    documents: Int64[Tensor, "documents"] | None = None,
) -> Pooled:
    """Pool the products of every image's regions with every sentence.

    Args:
        regions: of all images, one after the other; as the similarity wants them, l2-normalised for the cosine.
        lengths: regions an image, on the CPU.
        sentences: of all documents, likewise.
        contexts: of each region, were it the key; asks for ``around``.
        sharpness: r; asks for ``lse``.
        best: asks for ``best``.
        documents: sentences a document; with it the columns are documents, the means of their sentences, else
        sentences.

    Example:
        >>> found = pooled(torch.eye(3), torch.tensor([2, 1]), torch.ones(1, 3), best=True)
        >>> found.best
        tensor([[1.],
                [1.]])
    """
    learned = sharpness if isinstance(sharpness, Tensor) else None
    fixed = None if sharpness is None or learned is not None else float(sharpness)
    lse, maximum, around = _Pooled.apply(regions, sentences, contexts, learned, fixed, best, lengths, documents)
    return Pooled(lse, maximum, around)


class _Pooled(torch.autograd.Function):
    """The three poolings, and their gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        z: Tensor | None,
        learned: Tensor | None,
        fixed: float | None,
        best: bool,
        lengths: Tensor,
        documents: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        sharpness = learned.item() if learned is not None else fixed
        keyed = best or z is not None
        columns = len(y) if documents is None else len(documents)

        def empty(wanted: bool) -> Tensor | None:
            return x.new_zeros(len(lengths), columns) if wanted else None

        lse, maximum, around = empty(sharpness is not None), empty(best), empty(z is not None)
        kept = _smallest_index(int(lengths.max()))
        keys = torch.empty(len(lengths), len(y), dtype=kept, device=x.device) if keyed else None
        sums = _Sums(y, documents)
        safe = _is_safe(x, y, sharpness)
        for tile in _tiles(x, y, lengths):
            s = tile.products(x, y)
            if keyed:
                highest, key = _highest(s)
                assert keys is not None
                keys[tile.bags, tile.columns] = key.to(kept)
                if maximum is not None:
                    sums.add(maximum, tile, highest)
                if around is not None:
                    assert z is not None
                    sums.add(around, tile, tile.products_at(z, key, y[tile.columns]))
            if lse is not None:
                assert sharpness is not None
                total, shift = _exponentials(s, sharpness, safe)
                value = total.log_().sub_(math.log(tile.size)).div_(sharpness)
                sums.add(lse, tile, value if shift is None else value.add_(shift))
        ctx.save_for_backward(x, y, z, keys)
        ctx.sharpness, ctx.safe, ctx.lengths, ctx.documents = sharpness, safe, lengths, documents
        ctx.learned = learned is not None
        return lse, maximum, around

    @staticmethod
    def backward(
        ctx: Any, d_lse: Tensor | None, d_best: Tensor | None, d_around: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        inputs = (*ctx.saved_tensors[:3], d_lse, d_best, d_around)
        with torch.no_grad():
            gradients = _Pooled.gradients(ctx, d_lse, d_best, d_around)
        return (*once(gradients, inputs), None, None, None, None)

    @staticmethod
    def gradients(
        ctx: Any, d_lse: Tensor | None, d_best: Tensor | None, d_around: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Of regions, sentences, contexts and a learned sharpness."""
        x, y, z, keys = ctx.saved_tensors
        sharpness, sums = ctx.sharpness, _Sums(y, ctx.documents)
        d_x, d_y = torch.zeros_like(x), torch.zeros_like(y)
        d_z = None if z is None or d_around is None else torch.zeros_like(z)
        d_sharpness = 0.0
        for tile in _tiles(x, y, ctx.lengths):
            own, columns = tile.take(x), y[tile.columns]
            if d_lse is not None:
                weights = sums.gradient(d_lse, tile)
                powers = tile.products(x, y)
                total, shift = _exponentials(powers, sharpness, ctx.safe)
                powers.mul_((weights / total)[:, None])
                flat = powers.flatten(0, 1)
                into_x = flat @ columns
                tile.give(d_x, into_x)
                d_y[tile.columns].addmm_(flat.mT, own)
                if ctx.learned:
                    # sum_n p_n s_n is <x, dx>: no pass over the tile is needed.
                    value = total.log_().sub_(math.log(tile.size)).div_(sharpness)
                    value = value if shift is None else value.add_(shift)
                    d_sharpness = d_sharpness + ((own * into_x).sum() - (weights * value).sum()) / sharpness
            for gradient, source, target in ((d_best, x, d_x), (d_around, z, d_z)):
                if gradient is None or source is None or target is None:
                    continue
                key = keys[tile.bags, tile.columns].long()
                tile.spread(sums.gradient(gradient, tile), key, source, columns, target, d_y[tile.columns])
        learned = ctx.learned and d_lse is not None
        return d_x, d_y, d_z, torch.as_tensor(d_sharpness, dtype=x.dtype, device=x.device) if learned else None


class _Tile:
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

    def products(self, x: Tensor, y: Tensor) -> Float[Tensor, "images size columns"]:
        return (self.take(x) @ y[self.columns].mT).unflatten(0, (-1, self.size))

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
        """The columns in parts whose vectors, one for each image, are as large as a quarter of a tile."""
        budget = CPU_TILE // 4 if y.device.type == "cpu" else GPU_TILE
        width = max(1, budget // max(1, self._images * y.shape[1]))
        for start in range(0, len(y), width):
            yield slice(start, min(start + width, len(y)))


class _Sums:
    """From sentences to documents, a tile at a time, and back for gradients; or sentences as they are."""

    def __init__(self, y: Tensor, documents: Tensor | None) -> None:
        self.owners = None
        if documents is not None:
            self.owners = segments.owners(documents, y.device)
            self.share = (1 / documents.to(y)).index_select(0, self.owners)

    def add(self, target: Tensor, tile: _Tile, values: Float[Tensor, "images columns"]) -> None:
        if self.owners is None:
            target[tile.bags, tile.columns] = values
        elif isinstance(tile.bags, slice):
            target[tile.bags].index_add_(1, self.owners[tile.columns], values * self.share[tile.columns])
        else:
            part = target[tile.bags]
            part.index_add_(1, self.owners[tile.columns], values * self.share[tile.columns])
            target[tile.bags] = part

    def gradient(self, gradient: Tensor, tile: _Tile) -> Float[Tensor, "images columns"]:
        if self.owners is None:
            return gradient[tile.bags, tile.columns]
        return gradient[tile.bags].index_select(1, self.owners[tile.columns]) * self.share[tile.columns]


def _tiles(x: Tensor, y: Tensor, lengths: Tensor) -> Iterator[_Tile]:
    """All images with all sentences, in tiles of images of one size."""
    budget = CPU_TILE if x.device.type == "cpu" else GPU_TILE
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
                yield _Tile(where, rows, size, slice(start, min(start + width, len(y))))


def _exponentials(
    s: Float[Tensor, "images size columns"], sharpness: float, safe: bool
) -> tuple[Tensor, Tensor | None]:
    """Make products their exponentials, in place; their sums, and what was subtracted before if anything."""
    if safe:
        return s.mul_(sharpness).exp_().sum(1), None
    highest = s.amax(1)
    return s.sub_(highest[:, None]).mul_(sharpness).exp_().sum(1), highest


def _highest(s: Float[Tensor, "images size columns"]) -> tuple[Tensor, Int64[Tensor, "images columns"]]:
    """Maximum over each image's regions and the first region that has it.

    By three simple passes, which on a CPU take a third of the time of ``s.max(1)``.
    """
    highest, size = s.amax(1), s.shape[1]
    countdown = torch.arange(size, 0, -1, dtype=s.dtype, device=s.device)[:, None]
    return highest, size - torch.where(s == highest[:, None], countdown, 0).amax(1).long()


def _is_safe(x: Tensor, y: Tensor, sharpness: float | None) -> bool:
    """Whether exp(r s) neither overflows nor vanishes for any product."""
    if sharpness is None:
        return True
    largest = x.square().sum(1).amax().sqrt() * y.square().sum(1).amax().sqrt()
    return bool(sharpness * largest < SAFE)


def _smallest_index(size: int) -> torch.dtype:
    """The smallest type that counts the instances of a bag."""
    return torch.uint8 if size <= 1 << 8 else torch.int16 if size <= 1 << 15 else torch.int32
