"""What a score is: a permutation-invariant number for an image bag and a document bag. Scores add and scale."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

from bagclip.bags import Bag
from bagclip.expression import Expression

if TYPE_CHECKING:
    from jaxtyping import Float


class Score(Expression, spelled=False):
    """Scores every image bag against every document bag; higher means a better match."""

    replication_invariant: bool
    """Whether repeating every region, or every sentence, of a bag equally often leaves the score as it is."""

    separable: bool
    """Whether each sentence has a value that does not depend on the document's other sentences, and the score pools
    these values last."""

    smooth: bool
    """Whether the score is a smooth function of the features, also where two regions are equally similar: False where a
    hard choice of a maximum or of a key region makes kinks or jumps."""

    @abstractmethod
    def forward(self, images: Bag, documents: Bag) -> Float[Tensor, "images documents"]:
        """Score of each image with each document."""

    @abstractmethod
    def region_map(self, images: Bag, documents: Bag) -> Float[Tensor, "regions sentences"]:
        """Where each sentence is seen: how well every region of every image answers every sentence, alone.

        Rows are the packed regions, columns the packed sentences. A region's value is on the scale of the score.
        """

    @property
    @abstractmethod
    def T(self) -> Score:
        """The score with the parts of regions and sentences exchanged; it shares the modules."""

    def __add__(self, other: Score) -> Score:
        if not isinstance(other, Score):
            raise TypeError(f"a score adds to a score, not to {type(other).__name__}; scale it with a number instead.")
        return Sum(self, other)

    def __mul__(self, weight: float) -> Score:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise TypeError(f"a score is scaled by a finite number, not by {weight!r}; scores themselves only add.")
        return Scaled(float(weight), self)

    __rmul__ = __mul__


def scored(given: object, by: str) -> Score:
    """What was given, if it is a score.

    Raises:
        TypeError: if it is not; ``by`` is what asks for it.
    """
    if not isinstance(given, Score):
        raise TypeError(f"{by} needs a score, a chain(...) or a sum of some, not {given!r}.")
    return given


class Sum(Score, spelled=False):
    """Sum of two scores."""

    def __init__(self, left: Score, right: Score) -> None:
        super().__init__()
        self.left = left
        self.right = right
        _check_twins(left, right)

    @property
    def replication_invariant(self) -> bool:  # type: ignore[override]
        """If both terms are."""
        return self.left.replication_invariant and self.right.replication_invariant

    @property
    def separable(self) -> bool:  # type: ignore[override]
        """If both terms are."""
        return self.left.separable and self.right.separable

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """If both terms are."""
        return self.left.smooth and self.right.smooth

    def forward(self, images: Bag, documents: Bag) -> Tensor:
        """See `Score.forward`."""
        return self.left(images, documents) + self.right(images, documents)

    def region_map(self, images: Bag, documents: Bag) -> Tensor:
        """See `Score.region_map`."""
        return self.left.region_map(images, documents) + self.right.region_map(images, documents)

    @property
    def T(self) -> Sum:
        """See `Score.T`."""
        return Sum(self.left.T, self.right.T)

    def __repr__(self) -> str:
        right = f"({self.right!r})" if isinstance(self.right, Sum) else repr(self.right)
        return f"{self.left!r} + {right}"


class Scaled(Score, spelled=False):
    """A score times a number."""

    def __init__(self, weight: float, score: Score) -> None:
        super().__init__()
        self.weight = weight
        self.score = score

    @property
    def replication_invariant(self) -> bool:  # type: ignore[override]
        """If the score is."""
        return self.score.replication_invariant

    @property
    def separable(self) -> bool:  # type: ignore[override]
        """If the score is."""
        return self.score.separable

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """If the score is."""
        return self.score.smooth

    def forward(self, images: Bag, documents: Bag) -> Tensor:
        """See `Score.forward`."""
        return self.weight * self.score(images, documents)

    def region_map(self, images: Bag, documents: Bag) -> Tensor:
        """See `Score.region_map`."""
        return self.weight * self.score.region_map(images, documents)

    @property
    def T(self) -> Scaled:
        """See `Score.T`."""
        return Scaled(self.weight, self.score.T)

    def __repr__(self) -> str:
        inner = f"({self.score!r})" if isinstance(self.score, Sum | Scaled) else repr(self.score)
        return f"{self.weight!r} * {inner}"


def _check_twins(left: Score, right: Score) -> None:
    """Raise a ValueError if two parts read the same but have weights of their own, which no formula would tell."""
    own = {repr(part): {id(p) for p in part.parameters()} for part in left.modules() if isinstance(part, Score)}
    for part in right.modules():
        if isinstance(part, Score) and own.get(repr(part), weights := {id(p) for p in part.parameters()}) != weights:
            raise ValueError(
                f"both terms have {part!r}, each with weights of its own, which their formula does not tell; name a "
                'part, Attention(dim=8).named("first"), say, or add the very same chain.'
            )
