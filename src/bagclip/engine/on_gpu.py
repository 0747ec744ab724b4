"""Pooled inner products by the Triton kernels, as `bagclip.engine.pooled` gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bagclip import segments
from bagclip.engine.pooled import Pooled
from bagclip.engine.triton_kernels import Want, available, pool

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

WIDTH = 16
"""The kernels take features of a multiple of this size."""


def usable(dim: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the kernels can compute with such features where these are."""
    return available() and dim % WIDTH == 0 and dtype.itemsize <= 4 and (device.type == "cuda" or _interpreted())


def pooled_on_gpu(
    regions: Float[Tensor, "regions dim"],
    lengths: Int64[Tensor, "images"],
    sentences: Float[Tensor, "sentences dim"],
    *,
    contexts: Float[Tensor, "regions dim"] | None = None,
    sharpness: float | Float[Tensor, ""] | None = None,
    best: bool = False,
    documents: Int64[Tensor, "documents"] | None = None,
) -> Pooled:
    """See `bagclip.engine.pooled`.

    Raises:
        RuntimeError: if the kernels cannot run here, or with such features.
    """
    if not usable(regions.shape[1], regions.dtype, regions.device):
        raise RuntimeError(
            f"the Triton kernels do not run on {regions.dtype} features of dim {regions.shape[1]} on {regions.device}: "
            f"they need triton installed, an NVIDIA GPU, a dim that is a multiple of {WIDTH} and at most 32 bits; "
            'choose the engine "auto".'
        )
    wanted: list[Want] = []
    wanted += ["lse"] if sharpness is not None else []
    wanted += ["best"] if best else []
    wanted += ["around"] if contexts is not None else []
    found = pool(regions, lengths, sentences, contexts, sharpness, wanted)
    if sharpness is not None:
        found["lse"] = found["lse"] - torch.log(lengths.to(found["lse"]))[:, None] / sharpness
    if documents is not None:
        found = {name: segments.mean(values, documents, 1) for name, values in found.items()}
    return Pooled(found.get("lse"), found.get("best"), found.get("around"))


def _interpreted() -> bool:
    from bagclip.engine import triton_launch

    return triton_launch.interpreted()
