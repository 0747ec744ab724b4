"""Sparse attention: each instance of the other bag attends to the few of the bag that are similar to it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bagclip import segments
from bagclip.aggregators.base import Aggregator, Attends
from bagclip.aggregators.cross_attention import attends_by
from bagclip.bags import Bag
from bagclip.similarity import Similarity


class SparseAttention(Aggregator, Attends):
    """Mean of the features of a bag that are most similar to an instance y_m of the other bag, weighted by similarity.

        sum_n a_nm x_n,   a_nm = t_nm / sum_k t_km,   t_nm = s~_nm if s~_nm >= 1/N else 0,
                          s~_nm = (s_nm - min_k s_km) / (max_k s_km - min_k s_km)

    SPARC (Bica et al., 2024), whose similarity s is the inner product. The most similar instance always has a weight,
    the least similar has none. Where all similarities are equal but for rounding, where s~ would be 0 / 0, so are
    the weights.

    Args:
        similarity: compares an instance of the pooled bag, its first argument, with one of the other bag; `Cosine` when
            None.

    Raises:
        TypeError: if the similarity is none, or compares by vectors.

    Example:
        >>> import torch
        >>> from bagclip.similarity import Dot
        >>> regions = Bag.from_list([torch.tensor([[0.0], [0.2], [0.6], [1.0]])])
        >>> SparseAttention(Dot()).attention(regions, Bag.from_list([torch.ones(1, 1)])).T
        tensor([[0.0000, 0.0000, 0.3750, 0.6250]])
    """

    replication_invariant = False
    smooth = False

    def __init__(self, similarity: Similarity | None = None) -> None:
        super().__init__()
        self.similarity = attends_by(similarity, "SparseAttention")

    def attention(self, bag: Bag, other: Bag) -> Tensor:
        """See `Attends`."""
        s = self.similarity(bag.instances, other.instances)
        high = segments.max(s, bag.lengths)[bag.owners]
        low = -segments.max(-s, bag.lengths)[bag.owners]
        precision = torch.finfo(s.dtype)
        rounding = 10 * precision.eps * torch.maximum(high.abs(), low.abs()).clamp(min=math.sqrt(precision.tiny))
        flat = high - low <= rounding
        scaled = (s - low) / torch.where(flat, 1.0, high - low)
        kept = torch.where(scaled < 1 / bag.lengths.to(s)[bag.owners, None], 0.0, scaled)
        kept = torch.where(flat, 1.0, kept)
        return kept / segments.sum(kept, bag.lengths)[bag.owners]
