"""Pooled inner products of packed bags in closed form: the tensor of all regions with all sentences is never there.

For regions x_n of image i and a sentence y_t, with s_n = <x_n, y_t> and the key k = argmax_n s_n, three poolings of one
tile of products at a time:

    log-sum-exp   l_it = (1/r) log (1/N) sum_n exp(r s_n)   dx_n = w p_n y_t,  dy_t = sum_n w p_n x_n
    maximum       b_it = s_k                                dx_k = w y_t,      dy_t = w x_k
    around        u_it = <z_k, y_t>                         dz_k = w y_t,      dy_t = w z_k

where p = softmax_n(r s) and w is the gradient of l, b or u. The backward pass computes the tiles again; only the keys
are kept, a byte each where bags have at most 256 regions. With the mean over the sentences of each document taken in
place, nothing is left that is larger than images x documents, but for these keys.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bagclip.engine.tiles import Room, Sums, exponentials, highest_of, is_safe, smallest_index, tiles

if TYPE_CHECKING:
    from jaxtyping import Float, Int64


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
    if sharpness is not None and not isinstance(sharpness, Tensor):
        sharpness = torch.tensor(sharpness, dtype=torch.float64)
    # A compiled step has one type of keys, whatever its bags are.
    kept = torch.int32 if torch.compiler.is_compiling() else smallest_index(int(lengths.max()))
    lse, highest, around, _ = _pool(regions, sentences, contexts, sharpness, lengths, documents, best, kept)
    return Pooled(
        lse if sharpness is not None else None, highest if best else None, around if contexts is not None else None
    )


def forward(
    x: Tensor,
    y: Tensor,
    z: Tensor | None,
    sharpness: Tensor | None,
    lengths: Tensor,
    documents: Tensor | None,
    best: bool,
    kept: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-sum-exp, maximum, around and keys; what is not asked for has no rows."""
    lse, maximum, around, keys = _empty(x, y, z, sharpness, lengths, documents, best, kept)
    r = 1.0 if sharpness is None else sharpness.item()
    sums, room, safe = Sums(y, documents), Room(x, y, lengths), is_safe(x, y, r, lengths)
    for tile in tiles(x, y, lengths):
        s = tile.products(x, y, r, room)
        if len(keys):
            highest, key = highest_of(s, room)
            keys[tile.bags, tile.columns] = key.to(kept)
            if best:
                sums.add(maximum, tile, highest / r)
            if z is not None:
                sums.add(around, tile, tile.products_at(z, key, y[tile.columns]))
        if sharpness is not None:
            total, shift = exponentials(s, safe)
            sums.add(lse, tile, _value(total, shift, tile.size, r))
    return lse, maximum, around, keys


