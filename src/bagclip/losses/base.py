"""What a loss is: scores and how their matrices over a batch of pairs are contrasted. Losses add and scale."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bagclip.bags import Bag
from bagclip.expression import Expression
from bagclip.losses.known import Known
from bagclip.scores import Score

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class Loss(Expression, spelled=False):
    """A number to minimise for a batch of matching images and documents: image i belongs to document i."""

    @abstractmethod
    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Float[Tensor, ""]:
        """Loss of the batch, with what else is known about it."""

    def __add__(self, other: Loss) -> Loss:
        if not isinstance(other, Loss):
            raise TypeError(f"a loss adds to a loss, not to {type(other).__name__}.")
        return LossSum(self, other)

    def __mul__(self, weight: float) -> Loss:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise TypeError(f"a loss is scaled by a finite number, not by {weight!r}.")
        return ScaledLoss(float(weight), self)

    __rmul__ = __mul__


class LossSum(Loss, spelled=False):
    """Sum of two losses."""

    def __init__(self, left: Loss, right: Loss) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Tensor:
        """See `Loss.forward`."""
        return self.left(images, documents, known) + self.right(images, documents, known)

    def __repr__(self) -> str:
        right = f"({self.right!r})" if isinstance(self.right, LossSum) else repr(self.right)
        return f"{self.left!r} + {right}"


class ScaledLoss(Loss, spelled=False):
    """A loss times a number."""

    def __init__(self, weight: float, loss: Loss) -> None:
        super().__init__()
        self.weight = weight
        self.loss = loss

    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Tensor:
        """See `Loss.forward`."""
        return self.weight * self.loss(images, documents, known)

    def __repr__(self) -> str:
        inner = f"({self.loss!r})" if isinstance(self.loss, LossSum | ScaledLoss) else repr(self.loss)
        return f"{self.weight!r} * {inner}"


def square(score: Score, images: Bag, documents: Bag) -> Float[Tensor, "pairs pairs"]:
    """The score of every image of a batch with every document of it.

    Raises:
        ValueError: if there are not as many documents as images.
    """
    if len(images) != len(documents):
        raise ValueError(f"a batch pairs image i with document i, got {len(images)} and {len(documents)}.")
    return score(images, documents)


def false_negatives(known: Known | None) -> Bool[Tensor, "pairs pairs"] | None:
    """The entries off the diagonal that are no negatives, or None if none is known."""
    if known is None or known.same is None:
        return None
    return known.same & ~torch.eye(len(known.same), dtype=torch.bool, device=known.same.device)
