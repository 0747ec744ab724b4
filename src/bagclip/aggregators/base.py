"""What an aggregator is: a permutation-invariant map of a bag to one value.

There are kinds of them, told apart by where in a chain they may stand. Left of the similarity, they pool embeddings
(embedding-level MIL): of the bag alone (`PoolsEmbeddings`), or anew for each instance of the other bag
(`PoolsAroundKey`, `PoolsGivenOther`). In its place, they score a bag against such an instance (`ScoresGivenOther`).
Right of it, they pool scores (instance-level MIL; `PoolsScores`), or read a score from the vectors of a vector-valued
similarity (`PoolsVectors`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from bagclip import segments
from bagclip.bags import Bag
from bagclip.expression import Expression

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

Axis = Literal["regions", "sentences"]


class Aggregator(Expression, spelled=False):
    """A permutation-invariant map of a bag to one value; ``.over(axis)`` says which bag it pools in a chain."""

    replication_invariant: ClassVar[bool] = True
    """Whether repeating every instance of the bag equally often leaves the value as it is."""

    smooth: ClassVar[bool] = True
    """Whether the value goes smoothly from one instance to another: False where a hard choice (of a maximum, of a key)
    makes kinks or jumps. Kinks of an activation do not count: they choose no instance."""

    coupled: ClassVar[bool] = False
    """Whether what it makes of the bag for one instance of the other bag depends on that instance's neighbours."""

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


class PoolsVectors(ABC):
    """An aggregator that may stand right of a similarity that compares by vectors."""

    @abstractmethod
    def pool_vectors(
        self, vectors: Float[Tensor, "rows columns dim"], lengths: Int64[Tensor, "bags"], dim: int
    ) -> Float[Tensor, "..."]:
        """One score for each bag's slice of ``dim`` (0 or 1), whose size becomes the number of bags."""


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


class PoolsGivenOther(ABC):
    """An aggregator left of the similarity that makes another embedding of a bag for each instance of the other bag."""

    @abstractmethod
    def pool_given(self, bag: Bag, other: Bag) -> Float[Tensor, "bags others dim"]:
        """The embedding of each bag for each instance of the other bags."""


class Attends(PoolsGivenOther):
    """Pools a bag given an instance of the other bag by a mean of its values with weights that add up to one."""

    @abstractmethod
    def attention(self, bag: Bag, other: Bag) -> Float[Tensor, "total others"]:
        """Weight of each instance of a bag for each instance of the other bags."""

    def values(self, bag: Bag) -> Float[Tensor, "total dim"]:
        """What is averaged: the instances themselves."""
        return bag.instances

    def pool_given(self, bag: Bag, other: Bag) -> Tensor:
        """See `PoolsGivenOther`."""
        weights, values = self.attention(bag, other), self.values(bag)
        pieces, places = [], []
        for rows in segments.by_length(bag.lengths, values.device):
            pieces.append(torch.einsum("bno,bnd->bod", weights[rows], values[rows]))
            places.append(bag.owners[rows[:, 0]])
        return torch.cat(pieces)[torch.cat(places).argsort()]


class ScoresGivenOther(ABC):
    """An aggregator in the place of the similarity: it scores a bag against each instance of the other bag at once."""

    @abstractmethod
    def score_given(self, bag: Bag, other: Bag) -> Float[Tensor, "bags others"]:
        """Score of each bag with each instance of the other bags."""


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
