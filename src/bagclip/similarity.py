"""Similarities: compare one region with one sentence."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import normalize

from bagclip.expression import Expression

if TYPE_CHECKING:
    from jaxtyping import Float


class Similarity(Expression):
    """Compares every region with every sentence."""

    @abstractmethod
    def forward(
        self, regions: Float[Tensor, "*batch regions dim"], sentences: Float[Tensor, "*batch sentences dim"]
    ) -> Float[Tensor, "*batch regions sentences"]:
        """Similarity of each region with each sentence."""


class Cosine(Similarity):
    """Cosine of the angle between a region and a sentence, in [-1, 1]; 0 for a vector of zeros.

    Example:
        >>> import torch
        >>> Cosine()(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        tensor([[1., 0.]])
    """

    def forward(self, regions: Tensor, sentences: Tensor) -> Tensor:
        """See `Similarity.forward`."""
        return normalize(regions, dim=-1) @ normalize(sentences, dim=-1).mT
