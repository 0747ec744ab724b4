"""What a loss is: a score and how its matrix over a batch of pairs is contrasted. Losses add and scale."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

from bagclip.bags import Bag
from bagclip.expression import Expression

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class Loss(Expression):
    """A number to minimise for a batch of matching images and documents: image i belongs to document i."""

    @abstractmethod
    def forward(
        self, images: Bag, documents: Bag, same: Bool[Tensor, "pairs pairs"] | None = None
    ) -> Float[Tensor, ""]:
        """Loss of the batch; ``same[i, j]`` says that document j describes image i as well, so is no negative."""

    def __add__(self, other: Loss) -> Loss:
        if not isinstance(other, Loss):
            raise TypeError(f"a loss adds to a loss, not to {type(other).__name__}.")
        return LossSum(self, other)

    def __mul__(self, weight: float) -> Loss:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise TypeError(f"a loss is scaled by a finite number, not by {weight!r}.")
        return ScaledLoss(float(weight), self)

    __rmul__ = __mul__


class LossSum(Loss):
    """Sum of two losses."""

    def __init__(self, left: Loss, right: Loss) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, images: Bag, documents: Bag, same: Tensor | None = None) -> Tensor:
        """See `Loss.forward`."""
        return self.left(images, documents, same) + self.right(images, documents, same)

    def __repr__(self) -> str:
        right = f"({self.right!r})" if isinstance(self.right, LossSum) else repr(self.right)
        return f"{self.left!r} + {right}"


class ScaledLoss(Loss):
    """A loss times a number."""

    def __init__(self, weight: float, loss: Loss) -> None:
        super().__init__()
        self.weight = weight
        self.loss = loss

    def forward(self, images: Bag, documents: Bag, same: Tensor | None = None) -> Tensor:
        """See `Loss.forward`."""
        return self.weight * self.loss(images, documents, same)

    def __repr__(self) -> str:
        inner = f"({self.loss!r})" if isinstance(self.loss, LossSum | ScaledLoss) else repr(self.loss)
        return f"{self.weight!r} * {inner}"
