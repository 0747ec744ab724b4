"""Pooled inner products of packed bags on a GPU: tiles of products live in registers and are never written.

For a bag i of regions x_n with contexts z_n and sentences y_t, with s_n = <x_n, y_t> and the key k = argmax_n s_n,

    lse_it = (1/r) log sum_{n in i} exp(r s_n),    best_it = s_k,    around_it = <z_k, y_t>.

Kept for the backward pass are lse and key, 8 bytes for a bag and a sentence; products are computed again. Gradients of
regions and of sentences have a program each that owns what it writes: there are no atomics, and the same numbers come
out every time. Tile sizes are fixed by dtype, dimension and longest bag, without tuning, for the same reason.

These programs have been run by Triton's interpreter only. They compile for NVIDIA GPUs of compute capability 8.0 and
9.0, to tensor-core instructions unless the inputs are float32, and fit their shared memory; but no GPU was at hand:
their numbers are tested, their speed is not known.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from bagclip.engine import triton_launch as launch

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

Want = Literal["lse", "best", "around", "key"]


def available() -> bool:
    """Whether the kernels can run here: Triton is installed, and there is a CUDA device or its interpreter is on.

    Example:
        >>> available() in (True, False)
        True
    """
    return importlib.util.find_spec("triton") is not None and (torch.cuda.is_available() or launch.interpreted())


def pool(
    x: Float[Tensor, "regions dim"],
    lengths: Int64[Tensor, "bags"],
    y: Float[Tensor, "sentences dim"],
    z: Float[Tensor, "regions dim"] | None = None,
    sharpness: float | Float[Tensor, ""] | None = None,
    want: Iterable[Want] = ("lse", "best", "around"),
) -> dict[str, Float[Tensor, "bags sentences"]]:
    """Pool the products of every bag's regions with every sentence.

    Args:
        x: regions of all bags, one bag after the other; float32, float16 or bfloat16, finite.
        lengths: regions a bag, at least one, on the CPU.
        y: sentences, of the same dtype.
        z: context of each region, were it the key; ``around`` needs it.
        sharpness: r > 0; ``lse`` needs it.
        want: which of "lse" (not normalised by the bag's size), "best", "around" and "key" (the row of x, the first of
            equal ones, which has no gradient) to give.

    Returns:
        What was wanted, by name: float32, and int64 for "key". Sums are float32 whatever the dtype, gradients of it.

    Raises:
        ValueError: if shapes, dtypes or devices do not go together, the dimension is no multiple of 16, a bag is
            empty, or what is wanted lacks its input.
        RuntimeError: if the kernels cannot run here, or a gradient of a gradient is asked for.

    Example:
        >>> if available():
        ...     device = "cuda" if torch.cuda.is_available() else "cpu"
        ...     x, y = torch.eye(3, 16, device=device), torch.ones(2, 16, device=device)
        ...     assert pool(x, torch.tensor([2, 1]), y, want=["best"])["best"].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    """
    wanted = set(want)
    _check(x, lengths, y, z, sharpness, wanted)
    if sharpness is not None:
        sharpness = torch.as_tensor(sharpness, dtype=torch.float32, device=x.device)
    lse, best, around, key = _pool(
        x, lengths, y, z if "around" in wanted else None, sharpness if "lse" in wanted else None, wanted != {"lse"}
    )
    given = {"lse": lse, "best": best, "around": around, "key": key}
    return {name: tensor.long() if name == "key" else tensor for name, tensor in given.items() if name in wanted}


@torch.library.custom_op(
    "bagclip::triton_pool",
    mutates_args=(),
    schema="(Tensor x, Tensor lengths, Tensor y, Tensor? z, Tensor? sharpness, bool keyed) "
    "-> (Tensor lse, Tensor best, Tensor around, Tensor key)",
)
def _pool(
    x: Tensor, lengths: Tensor, y: Tensor, z: Tensor | None, sharpness: Tensor | None, keyed: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four, empty where nothing asks for them: lse without a sharpness, around without z, the rest if not keyed."""
    _check_run(x, lengths)
    x, y, z = x.contiguous(), y.contiguous(), None if z is None else z.contiguous()
    found = _empty(x, lengths, y, z, sharpness, keyed)
    launch.pool(x, lengths, y, z, sharpness, *(tensor if tensor.numel() else None for tensor in found))
    return found


