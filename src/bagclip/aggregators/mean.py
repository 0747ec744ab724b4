"""Mean pooling, of scores or of embeddings."""

from __future__ import annotations

from torch import Tensor

from bagclip import segments
from bagclip.aggregators.base import Aggregator, PoolsEmbeddings, PoolsScores
from bagclip.bags import Bag


class Mean(Aggregator, PoolsScores, PoolsEmbeddings):
    """Mean of a bag: (1/N) sum_n s_n of its scores, or the same of its features.

    Features are averaged as they are, before any normalisation, as BioViL does (Boecking et al., 2022).

    Example:
        >>> import torch
        >>> Mean().pool_scores(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([3]), dim=0)
        tensor([0.5000])
    """

    def pool_scores(self, scores: Tensor, lengths: Tensor, dim: int) -> Tensor:
        """See `PoolsScores`."""
        return segments.mean(scores, lengths, dim)

    def pool_embeddings(self, bag: Bag) -> Tensor:
        """See `PoolsEmbeddings`."""
        return segments.mean(bag.instances, bag.lengths)
