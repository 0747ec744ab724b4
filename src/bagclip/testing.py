"""The laws of the family, to be held by your own parts as well: `check` tries all that apply.

Every law is a function of a part and of bags; it raises an AssertionError that says which law is broken, and by how
much.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

from bagclip.aggregators import (
    Aggregator,
    LogSumExp,
    Max,
    Mean,
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
from bagclip.formula import parse
from bagclip.losses import Known, Loss
from bagclip.method import Method
from bagclip.scores import Chain, Score, chain
from bagclip.similarity import Cosine, Hadamard, Similarity

TOLERANCE = {torch.float64: 1e-9, torch.float32: 5e-5}
"""How much two ways to compute one number may differ, absolutely and relatively."""


def check(part: Aggregator | Similarity | Score | Loss | Method, dim: int = 6, cases: int = 5, seed: int = 0) -> None:
    """Hold a part to every law that applies to it.

    An aggregator is checked in each place of a chain where it may stand, over regions and over sentences; a similarity
    between two means; a method by its score and its loss.

    Args:
        part: what to check; it is copied, not changed.
        dim: size of the features, that of the part if it has one.
        cases: how many random batches of bags, in float64 and as many in float32.
        seed: of these.

    Raises:
        AssertionError: with the law that is broken and the chain in which it is.

    Example:
        >>> from bagclip.aggregators import LogSumExp
        >>> check(LogSumExp(5.0))
    """
    if isinstance(part, Method):
        check(part.score, dim, cases, seed)
        check(part.loss, dim, cases, seed)
        return
    dims = (getattr(module, "dim", None) for module in part.modules())
    dim = next((size for size in dims if isinstance(size, int)), dim)
    if isinstance(part, Loss):
        _check_loss(part, dim, cases, seed)
        return
    for score in [part] if isinstance(part, Score) else chains(part):
        for dtype, images, documents in _cases(dim, cases, seed):
            cast = copy.deepcopy(score).to(dtype)
            for law in LAWS:
                try:
                    law(cast, images, documents)
                except AssertionError as broken:
                    raise AssertionError(f"{score!r} breaks the law of {law.__name__}: {broken}") from None


def chains(part: Aggregator | Similarity) -> Iterator[Score]:
    """Every short chain in which a part may stand, on either axis."""
    if isinstance(part, Similarity):
        if part.vectors:
            raise ValueError(f"{part!r} compares by vectors; check a chain that reads a score from them.")
        yield chain(part, LogSumExp(4.0).over("regions"), Mean().over("sentences"))
        yield chain(part, Max().over("sentences"), Mean().over("regions"))
        return
    for axis, other in (("regions", "sentences"), ("sentences", "regions")):
        over, rest = Over(part, axis), Over(Mean(), other)  # type: ignore[arg-type]
        if isinstance(part, PoolsEmbeddings | PoolsAroundKey | PoolsGivenOther):
            yield chain(over, Cosine(), rest)
            yield chain(rest, over, Cosine())
        if isinstance(part, ScoresGivenOther):
            yield chain(over, rest)
            yield chain(rest, over)
        if isinstance(part, PoolsVectors):
            yield chain(Hadamard(), over, rest)
        if isinstance(part, PoolsScores):
            yield chain(Cosine(), over, rest)
            yield chain(Cosine(), rest, over)
            yield chain(rest, Cosine(), over)


def permutation(score: Score, images: Bag, documents: Bag) -> None:
    """The order of regions and of sentences does not matter."""
    turned = lambda bag: Bag.from_list([rows.flip(0) for rows in bag])  # noqa: E731
    rolled = lambda bag: Bag.from_list([rows.roll(1, 0) for rows in bag])  # noqa: E731
    expected = score(images, documents)
    close(score(turned(images), rolled(documents)), expected, "regions and sentences in another order")


def batch_independence(score: Score, images: Bag, documents: Bag) -> None:
    """A pair's score does not depend on who else is in the batch, ragged or not."""
    whole = score(images, documents)
    for i, j in product(range(len(images)), range(len(documents))):
        close(score(images.select([i]), documents.select([j]))[0, 0], whole[i, j], f"pair {i}, {j} on its own")


def replication(score: Score, images: Bag, documents: Bag) -> None:
    """Where declared, repeating every region, or every sentence, of a bag changes nothing."""
    if not score.replication_invariant:
        return
    twice = lambda bag: Bag.from_list([rows.repeat(2, 1) for rows in bag])  # noqa: E731
    before = score(images, documents)
    close(score(twice(images), documents), before, "every region twice")
    close(score(images, twice(documents)), before, "every sentence twice")


def separability(score: Score, images: Bag, documents: Bag) -> None:
    """Where declared, a sentence has the value it has alone."""
    for part in score.modules():
        if isinstance(part, Chain) and part.separable:
            alone = part.sentence_scores(images, documents.singletons())
            close(part.sentence_scores(images, documents), alone, "sentences among others and alone")


def smoothness(score: Score, images: Bag, documents: Bag) -> None:
    """Where declared, the slopes to both sides agree, also where two regions and two sentences are equal."""
    if not score.smooth or images.instances.dtype != torch.float64:
        return
    generator = torch.Generator().manual_seed(0)
    bags = [Bag.from_list([torch.cat([rows, rows[:1]]) for rows in bag]) for bag in (images, documents)]
    moves = [torch.randn(bag.instances.shape, generator=generator, dtype=torch.float64) for bag in bags]

    def moved(step: float) -> Tensor:
        with torch.no_grad():
            return score(*(b.with_instances(b.instances + step * m) for b, m in zip(bags, moves, strict=True)))

    step = 1e-7 * float(bags[0].instances.abs().mean())
    right, left = (moved(step) - moved(0.0)) / step, (moved(0.0) - moved(-step)) / step
    largest = torch.maximum(right.abs(), left.abs())
    gap = ((right - left).abs() / (largest + float(largest.max()) + 1e-3)).max()
    assert gap < 0.02, f"slopes to both sides of equal regions differ by {float(gap):.0%}, but it says it is smooth"


