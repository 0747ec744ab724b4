"""Cross-attention and cosine in closed form: the context vectors are never there.

For an instance y of the other bag, s_n = <x_n, y> and the weights a_n with which it attends to a bag of x_n:

    cos(c, y) = sum_n a_n s_n / (|y| sqrt(a . G a)),   c = sum_n a_n x_n,   G_nm = <x_n, x_m>

so that a local score of GLoRIA or SCAN takes one product of the two bags and one of a bag with itself. With
p = sum_n a_n s_n, q = a . G a and df the gradient of f = p / sqrt(q):

    da = dp s + 2 dq G a,   dp = df / sqrt(q),   dq = -df f / (2 q)
    ds = dp a + what da becomes behind the softmaxes
    dx_n = sum_t ds_nt y_t + 2 (dG x)_n,   dG = sum_t dq_t a_t a_t^T,   dy_t = sum_n ds_nt x_n

The backward pass computes s, a and G again; of what is as large as bags x others only f and sqrt(q) are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, normalize

from bagclip.aggregators.cross_attention import EPSILON as ADDED
from bagclip.aggregators.cross_attention import CrossAttention, Normalise
from bagclip.bags import Bag
from bagclip.scale import value
from bagclip.similarity import Cosine, Dot

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

CPU_BLOCK = 1 << 19
"""Similarities in a block on a CPU, 2 MB of float32: large enough for matrix products at full speed, small enough for
the five blocks that there are to stay in the last cache."""

GPU_BLOCK = 1 << 24
"""Similarities in a block elsewhere, where launching a kernel costs more than memory."""

COLUMNS = 1 << 11
"""Other instances in a block, at most: a block of short bags would else be thin, and thin products are slow."""

LEAST = 1e-12
"""Least length that a vector is divided by, as in `torch.nn.functional.normalize`."""


def attended_cosine(bag: Bag, other: Bag, aggregator: CrossAttention) -> Float[Tensor, "bags others"]:
    """Cosine of each instance of the other bags with what it attends to in each bag.

    It is ``Cosine().pairs(aggregator.pool_given(bag, other), other.instances)`` without these contexts, nor anything
    else that grows with bags x instances x others. Its gradients cannot be differentiated again.

    Args:
        bag: what is attended to, in float32 or float64.
        other: what attends, in the same.
        aggregator: how; its similarity is `Cosine` or `Dot`.

    Raises:
        TypeError: if the similarity is another.

    Example:
        >>> regions, words = Bag.from_list([torch.eye(2)]), Bag.from_list([torch.tensor([[0.0, 2.0]])])
        >>> attended_cosine(regions, words, CrossAttention(sharpness=2.0))
        tensor([[0.9910]])
    """
    similarity, y, lengths = aggregator.similarity, other.instances, other.lengths
    if not isinstance(similarity, Cosine | Dot):
        raise TypeError(f'attention by {similarity!r} has no closed form; compute the score with engine="reference".')
    scale = None if isinstance(similarity, Cosine) else bag.dim**-0.5 if similarity.scaled else 1.0
    if aggregator.normalise == "none":
        lengths = torch.ones(len(y), dtype=torch.int64)
    # Documents of one length lie side by side, so that their instances compete in a dense view.
    order = lengths.repeat_interleave(lengths).argsort(stable=True).to(y.device)
    ragged = bool((lengths != lengths[0]).any())
    y = normalize(y, dim=-1) if scale is None else y
    attention = _Attention(bag.lengths, lengths.sort().values, aggregator.normalise, scale)
    sharpness = value(aggregator.sharpness)
    found: Tensor = _Attended.apply(bag.instances, y.index_select(0, order) if ragged else y, sharpness, attention)
    found = found.index_select(1, order.argsort()) if ragged else found
    if scale is not None:
        found = found / other.instances.norm(dim=-1).clamp_min(LEAST)
    # Where the instances cancel out below their rounding errors, q may be anything: no gradient is better than any.
    return found.clamp(-1.0, 1.0)


class _Attended(torch.autograd.Function):
    """f of each bag with each other instance, which lie by the length of their documents."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, sharpness: float | Tensor, attention: _Attention) -> Tensor:
        found, norms = x.new_empty(2, len(attention.lengths), len(y)).unbind()
        for group in attention.groups(x):
            for tile in group.tiles:
                block = _Block(attention, group, tile, y, float(sharpness))
                a, s, spare = group.each(block.a), group.each(block.s), group.each(block.spare)
                norm = group.quadratic.value(a, spare).clamp_min_(LEAST**2).sqrt_()
                norms[group.bags, tile.columns] = norm
                found[group.bags, tile.columns] = torch.mul(a, s, out=spare).sum(-1).div_(norm)
        ctx.save_for_backward(x, y, found, norms, sharpness if isinstance(sharpness, Tensor) else None)
        ctx.sharpness, ctx.attention = float(sharpness), attention
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        constants = ctx.sharpness, ctx.attention, ctx.needs_input_grad
        return *_Gradient.apply(gradient, *ctx.saved_tensors, *constants), None


