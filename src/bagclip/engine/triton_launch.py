"""Launches of the Triton programs: which run, over what, in tiles of which shapes."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int32, Int64

FORWARD_TILE = 128
"""Sentences in a tile of the forward pass."""

BACKWARD_TILE = 64
"""Sentences in a tile of the backward pass, whose programs also hold a block of the gradient."""

PROGRAMS = 512
"""Programs that are enough for any GPU of today; the bags are split into groups until sentences make as many."""


def pool(
    x: Float[Tensor, "regions dim"],
    lengths: Int64[Tensor, "bags"],
    y: Float[Tensor, "sentences dim"],
    z: Float[Tensor, "regions dim"] | None,
    sharpness: Float[Tensor, ""] | None,
    lse: Float[Tensor, "bags sentences"] | None,
    best: Float[Tensor, "bags sentences"] | None,
    around: Float[Tensor, "bags sentences"] | None,
    key: Int32[Tensor, "bags sentences"] | None,
) -> None:
    """Fill lse, best, around and key; None is left out."""
    _launch(
        "pool",
        len(lengths) * _ceil(len(y), FORWARD_TILE),
        x,
        y,
        z,
        sharpness,
        _starts(lengths, x),
        lse,
        best,
        around,
        key,
        len(y),
        BLOCK_T=FORWARD_TILE,
        BLOCK_N=_block(x, lengths),
        num_warps=4,
        num_stages=3,
    )


def regions_gradient(
    x: Tensor,
    lengths: Tensor,
    y: Tensor,
    sharpness: Tensor | None,
    lse: Tensor,
    key: Tensor,
    soft: Tensor | None,
    hard: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """sum_t (soft p + hard [n = key]) y_t for every row of x, and the sum of soft p (s - lse) over everything."""
    if soft is None and hard is None:
        return torch.zeros_like(x), x.new_zeros((), dtype=torch.float32)
    block = _block(x, lengths)
    counts = (lengths + block - 1) // block
    bags = torch.arange(len(lengths)).repeat_interleave(counts)
    inside = torch.arange(len(bags)) - (counts.cumsum(0) - counts)[bags]
    firsts = (lengths.cumsum(0) - lengths)[bags] + inside * block
    gradient = torch.empty_like(x)
    slope = None if soft is None else x.new_empty(len(bags), dtype=torch.float32)
    width = _width(x)
    _launch(
        "regions_gradient",
        len(bags) * _ceil(x.shape[1], width),
        x,
        y,
        sharpness,
        _starts(lengths, x),
        bags.to(x.device),
        firsts.to(x.device),
        lse,
        key,
        soft,
        hard,
        _unit(x, soft, hard),
        gradient,
        slope,
        len(y),
        BLOCK_T=BACKWARD_TILE,
        BLOCK_N=block,
        BLOCK_O=width,
        num_warps=8,
        # Without products the loop that is staged is the one over whole rows, which are large.
        num_stages=2 if soft is None else 3,
    )
    return gradient, x.new_zeros((), dtype=torch.float32) if slope is None else slope.sum()


def sentences_gradient(
    x: Tensor,
    lengths: Tensor,
    y: Tensor,
    sharpness: Tensor | None,
    lse: Tensor,
    key: Tensor,
    soft: Tensor | None,
    hard: Tensor | None,
) -> Tensor:
    """sum_i (soft sum_n p x_n + hard x_key) for every row of y, in float32."""
    if soft is None and hard is None:
        return torch.zeros_like(y, dtype=torch.float32)
    width = _width(x)
    programs = _ceil(len(y), BACKWARD_TILE) * _ceil(x.shape[1], width)
    group = _ceil(len(lengths), _ceil(PROGRAMS, programs))
    groups = _ceil(len(lengths), group)
    gradient = x.new_empty(groups, *y.shape, dtype=torch.float32)
    _launch(
        "sentences_gradient",
        groups * programs,
        x,
        y,
        sharpness,
        _starts(lengths, x),
        lse,
        key,
        soft,
        hard,
        _unit(x, soft, hard),
        gradient,
        len(lengths),
        len(y),
        group,
        BLOCK_T=BACKWARD_TILE,
        BLOCK_N=_block(x, lengths),
        BLOCK_O=width,
        num_warps=8,
        # Without products the loop that is staged is the one over whole rows, which are large.
        num_stages=2 if soft is None else 3,
    )
    return gradient.sum(0)


def _launch(program: str, grid: int, x: Tensor, *arguments: Any, **tiles: int) -> None:
    """Run so many programs. ``x`` and what follows are their arguments; ``tiles`` their shapes."""
    from bagclip.engine import triton_programs

    dim = x.shape[1]
    step = next(size for size in ((64, 32, 16) if _halved(x) else (32, 16)) if dim % size == 0)
    with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
        getattr(triton_programs, program)[(grid,)](x, *arguments, D=dim, BLOCK_D=step, WIDEN=interpreted(), **tiles)


def _halved(x: Tensor) -> bool:
    """Whether tensor cores take the numbers as they are; float32 is multiplied without, from smaller tiles."""
    return x.dtype.itemsize == 2


def _block(x: Tensor, lengths: Tensor) -> int:
    """Regions in a tile: all of a small bag."""
    return max(16, min(64 if _halved(x) else 16, _power(int(lengths.max()))))


def _width(x: Tensor) -> int:
    """Entries of a gradient that one program owns, as many as registers hold; each part computes its tiles anew."""
    return min(512 if _halved(x) else 128, _power(x.shape[1]))


def _unit(x: Tensor, *weights: Tensor | None) -> Tensor | None:
    """The largest weight, by which weights are divided where float16 could not hold them."""
    if x.dtype != torch.float16:
        return None
    largest = torch.stack([w.abs().amax() for w in weights if w is not None]).amax()
    return largest.clamp(min=torch.finfo(torch.float32).tiny)


def _starts(lengths: Tensor, x: Tensor) -> Tensor:
    """The first row of each bag, and the end of the last."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).to(x.device)


def _power(number: int) -> int:
    """The least power of two that is not smaller."""
    return 1 << (number - 1).bit_length()


def _ceil(number: int, size: int) -> int:
    return -(-number // size)


def interpreted() -> bool:
    """Whether Triton interprets programs, on tensors of any device, and does not compile them."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "yes", "on", "y"}
