"""Chains: a similarity with its two bag axes, each pooled once, left or right of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bagclip import segments
from bagclip.aggregators import (
    Aggregator,
    Axis,
    Over,
    PoolsAroundKey,
    PoolsEmbeddings,
    PoolsGivenOther,
    PoolsScores,
    PoolsVectors,
    ScoresGivenOther,
)
from bagclip.bags import Bag
from bagclip.expression import Expression
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


class Chain(Score, spelled=False):
    """A similarity and the aggregators around it; built by `chain`.

    It is computed in float32 at least, whatever the bags are in and autocast says: in bfloat16 the key region would be
    chosen among near-ties by chance.
    """

    def __init__(self, *parts: Over | Similarity) -> None:
        super().__init__()
        _check(parts)
        middle = next(i for i, part in enumerate(parts) if _compares(part))
        self.parts = parts
        self.middle = parts[middle]
        self.left = [part for part in parts[:middle] if isinstance(part, Over)]
        self.right = [part for part in parts[middle + 1 :] if isinstance(part, Over)]
        self.similarity = self.middle if isinstance(self.middle, Similarity) else None
        self.aggregators = nn.ModuleList(over.aggregator for over in self.overs)

    @property
    def overs(self) -> list[Over]:
        """All aggregators with their axes, from left to right."""
        return [part for part in self.parts if isinstance(part, Over)]

    @property
    def replication_invariant(self) -> bool:  # type: ignore[override]
        """If every aggregator is."""
        return all(over.aggregator.replication_invariant for over in self.overs)

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """If every aggregator is."""
        return all(over.aggregator.smooth for over in self.overs)

    @property
    def separable(self) -> bool:  # type: ignore[override]
        """If sentences are pooled last, from scores, and no aggregator lets them compete."""
        last = self.parts[-1]
        return (
            isinstance(last, Over)
            and last.axis == "sentences"
            and isinstance(last.aggregator, PoolsScores)
            and not any(over.aggregator.coupled for over in self.overs)
        )

    def forward(self, images: Bag, documents: Bag) -> Tensor:
        """See `Score.forward`."""
        return self._run(images, documents, self.left, self.right)

    def sentence_scores(self, images: Bag, documents: Bag) -> Float[Tensor, "images sentences"]:
        """Score of each image with each sentence as the document's other sentences let it be, before they are pooled.

        Raises:
            ValueError: if the chain does not pool sentences last.
        """
        if not (self.right and self.right[-1].axis == "sentences"):
            raise ValueError(f"{self!r} has no score for a sentence: it does not pool sentences last.")
        return self._run(images, documents, self.left, self.right[:-1])

    def region_map(self, images: Bag, documents: Bag) -> Tensor:
        """See `Score.region_map`.

        It is the score of every region as if it were the whole image with every sentence as if it were the whole
        document; under non-local pooling, with the region's surroundings: as if that region were the key.
        """
        check_bags(images, documents, self)
        with full_precision(images, documents) as (images, documents):
            for over in self.left:
                if isinstance(over.aggregator, PoolsAroundKey):
                    if over.axis == "regions":
                        images = images.with_instances(over.aggregator.contexts(images))
                    else:
                        documents = documents.with_instances(over.aggregator.contexts(documents.singletons()))
        left = [over for over in self.left if not isinstance(over.aggregator, PoolsAroundKey)]
        return self._run(images.singletons(), documents.singletons(), left, self.right)

    def _run(self, images: Bag, documents: Bag, left: list[Over], right: list[Over]) -> Tensor:
        """The scores after these aggregators left and right of the similarity."""
        check_bags(images, documents, self)
        with full_precision(images, documents) as (images, documents):
            bags: dict[Axis, Bag] = {"regions": images, "sentences": documents}
            given = None
            for over in left:
                if isinstance(over.aggregator, PoolsEmbeddings):
                    bag = bags[over.axis]
                    bags[over.axis] = Bag(over.aggregator.pool_embeddings(bag), torch.ones_like(bag.lengths))
                else:
                    given = over
            scores = self._compare(given, bags)
            for over in right:
                lengths, dim = bags[over.axis].lengths, AXES.index(over.axis)
                if isinstance(over.aggregator, PoolsVectors):
                    scores = over.aggregator.pool_vectors(scores, lengths, dim)
                else:
                    assert isinstance(over.aggregator, PoolsScores)
                    scores = over.aggregator.pool_scores(scores, lengths, dim)
        return scores

    def _compare(self, given: Over | None, bags: dict[Axis, Bag]) -> Tensor:
        """What is left of the two axes when the similarity, or what stands in its place, has acted."""
        if isinstance(self.middle, Over):
            bag, other = bags[self.middle.axis], bags[_other(self.middle.axis)]
            assert isinstance(self.middle.aggregator, ScoresGivenOther)
            scores = self.middle.aggregator.score_given(bag, other)
            return scores if self.middle.axis == "regions" else scores.mT
        regions, sentences = bags["regions"].instances, bags["sentences"].instances
        if given is None:
            return self.middle(regions, sentences)
        if isinstance(given.aggregator, PoolsGivenOther):
            pooled = given.aggregator.pool_given(bags[given.axis], bags[_other(given.axis)])
            if given.axis == "regions":
                return self.middle.pairs(pooled, sentences)
            return self.middle.pairs(regions, pooled).transpose(0, 1)
        return self._around_key(given, bags)

    def _around_key(self, over: Over, bags: dict[Axis, Bag]) -> Float[Tensor, "rows columns"]:
        """Similarity of each bag, pooled around the key that each instance of the other axis picks, with that instance.

        That instance decides nothing but the key, so every instance of the bag is made a key once, compared with all of
        the other axis, and the right row is taken.
        """
        assert isinstance(over.aggregator, PoolsAroundKey) and self.similarity is not None
        dim = AXES.index(over.axis)
        compared = {axis: bag.instances for axis, bag in bags.items()}
        with torch.no_grad():
            scores = self.similarity(compared["regions"], compared["sentences"])
            keys = segments.argmax(scores, bags[over.axis].lengths, dim)
        compared[over.axis] = over.aggregator.contexts(bags[over.axis])
        return self.similarity(compared["regions"], compared["sentences"]).gather(dim, keys)

    @property
    def T(self) -> Chain:
        """See `Score.T`."""
        return Chain(*(part.T if isinstance(part, Over) else part for part in self.parts))

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.parts))})"


def check_bags(images: Bag, documents: Bag, score: Expression | None = None) -> None:
    """Raise a ValueError if the two bags cannot be compared, or by this score, or hold a number that is not finite."""
    if images.dim != documents.dim:
        raise ValueError(
            f"regions have dim {images.dim} and sentences dim {documents.dim}; project both to one joint space first."
        )
    if images.instances.device != documents.instances.device or images.instances.dtype != documents.instances.dtype:
        raise ValueError(
            f"regions are {images.instances.dtype} on {images.instances.device}, sentences "
            f"{documents.instances.dtype} on {documents.instances.device}; move them together with Bag.to."
        )
    if score is not None:
        _check_weights(score, images)
    for axis, bag in (("regions", images), ("sentences", documents)):
        if not bool(torch.isfinite(bag.instances).all()):
            rows = torch.isfinite(bag.instances).all(1).logical_not().nonzero().flatten()
            owners = bag.owners[rows].unique().tolist()
            raise ValueError(f"{axis} of bags {owners[:10]} hold NaN or infinite features; look at what encoded them.")


def _check_weights(score: Expression, bag: Bag) -> None:
    """Raise a ValueError if a part of the score is for other features, on another device or in another precision."""
    for part in score.modules():
        if isinstance(part, Expression) and getattr(part, "dim", bag.dim) != bag.dim:
            raise ValueError(f"{part!r} is for features of another size; these have dim {bag.dim}: build it so.")
    widened = bag.instances.dtype if bag.instances.dtype.itemsize >= 4 else torch.float32
    for name, weight in score.named_parameters():
        if weight.device != bag.instances.device or (weight.ndim and weight.dtype != widened):
            raise ValueError(
                f"the weights {name} are {weight.dtype} on {weight.device}, the bags {bag.instances.dtype} on "
                f"{bag.instances.device}, and scores are computed in float32 at least; move the score with "
                f"score.to({str(bag.instances.device)!r}, {widened}), or the bags with Bag.to."
            )


@contextmanager
def full_precision(images: Bag, documents: Bag) -> Iterator[tuple[Bag, Bag]]:
    """The bags in float32 at least, and autocast off."""
    widened = [bag if bag.instances.dtype.itemsize >= 4 else bag.to(torch.float32) for bag in (images, documents)]
    with torch.autocast(images.instances.device.type, enabled=False):
        yield widened[0], widened[1]


def _compares(part: object) -> bool:
    """Whether a part is a similarity or stands in its place."""
    return isinstance(part, Similarity) or (isinstance(part, Over) and isinstance(part.aggregator, ScoresGivenOther))


def _other(axis: Axis) -> Axis:
    return "sentences" if axis == "regions" else "regions"


def _check(parts: tuple[Over | Similarity, ...]) -> None:
    for part in parts:
        if isinstance(part, Aggregator):
            raise TypeError(
                f'{part!r} does not say what it pools; write {part!r}.over("regions") or {part!r}.over("sentences").'
            )
        if not isinstance(part, Over | Similarity):
            raise TypeError(f"a chain is made of aggregators over an axis and one similarity, not of {part!r}.")
    middles = [i for i, part in enumerate(parts) if _compares(part)]
    if len(middles) != 1:
        found = " and ".join(repr(parts[i]) for i in middles)
        raise ValueError(
            f"a chain compares exactly once, this one with {found}; drop one."
            if middles
            else "a chain has exactly one similarity, this one has none; put Cosine() between what pools embeddings "
            "and what pools scores."
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
    middle = parts[middles[0]]
    _check_left([part for part in parts[: middles[0]] if isinstance(part, Over)], middle)
    right = [part for part in parts[middles[0] + 1 :] if isinstance(part, Over)]
    _check_right(right, vectors=isinstance(middle, Similarity) and middle.vectors)


def _check_left(left: list[Over], middle: Over | Similarity) -> None:
    for i, part in enumerate(left):
        name = type(part.aggregator).__name__
        if not isinstance(part.aggregator, PoolsEmbeddings | PoolsAroundKey | PoolsGivenOther):
            raise TypeError(
                f"{part!r} stands left of the similarity, but {name} pools scores; write it to the right: "
                f"chain(Cosine(), {part!r}, ...)."
            )
        if isinstance(part.aggregator, PoolsEmbeddings):
            continue
        if i + 1 < len(left):
            raise ValueError(
                f"{left[i + 1]!r} follows {part!r}, which already depends on the other bag; pool "
                f"{left[i + 1].axis} before it, or right of the similarity."
            )
        if isinstance(middle, Over):
            raise ValueError(f"{part!r} and {middle!r} both depend on the other bag; keep one of them.")
        if middle.vectors and not isinstance(part.aggregator, PoolsGivenOther):
            raise ValueError(f"{part!r} picks its key by a similarity, but {middle!r} gives a vector, no number.")


def _check_right(right: list[Over], vectors: bool) -> None:
    for i, part in enumerate(right):
        name = type(part.aggregator).__name__
        if vectors and i == 0:
            if not isinstance(part.aggregator, PoolsVectors):
                raise TypeError(
                    f"{part!r} follows a similarity that compares by vectors, but {name} pools numbers; read the score "
                    f'from them first, with VectorAttention(dim).over("{part.axis}"), say.'
                )
        elif isinstance(part.aggregator, PoolsVectors) and not isinstance(part.aggregator, PoolsScores):
            raise TypeError(f"{part!r} reads vectors, but what comes to it are numbers; compare with Hadamard(), say.")
        elif not isinstance(part.aggregator, PoolsScores):
            raise TypeError(
                f"{part!r} stands right of the similarity, but {name} pools embeddings; write it to the left: "
                f"chain({part!r}, Cosine(), ...)."
            )
    if vectors and not right:
        raise ValueError("the similarity compares by vectors, and nothing right of it reads a score from them.")
