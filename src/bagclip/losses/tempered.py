"""Losses that divide their scores by a temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bagclip.losses.base import Loss
from bagclip.scale import Learned, Scale, scale, value

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Tempered(Loss, spelled=False):
    """A loss that divides its scores by a temperature.

    Args:
        temperature: the temperature that was asked for, if any.
        default: the temperature where none was.

    Raises:
        ValueError: if the temperature is no positive number.
    """

    def __init__(self, temperature: Scale | None, default: Learned) -> None:
        super().__init__()
        named = f"the temperature of {type(self).__name__}"
        self.temperature = None if temperature is None else scale(temperature, named)
        self.learned = default if temperature is None else None

    @property
    def sharpness(self) -> float | Float[Tensor, ""]:
        """1 / temperature as it is now."""
        chosen = self.learned if self.temperature is None else self.temperature
        assert chosen is not None
        return 1 / value(chosen)
