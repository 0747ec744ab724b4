"""Cross-attention: each instance of the other bag attends to the bag by similarity."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from bagclip import segments
from bagclip.aggregators.base import Aggregator, Attends
from bagclip.bags import Bag
from bagclip.scale import Scale, scale, value
from bagclip.similarity import Cosine, Similarity

Normalise = Literal["none", "softmax", "l2"]

EPSILON = 1e-8
"""Added to the norm, as in SCAN."""


class CrossAttention(Aggregator, Attends):
    """Mean of a bag's features weighted by their similarity u_nm to an instance y_m of the other bag.

        sum_n a_nm x_n,   a_nm = softmax_n(sharpness u~_nm)

    Before the softmax, the similarities may be normalised over the other bag's instances, which then compete for x_n:

        "none"     u~_nm = u_nm, SCAN without its normalisation (Lee et al., 2018)
        "softmax"  u~_nm = softmax_m(u_nm), GLoRIA (Huang et al., 2021), with `Dot` and sharpness 4
        "l2"       u~_nm = r_nm / ||r_n||, r_nm = LeakyReLU(u_nm) of slope 0.1 below 0, SCAN, with sharpness 9

    Limits: sharpness -> 0 is the mean, whatever the other bag; with "none", sharpness -> infinity is the most similar
    instance.

    Args:
        sharpness: multiplies the similarities; fixed, learned or annealed.
        similarity: compares an instance of the pooled bag, its first argument, with one of the other bag; `Cosine` when
            None.
        normalise: "none", "softmax" or "l2".

    Raises:
        ValueError: if the sharpness is neither a positive number nor learned or annealed, or normalise is another.
        TypeError: if the similarity is none, or compares by vectors.

    Example:
        >>> import torch
        >>> regions, sentence = Bag.from_list([torch.eye(2)]), Bag.from_list([torch.tensor([[0.0, 2.0]])])
        >>> CrossAttention(sharpness=2.0).attention(regions, sentence)
        tensor([[0.1192],
                [0.8808]])
    """

    def __init__(
        self, sharpness: Scale = 9.0, similarity: Similarity | None = None, normalise: Normalise = "none"
    ) -> None:
        super().__init__()
        if normalise not in get_args(Normalise):
            raise ValueError(f'CrossAttention normalises by "none", "softmax" or "l2", not by {normalise!r}.')
        self.sharpness = scale(sharpness, "the sharpness of CrossAttention")
        self.similarity = attends_by(similarity, "CrossAttention")
        self.normalise = normalise

    @property
    def coupled(self) -> bool:  # type: ignore[override]
        """If similarities are normalised over the other bag."""
        return self.normalise != "none"

    @property
    def replication_invariant(self) -> bool:  # type: ignore[override]
        """Unless coupled: the more there are in the other bag, the less each has of a similarity."""
        return not self.coupled

    def attention(self, bag: Bag, other: Bag) -> Tensor:
        """See `Attends`."""
        u = self.similarity(bag.instances, other.instances)
        if self.normalise == "softmax":
            u = segments.softmax(u, other.lengths, dim=1)
        elif self.normalise == "l2":
            u = leaky_relu(u, 0.1)
            squared = segments.sum(u.square(), other.lengths, dim=1)
            # The square root has no finite gradient at 0, where u is 0 whatever it is divided by.
            norm = torch.where(squared > 0, squared, 1.0).sqrt()
            u = u / (norm + EPSILON).index_select(1, other.owners)
        return segments.softmax(value(self.sharpness) * u, bag.lengths)


def attends_by(similarity: Similarity | None, name: str) -> Similarity:
    """The similarity that an aggregator was given to attend by, a new `Cosine` when None.

    Raises:
        TypeError: if it is no similarity, or compares by vectors.
    """
    if similarity is None:
        return Cosine()
    if not isinstance(similarity, Similarity) or similarity.vectors:
        raise TypeError(f"{name} attends by a similarity that is a number, such as Cosine(), not by {similarity!r}.")
    return similarity
