"""Similarities: compare one region with one sentence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn
from torch.nn.functional import normalize

from bagclip.expression import Expression

if TYPE_CHECKING:
    from jaxtyping import Float


class Similarity(Expression, spelled=False):
    """Compares every region with every sentence."""

    vectors: ClassVar[bool] = False
    """Whether a pair is compared by a vector, which an aggregator right of it reads a score from, not by a number."""

    @abstractmethod
    def pairs(
        self, regions: Float[Tensor, "*batch dim"], sentences: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch"]:
        """Similarity of each region with the sentence at its place; leading dimensions broadcast."""

    def forward(
        self, regions: Float[Tensor, "*batch regions dim"], sentences: Float[Tensor, "*batch sentences dim"]
    ) -> Float[Tensor, "*batch regions sentences"]:
        """Similarity of each region with each sentence."""
        return self.pairs(regions[..., :, None, :], sentences[..., None, :, :])


class Cosine(Similarity):
    """Cosine of the angle between a region and a sentence, in [-1, 1]; 0 for a vector of zeros.

    Example:
        >>> import torch
        >>> Cosine()(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        tensor([[1., 0.]])
    """

    def pairs(self, regions: Tensor, sentences: Tensor) -> Tensor:
        """See `Similarity.pairs`."""
        return (normalize(regions, dim=-1) * normalize(sentences, dim=-1)).sum(-1)

    def forward(self, regions: Tensor, sentences: Tensor) -> Tensor:
        """See `Similarity.forward`."""
        return normalize(regions, dim=-1) @ normalize(sentences, dim=-1).mT


class Dot(Similarity):
    """Inner product of a region and a sentence, unbounded.

    Args:
        scaled: whether it is divided by sqrt(dim), without which attention over raw features blows up (reported of
            GLoRIA by the authors of SPARC, Bica et al., 2024).

    Example:
        >>> import torch
        >>> Dot()(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        tensor([[3., 0.]])
    """

    def __init__(self, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled

    def pairs(self, regions: Tensor, sentences: Tensor) -> Tensor:
        """See `Similarity.pairs`."""
        return self._scale(regions.shape[-1]) * (regions * sentences).sum(-1)

    def forward(self, regions: Tensor, sentences: Tensor) -> Tensor:
        """See `Similarity.forward`."""
        return self._scale(regions.shape[-1]) * (regions @ sentences.mT)

    def _scale(self, dim: int) -> float:
        return dim**-0.5 if self.scaled else 1.0


class Bilinear(Similarity):
    """x . W y with a learned W, the identity at first, when it is `Dot`.

    Args:
        dim: size of regions and sentences.

    Example:
        >>> import torch
        >>> Bilinear(dim=2)(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]])).detach()
        tensor([[3., 0.]])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.map = nn.Linear(dim, dim, bias=False)
        nn.init.eye_(self.map.weight)

    def pairs(self, regions: Tensor, sentences: Tensor) -> Tensor:
        """See `Similarity.pairs`."""
        return (regions * self.map(sentences)).sum(-1)

    def forward(self, regions: Tensor, sentences: Tensor) -> Tensor:
        """See `Similarity.forward`."""
        return regions @ self.map(sentences).mT


class Critic(Similarity):
    """A multi-layer perceptron with ReLU on the concatenation [region, sentence]: the critic of mutual information.

    As in local MI (Liao et al., 2021), whose global critic has the hidden sizes 1024 and 512.

    Args:
        dim: size of regions and of sentences.
        hidden: sizes of the hidden layers.

    Example:
        >>> import torch
        >>> Critic(dim=2, hidden=(8,))(torch.zeros(3, 2), torch.zeros(4, 2)).shape
        torch.Size([3, 4])
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (1024, 512)) -> None:
        super().__init__()
        self.dim = dim
        self.hidden = tuple(hidden)
        # The first layer in two halves: each region and each sentence passes its half once, not once for every pair.
        self.region = nn.Linear(dim, self.hidden[0])
        self.sentence = nn.Linear(dim, self.hidden[0], bias=False)
        sizes = (*self.hidden, 1)
        layers: list[nn.Module] = []
        for inner, outer in pairwise(sizes):
            layers += [nn.ReLU(), nn.Linear(inner, outer)]
        self.rest = nn.Sequential(*layers)

    def pairs(self, regions: Tensor, sentences: Tensor) -> Tensor:
        """See `Similarity.pairs`."""
        return self.rest(self.region(regions) + self.sentence(sentences)).squeeze(-1)


class Hadamard(Similarity):
    """The l2-normalised elementwise product of a region and a sentence: a vector.

    So compares LIMITR (Dawidowicz et al., 2023).
    An aggregator that reads a score from vectors stands right of it, `VectorAttention`, say.

    Example:
        >>> import torch
        >>> Hadamard()(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        tensor([[[1., 0.],
                 [0., 0.]]])
    """

    vectors = True

    def pairs(self, regions: Tensor, sentences: Tensor) -> Float[Tensor, "*batch dim"]:
        """See `Similarity.pairs`."""
        return normalize(regions * sentences, dim=-1)
