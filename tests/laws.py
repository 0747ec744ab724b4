"""The laws every score obeys, and the table of members they are checked on: a new member is one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import reference
from bagclip import methods
from bagclip.aggregators import Attention, LogSumExp, Max, Mean, NonLocal
from bagclip.bags import Bag
from bagclip.formula import parse
from bagclip.scores import Score, chain
from bagclip.similarity import Cosine

DIM = 6
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


@dataclass(frozen=True)
class Member:
    """Make the score, and compute it densely: a plain function of one pair and of the score's parameters."""

    name: str
    make: Callable[[], Score]
    dense: Callable[..., float]
    parameters: Callable[[Score], dict[str, Any]] = field(default=lambda score: {})


def _state(score: Score, **names: str) -> dict[str, Any]:
    state = {key: value.double().tolist() for key, value in score.state_dict().items()}
    return {name: next(v for k, v in state.items() if k.endswith(suffix)) for name, suffix in names.items()}


MEMBERS = [
    Member(
        "clip",
        lambda: methods.clip(DIM).score,
        reference.clip,
        lambda s: _state(s, inner="inner.weight", bias="inner.bias", outer="outer.weight"),
    ),
    Member("biovil", lambda: methods.biovil().score, reference.biovil),
    Member("maxsim", lambda: methods.maxsim().score, reference.maxsim),
    Member("lse", lambda: methods.lse(7.0).score, reference.lse, lambda s: {"sharpness": 7.0}),
    Member(
        "lse_sum",
        lambda: chain(Cosine(), LogSumExp(3.0, normalised=False).over("regions"), Mean().over("sentences")),
        reference.lse,
        lambda s: {"sharpness": 3.0, "normalised": False},
    ),
    Member(
        "nl",
        lambda: methods.nl(DIM, 0.3).score,
        reference.nl,
        lambda s: {"temperature": 0.3} | _state(s, affinity="affinity.weight"),
    ),
    Member(
        "lse_nl",
        lambda: methods.lse_nl(DIM, 7.0, 0.3).score,
        reference.lse_nl,
        lambda s: {"sharpness": 7.0, "temperature": 0.3} | _state(s, affinity="affinity.weight"),
    ),
]


@st.composite
def bags(draw: st.DrawFn, dtype: torch.dtype = torch.float64, most: int = 5) -> Bag:
    """Random bags, ragged or of one length, of features without ties."""
    lengths = draw(st.lists(st.integers(1, most), min_size=1, max_size=4))
    if draw(st.booleans()):
        lengths = [lengths[0]] * len(lengths)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.1, 1.0, 30.0]))
    return Bag.from_list(
        [(scale * torch.randn(n, DIM, dtype=torch.float64, generator=generator)).to(dtype) for n in lengths]
    )


@st.composite
def chains(draw: st.DrawFn) -> Score:
    """A random well-formed score: any aggregator on any axis on any side it may stand, summed and scaled."""
    on_scores = [Mean, Max, lambda: LogSumExp(4.0), lambda: LogSumExp(4.0, normalised=False)]
    on_embeddings = [Mean, lambda: Attention(DIM, hidden=3)]
    axes = draw(st.permutations(["regions", "sentences"]))
    left, right = [], []
    for axis in axes:
        if draw(st.booleans()):
            right.append(draw(st.sampled_from(on_scores))().over(axis))
        else:
            left.append(draw(st.sampled_from(on_embeddings))().over(axis))
    if draw(st.booleans()) and left:
        left[-1] = NonLocal(DIM, 0.5).over(left[-1].axis)
    score = chain(*left, Cosine(), *right)
    if draw(st.booleans()):
        score = draw(st.sampled_from([0.5, -2.0])) * (score + methods.lse(6.0).score)
    return score


def close(actual: torch.Tensor, expected: torch.Tensor | np.ndarray, dtype: torch.dtype) -> None:
    torch.testing.assert_close(
        actual.double().detach(), torch.as_tensor(expected).double(), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
    )


def shuffled(bag: Bag, seed: int) -> Bag:
    generator = torch.Generator().manual_seed(seed)
    return Bag.from_list([rows[torch.randperm(len(rows), generator=generator)] for rows in bag])


def permutation(score: Score, images: Bag, documents: Bag, seed: int) -> None:
    """The order of regions and of sentences does not matter."""
    dtype = images.instances.dtype
    close(score(shuffled(images, seed), shuffled(documents, seed + 1)), score(images, documents).detach(), dtype)


def batch_independence(score: Score, images: Bag, documents: Bag) -> None:
    """A pair's score does not depend on who else is in the batch, ragged or not."""
    whole = score(images, documents)
    for i in range(len(images)):
        for j in range(len(documents)):
            alone = score(images.select([i]), documents.select([j]))
            close(alone[0, 0], whole[i, j].detach(), images.instances.dtype)


def replication(score: Score, images: Bag, documents: Bag) -> None:
    """Where declared, repeating every region and every sentence of a bag changes nothing."""
    twice = lambda bag: Bag.from_list([rows.repeat(2, 1) for rows in bag])  # noqa: E731
    before, after = score(images, documents), score(twice(images), twice(documents))
    if score.replication_invariant:
        close(after, before.detach(), images.instances.dtype)


def transposition(score: Score, images: Bag, documents: Bag) -> None:
    """The transposed score of exchanged bags is the transposed matrix."""
    close(score.T(documents, images), score(images, documents).detach().T, images.instances.dtype)


def finite_gradients(score: Score, images: Bag, documents: Bag) -> None:
    """Every gradient is finite, also at vectors of zeros and at equal regions."""
    ties = torch.cat([images.instances, torch.zeros(3, DIM).to(images.instances)]).requires_grad_()
    bag = Bag(ties, torch.cat([images.lengths, torch.tensor([3])]))
    sentences = documents.instances.clone().requires_grad_()
    score(bag, documents.with_instances(sentences)).sum().backward()
    for gradient in [ties.grad, sentences.grad, *(p.grad for p in score.parameters() if p.grad is not None)]:
        assert gradient is not None and torch.isfinite(gradient).all()


def formula(score: Score, images: Bag, documents: Bag) -> None:
    """The formula reads back as the same score: the same text, and with the same weights the same numbers."""
    again = parse(repr(score))
    assert repr(again) == repr(score)
    again.to(images.instances.dtype).load_state_dict(score.state_dict())
    assert torch.equal(again(images, documents), score(images, documents))
