"""The table of members that the laws are checked on, a new one being a line, and random bags and chains for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import reference
import reference_aggregators as pools
import reference_attention as attention
import reference_methods as whole
from bagclip import aggregators, methods
from bagclip.aggregators import (
    Attention,
    AutoPool,
    CrossAttention,
    ExpSoftmax,
    GatedAttention,
    GeneralisedMean,
    LogSumExp,
    Max,
    Mean,
    NoisyOr,
    NonLocal,
    SoftKey,
    SparseAttention,
    TopK,
    TopKeys,
)
from bagclip.bags import Bag
from bagclip.scores import Score, chain
from bagclip.similarity import Bilinear, Cosine, Dot
from bagclip.testing import LAWS

DIM = 6
TOLERANCE = {torch.float64: 1e-8, torch.float32: 2e-4}


@dataclass(frozen=True)
class Member:
    """Make the score, and compute it densely: a plain function of one pair and of the score's parameters."""

    name: str
    make: Callable[[], Score]
    dense: Callable[..., float]
    parameters: Callable[[Score], dict[str, Any]] = field(default=lambda score: {})


def state(part: torch.nn.Module) -> dict[str, Any]:
    return {name: value.double().tolist() for name, value in part.state_dict().items()}


def _attention(score: Score) -> dict[str, Any]:
    found = state(score.aggregators[0])
    return {"inner": found["inner.weight"], "bias": found["inner.bias"], "outer": found["outer.weight"]}


def _affinity(part: torch.nn.Module) -> dict[str, Any]:
    return {"affinity": state(part)["affinity.weight"], "temperature": 0.3}


def local(aggregator: aggregators.Aggregator) -> Callable[[], Score]:
    return lambda: chain(Cosine(), aggregator.over("regions"), Mean().over("sentences"))


def given(aggregator: aggregators.Aggregator) -> Callable[[], Score]:
    return lambda: chain(aggregator.over("regions"), Cosine(), Mean().over("sentences"))


def mean_of(function: Callable[..., list[float]]) -> Callable[..., float]:
    return lambda regions, sentences, **p: reference.average(function(regions, sentences, **p))


def _method(name: str, dense: Callable[..., float], parameters: Any = lambda score: {}, **options: Any) -> Member:
    return Member(name, lambda: methods.build(name, DIM, **options).score, dense, parameters)


MEMBERS = [
    _method("clip", reference.clip, _attention),
    _method("plip", reference.clip, _attention),
    _method("siglip", reference.clip, _attention),
    _method("abmil", whole.abmil, _attention),
    *(_method(n, reference.biovil) for n in ("biovil", "biovil_l", "convirt", "medclip", "lovt", "mgca", "sparc")),
    _method("maxsim", reference.maxsim),
    _method("filip", whole.filip),
    _method("xclip", whole.xclip, lambda s: {"sharpness": 100.0}),
    _method("local_mi", whole.local_mi, lambda s: {"state": state(s.similarity)}, hidden=(7, 5)),
    _method("dsmil", whole.dsmil, lambda s: {"state": state(s.score.right.aggregators[0])}),
    _method("lse", reference.lse, lambda s: {"sharpness": 7.0}, sharpness=7.0),
    _method("nl", reference.nl, lambda s: _affinity(s.aggregators[0]), temperature=0.3),
    *(
        _method(
            name,
            reference.lse_nl,
            lambda s: {"sharpness": 7.0} | _affinity(s.score.right.aggregators[0]),
            sharpness=7.0,
            temperature=0.3,
        )
        for name in ("lse_nl", "lse_nl_losses")
    ),
    _method("gloria", whole.gloria),
    _method("gloria_separable", whole.gloria_separable, lambda s: {"sharpness": 4.0}),
    _method("scan_t2i", whole.scan_t2i),
    _method("scan_i2t", whole.scan_i2t),
    _method(
        "limitr",
        whole.limitr,
        lambda s: {
            "words": state(s.score.left.score.left.aggregators[1]),
            "patches": state(s.score.left.score.right.aggregators[1]),
        },
    ),
    _method(
        "carzero",
        whole.carzero,
        lambda s: {"heads": 2, "state": state(s.score.left.aggregators[1])},
        heads=2,
        layers=2,
        hidden=(7, 5),
    ),
    Member(
        "log_sum_exp_sum", local(LogSumExp(3.0, False)), whole.over_regions(lambda s: pools.log_sum_exp(s, 3.0, False))
    ),
    Member("top_2", local(TopK(2)), whole.over_regions(lambda s: pools.top_k(s, 2))),
    Member("top_half", local(TopK(0.5)), whole.over_regions(lambda s: pools.top_k(s, 0.5))),
    Member("exp_softmax", local(ExpSoftmax(3.0)), whole.over_regions(lambda s: pools.exp_softmax(s, 3.0))),
    Member("auto_pool", local(AutoPool()), whole.over_regions(lambda s: pools.auto_pool(s, 0.0))),
    Member(
        "generalised_mean", local(GeneralisedMean(3.0)), whole.over_regions(lambda s: pools.generalised_mean(s, 3.0))
    ),
    Member("noisy_or", local(NoisyOr()), whole.over_regions(pools.noisy_or)),
    Member("isr", local(aggregators.ISR()), whole.over_regions(pools.isr)),
    Member("noisy_and", local(aggregators.NoisyAnd()), whole.over_regions(pools.noisy_and)),
    Member("linear_softmax", local(aggregators.LinearSoftmax()), whole.over_regions(pools.linear_softmax)),
    Member(
        "gated_attention",
        lambda: given(GatedAttention(DIM, hidden=3))(),
        lambda x, y, state: reference.average(
            [reference.cosine(attention.gated_attention(x, state=state), s) for s in y]
        ),
        lambda s: {"state": state(s.aggregators[0])},
    ),
    Member(
        "pcam",
        lambda: given(aggregators.PCAM(DIM))(),
        lambda x, y, state: reference.average([reference.cosine(attention.pcam(x, state=state), s) for s in y]),
        lambda s: {"state": state(s.aggregators[0])},
    ),
    Member(
        "soft_key",
        lambda: given(SoftKey(DIM, sharpness=8.0, temperature=0.3))(),
        mean_of(attention.soft_key),
        lambda s: {"state": state(s.aggregators[0]), "temperature": 0.3, "sharpness": 8.0},
    ),
    Member(
        "top_keys",
        lambda: given(TopKeys(DIM, k=2, temperature=0.3))(),
        mean_of(attention.non_local),
        lambda s: {"state": state(s.aggregators[0]), "temperature": 0.3, "keys": 2},
    ),
    Member(
        "non_local_learned_value",
        lambda: given(NonLocal(DIM, value="learned"))(),
        mean_of(attention.non_local),
        lambda s: {"state": state(s.aggregators[0]), "learned": True},
    ),
    Member("cross_attention", given(CrossAttention(5.0)), mean_of(attention.plain), lambda s: {"sharpness": 5.0}),
    Member("sparse_attention", given(SparseAttention(Dot())), mean_of(attention.sparc)),
]


