"""Any image model of transformers whose last hidden state is a grid: ResNet, ConvNeXt, ViT, DINOv2, Swin and others."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bagclip.encoders.base import GridEncoder
from bagclip.encoders.hub import Source, load_model, plain_config, projection
from bagclip.preprocess import Preprocess

if TYPE_CHECKING:
    from jaxtyping import Float
    from transformers import PretrainedConfig


class TransformersImage(GridEncoder):
    """A transformers image model, its last hidden state as a grid of regions, and a linear projection.

    The model's own preprocessing is taken over (size, crop, mean, std), only that resizing is always bilinear with
    antialiasing. Radiographs are cropped by many of them; ``dataclasses.replace(encoder.preprocess, fit="pad",
    shortest_edge=None)`` keeps whole images instead.

    Args:
        model: hub name or folder, or the model's configuration as a dict (then with fresh weights).
        dim: size of a region's feature. The projection to it starts as the identity if the model has that size,
            otherwise orthogonal.
        size: height and width of the input, if not what the model was trained with.
        preprocess: instead of the model's own.
        pretrained: with its weights, or with fresh ones.

    Raises:
        ValueError: if the preprocessing or the grid of regions cannot be told.

    Example:
        >>> import torch
        >>> config = {"model_type": "resnet", "depths": [1, 1], "hidden_sizes": [16, 32], "layer_type": "basic"}
        >>> preprocess = Preprocess(size=(64, 64), channels=3)
        >>> TransformersImage(config, dim=64, preprocess=preprocess)(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 8, 8, 64])
    """

    def __init__(
        self,
        model: Source,
        dim: int = 512,
        *,
        size: int | None = None,
        preprocess: Preprocess | None = None,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        self.model = load_model(model, pretrained)
        self._pretrained = pretrained and not isinstance(model, Mapping)
        config = self.model.config
        if hasattr(config, "vision_config"):
            raise ValueError(f"a {config.model_type!r} model reads more than images; give a model of images alone.")
        preprocess = preprocess or _read_preprocess(model)
        if size is not None:
            edge = preprocess.shortest_edge and round(preprocess.shortest_edge * size / min(preprocess.size))
            preprocess = replace(preprocess, size=(size, size), shortest_edge=edge)
        self.preprocess = replace(preprocess, channels=getattr(config, "num_channels", 3))
        self.dim = dim
        self.width = _width(config)
        self.project = projection(self.width, dim)

    def forward(
        self, pixels: Float[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images rows columns dim"]:
        """Regions of pixels in [0, 1].

        Raises:
            ValueError: if the model's output is no grid whose cells divide the input evenly.
        """
        size, trained = (pixels.shape[2], pixels.shape[3]), _pair(getattr(self.model.config, "image_size", None))
        # Older position embeddings are stretched to another size only when asked.
        stretchable = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        options = {"interpolate_pos_encoding": True} if stretchable and size != trained else {}
        states = self.model(pixel_values=self.preprocess.normalise(pixels), **options).last_hidden_state
        return self.project(_grid(states, size, self.model.config, self.width))

    def pretrained(self) -> list[nn.Module]:
        """The model, unless its weights are fresh."""
        return [self.model] if self._pretrained else []

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, with the model's configuration for its name."""
        return {
            "class": "TransformersImage",
            "model": plain_config(self.model),
            "dim": self.dim,
            "preprocess": self.preprocess.to_dict(),
        }


def _width(config: PretrainedConfig) -> int:
    """Channels of the last hidden state."""
    width = getattr(config, "hidden_size", None) or (getattr(config, "hidden_sizes", None) or [None])[-1]
    if width is None:
        raise ValueError(f"the configuration of a {config.model_type!r} model does not say its hidden size.")
    return int(width)


def _pair(value: int | Sequence[int] | None) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value or ())


def _grid(
    states: Tensor, size: tuple[int, int], config: PretrainedConfig, width: int
) -> Float[Tensor, "images rows columns width"]:
    """The last hidden state of an input of this size as a grid."""
    patch = _pair(getattr(config, "patch_size", None))
    if states.ndim == 4 and states.shape[1] == width:
        # Each stage halves and rounds up, so the nearest power of two is what a cell really covers.
        cell = [2 ** round(math.log2(length / count)) for length, count in zip(size, states.shape[2:], strict=True)]
    elif states.ndim == 3 and patch:
        # Hierarchical models (Swin) merge two by two patches after each stage but the last.
        cell = [length * 2 ** (len(getattr(config, "depths", "1")) - 1) for length in patch]
    else:
        raise ValueError(
            f"the last hidden state of a {config.model_type!r} model, {tuple(states.shape)}, cannot be read as a grid "
            f"of regions; give another model."
        )
    if size[0] % cell[0] or size[1] % cell[1]:
        raise ValueError(
            f"a region of this {config.model_type!r} model is {cell[0]} x {cell[1]} pixels, and an input of "
            f"{size[0]} x {size[1]} is no multiple of it; set another size."
        )
    if states.ndim == 4:
        return states.permute(0, 2, 3, 1)
    rows, columns = size[0] // cell[0], size[1] // cell[1]
    # CLS, the distillation token of DeiT and registers come before the patches.
    before = states.shape[1] - rows * columns
    if before not in (0, 1, 2, 1 + getattr(config, "num_register_tokens", 0)):
        raise ValueError(
            f"a {config.model_type!r} model gave {states.shape[1]} tokens for a grid of {rows} x {columns} regions; "
            f"which of them are regions cannot be told, give another model."
        )
    return states[:, before:].unflatten(1, (rows, columns))


def _read_preprocess(source: Source) -> Preprocess:
    """The preprocessing that a model was trained with, from its preprocessor_config.json."""
    from transformers import AutoImageProcessor

    remedy = "give preprocess=Preprocess(size=..., mean=..., std=...) as the model was trained with."
    if isinstance(source, Mapping):
        raise ValueError(f"a configuration does not say how images are preprocessed; {remedy}")
    try:
        values = AutoImageProcessor.from_pretrained(source, trust_remote_code=False).to_dict()
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: no preprocessing could be read ({error}); {remedy}") from error

    size, crop, shares = values["size"], values.get("crop_size"), values.get("crop_pct")
    rescaled = values.get("do_rescale", True) and abs(values.get("rescale_factor", 1 / 255) * 255 - 1) < 1e-3
    options: dict[str, Any] = {"channels": 3, "mean": (0.0,), "std": (1.0,)}
    if values.get("do_normalize", True):
        options |= {"mean": tuple(values["image_mean"]), "std": tuple(values["image_std"])}
    if not values.get("do_resize", True) or not rescaled:
        raise ValueError(f"{source}: its preprocessing does not resize, or not to [0, 1]; {remedy}")
    if shares and "shortest_edge" in size:  # ConvNeXt: a centre crop of this share below 384 pixels
        edge = size["shortest_edge"]
        if edge >= 384:
            return Preprocess((edge, edge), fit="stretch", **options)
        return Preprocess((edge, edge), fit="crop", shortest_edge=int(edge / shares), **options)
    if values.get("do_center_crop"):
        # DeiT resizes to a square before its crop; for square images that is the same.
        edge = size.get("shortest_edge") or min(size["height"], size["width"])
        return Preprocess((crop["height"], crop["width"]), fit="crop", shortest_edge=edge, **options)
    if "height" in size:
        return Preprocess((size["height"], size["width"]), fit="stretch", **options)
    raise ValueError(f"{source}: its preprocessing gives inputs of no fixed size ({size}); {remedy}")