def _empty(
    x: Tensor,
    y: Tensor,
    z: Tensor | None,
    sharpness: Tensor | None,
    lengths: Tensor,
    documents: Tensor | None,
    best: bool,
    kept: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    columns = y.shape[0] if documents is None else documents.shape[0]

    def table(wanted: bool, width: int, dtype: torch.dtype) -> Tensor:
        return x.new_zeros(lengths.shape[0] if wanted else 0, width, dtype=dtype)

    return (
        table(sharpness is not None, columns, x.dtype),
        table(best, columns, x.dtype),
        table(z is not None, columns, x.dtype),
        table(best or z is not None, y.shape[0], kept),
    )


def backward(
    x: Tensor,
    y: Tensor,
    z: Tensor | None,
    sharpness: Tensor | None,
    lengths: Tensor,
    documents: Tensor | None,
    keys: Tensor,
    d_lse: Tensor | None,
    d_best: Tensor | None,
    d_around: Tensor | None,
    learned: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of regions, sentences, contexts and sharpness; of what has none, a tensor without entries."""
    d_x, d_y, d_z, d_r = _empty_backward(x, y, z, sharpness, lengths, documents, keys, d_lse, d_best, d_around, learned)
    r = 1.0 if sharpness is None else sharpness.item()
    sums, room, safe = Sums(y, documents), Room(x, y, lengths), is_safe(x, y, r, lengths)
    for tile in tiles(x, y, lengths):
        own, columns = tile.take(x), y[tile.columns]
        if d_lse is not None:
            weights = sums.gradient(d_lse, tile)
            powers = tile.products(x, y, r, room)
            total, shift = exponentials(powers, safe)
            flat = powers.mul_((weights / total)[:, None]).flatten(0, 1)
            d_y[tile.columns].addmm_(flat.mT, own)
            if isinstance(tile.rows, slice) and not learned:
                d_x[tile.rows].addmm_(flat, columns)
            else:
                into_x = flat @ columns
                tile.give(d_x, into_x)
                if learned:
                    # sum_n p_n s_n is <x, dx>: no pass over the tile is needed.
                    d_r += ((own * into_x).sum() - (weights * _value(total, shift, tile.size, r)).sum()) / r
        for gradient, source, target in ((d_best, x, d_x), (d_around, z, d_z)):
            if gradient is not None and source is not None:
                key = keys[tile.bags, tile.columns].long()
                tile.spread(sums.gradient(gradient, tile), key, source, columns, target, d_y[tile.columns])
    return d_x, d_y, d_z, d_r


def _empty_backward(
    x: Tensor,
    y: Tensor,
    z: Tensor | None,
    sharpness: Tensor | None,
    lengths: Tensor,
    documents: Tensor | None,
    keys: Tensor,
    d_lse: Tensor | None,
    d_best: Tensor | None,
    d_around: Tensor | None,
    learned: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    d_z = x.new_zeros(0) if z is None else torch.zeros_like(z)
    d_r = torch.zeros_like(sharpness) if learned and sharpness is not None else x.new_zeros(0)
    return torch.zeros_like(x), torch.zeros_like(y), d_z, d_r


_pool = torch.library.custom_op(
    "bagclip::pool",
    forward,
    mutates_args=(),
    schema="(Tensor x, Tensor y, Tensor? z, Tensor? sharpness, Tensor lengths, Tensor? documents, bool best, "
    "ScalarType kept) -> (Tensor, Tensor, Tensor, Tensor)",
)
_pool.register_fake(_empty)

_pool_backward = torch.library.custom_op(
    "bagclip::pool_backward",
    backward,
    mutates_args=(),
    schema="(Tensor x, Tensor y, Tensor? z, Tensor? sharpness, Tensor lengths, Tensor? documents, Tensor keys, "
    "Tensor? d_lse, Tensor? d_best, Tensor? d_around, bool learned) -> (Tensor, Tensor, Tensor, Tensor)",
)
_pool_backward.register_fake(_empty_backward)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, y, z, sharpness, lengths, documents, best, _ = inputs
    ctx.save_for_backward(x, y, z, sharpness, lengths, documents, output[3])
    ctx.asked = (sharpness is not None, best, z is not None)
    ctx.learned = sharpness is not None and sharpness.requires_grad
    ctx.mark_non_differentiable(output[3])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    x, y, z, sharpness, lengths, documents, keys = ctx.saved_tensors
    wanted = [g if asked else None for g, asked in zip(gradients, ctx.asked, strict=False)]
    d_x, d_y, d_z, d_r = _pool_backward(x, y, z, sharpness, lengths, documents, keys, *wanted, ctx.learned)
    return d_x, d_y, d_z if z is not None else None, d_r if ctx.learned else None, None, None, None, None


def _twice(ctx: Any, *gradients: Tensor | None) -> None:
    raise RuntimeError(
        'the closed form of a score cannot be differentiated twice; compute it with using("reference") for that.'
    )


torch.library.register_autograd("bagclip::pool", _gradients, setup_context=_setup)
torch.library.register_autograd("bagclip::pool_backward", _twice)


def _value(total: Tensor, shift: Tensor | None, size: int, sharpness: float) -> Tensor:
    """The log-sum-exp of sums of exponentials, which it overwrites."""
    value = total.log_() if shift is None else total.log_().add_(shift)
    return value.sub_(math.log(size)).div_(sharpness)
