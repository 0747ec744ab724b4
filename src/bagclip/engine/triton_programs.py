"""The programs that run on the GPU, in Triton; `bagclip.engine.triton_kernels` launches them.

A tile has sentences as its rows and regions of one bag as its columns, so that pooling runs along a row. Every program
sums an entry of a tile over the dimension in the same steps of BLOCK_D, so that the backward pass meets the numbers of
the forward pass again. Offsets of tiles are 64 bits wide, those within a tile 32.

Names: T sentences, D dimension; a ``None`` in the place of a pointer leaves its part out when the program is compiled.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# Arguments are what Triton makes of tensors and numbers; they have no types that a type checker knows.

from __future__ import annotations

from typing import Any

try:
    import triton  # type: ignore[import-not-found, unused-ignore]
    import triton.language as tl  # type: ignore[import-not-found, unused-ignore]

    jit: Any = triton.jit
except ImportError:  # never launched then, but read by what collects doctests
    from functools import partial as jit


@jit
def product(a, b, total, WIDEN: tl.constexpr):
    """``total`` + a b. Triton's interpreter multiplies the bit patterns of bfloat16, hence WIDEN there: it is exact."""
    if WIDEN:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, total, input_precision="ieee")


@jit
def similarities(
    x,
    y,
    regions,
    sentences,
    D: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """A tile of <y_t, x_n>; zeros beyond so many sentences and regions."""
    t, n, d = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    s = tl.zeros([BLOCK_T, BLOCK_N], tl.float32)
    for first in range(0, D, BLOCK_D):
        rows = tl.load(y + t[:, None] * D + (first + d)[None, :], mask=t[:, None] < sentences, other=0.0)
        columns = tl.load(x + n[None, :] * D + (first + d)[:, None], mask=n[None, :] < regions, other=0.0)
        s = product(rows, columns, s, WIDEN)
    return s


@jit
def pool(
    x,
    y,
    z,
    sharpness,
    starts,
    lse,
    best,
    around,
    key,
    T,
    D: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """One tile of sentences with all regions of one bag: lse, best, around and key of each."""
    tiles = tl.cdiv(T, BLOCK_T)
    bag = (tl.program_id(0) // tiles).to(tl.int64)
    t0 = tl.program_id(0) % tiles * BLOCK_T
    start = tl.load(starts + bag)
    length = (tl.load(starts + bag + 1) - start).to(tl.int32)
    t, n = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_N)
    y += tl.cast(t0, tl.int64) * D
    highest = tl.full([BLOCK_T], float("-inf"), tl.float32)
    where = tl.zeros([BLOCK_T], tl.int32)
    total = tl.zeros([BLOCK_T], tl.float32)
    if lse is not None:
        rate = tl.load(sharpness) * 1.4426950408889634
    for first in range(0, length, BLOCK_N):
        s = similarities(x + (start + first) * D, y, length - first, T - t0, D, BLOCK_T, BLOCK_N, BLOCK_D, WIDEN)
        s = tl.where(n[None, :] < length - first, s, float("-inf"))
        higher = tl.max(s, 1)
        if key is not None:
            place = tl.min(tl.where(s == higher[:, None], n[None, :], BLOCK_N), 1)
            where = tl.where(higher > highest, first + place, where)
        higher = tl.maximum(highest, higher)
        if lse is not None:
            total *= tl.exp2(rate * (highest - higher))
            total += tl.sum(tl.exp2(rate * (s - higher[:, None])), 1)
        highest = higher
    here = bag * T + t0
    if lse is not None:
        tl.store(lse + here + t, highest + tl.log2(total) / rate, mask=t < T - t0)
    if best is not None:
        tl.store(best + here + t, highest, mask=t < T - t0)
    if key is not None:
        tl.store(key + here + t, start.to(tl.int32) + where, mask=t < T - t0)
    if around is not None:
        value = tl.zeros([BLOCK_T], tl.float32)
        z += start * D
        for first in range(0, D, BLOCK_D):
            d = first + tl.arange(0, BLOCK_D)
            context = tl.load(z + where.to(tl.int64)[:, None] * D + d[None, :])
            rows = tl.load(y + t[:, None] * D + d[None, :], mask=t[:, None] < T - t0, other=0.0)
            value += tl.sum(context.to(tl.float32) * rows.to(tl.float32), 1)
        tl.store(around + here + t, value, mask=t < T - t0)


@jit
def regions_gradient(
    x,
    y,
    sharpness,
    starts,
    bags,
    firsts,
    lse,
    key,
    soft,
    hard,
    unit,
    gradient,
    slope,
    T,
    D: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_O: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """BLOCK_O entries of BLOCK_N regions of one bag: sum_t (soft p + hard [n = key]) y_t; its slope, soft p (s - lse).

    Bags and firsts say, for each block of regions, its bag and its first row; weights are divided by unit before they
    are rounded to the precision of y, and the sum is multiplied by it.
    """
    parts: tl.constexpr = (D + BLOCK_O - 1) // BLOCK_O
    block = tl.program_id(0) // parts
    part = tl.program_id(0) % parts
    bag, row = tl.load(bags + block), tl.load(firsts + block)
    regions = (tl.load(starts + bag + 1) - row).to(tl.int32)
    t, n, o = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_N), part * BLOCK_O + tl.arange(0, BLOCK_O)
    scale = 1.0
    if unit is not None:
        scale = tl.load(unit)
    if soft is not None:
        rate = tl.load(sharpness) * 1.4426950408889634
    total = tl.zeros([BLOCK_N, BLOCK_O], tl.float32)
    steepness = tl.zeros([BLOCK_N], tl.float32)
    for t0 in range(0, T, BLOCK_T):
        here = bag * T + t0
        rows = y + tl.cast(t0, tl.int64) * D
        share = tl.zeros([BLOCK_T, BLOCK_N], tl.float32)
        if soft is not None:
            s = similarities(x + row * D, rows, regions, T - t0, D, BLOCK_T, BLOCK_N, BLOCK_D, WIDEN)
            s -= tl.load(lse + here + t, mask=t < T - t0, other=0.0)[:, None]
            weight = tl.load(soft + here + t, mask=t < T - t0, other=0.0) / scale
            share = weight[:, None] * tl.exp2(tl.where(n[None, :] < regions, rate * s, float("-inf")))
            if slope is not None:
                steepness += tl.sum(share * s, 0)
        if hard is not None:
            weight = tl.load(hard + here + t, mask=t < T - t0, other=0.0) / scale
            chosen = tl.load(key + here + t, mask=t < T - t0, other=-1)
            share += tl.where(chosen[:, None] == row.to(tl.int32) + n[None, :], weight[:, None], 0.0)
        entries = tl.load(rows + t[:, None] * D + o[None, :], mask=(t[:, None] < T - t0) & (o[None, :] < D), other=0.0)
        total = product(tl.trans(share.to(y.dtype.element_ty)), entries, total, WIDEN)
    mask = (n[:, None] < regions) & (o[None, :] < D)
    total = (total * scale).to(gradient.dtype.element_ty)
    tl.store(gradient + row * D + n[:, None] * D + o[None, :], total, mask=mask)
    if slope is not None:
        tl.store(slope + block, tl.sum(steepness, 0) * scale, mask=part == 0)


@jit
def sentences_gradient(
    x,
    y,
    sharpness,
    starts,
    lse,
    key,
    soft,
    hard,
    unit,
    gradient,
    B,
    T,
    group,
    D: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_O: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """BLOCK_O entries of BLOCK_T sentences: sum over the bags of one group of soft sum_n p x_n + hard x_key."""
    parts: tl.constexpr = (D + BLOCK_O - 1) // BLOCK_O
    tiles = tl.cdiv(T, BLOCK_T)
    part = tl.program_id(0) % parts
    t0 = tl.program_id(0) // parts % tiles * BLOCK_T
    which = tl.program_id(0) // parts // tiles
    t, n, o = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_N), part * BLOCK_O + tl.arange(0, BLOCK_O)
    rows = y + tl.cast(t0, tl.int64) * D
    scale = 1.0
    if unit is not None:
        scale = tl.load(unit)
    if soft is not None:
        rate = tl.load(sharpness) * 1.4426950408889634
    total = tl.zeros([BLOCK_T, BLOCK_O], tl.float32)
    for bag in range(which * group, tl.minimum(B, (which + 1) * group)):
        here = tl.cast(bag, tl.int64) * T + t0
        if soft is not None:
            start = tl.load(starts + bag)
            length = (tl.load(starts + bag + 1) - start).to(tl.int32)
            level = tl.load(lse + here + t, mask=t < T - t0, other=0.0)
            weight = tl.load(soft + here + t, mask=t < T - t0, other=0.0) / scale
            for first in range(0, length, BLOCK_N):
                columns = x + (start + first) * D
                s = similarities(columns, rows, length - first, T - t0, D, BLOCK_T, BLOCK_N, BLOCK_D, WIDEN)
                s = tl.where(n[None, :] < length - first, rate * (s - level[:, None]), float("-inf"))
                share = weight[:, None] * tl.exp2(s)
                entries = tl.load(
                    columns + n[:, None] * D + o[None, :],
                    mask=(n[:, None] < length - first) & (o[None, :] < D),
                    other=0.0,
                )
                total = product(share.to(x.dtype.element_ty), entries, total, WIDEN)
        if hard is not None:
            weight = tl.load(hard + here + t, mask=t < T - t0, other=0.0) / scale
            chosen = tl.load(key + here + t, mask=t < T - t0, other=0).to(tl.int64)
            entries = tl.load(
                x + chosen[:, None] * D + o[None, :], mask=(t[:, None] < T - t0) & (o[None, :] < D), other=0.0
            )
            total += weight[:, None] * entries.to(tl.float32)
    mask = (t[:, None] < T - t0) & (o[None, :] < D)
    gradient += (which.to(tl.int64) * T + t0) * D
    tl.store(gradient + t[:, None] * D + o[None, :], total * scale, mask=mask)
