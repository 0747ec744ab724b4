"""Non-local pooling: attention around the key region, which uses the correlation between regions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsAroundKey
from bagclip.bags import Bag

if TYPE_CHECKING:
    from jaxtyping import Float


class NonLocal(Aggregator, PoolsAroundKey):
    """Mean of a bag's features weighted by their affinity to the key region of a sentence.

    With x normalised, k(m) = argmax_n s_nm and a learned A, the embedding of the bag for sentence m is

        sum_n a_n x_n,   a = softmax_n(<A x_n, A x_k(m)> / temperature).

    Reconstructed from the name and lineage of LSE+NL (Wang et al., 2023): the critical-instance attention of DSMIL (Li,
    Li and Eliceiri, 2021) with a sentence in the place of a class. A sentence matters only through its key region, so
    the embeddings of all candidate keys are one self-attention of the bag, whose row k(m) is taken. The gradient
    reaches the key region through that row; the choice itself has none. Of equal similarities the first region is key.

    Limits: A = 0 averages the normalised regions; A = 1 and temperature -> 0 gives the key region itself.

    Args:
        dim: size of the features; A is (dim, dim), orthogonal at first.
        temperature: divides the affinities; sqrt(dim), as in DSMIL, when None.

    Raises:
        ValueError: if the temperature is not a positive number.

    Example:
        >>> import torch
        >>> NonLocal(dim=3, temperature=0.01).contexts(Bag.from_list([torch.eye(3)])).detach().round()
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]])
    """

    def __init__(self, dim: int, temperature: float | None = None) -> None:
        super().__init__()
        if temperature is not None and not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"the temperature of NonLocal must be a positive number or None, got {temperature!r}.")
        self.dim = dim
        self.temperature = temperature
        self.affinity = nn.Linear(dim, dim, bias=False)
        nn.init.orthogonal_(self.affinity.weight)

    def contexts(self, bag: Bag) -> Float[Tensor, "total dim"]:
        """See `PoolsAroundKey`."""
        features = normalize(bag.instances, dim=-1)
        queries = self.affinity(features)
        scale = 1 / (math.sqrt(self.dim) if self.temperature is None else self.temperature)
        pieces, places = [], []
        for rows in segments.by_length(bag.lengths, features.device):
            x, q = features[rows], queries[rows]
            pieces.append(((q @ q.mT * scale).softmax(-1) @ x).flatten(0, 1))
            places.append(rows.flatten())
        if len(pieces) == 1:
            return pieces[0]
        return torch.cat(pieces)[torch.cat(places).argsort()]