def transposition(score: Score, images: Bag, documents: Bag) -> None:
    """The transposed score of exchanged bags is the transposed matrix."""
    if all(_symmetric(part) for part in score.modules() if isinstance(part, Similarity)):
        close(score.T(documents, images), score(images, documents).T, "regions and sentences exchanged")


def finite_gradients(score: Score, images: Bag, documents: Bag) -> None:
    """Values and gradients are finite, also at vectors of zeros and at equal regions."""
    dim = images.dim
    ties = torch.cat([images.instances, torch.zeros(3, dim).to(images.instances)]).requires_grad_()
    bag = Bag(ties, torch.cat([images.lengths, torch.tensor([3])]))
    sentences = documents.instances.clone().requires_grad_()
    values = score(bag, documents.with_instances(sentences))
    assert bool(torch.isfinite(values).all()), "a score is not finite"
    parameters = [p for p in score.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(values.sum(), [ties, sentences, *parameters], allow_unused=True)
    for gradient in gradients:
        assert gradient is None or bool(torch.isfinite(gradient).all()), "a gradient is not finite"
    assert gradients[0] is not None and gradients[1] is not None, "the score does not depend on regions or sentences"


def formula(part: Expression, images: Bag, documents: Bag) -> None:
    """The formula reads back as the same part: the same text, and with the same weights the same numbers."""
    again = parse(repr(part))
    assert repr(again) == repr(part), f"it prints as {part!r}, which is read as {again!r}"
    again.to(images.instances.dtype).load_state_dict(part.state_dict())
    torch.manual_seed(0)
    read = again(images, documents)
    torch.manual_seed(0)
    assert torch.equal(read, part(images, documents)), "read back from its formula it gives other numbers"


LAWS: tuple[Callable[[Score, Bag, Bag], None], ...] = (
    permutation,
    batch_independence,
    replication,
    separability,
    smoothness,
    transposition,
    finite_gradients,
    formula,
)
"""All laws of a score."""


def close(actual: Tensor, expected: Tensor, what: str = "the values") -> None:
    """Raise an AssertionError if two tensors differ by more than `TOLERANCE`."""
    tolerance = TOLERANCE.get(actual.dtype, 1e-2)
    torch.testing.assert_close(
        actual, expected, atol=tolerance, rtol=tolerance, msg=lambda text: f"{what}: {text.splitlines()[-3:]}"
    )


def random_bags(dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64, count: int = 3) -> Bag:
    """Bags of random features without ties: of 1 to 5 instances, or all of one size; small, usual or large features."""

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    lengths = [draw(1, 6) for _ in range(count)] if draw(0, 3) else [draw(1, 6)] * count
    scale = (0.1, 1.0, 30.0)[draw(0, 3)]
    return Bag.from_list(
        [(scale * torch.randn(n, dim, dtype=torch.float64, generator=generator)).to(dtype) for n in lengths]
    )


def _cases(dim: int, cases: int, seed: int) -> Iterator[tuple[torch.dtype, Bag, Bag]]:
    for dtype in (torch.float64, torch.float32):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(cases):
            yield dtype, random_bags(dim, generator, dtype), random_bags(dim, generator, dtype, count=4)


def _check_loss(loss: Loss, dim: int, cases: int, seed: int) -> None:
    """A loss is one finite number with finite gradients, whatever the order of pairs and in bags; it reads back."""
    for dtype in (torch.float64, torch.float32):
        generator = torch.Generator().manual_seed(seed)
        cast = copy.deepcopy(loss).to(dtype).eval()
        for _ in range(cases):
            drawn = random_bags(dim, generator, dtype, count=4)
            images = Bag(drawn.instances, drawn.lengths, (1, 1))  # a grid for who needs one, of regions far apart
            documents = random_bags(dim, generator, dtype, count=4)
            # Labels and prior are the same for all pairs but for their order, so that these need not be shuffled.
            known = Known(labels=torch.eye(4, dtype=dtype), prior=torch.full((4,), 0.1, dtype=dtype))
            regions, sentences = images.instances.requires_grad_(), documents.instances.requires_grad_()
            value = cast(images, documents, known)
            assert value.ndim == 0 and bool(torch.isfinite(value)), f"{loss!r} gives {value}, not one finite number"
            for gradient in torch.autograd.grad(value, [regions, sentences], allow_unused=True):
                assert gradient is None or bool(torch.isfinite(gradient).all()), f"{loss!r} has a gradient not finite"
            order = [2, 0, 3, 1]
            turned = Bag.from_list([rows.flip(0) for rows in images.select(order)])
            shuffled = cast(Bag(turned.instances, turned.lengths, images.grid), documents.select(order), known)
            close(shuffled, value, f"{loss!r} of the pairs in another order")
            assert repr(parse(repr(loss))) == repr(loss), f"{loss!r} is not read back from its formula"


def _symmetric(similarity: Similarity) -> bool:
    """Whether regions and sentences may change places."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, getattr(similarity, "dim", 4), generator=generator) for _ in range(2))
    cast = copy.deepcopy(similarity).float()
    return torch.allclose(cast.pairs(a, b), cast.pairs(b, a))
