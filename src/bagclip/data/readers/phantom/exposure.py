"""The exposure: from absorption to gray values, with what a detector adds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bagclip.data.readers.phantom.anatomy import View
from bagclip.data.readers.phantom.findings.base import between
from bagclip.data.readers.phantom.shapes import Waves, mottle, random_waves

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from bagclip.data.readers.phantom.shapes import Field


TONES = 2048
"""Steps of absorption told apart before the tone curve; a table is faster than a power a pixel."""


@dataclass(frozen=True)
class Exposure:
    """How a picture was taken.

    Args:
        black: absorption that is shown black.
        white: absorption that is shown white.
        gamma: curvature of the tone curve; above 1 darkens the middle.
        noise: standard deviation of the quantum noise at 96 pixels, in units of absorption.
        shading: slow change of brightness over the picture, as plane waves.
    """

    black: float
    white: float
    gamma: float
    noise: float
    shading: Waves

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Exposure:
        """Draw an exposure."""
        return cls(
            black=between(rng, -0.04, 0.07),
            white=between(rng, 1.02, 1.25),
            gamma=between(rng, 0.75, 1.15),
            noise=between(rng, 0.010, 0.024),
            shading=random_waves(rng, 2, 1.2),
        )

    def take(self, absorption: Field, view: View, rng: np.random.Generator) -> UInt8[np.ndarray, "height width"]:
        """The picture as 8-bit gray values."""
        noise = rng.standard_normal(absorption.shape, dtype=np.float32)
        # Few photons pass where much is absorbed; smaller pixels catch fewer, which a detector's own blur half undoes.
        noise *= self.noise * math.sqrt(view.size / 96) * (0.5 + absorption)
        light = absorption + noise
        light += 0.02 * mottle(view.u, view.v, self.shading)
        light -= self.black
        light *= (TONES - 1) / (self.white - self.black)
        light.clip(0, TONES - 1, out=light)
        curve = np.rint(255 * np.linspace(0, 1, TONES) ** self.gamma).astype(np.uint8)
        return curve[light.astype(np.intp)]