@st.composite
def bags(draw: st.DrawFn, dtype: torch.dtype = torch.float64, most: int = 5) -> Bag:
    """Random bags, ragged or of one length, of features without ties."""
    lengths = draw(st.lists(st.integers(1, most), min_size=1, max_size=4))
    if draw(st.booleans()):
        lengths = [lengths[0]] * len(lengths)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.1, 1.0, 3.0]))
    return Bag.from_list(
        [(scale * torch.randn(n, DIM, dtype=torch.float64, generator=generator)).to(dtype) for n in lengths]
    )


@st.composite
def chains(draw: st.DrawFn) -> Score:
    """A random well-formed score: any aggregator on any axis on any side it may stand, summed and scaled."""
    on_scores = [
        Mean,
        Max,
        lambda: LogSumExp(4.0),
        lambda: LogSumExp(4.0, normalised=False),
        lambda: TopK(2),
        lambda: ExpSoftmax(3.0),
        AutoPool,
        NoisyOr,
        lambda: GeneralisedMean(2.0),
    ]
    on_embeddings = [Mean, lambda: Attention(DIM, hidden=3), lambda: GatedAttention(DIM, hidden=3)]
    on_both = [
        lambda: NonLocal(DIM, 0.5),
        lambda: SoftKey(DIM, 5.0),
        lambda: TopKeys(DIM, 2),
        lambda: CrossAttention(4.0),
        lambda: CrossAttention(4.0, Dot(), "softmax"),
        lambda: CrossAttention(4.0, normalise="l2"),
        SparseAttention,
    ]
    axes = draw(st.permutations(["regions", "sentences"]))
    left, right = [], []
    for axis in axes:
        if draw(st.booleans()):
            right.append(draw(st.sampled_from(on_scores))().over(axis))
        else:
            left.append(draw(st.sampled_from(on_embeddings))().over(axis))
    if draw(st.booleans()) and left:
        left[-1] = draw(st.sampled_from(on_both))().over(left[-1].axis)
    score = chain(*left, draw(st.sampled_from([Cosine(), Dot(scaled=True), Bilinear(DIM)])), *right)
    if draw(st.booleans()):
        score = draw(st.sampled_from([0.5, -2.0])) * (score + methods.lse(6.0).score)
    return score


def hold(score: Score, images: Bag, documents: Bag) -> None:
    """All laws."""
    for law in LAWS:
        law(score, images, documents)


def close(actual: torch.Tensor, expected: torch.Tensor | np.ndarray, dtype: torch.dtype) -> None:
    torch.testing.assert_close(
        actual.double().detach(), torch.as_tensor(expected).double(), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
    )
