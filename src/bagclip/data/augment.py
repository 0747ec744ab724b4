"""Augmentation that leaves left and right alone: small moves and changes of exposure, no flips."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Augment:
    """Random rotation, shift, zoom, brightness, contrast, gamma and noise, each drawn evenly from a range around none.

    Reports say left and right, so nothing is ever mirrored, and rotation stays small enough for zones to keep their
    names.

    Args:
        rotation: largest angle, in degrees.
        shift: largest shift, as a share of the image's side.
        zoom: largest change of size, as a share.
        brightness: largest change of all pixels; pixels are in [0, 1].
        contrast: largest change of the distance from the mean, as a share.
        gamma: largest change of the logarithm of the exponent of the pixels.
        noise: standard deviation of the noise added to each pixel, at most.

    Example:
        >>> import torch
        >>> pixels = torch.rand(2, 1, 32, 32)
        >>> moved = Augment()(pixels, ["study 1", "study 2"], seed=0, epoch=3)
        >>> torch.equal(moved[1:], Augment()(pixels[1:], ["study 2"], seed=0, epoch=3))
        True
    """

    rotation: float = 3.0
    shift: float = 0.03
    zoom: float = 0.05
    brightness: float = 0.04
    contrast: float = 0.1
    gamma: float = 0.1
    noise: float = 0.01

    def __call__(
        self, pixels: Float[Tensor, "images channels height width"], names: Sequence[str], *, seed: int, epoch: int
    ) -> Float[Tensor, "images channels height width"]:
        """Pixels in [0, 1] changed at random; what happens to an image depends on (seed, epoch, its name) alone."""
        generators = [generator(seed, epoch, name) for name in names]
        draws = torch.tensor(np.stack([g.uniform(-1, 1, 8) for g in generators]), dtype=pixels.dtype)
        angle, right, down, zoom, brightness, contrast, gamma, noise = draws.T.reshape(8, -1, 1, 1, 1)
        moved = F.grid_sample(pixels, self._grid(pixels, angle, right, down, zoom), align_corners=False)
        moved = moved.clamp(0, 1) ** torch.exp(self.gamma * gamma)
        mean = moved.mean((1, 2, 3), keepdim=True)
        moved = (moved - mean) * (1 + self.contrast * contrast) + mean + self.brightness * brightness
        grain = np.stack([g.standard_normal(pixels.shape[1:], dtype=np.float32) for g in generators])
        return (moved + self.noise * noise.abs() * torch.from_numpy(grain).to(pixels)).clamp(0, 1)

    def _grid(self, pixels: Tensor, angle: Tensor, right: Tensor, down: Tensor, zoom: Tensor) -> Tensor:
        radians, size = angle * math.radians(self.rotation), torch.exp(self.zoom * zoom)
        height, width = pixels.shape[2:]
        cos, sin = (f(radians).reshape(-1) / size.reshape(-1) for f in (torch.cos, torch.sin))
        x, y = 2 * self.shift * right.reshape(-1), 2 * self.shift * down.reshape(-1)
        # Coordinates run from -1 to 1 along both sides, so that a rotation has to know the sides' proportion.
        rows = [torch.stack([cos, -sin * height / width, x], 1), torch.stack([sin * width / height, cos, y], 1)]
        return F.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)


def generator(seed: int, epoch: int, name: str) -> np.random.Generator:
    """Randomness of one sample in one epoch of one run; the same in whatever order and process it is drawn."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, key])))