@_pool.register_fake
def _empty(
    x: Tensor, lengths: Tensor, y: Tensor, z: Tensor | None, sharpness: Tensor | None, keyed: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def empty(asked: bool, dtype: torch.dtype = torch.float32) -> Tensor:
        return x.new_empty((lengths.shape[0], y.shape[0]) if asked else (0,), dtype=dtype)

    return empty(sharpness is not None), empty(keyed), empty(z is not None), empty(keyed, torch.int32)


@torch.library.custom_op(
    "bagclip::triton_pool_backward",
    mutates_args=(),
    schema="(Tensor x, Tensor lengths, Tensor y, Tensor? z, Tensor? sharpness, Tensor lse, Tensor key, Tensor? d_lse, "
    "Tensor? d_best, Tensor? d_around, bool[] needed) -> (Tensor d_x, Tensor d_y, Tensor d_z, Tensor d_sharpness)",
)
def _pool_backward(
    x: Tensor,
    lengths: Tensor,
    y: Tensor,
    z: Tensor | None,
    sharpness: Tensor | None,
    lse: Tensor,
    key: Tensor,
    d_lse: Tensor | None,
    d_best: Tensor | None,
    d_around: Tensor | None,
    needed: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, y, z and sharpness, empty where not needed."""
    x, y, z = x.contiguous(), y.contiguous(), None if z is None else z.contiguous()
    d_lse, d_best, d_around = (
        None if d is None or not d.numel() else d.contiguous() for d in (d_lse, d_best, d_around)
    )
    needs_x, needs_y, needs_z, needs_sharpness = needed
    d_x, d_y, d_z, d_sharpness = (x.new_empty(0) for _ in needed)
    if needs_x or needs_sharpness:
        d_x, slope = launch.regions_gradient(x, lengths, y, sharpness, lse, key, d_lse, d_best)
        if needs_sharpness:
            assert sharpness is not None
            d_sharpness = slope / sharpness
    if needs_z:
        assert z is not None
        d_z, _ = launch.regions_gradient(z, lengths, y, None, lse, key, None, d_around)
    if needs_y:
        total = launch.sentences_gradient(x, lengths, y, sharpness, lse, key, d_lse, d_best)
        if z is not None:
            total += launch.sentences_gradient(z, lengths, y, None, lse, key, None, d_around)
        d_y = total.to(y.dtype)
    return d_x, d_y, d_z, d_sharpness


@_pool_backward.register_fake
def _empty_backward(
    x: Tensor,
    lengths: Tensor,
    y: Tensor,
    z: Tensor | None,
    sharpness: Tensor | None,
    lse: Tensor,
    key: Tensor,
    d_lse: Tensor | None,
    d_best: Tensor | None,
    d_around: Tensor | None,
    needed: list[bool],
) -> tuple[Tensor, ...]:
    inputs = (x, y, z, sharpness)
    return tuple(
        x.new_empty(0) if source is None or not need else source.new_empty(source.shape)
        for source, need in zip(inputs, needed, strict=True)
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, lengths, y, z, sharpness, _ = inputs
    lse, _, _, key = output
    ctx.save_for_backward(x, lengths, y, z, sharpness, lse, key)
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any, d_lse: Tensor | None, d_best: Tensor | None, d_around: Tensor | None, _: None
) -> tuple[Tensor | None, ...]:
    needs_x, _, needs_y, needs_z, needs_sharpness, _ = ctx.needs_input_grad
    needed = [needs_x, needs_y, needs_z, needs_sharpness]
    found = _pool_backward(*ctx.saved_tensors, d_lse, d_best, d_around, needed)
    d_x, d_y, d_z, d_sharpness = (d if need else None for d, need in zip(found, needed, strict=True))
    return d_x, None, d_y, d_z, d_sharpness, None


def _refuse(ctx: Any, *gradients: Tensor) -> None:
    raise RuntimeError(
        "the Triton kernels have no second derivative; for a gradient of a gradient compute the score itself, without "
        "the engine."
    )


_pool.register_autograd(_backward, setup_context=_keep)
_pool_backward.register_autograd(_refuse)


def _check(
    x: Tensor, lengths: Tensor, y: Tensor, z: Tensor | None, sharpness: float | Tensor | None, wanted: set[Want]
) -> None:
    """Raise a ValueError if the shapes, dtypes and devices do not go together."""
    if not wanted or not wanted <= {"lse", "best", "around", "key"}:
        raise ValueError(f"want must name some of lse, best, around and key, got {sorted(wanted)}.")
    for name, needs, given in (("lse", "a sharpness", sharpness), ("around", "contexts z", z)):
        if name in wanted and given is None:
            raise ValueError(f"{name!r} is wanted, which needs {needs}; give it, or leave {name!r} out of want.")
    if sharpness is not None and not isinstance(sharpness, Tensor) and not sharpness > 0:
        raise ValueError(f"the sharpness must be positive, got {sharpness!r}.")
    if (
        x.ndim != 2
        or y.ndim != 2
        or x.shape[1] != y.shape[1]
        or x.shape[1] % 16
        or (z is not None and z.shape != x.shape)
    ):
        raise ValueError(
            f"regions, sentences and contexts must be matrices with rows of one size, a multiple of 16, and as many "
            f"contexts as regions; got {[None if m is None else tuple(m.shape) for m in (x, y, z)]}."
        )
    for matrix in (x, y, x if z is None else z):
        if matrix.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ValueError(f"the Triton kernels take float32, float16 and bfloat16, got {matrix.dtype}.")
        if (matrix.dtype, matrix.device) != (x.dtype, x.device):
            raise ValueError(
                f"regions are {x.dtype} on {x.device}, sentences or contexts {matrix.dtype} on {matrix.device}; "
                f"move them together."
            )
    if lengths.ndim != 1 or lengths.dtype != torch.int64 or lengths.device.type != "cpu":
        raise ValueError(f"lengths must be an int64 vector on the CPU, got {lengths.dtype} on {lengths.device}.")


def _check_run(x: Tensor, lengths: Tensor) -> None:
    """Raise an error if the kernels cannot run here, or the lengths are not those of x."""
    if not available() or (x.device.type != "cuda" and not launch.interpreted()):
        raise RuntimeError(
            f"the Triton kernels cannot run on {x.device}: they need Triton and an NVIDIA GPU, or Triton's interpreter "
            f"(TRITON_INTERPRET=1); see `available`."
        )
    if not len(lengths) or int(lengths.min()) < 1 or int(lengths.sum()) != len(x):
        raise ValueError(f"lengths must be positive and add up to the {len(x)} regions, got {lengths.tolist()[:10]}.")