class _Gradient(torch.autograd.Function):
    """Gradient of `_Attended`: a function of its own, so as to refuse its own gradient in words."""

    @staticmethod
    def forward(
        ctx: Any,
        gradient: Tensor,
        x: Tensor,
        y: Tensor,
        found: Tensor,
        norms: Tensor,
        learned: Tensor | None,
        sharpness: float,
        attention: _Attention,
        wanted: tuple[bool, ...],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        dx, dy = torch.zeros_like(x) if wanted[0] else None, torch.zeros_like(y) if wanted[1] else None
        d_sharpness = x.new_zeros(())
        every_dp = gradient / norms
        # A norm held at its least has no gradient; otherwise f is blind to the sum of a, which the softmax fixes.
        every_dq2 = torch.where(norms > LEAST, -every_dp * found / norms, 0.0)
        every_shift = torch.where(norms > LEAST, 0.0, gradient * found)
        for group in attention.groups(x):
            d_rows = torch.zeros_like(group.x)
            for tile in group.tiles:
                block = _Block(attention, group, tile, y, sharpness)
                place = group.bags, tile.columns
                dp, dq2, shift = (every[place][..., None] for every in (every_dp, every_dq2, every_shift))
                a, d = group.each(block.a), block.memory("d")
                torch.mul(group.each(block.s), dp, out=group.each(d))
                group.quadratic.add_gradients(a, dq2, group.each(d), group.each(block.spare))
                group.each(d).sub_(shift).mul_(a)
                if wanted[2]:
                    d_sharpness += d.flatten().dot(block.compared.flatten())
                block.uncompete(d.mul_(sharpness))
                if group.lengths is not None:
                    # The cosine is blind to the length of x.
                    turned = torch.mul(d, block.s, out=block.spare).sum(0) / group.lengths**3
                    d_rows.addcmul_(turned.where(group.lengths > LEAST, 0.0)[:, None], group.x, value=-1)
                group.each(d.mul_(group.scale)).addcmul_(a, dp)
                if dx is not None:
                    torch.addmm(d_rows, d.mT, y[tile.columns], out=d_rows)
                if dy is not None:
                    torch.addmm(dy[tile.columns], d, group.x, out=dy[tile.columns])
            if dx is not None:
                group.quadratic.add_to(d_rows.view_as(group.quadratic.x))
                dx[group.rows] = d_rows
        return dx, dy, d_sharpness.to(learned) if learned is not None and wanted[2] else None

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError(
            "the closed form of cross-attention has first derivatives only, and was to be differentiated twice; "
            'compute the score with engine="reference".'
        )


class _Block:
    """Similarities of a group of bags with a tile of other instances, and the attention they make."""

    def __init__(self, attention: _Attention, group: _Group, tile: _Tile, y: Tensor, sharpness: float) -> None:
        others = y[tile.columns]
        self.tile, self.normalise = tile, attention.normalise
        self.memory = partial(group.memory, shape=(len(others), len(group.x)))
        self.s = torch.mm(others, group.x.mT, out=self.memory("s"))
        self.compared = torch.mul(self.s, group.scale, out=self.memory("compared"))
        self.spare = self.memory("spare")
        self._compete()
        self.a = self.memory("a")
        sharp = torch.mul(self.compared, sharpness, out=self.spare)
        torch.softmax(group.each(sharp).transpose(0, 1), 2, out=group.each(self.a).transpose(0, 1))

    def _compete(self) -> None:
        """Normalise similarities over each document's instances, as `CrossAttention.attention` does."""
        if self.normalise == "softmax":
            for u, out in zip(self.tile.documents(self.compared), self.tile.documents(self.spare), strict=True):
                torch.softmax(u, 1, out=out)
            self.compared, self.spare = self.spare, self.compared
        if self.normalise == "l2":
            self.norms = []
            for u in self.tile.documents(leaky_relu(self.compared, 0.1, inplace=True)):
                norm = u.norm(dim=1, keepdim=True)
                self.norms.append(torch.where(norm > 0, norm, 1.0))
                u.div_(self.norms[-1] + ADDED)

    def uncompete(self, d: Float[Tensor, "others rows"]) -> None:
        """Make the gradient of the normalised similarities that of the similarities."""
        if self.normalise == "none":
            return
        products = torch.mul(d, self.compared, out=self.spare)
        totals = [part.sum(1, keepdim=True) for part in self.tile.documents(products)]
        parts = zip(self.tile.documents(d), self.tile.documents(self.compared), totals, strict=True)
        if self.normalise == "softmax":
            for du, u, total in parts:
                du.sub_(total).mul_(u)
        else:
            for (du, u, total), norm in zip(parts, self.norms, strict=True):
                du.addcmul_(u, total * (1 + ADDED / norm), value=-1).div_(norm + ADDED)
            d.mul_(torch.gt(self.compared, 0, out=self.spare).mul_(0.9).add_(0.1))


@dataclass(frozen=True)
class _Attention:
    """What attends to what, and how: the documents by length, and the scale of a dot product, None for the cosine."""

    lengths: Int64[Tensor, "bags"]
    documents: Int64[Tensor, "documents"]
    normalise: Normalise
    scale: float | None

    def groups(self, x: Float[Tensor, "rows dim"]) -> Iterator[_Group]:
        """Bags of one length, as many at a time as make a block with a tile."""
        memory, starts = _Memory(x), self.lengths.cumsum(0) - self.lengths
        for size in self.lengths.unique().tolist():
            tiles = self._tiles(size, _block(x))
            widest = max(tile.columns.stop - tile.columns.start for tile in tiles)
            bags = (self.lengths == size).nonzero().flatten()
            for some in bags.split(max(1, _block(x) // (size * widest))):
                rows = (starts[some, None] + torch.arange(size)).flatten()
                yield _Group(x, _place(some, x), _place(rows, x), size, self.scale, tiles, memory)

    def _tiles(self, size: int, block: int) -> list[_Tile]:
        """Whole documents, as many at a time as make a block with a bag of this size."""
        tiles, width = [_Tile(0, [])], min(COLUMNS, block // size)
        lengths, counts = self.documents.unique(return_counts=True)
        for length, left in zip(lengths.tolist(), counts.tolist(), strict=True):
            while left:
                last = tiles[-1].columns
                # A document is never cut: one that is longer than a tile has a tile of its own.
                taken = min(left, max((last.start + width - last.stop) // length, 0 if tiles[-1].runs else 1))
                if taken:
                    tiles[-1] = _Tile(last.start, [*tiles[-1].runs, (taken, length)])
                    left -= taken
                else:
                    tiles.append(_Tile(last.stop, []))
        return tiles


class _Tile:
    """Some documents: where their instances lie, in runs of (count, length)."""

    def __init__(self, start: int, runs: list[tuple[int, int]]) -> None:
        self.runs = runs
        self.sizes = [count * length for count, length in runs]
        self.columns = slice(start, start + sum(self.sizes))

    def documents(self, block: Float[Tensor, "others rows"]) -> list[Float[Tensor, "count length rows"]]:
        """Views of a block, one for each run."""
        return [part.unflatten(0, run) for part, run in zip(block.split(self.sizes), self.runs, strict=True)]


class _Group:
    """Some bags of one size, and what similarities with them are multiplied by."""

    def __init__(
        self,
        x: Tensor,
        bags: slice | Tensor,
        rows: slice | Tensor,
        size: int,
        scale: float | None,
        tiles: list[_Tile],
        memory: _Memory,
    ) -> None:
        self.bags, self.rows, self.size, self.tiles, self.memory = bags, rows, size, tiles, memory
        self.x = x[rows]
        self.quadratic = (_Gram if size <= x.shape[1] else _Contexts)(self.x.unflatten(0, (-1, size)))
        self.lengths: Tensor | None = None
        self.scale: float | Tensor
        if scale is None:
            self.lengths = self.x.norm(dim=1).clamp_min_(LEAST)
            self.scale = 1 / self.lengths
        else:
            self.scale = scale

    def each(self, block: Float[Tensor, "others rows"]) -> Float[Tensor, "bags others size"]:
        """A block bag by bag."""
        return block.unflatten(1, (-1, self.size)).transpose(0, 1)


class _Gram:
    """q = a . G a, for bags of no more instances than dimensions, whose G is no larger than they are."""

    def __init__(self, x: Float[Tensor, "bags size dim"]) -> None:
        self.x, self.gram = x, x @ x.mT
        self.d_gram = torch.zeros_like(self.gram)

    def value(self, a: Float[Tensor, "bags others size"], spare: Tensor) -> Float[Tensor, "bags others"]:
        """What q is."""
        return torch.bmm(a, self.gram, out=spare).mul_(a).sum(-1)

    def add_gradients(self, a: Tensor, dq2: Float[Tensor, "bags others 1"], da: Tensor, spare: Tensor) -> None:
        """Add to da, and to what x will get."""
        weighted = torch.mul(a, dq2, out=spare)
        torch.baddbmm(da, weighted, self.gram, out=da)
        torch.baddbmm(self.d_gram, weighted.mT, a, out=self.d_gram)

    def add_to(self, dx: Float[Tensor, "bags size dim"]) -> None:
        """Add what x gets."""
        torch.baddbmm(dx, self.d_gram, self.x, out=dx)


class _Contexts:
    """q = |c|^2, for longer bags: a block of contexts is then smaller than one of weights."""

    def __init__(self, x: Float[Tensor, "bags size dim"]) -> None:
        self.x, self.dx = x, torch.zeros_like(x)

    def value(self, a: Float[Tensor, "bags others size"], spare: Tensor) -> Float[Tensor, "bags others"]:
        """What q is."""
        return (a @ self.x).square_().sum(-1)

    def add_gradients(self, a: Tensor, dq2: Float[Tensor, "bags others 1"], da: Tensor, spare: Tensor) -> None:
        """Add to da, and to what x will get."""
        dc = (a @ self.x).mul_(dq2)
        torch.baddbmm(da, dc, self.x.mT, out=da)
        torch.baddbmm(self.dx, a.mT, dc, out=self.dx)

    def add_to(self, dx: Float[Tensor, "bags size dim"]) -> None:
        """Add what x gets."""
        dx.add_(self.dx)


class _Memory:
    """Room for blocks that is used again: to get fresh memory costs more than to fill it."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.rooms: dict[str, Tensor] = {}

    def __call__(self, name: str, shape: tuple[int, int]) -> Float[Tensor, "others rows"]:
        # Matrix products write rows that begin on cache lines a third faster; softmax wants no gaps between them.
        stride = -(-shape[1] // 16) * 16 if name == "s" else shape[1]
        size = shape[0] * stride
        if name not in self.rooms or len(self.rooms[name]) < size:
            self.rooms[name] = self.like.new_empty(size)
        return self.rooms[name][:size].view(shape[0], stride)[:, : shape[1]]


def _block(x: Tensor) -> int:
    return CPU_BLOCK if x.device.type == "cpu" else GPU_BLOCK


def _place(indices: Int64[Tensor, "some"], x: Tensor) -> slice | Tensor:
    """Indices that rise, as a slice if they are one: no copy is then made of what is taken."""
    first, last = int(indices[0]), int(indices[-1])
    return slice(first, last + 1) if last - first + 1 == len(indices) else indices.to(x.device)
