"""The catalogue: every method by name, and what there is to know of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

from bagclip.aggregators import (
    Over,
    PoolsAroundKey,
    PoolsEmbeddings,
    PoolsGivenOther,
    PoolsScores,
    PoolsVectors,
    ScoresGivenOther,
)
from bagclip.expression import Expression
from bagclip.formula import parse
from bagclip.losses import Loss
from bagclip.method import Method
from bagclip.methods import cross_attention, key_region, one_vector, within_pair
from bagclip.scale import Scale
from bagclip.scores import Chain, Score
from bagclip.spelling import nearest

METHODS: dict[str, Callable[..., Method]] = {
    recipe.__name__: recipe
    for recipe in (
        one_vector.clip,
        one_vector.convirt,
        one_vector.biovil,
        cross_attention.biovil_l,
        key_region.local_mi,
        cross_attention.gloria,
        cross_attention.gloria_separable,
        cross_attention.scan_t2i,
        cross_attention.scan_i2t,
        key_region.filip,
        key_region.maxsim,
        cross_attention.limitr,
        one_vector.medclip,
        cross_attention.carzero,
        key_region.xclip,
        one_vector.siglip,
        one_vector.plip,
        within_pair.lovt,
        within_pair.mgca,
        within_pair.sparc,
        one_vector.abmil,
        key_region.dsmil,
        key_region.lse,
        key_region.nl,
        key_region.lse_nl,
        key_region.lse_nl_losses,
    )
}
"""Every recipe by name."""


@dataclass(frozen=True)
class Description:
    """What there is to know of a method.

    Args:
        name: what it is called.
        summary: one line.
        formula: of the score it ranks with.
        loss: formula of what it learns with.
        equation: the same as mathematics.
        reference: whose it is, and where this recipe differs.
        pooled: for each chain of the score, what pools regions and sentences, and where.
        properties: what its score declares: whether it is separable over sentences, invariant to replication, and
            differentiable in the key.
    """

    name: str
    summary: str
    formula: str
    loss: str
    equation: str
    reference: str
    pooled: list[dict[str, str]]
    properties: dict[str, bool]


def build(method: str, dim: int, **options: Scale | str | None) -> Method:
    """Build a method for a joint space of ``dim``: by name, or from the formula of its score.

    Args:
        method: a name of `METHODS`, or the formula of a score, which InfoNCE then contrasts, or of a loss of one score.
        dim: size of the joint space; a formula says the size of its parts itself.
        options: of the recipe.

    Raises:
        ValueError: if there is no such method or option, with the nearest one, or the formula is none of a score or for
            another size.

    Example:
        >>> build("lse", dim=64, sharpness=8.0).score
        chain(Cosine(), LogSumExp(sharpness=8.0).over("regions"), Mean().over("sentences"))
        >>> build('chain(Cosine(), TopK(4).over("regions"), Mean().over("sentences"))', dim=64).loss
        InfoNCE(score=chain(Cosine(), TopK(k=4).over("regions"), Mean().over("sentences")))
    """
    if method not in METHODS:
        if "(" not in method:
            raise ValueError(f"there is no method {method!r}; {nearest(method, METHODS)}")
        if options:
            raise ValueError(f"a formula has no options, got {', '.join(options)}; write them into it.")
        built = _from_formula(method)
        for part in built.modules():
            if isinstance(part, Expression) and getattr(part, "dim", dim) != dim:
                raise ValueError(f"{part!r} is for another size than the joint space; write dim={dim}.")
        return built
    accepted = [name for name in inspect.signature(METHODS[method]).parameters if name != "dim"]
    for option in options:
        if option not in accepted:
            raise ValueError(f"{method} has no option {option!r}; {nearest(option, accepted)}")
    fixed = {"dim": dim} if "dim" in inspect.signature(METHODS[method]).parameters else {}
    return METHODS[method](**fixed, **options)


def _from_formula(text: str) -> Method:
    """The method of a score, or of a loss that contrasts one score."""
    read = parse(text)
    if isinstance(read, Score):
        return Method(read)
    contrasted: dict[str, Score] = {}
    for loss in read.modules():
        for name in ("score", "image_to_text", "text_to_image"):
            if isinstance(loss, Loss) and isinstance(score := getattr(loss, name, None), Score):
                contrasted[repr(score)] = score
    if not isinstance(read, Loss) or len(contrasted) != 1:
        raise ValueError(
            f"{text!r} is a {type(read).__name__} of {len(contrasted)} scores; a method is given by the formula of the "
            "score it ranks with, or of a loss of one score. For others build bagclip.Method(score, loss)."
        )
    return Method(next(iter(contrasted.values())), read)


def describe(name: str) -> Description:
    """Everything about a method, from its docstring and an instance of dim 128."""
    doc = inspect.getdoc(METHODS[name]) or ""
    method = build(name, dim=128)

    def section(title: str) -> str:
        found = re.search(rf"^{title}:\n((?:    .*\n?|\n)+)", doc, re.MULTILINE)
        return " ".join(found.group(1).split()) if found else ""

    return Description(
        name,
        doc.splitlines()[0],
        repr(method.score),
        repr(method.loss),
        section("Equation"),
        section("Reference"),
        [
            {over.axis: _place(over, left=over in part.left) for over in part.overs}
            for part in method.score.modules()
            if isinstance(part, Chain)
        ],
        properties(method.score),
    )


def properties(score: Score) -> dict[str, bool]:
    """What a score declares of itself."""
    return {
        "separable_over_sentences": score.separable,
        "replication_invariant": score.replication_invariant,
        "differentiable_in_the_key": score.smooth,
    }


def _place(over: Over, left: bool) -> str:
    """What pools an axis in a chain, and what it pools there."""
    left_of = {
        PoolsEmbeddings: "embeddings",
        PoolsGivenOther: "embeddings, for each instance of the other bag",
        PoolsAroundKey: "embeddings, around the key that each instance of the other bag picks",
    }
    right_of = {
        ScoresGivenOther: "the bag, for each instance of the other bag",
        PoolsVectors: "vectors of pairs",
        PoolsScores: "scores",
    }
    kinds = (left_of if left else right_of).items()
    pools = next(what for kind, what in kinds if isinstance(over.aggregator, kind))
    return f"{type(over.aggregator).__name__} pools {pools}"
