"""Affinities: how the instances of a bag attend to its key, the instance a sentence is seen in."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bagclip import segments
from bagclip.aggregators.base import Aggregator, Attends, PoolsAroundKey
from bagclip.bags import Bag
from bagclip.scale import Scale, scale, value

if TYPE_CHECKING:
    from jaxtyping import Float

Query = Literal["linear", "mlp", "identity"]
Value = Literal["identity", "learned"]


class Affinity(Aggregator, PoolsAroundKey, spelled=False):
    """Mean of a bag's values v_n, weighted by the affinity of their queries q_n to the query of a key k.

        sum_n a_n v_n,   a = softmax_n(<q_n, q_k> / temperature)

    Args:
        dim: size of the features.
        temperature: divides the affinities; fixed, learned or annealed. The square root of the queries' size, as in
            DSMIL, when None.
        query: what q is of x: "linear", A x with A (dim, dim), orthogonal at first; "mlp", two layers with ReLU and
            tanh (the default of DSMIL); "identity", x itself.
        value: what v is of x: "identity", x itself; "learned", V x with V (dim, dim), the identity at first.
        normalised: whether x is the l2-normalised feature, so that affinities are bounded, or the feature as it is.
        hidden: size of the two layers of the "mlp".

    Raises:
        ValueError: if the temperature is neither a positive number nor learned or annealed, or query or value is
            another.
    """

    def __init__(
        self,
        dim: int,
        temperature: Scale | None = None,
        query: Query = "linear",
        value: Value = "identity",
        normalised: bool = True,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if query not in get_args(Query):
            raise ValueError(f'the query of {name} is "linear", "mlp" or "identity", not {query!r}.')
        if value not in get_args(Value):
            raise ValueError(f'the value of {name} is "identity" or "learned", not {value!r}.')
        self.dim = dim
        self.temperature = None if temperature is None else scale(temperature, f"the temperature of {name}")
        self.query = query
        self.value = value
        self.normalised = normalised
        self.hidden = hidden
        self.affinity: nn.Module = nn.Identity()
        if query == "linear":
            self.affinity = nn.Linear(dim, dim, bias=False)
            nn.init.orthogonal_(self.affinity.weight)
        elif query == "mlp":
            self.affinity = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.Tanh())
        self.content: nn.Module = nn.Identity()
        if value == "learned":
            self.content = nn.Linear(dim, dim, bias=False)
            nn.init.eye_(self.content.weight)

    def queries(self, bag: Bag) -> Float[Tensor, "total size"]:
        """What is compared with the key."""
        return self.affinity(self._features(bag))

    def values(self, bag: Bag) -> Float[Tensor, "total dim"]:
        """What is averaged."""
        return self.content(self._features(bag))

    def contexts(self, bag: Bag) -> Tensor:
        """See `PoolsAroundKey`."""
        factor = self._factor
        return by_bag(
            lambda q, v: (q @ q.mT * factor).softmax(-1) @ v, bag.lengths, self.queries(bag), self.values(bag)
        )

    def _features(self, bag: Bag) -> Float[Tensor, "total dim"]:
        return normalize(bag.instances, dim=-1) if self.normalised else bag.instances

    @property
    def _factor(self) -> float | Float[Tensor, ""]:
        size = self.hidden if self.query == "mlp" else self.dim
        return 1 / (math.sqrt(size) if self.temperature is None else value(self.temperature))


class MixedKey(Affinity, Attends, spelled=False):
    """Non-local pooling around a mixed key, whose query is a mean of the instances' queries, q_k = sum_n c_n q_n."""

    @abstractmethod
    def shares(self, bag: Bag, other: Bag) -> Float[Tensor, "total others"]:
        """Share c of each instance of a bag in its key for each instance of the other bags; they add up to one."""

    def attention(self, bag: Bag, other: Bag) -> Tensor:
        """See `Attends`."""
        factor = self._factor
        return by_bag(
            lambda q, c: (q @ (q.mT @ c) * factor).softmax(1), bag.lengths, self.queries(bag), self.shares(bag, other)
        )


def by_bag(
    function: Callable[..., Float[Tensor, "bags length size"]], lengths: Tensor, *packed: Float[Tensor, "total _"]
) -> Float[Tensor, "total size"]:
    """Apply a function of dense bags of one length to packed bags, one length after the other."""
    pieces, places = [], []
    for rows in segments.by_length(lengths, packed[0].device):
        pieces.append(function(*(values[rows] for values in packed)).flatten(0, 1))
        places.append(rows.flatten())
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)[torch.cat(places).argsort()]
