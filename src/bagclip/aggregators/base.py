"""What an aggregator is: a permutation-invariant map of a bag to one value.

There are three kinds, told apart by where in a chain they may stand: *score* aggregators pool the similarities of a bag
(instance-level MIL, right of the similarity), *embedding* aggregators pool its features (embedding-level MIL, left of
it), and *keyed* aggregators pool its features around the key that an instance of the other bag picks (left of it, too).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from bagclip.bags import Bag
from bagclip.expression import Expression

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

Axis = Literal["regions", "sentences"]


class Aggregator(Expression):
    """A permutation-invariant map of a bag to one value; ``.over(axis)`` says which bag it pools in a chain."""

    replication_invariant: ClassVar[bool] = True
    """Whether repeating every instance of the bag equally often leaves the value as it is."""

    def over(self, axis: Axis) -> Over:
        """This aggregator pooling ``"regions"`` or ``"sentences"``."""
        return Over(self, axis)


class PoolsScores(ABC):
    """An aggregator that may stand right of the similarity."""

    @abstractmethod
    def pool_scores(
        self, scores: Float[Tensor, "..."], lengths: Int64[Tensor, "bags"], dim: int
    ) -> Float[Tensor, "..."]:
        """Pool each bag's slice of ``dim``, whose size becomes the number of bags."""


class PoolsEmbeddings(ABC):
    """An aggregator that may stand left of the similarity."""

    @abstractmethod
    def pool_embeddings(self, bag: Bag) -> Float[Tensor, "bags dim"]:
        """One embedding for each bag."""


class PoolsAroundKey(ABC):
    """An aggregator left of the similarity whose embedding of a bag depends on the other bag's instance by its key.

    The key is the instance of the bag that is most similar to the other bag's instance; the first of equal ones.
    """

    @abstractmethod
    def contexts(self, bag: Bag) -> Float[Tensor, "total dim"]:
        """For each instance, the embedding of its bag if that instance is the key."""


@dataclass(frozen=True)
class Over:
    """An aggregator with the axis it pools, as it stands in a chain."""

    aggregator: Aggregator
    axis: Axis

    def __post_init__(self) -> None:
        if self.axis not in ("regions", "sentences"):
            raise ValueError(f'{self.aggregator!r}.over({self.axis!r}): an axis is "regions" or "sentences".')

    @property
    def T(self) -> Over:
        """The same aggregator pooling the other axis."""
        return Over(self.aggregator, "sentences" if self.axis == "regions" else "regions")

    def __repr__(self) -> str:
        return f'{self.aggregator!r}.over("{self.axis}")'
