"""Scores in closed form: their terms by pooled inner products, which never hold all regions with all sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from bagclip import segments
from bagclip.aggregators import (
    Aggregator,
    CrossAttention,
    LogSumExp,
    Max,
    Mean,
    NonLocal,
    Over,
    PoolsEmbeddings,
    PoolsScores,
)
from bagclip.bags import Bag
from bagclip.engine.cross_attention import attended_cosine
from bagclip.engine.on_gpu import pooled_on_gpu
from bagclip.engine.plan import Term
from bagclip.engine.pooled import pooled
from bagclip.scale import value
from bagclip.scores import Chain
from bagclip.scores.chain import check_bags, full_precision
from bagclip.similarity import Bilinear, Cosine, Dot, Similarity

if TYPE_CHECKING:
    from jaxtyping import Float

AFFINITIES = 1 << 22
"""Affinities of regions with regions that are held at a time while contexts are made."""


def closed_form(
    terms: Sequence[Term], images: Bag, documents: Bag, triton: bool = False
) -> Float[Tensor, "images documents"]:
    """The weighted sum of terms that all have a closed form.

    Terms that compare by the same similarity and pool the same sentences share one pass over the products.

    Args:
        terms: with their weights.
        images: regions.
        documents: sentences.
        triton: whether the products are pooled by the Triton kernels. They take products of features in half precision
            as such, in float32; whatever else is computed in float32 at least.
    """
    dtype = images.instances.dtype
    for term in terms:
        check_bags(images, documents, term.score)
    passes: list[_Pass] = []
    total = images.instances.new_zeros(())
    with full_precision(images, documents) as (images, documents):
        for term in terms:
            chain = _chain(term)
            if term.form == "vectors":
                total = total + term.weight * chain(images, documents)
            elif term.form == "attended":
                total = total + term.weight * _attended(chain, images, documents)
            elif not any(shared.takes(term) for shared in passes):
                passes.append(_Pass(term))
        for shared in passes:
            total = total + shared(images, documents, dtype if triton else None)
    return total


class _Pass:
    """Terms that share one pass over the products of regions and sentences, one of each kind."""

    def __init__(self, term: Term) -> None:
        self.chain = _chain(term)
        self.key = _key(self.chain)
        self.weights: dict[type, float] = {}
        self.aggregators: dict[type, Aggregator] = {}
        self.takes(term)

    def takes(self, term: Term) -> bool:
        """Add a term if it compares and ends as the others do and none of them is of its kind."""
        aggregator = over_regions(_chain(term)).aggregator
        if _key(_chain(term)) != self.key or type(aggregator) in self.weights:
            return False
        self.weights[type(aggregator)] = term.weight
        self.aggregators[type(aggregator)] = aggregator
        return True

    def __call__(self, images: Bag, documents: Bag, dtype: torch.dtype | None) -> Tensor:
        """The weighted sum of the terms; by Triton, from features of a dtype, if there is one."""
        similarity = self.chain.similarity
        assert similarity is not None
        columns = _columns(self.chain, documents)
        in_place = self.key[1] == "mean"
        regions, sentences = factors(similarity, images.instances, columns.instances)
        lse, around = self.aggregators.get(LogSumExp), self.aggregators.get(NonLocal)
        contexts = None
        if isinstance(around, NonLocal):
            contexts = contexts_of(around, similarity, images)
        if dtype is not None:
            regions, sentences = regions.to(dtype), sentences.to(dtype)
            contexts = None if contexts is None else contexts.to(dtype)
        found = (pooled if dtype is None else pooled_on_gpu)(
            regions,
            images.lengths,
            sentences,
            contexts=contexts,
            sharpness=value(lse.sharpness) if isinstance(lse, LogSumExp) else None,
            best=Max in self.aggregators,
            documents=columns.lengths if in_place else None,
        )
        parts = []
        if isinstance(lse, LogSumExp) and found.lse is not None:
            bonus = torch.log(images.lengths.to(found.lse))[:, None] / value(lse.sharpness)
            parts.append((self.weights[LogSumExp], found.lse if lse.normalised else found.lse + bonus))
        if found.best is not None:
            parts.append((self.weights[Max], found.best))
        if found.around is not None:
            parts.append((self.weights[NonLocal], found.around))
        if Mean in self.aggregators:
            means = segments.mean(regions.to(images.instances), images.lengths) @ sentences.to(images.instances).mT
            parts.append((self.weights[Mean], segments.mean(means, columns.lengths, 1) if in_place else means))
        # Each on its own: sentences may be pooled by what is not linear.
        pooled_parts = [weight * (part if in_place else _finish(self.chain, part, columns)) for weight, part in parts]
        return torch.stack(pooled_parts).sum(0)


def _chain(term: Term) -> Chain:
    assert isinstance(term.score, Chain)
    return term.score


def _key(chain: Chain) -> tuple[str | int, str | int]:
    """What terms must have in common: the similarity, and how sentences are pooled."""
    similarity = chain.similarity
    assert similarity is not None
    alike = id(similarity) if list(similarity.parameters()) else repr(similarity)
    last = next(over for over in chain.overs if over.axis == "sentences")
    return alike, "mean" if last in chain.right and type(last.aggregator) is Mean else id(last.aggregator)


def over_regions(chain: Chain) -> Over:
    """What pools the regions of a chain."""
    return next(over for over in chain.overs if over.axis == "regions")


def _attended(chain: Chain, images: Bag, documents: Bag) -> Tensor:
    columns = _columns(chain, documents)
    aggregator = over_regions(chain).aggregator
    assert isinstance(aggregator, CrossAttention)
    return _finish(chain, attended_cosine(images, columns, aggregator), columns)


def _columns(chain: Chain, documents: Bag) -> Bag:
    """The sentences, or the documents where their embeddings are pooled first."""
    for over in chain.left:
        if over.axis == "sentences":
            assert isinstance(over.aggregator, PoolsEmbeddings)
            return Bag(over.aggregator.pool_embeddings(documents), torch.ones_like(documents.lengths))
    return documents


def _finish(chain: Chain, scores: Float[Tensor, "images columns"], columns: Bag) -> Tensor:
    """Pool what is right of the similarity and not yet pooled."""
    for over in chain.right:
        if over.axis == "sentences":
            assert isinstance(over.aggregator, PoolsScores)
            scores = over.aggregator.pool_scores(scores, columns.lengths, 1)
    return scores


def factors(similarity: Similarity, regions: Tensor, sentences: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors whose inner products are the similarities."""
    if isinstance(similarity, Cosine):
        return normalize(regions, dim=-1), normalize(sentences, dim=-1)
    if isinstance(similarity, Dot):
        return regions * (regions.shape[-1] ** -0.5 if similarity.scaled else 1.0), sentences
    assert isinstance(similarity, Bilinear)
    return regions, similarity.map(sentences)


def contexts_of(aggregator: NonLocal, similarity: Similarity, images: Bag) -> Float[Tensor, "regions dim"]:
    """The contexts of all regions as the similarity wants them, a few images at a time where affinities are large."""

    def made(piece: Bag) -> Tensor:
        contexts = aggregator.contexts(piece)
        return factors(similarity, contexts, contexts[:1])[0]

    lengths = images.lengths
    if int(lengths.square().sum()) <= AFFINITIES:
        return made(images)
    pieces = images.split(max(1, AFFINITIES // int(lengths.max()) ** 2))
    return torch.cat([checkpoint(made, piece, use_reentrant=False) for piece in pieces])
