"""Scales: the positive numbers a method is sensitive to, fixed, learned or annealed.

Wherever an aggregator or a loss takes a sharpness (which multiplies) or a temperature (which divides), a plain number
is fixed, `Learned` is a parameter and `Annealed` goes from one value to another in the course of a training.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bagclip.expression import Expression

if TYPE_CHECKING:
    from jaxtyping import Float


class Learned(Expression):
    """A positive number that is learned, by its logarithm.

    Args:
        start: its first value.
        minimum: it is never less; no limit when None.
        maximum: it is never more; no limit when None.

    Raises:
        ValueError: if the start is not a positive number between the limits.

    Example:
        >>> Learned(5.0)().item()
        5.0
    """

    def __init__(self, start: float, minimum: float | None = None, maximum: float | None = None) -> None:
        super().__init__()
        self.start = positive(start, "the start of Learned")
        self.minimum = None if minimum is None else positive(minimum, "the minimum of Learned")
        self.maximum = None if maximum is None else positive(maximum, "the maximum of Learned")
        if not (self.minimum or 0.0) <= self.start <= (self.maximum or math.inf):
            raise ValueError(f"Learned starts at {start!r}, outside its limits {minimum!r} and {maximum!r}.")
        self.log = nn.Parameter(torch.tensor(math.log(self.start)))

    def forward(self) -> Float[Tensor, ""]:
        """The number as it is now."""
        if self.minimum is not None or self.maximum is not None:
            with torch.no_grad():
                # The parameter itself is held back, not its use, so that it can always come back.
                self.log.clamp_(self.minimum and math.log(self.minimum), self.maximum and math.log(self.maximum))
        return self.log.exp()


class Annealed(Expression):
    """A positive number that goes from one value to another while a model trains, by a constant factor a step.

    Args:
        start: value at the first step.
        end: value at the last step, and from then on.

    Raises:
        ValueError: if one of them is not a positive number.

    Example:
        >>> sharpness = Annealed(1.0, 100.0)
        >>> anneal(sharpness, 0.5)
        >>> round(sharpness().item(), 4)
        10.0
    """

    progress: Tensor

    def __init__(self, start: float, end: float) -> None:
        super().__init__()
        self.start = positive(start, "the start of Annealed")
        self.end = positive(end, "the end of Annealed")
        self.register_buffer("progress", torch.tensor(0.0))

    def forward(self) -> Float[Tensor, ""]:
        """The number as it is now."""
        return self.start * (self.end / self.start) ** self.progress


Scale = float | Learned | Annealed
"""A number that is fixed, learned or annealed."""


def scale(given: Scale, what: str) -> Scale:
    """The scale that was given, if it is a positive number or learned or annealed.

    Args:
        given: the scale.
        what: its name in the error sentence, "the sharpness of LogSumExp".

    Raises:
        ValueError: if it is not.
    """
    return given if isinstance(given, Learned | Annealed) else positive(given, what)


def value(given: Scale) -> float | Float[Tensor, ""]:
    """What a scale is now."""
    return given() if isinstance(given, Learned | Annealed) else given


def anneal(module: nn.Module, progress: float) -> None:
    """Set everything in the module that is annealed to a share of the training, from 0 to 1."""
    for part in module.modules():
        if isinstance(part, Annealed):
            part.progress.fill_(progress)


def positive(number: float, what: str) -> float:
    """The number, if it is a positive one.

    Raises:
        ValueError: if it is not; ``what`` is its name in the sentence.
    """
    if isinstance(number, bool) or not isinstance(number, int | float) or not (math.isfinite(number) and number > 0):
        raise ValueError(f"{what} must be a positive number, Learned or Annealed, got {number!r}.")
    return float(number)
