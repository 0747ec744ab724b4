"""Chains: a similarity with its two bag axes, each pooled once, left or right of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bagclip import segments
from bagclip.aggregators import Aggregator, Axis, Over, PoolsAroundKey, PoolsEmbeddings, PoolsScores
from bagclip.bags import Bag
from bagclip.scores.base import Score
from bagclip.similarity import Similarity

if TYPE_CHECKING:
    from jaxtyping import Float

AXES: tuple[Axis, Axis] = ("regions", "sentences")


def chain(*parts: Over | Similarity) -> Chain:
    """Build a score from left to right: pool embeddings, compare, pool scores.

    Left of the similarity an aggregator pools the embeddings of its axis (embedding-level MIL), right of it the scores
    (instance-level MIL). Regions and sentences are pooled exactly once each.

    Args:
        parts: aggregators with their axes and one similarity, in the order in which they act.

    Raises:
        TypeError: for a part that is neither, or an aggregator on a side where it cannot act.
        ValueError: if there is not exactly one similarity, or an axis is not pooled exactly once.

    Example:
        >>> import torch
        >>> from bagclip.aggregators import LogSumExp, Mean
        >>> from bagclip.similarity import Cosine
        >>> lse = chain(Cosine(), LogSumExp(5.0).over("regions"), Mean().over("sentences"))
        >>> lse
        chain(Cosine(), LogSumExp(sharpness=5.0).over("regions"), Mean().over("sentences"))
        >>> images, documents = Bag.dense(torch.ones(2, 9, 4)), Bag.dense(torch.ones(3, 5, 4))
        >>> lse(images, documents).shape
        torch.Size([2, 3])
    """
    return Chain(*parts)


class Chain(Score):
    """A similarity and the aggregators around it; built by `chain`."""

    def __init__(self, *parts: Over | Similarity) -> None:
        super().__init__()
        _check(parts)
        middle = next(i for i, part in enumerate(parts) if isinstance(part, Similarity))
        self.parts = parts
        self.left = [part for part in parts[:middle] if isinstance(part, Over)]
        self.right = [part for part in parts[middle:] if isinstance(part, Over)]
        self.similarity: Similarity = parts[middle]  # type: ignore[assignment]
        self.aggregators = nn.ModuleList(over.aggregator for over in self.left + self.right)

    @property
    def replication_invariant(self) -> bool:  # type: ignore[override]
        """If every aggregator is."""
        return all(over.aggregator.replication_invariant for over in self.left + self.right)

    def forward(self, images: Bag, documents: Bag) -> Tensor:
        """See `Score.forward`."""
        check_bags(images, documents)
        bags: dict[Axis, Bag] = {"regions": images, "sentences": documents}
        around_key = None
        for over in self.left:
            if isinstance(over.aggregator, PoolsEmbeddings):
                bag = bags[over.axis]
                bags[over.axis] = Bag(over.aggregator.pool_embeddings(bag), torch.ones_like(bag.lengths))
            else:
                around_key = over
        regions, sentences = bags["regions"].instances, bags["sentences"].instances
        scores = self.similarity(regions, sentences)
        if around_key is not None:
            scores = self._around_key(around_key, bags, scores)
        for over in self.right:
            assert isinstance(over.aggregator, PoolsScores)
            scores = over.aggregator.pool_scores(scores, bags[over.axis].lengths, AXES.index(over.axis))
        return scores

    def _around_key(self, over: Over, bags: dict[Axis, Bag], scores: Tensor) -> Float[Tensor, "rows columns"]:
        """Similarity of each bag, pooled around the key that each instance of the other axis picks, with that instance.

        That instance decides nothing but the key, so every instance of the bag is made a key once, compared with all of
        the other axis, and the right row is taken.
        """
        assert isinstance(over.aggregator, PoolsAroundKey)
        dim = AXES.index(over.axis)
        keys = segments.argmax(scores.detach(), bags[over.axis].lengths, dim)
        compared = {axis: bag.instances for axis, bag in bags.items()}
        compared[over.axis] = over.aggregator.contexts(bags[over.axis])
        return self.similarity(compared["regions"], compared["sentences"]).gather(dim, keys)

    def region_map(self, images: Bag, documents: Bag) -> Tensor:
        """See `Score.region_map`.

        The similarity of the region with the sentence; under non-local pooling, of the region with its surroundings:
        what the score would be if that region were the key.
        """
        check_bags(images, documents)
        regions = images.instances
        for over in self.left:
            if over.axis == "regions" and isinstance(over.aggregator, PoolsAroundKey):
                regions = over.aggregator.contexts(images)
        return self.similarity(regions, documents.instances)

    @property
    def T(self) -> Chain:
        """See `Score.T`."""
        return Chain(*(part.T if isinstance(part, Over) else part for part in self.parts))

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.parts))})"


def check_bags(images: Bag, documents: Bag) -> None:
    """Raise a ValueError if the two bags cannot be compared, or hold a number that is not finite."""
    if images.dim != documents.dim:
        raise ValueError(
            f"regions have dim {images.dim} and sentences dim {documents.dim}; project both to one joint space first."
        )
    if images.instances.device != documents.instances.device or images.instances.dtype != documents.instances.dtype:
        raise ValueError(
            f"regions are {images.instances.dtype} on {images.instances.device}, sentences "
            f"{documents.instances.dtype} on {documents.instances.device}; move them together with Bag.to."
        )
    for axis, bag in (("regions", images), ("sentences", documents)):
        if not bool(torch.isfinite(bag.instances).all()):
            rows = torch.isfinite(bag.instances).all(1).logical_not().nonzero().flatten()
            owners = bag.owners[rows].unique().tolist()
            raise ValueError(f"{axis} of bags {owners[:10]} hold NaN or infinite features; look at what encoded them.")


def _check(parts: tuple[Over | Similarity, ...]) -> None:
    for part in parts:
        if isinstance(part, Aggregator):
            raise TypeError(
                f'{part!r} does not say what it pools; write {part!r}.over("regions") or {part!r}.over("sentences").'
            )
        if not isinstance(part, Over | Similarity):
            raise TypeError(f"a chain is made of aggregators over an axis and one similarity, not of {part!r}.")
    similarities = [i for i, part in enumerate(parts) if isinstance(part, Similarity)]
    if len(similarities) != 1:
        raise ValueError(
            f"a chain has exactly one similarity, this one has {len(similarities)}; "
            + ("put Cosine() between what pools embeddings and what pools scores." if not similarities else "drop one.")
        )
    for axis in AXES:
        over = [part for part in parts if isinstance(part, Over) and part.axis == axis]
        if len(over) != 1:
            pooled = " and ".join(repr(part) for part in over)
            raise ValueError(
                f"{axis} are pooled by {pooled}; a chain pools each axis once, so drop one."
                if over
                else f'{axis} are never pooled; add an aggregator such as Mean().over("{axis}").'
            )
    left = [part for part in parts[: similarities[0]] if isinstance(part, Over)]
    right = [part for part in parts[similarities[0] :] if isinstance(part, Over)]
    for i, part in enumerate(left):
        name = type(part.aggregator).__name__
        if not isinstance(part.aggregator, PoolsEmbeddings | PoolsAroundKey):
            raise TypeError(
                f"{part!r} stands left of the similarity, but {name} pools scores; write it to the right: "
                f"chain(Cosine(), {part!r}, ...)."
            )
        if isinstance(part.aggregator, PoolsAroundKey) and i + 1 < len(left):
            raise ValueError(
                f"{left[i + 1]!r} follows {part!r}, which already depends on the other bag; pool "
                f"{left[i + 1].axis} before it, or right of the similarity."
            )
    for part in right:
        name = type(part.aggregator).__name__
        if not isinstance(part.aggregator, PoolsScores):
            raise TypeError(
                f"{part!r} stands right of the similarity, but {name} pools embeddings; write it to the left: "
                f"chain({part!r}, Cosine(), ...)."
            )
