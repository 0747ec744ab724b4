"""What a loss is: scores and how their matrices over a batch of pairs are contrasted. Losses add and scale."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from bagclip.bags import Bag
from bagclip.engine import matrix
from bagclip.engine.distributed import Share
from bagclip.expression import Expression
from bagclip.losses.known import Known
from bagclip.scores import Score

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class Loss(Expression, spelled=False):
    """A number to minimise for a batch of matching images and documents: image i belongs to document i.

    Where several processes work together, each with pairs of its own, it is on each of them the number for the pairs of
    all; its gradients are told about in `bagclip.engine.distributed`.
    """

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


class Whole(NamedTuple):
    """A batch as a whole, of all processes: what `whole` gives.

    Args:
        scores: of every image with every document.
        documents: of all processes.
        known: of the pairs of all processes.
    """

    scores: Float[Tensor, "pairs pairs"]
    documents: Bag
    known: Known | None


def whole(score: Score, images: Bag, documents: Bag, known: Known | None) -> Whole:
    """The score of every image of a batch with every document of it, and what else a loss of this matrix reads.

    Of several processes each scores its own images and gets the rows of the others: pairs x pairs numbers, which is
    little beside the sentences up to some ten thousand pairs. The loss may then be any function of the matrix.

    Raises:
        ValueError: if there are not as many documents as images.
    """
    share = Share.of(images, documents)
    images, documents = share.join(images, documents)
    return Whole(share.gather(matrix(score, images, documents)), documents, known and known.gather(share))


def false_negatives(known: Known | None, share: Share | None = None) -> Bool[Tensor, "rows pairs"] | None:
    """The entries off the diagonal that are no negatives, or None if none is known.

    Args:
        known: about the pairs.
        share: where given, rows are the images of this process and columns the documents of all.
    """
    alike = None if known is None else known.alike if share is None else known.rows(share)
    if alike is None:
        return None
    excluded = alike.clone()
    excluded.diagonal(share.first if share else 0).fill_(False)
    return excluded
