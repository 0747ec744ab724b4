"""Preprocessing: how an image becomes an encoder's input, and how a map of regions comes back to the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

Fit = Literal["pad", "crop", "stretch"]


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of an original image lie in an encoder's input.

    Along each axis ``input = original * scale + offset`` in continuous coordinates, where pixel i covers [i, i + 1).

    Args:
        original: (height, width) of the image as it was read.
        input: (height, width) of the encoder's input.
        scale: input pixels to one original pixel, (y, x).
        offset: where the original's top left corner lies in the input, (y, x); negative when it was cropped away.
    """

    original: tuple[int, int]
    input: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_original(self, map: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch height width"]:
        """A map over the grid of regions, at the centre of each original pixel.

        Values are interpolated bilinearly between the centres of cells, edge cells reach to the border, and pixels
        that the encoder never saw (cropped away) are NaN.

        Args:
            map: one finite value a region; the cells of the grid divide the input evenly.

        Example:
            >>> import torch
            >>> geometry = Geometry(original=(2, 4), input=(4, 8), scale=(2.0, 2.0), offset=(0.0, 0.0))
            >>> geometry.to_original(torch.tensor([[0.0, 1.0]])).tolist()
            [[0.0, 0.25, 0.75, 1.0], [0.0, 0.25, 0.75, 1.0]]
        """
        down, across = (self._weights(axis, map.shape[axis - 2]).to(map) for axis in (0, 1))
        return down @ map @ across.T

    def _weights(self, axis: int, cells: int) -> Float[Tensor, "pixels cells"]:
        """What each cell of one axis gives to each original pixel of it."""
        centre = torch.arange(self.original[axis], dtype=torch.float64) + 0.5
        place = centre * self.scale[axis] + self.offset[axis]
        cell = (place * cells / self.input[axis] - 0.5).clamp(0, cells - 1)
        weights = (1 - (cell[:, None] - torch.arange(cells)).abs()).clamp(min=0)
        weights[(place < 0) | (place >= self.input[axis])] = torch.nan
        return weights


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes an encoder's input; it travels with the encoder.

    Args:
        size: (height, width) of the input.
        fit: what happens to images of another shape. "pad" keeps the whole image, centred, with black bars; "crop"
            keeps its centre; "stretch" keeps all of it and changes its proportions.
        shortest_edge: for "crop", what the shorter side is resized to before the centre is cut out, or None to lose
            as little of the image as possible.
        channels: 1 (gray) or 3 (RGB).
        mean: per channel or one for all, of values in [0, 1].
        std: likewise.

    Raises:
        ValueError: if a value is out of range or does not fit the others.

    Example:
        >>> import numpy as np
        >>> preprocess = Preprocess(size=(96, 96))
        >>> pixels, geometry = preprocess(np.zeros((480, 240), np.uint8))
        >>> tuple(pixels.shape), geometry.scale, geometry.offset
        ((1, 96, 96), (0.2, 0.2), (0.0, 24.0))
    """

    size: tuple[int, int]
    fit: Fit = "pad"
    shortest_edge: int | None = None
    channels: int = 1
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size must be a positive (height, width), got {self.size}.")
        if self.fit not in get_args(Fit):
            raise ValueError(f"fit must be one of {', '.join(get_args(Fit))}, got {self.fit!r}.")
        if self.shortest_edge is not None and (self.fit != "crop" or self.shortest_edge < 1):
            raise ValueError(
                f"shortest_edge is a positive size for fit='crop', got {self.shortest_edge} for {self.fit!r}."
            )
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 (gray) or 3 (RGB), got {self.channels}.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} needs one value or one for each of {self.channels} channels, got {values}.")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}.")

    def __call__(
        self, pixels: UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"]
    ) -> tuple[UInt8[Tensor, "channels input_height input_width"], Geometry]:
        """An image of any size as an input of this size, with the geometry that leads back.

        Gray becomes RGB by repetition and RGB gray by its luma (ITU-R BT.601); resizing is bilinear with antialiasing.
        """
        shaped = pixels.ndim in (2, 3) and pixels.shape[2:] in ((), (3,)) and pixels.size > 0
        if pixels.dtype != np.uint8 or not shaped:
            raise ValueError(
                f"an image must be uint8 of shape (height, width) or (height, width, 3) and not empty, "
                f"got {pixels.dtype} of shape {pixels.shape}."
            )
        height, width = pixels.shape[:2]
        geometry, resized = self.geometry(height, width), self._resized(height, width)
        # A copy, because torch can neither wrap read-only nor mirrored arrays.
        image = torch.from_numpy(np.array(pixels, order="C")).reshape(height, width, -1).permute(2, 0, 1)
        image = F.interpolate(image[None], resized, mode="bilinear", antialias=True)[0]
        if image.shape[0] > self.channels:
            luma = torch.tensor([0.299, 0.587, 0.114])
            image = torch.einsum("chw,c->hw", image.float(), luma).round().to(torch.uint8)[None]
        # Positive padding adds black bars, negative padding cuts the rim off.
        top, left = (int(offset) for offset in geometry.offset)
        bottom, right = self.size[0] - resized[0] - top, self.size[1] - resized[1] - left
        image = F.pad(image, (left, right, top, bottom)).expand(self.channels, -1, -1)
        return image.contiguous(), geometry

    def geometry(self, height: int, width: int) -> Geometry:
        """Where the pixels of an image of this size lie in the input; the centres of both meet."""
        resized = self._resized(height, width)
        top, left = (-((have - want) // 2) for have, want in zip(resized, self.size, strict=True))
        scale = (resized[0] / height, resized[1] / width)
        return Geometry((height, width), self.size, scale, (float(top), float(left)))

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Size of the whole image before bars are added or its rim is cut off."""
        if self.fit == "stretch":
            return self.size
        if self.shortest_edge is not None:
            # Rounded down, as torchvision and transformers do: published models saw these very pixels.
            shortest = min(height, width)
            return height * self.shortest_edge // shortest, width * self.shortest_edge // shortest
        down, across = self.size[0] / height, self.size[1] / width
        factor = min(down, across) if self.fit == "pad" else max(down, across)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def normalise(
        self, pixels: UInt8[Tensor, "*batch channels height width"] | Float[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """Pixels, 8-bit or already in [0, 1], less the mean and over the standard deviation."""
        if not pixels.is_floating_point():
            pixels = pixels / 255
        mean, std = (torch.tensor(values).to(pixels).reshape(-1, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std

    def to_dict(self) -> dict[str, Any]:
        """As plain values for a JSON file."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Back from plain values."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)
