"""Published methods, each a few lines over shared parts.

Every recipe gives a `Method`: a score to rank with and a loss to learn with. Notation: x_n is the feature of region n,
y_m of sentence m, hats are l2-normalised, s_nm = <x^_n, y^_m>; N regions, M sentences.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bagclip.aggregators import Attention, LogSumExp, Max, Mean, NonLocal
from bagclip.losses import InfoNCE
from bagclip.method import Method
from bagclip.scores import Score, chain
from bagclip.similarity import Cosine


def clip(dim: int = 128) -> Method:
    """One vector a bag: attention-pooled regions against the mean of the sentences.

    Equation:
        cos(sum_n a_n x_n, mean_m y_m),  a = softmax_n(w . tanh(V x_n))

    Reference:
        Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021. The pooling of
        a bag into one vector is the image encoder's affair there; here it is attention (Ilse et al., 2018).

    Relations:
        With equal attention it is `biovil`. With one region and one sentence every method is the plain cosine.
    """
    return Method(chain(Attention(dim).over("regions"), Mean().over("sentences"), Cosine()), name="clip")


def biovil() -> Method:
    """The mean region against the mean sentence.

    Equation:
        cos(mean_n x_n, mean_m y_m)

    Reference:
        Boecking et al., Making the Most of Text Semantics to Improve Biomedical Vision-Language Processing, ECCV 2022:
        its global score, without its language-model losses. Its document vector is that of [CLS]; here it is the mean
        of the sentence vectors.

    Relations:
        On l2-normalised regions, for one sentence, it is `nl` with A = 0.
    """
    return Method(chain(Mean().over("regions"), Mean().over("sentences"), Cosine()), name="biovil")


def maxsim() -> Method:
    """Each sentence finds its best region; the document is the mean of its sentences.

    Equation:
        (1/M) sum_m max_n s_nm

    Reference:
        Khattab and Zaharia, ColBERT, SIGIR 2020 (with sum in the place of mean, and words for sentences).

    Relations:
        The limit of `lse` as its sharpness grows. `nl` with A = 1 as its temperature goes to 0, on l2-normalised
        regions.
    """
    return Method(_local(Max()), name="maxsim")


def lse(sharpness: float = 10.0) -> Method:
    """Local score: log-sum-exp over regions, mean over sentences.

    Equation:
        (1/M) sum_m (1/r) [log sum_n exp(r s_nm) - log N]

    Reference:
        The local part of LSE+NL (Wang et al., IPMI 2023), reconstructed.

    Relations:
        Between the mean of all similarities (r -> 0) and `maxsim` (r -> infinity).
    """
    return Method(_local(LogSumExp(sharpness)), name="lse")


def nl(dim: int = 128, temperature: float | None = 0.05) -> Method:
    """Global score: regions pooled around the key region of each sentence, mean over sentences.

    Equation:
        (1/M) sum_m cos(sum_n a_nm x^_n, y_m),  a = softmax_n(<A x^_n, A x^_k(m)> / t),  k(m) = argmax_n s_nm

    Reference:
        The global part of LSE+NL (Wang et al., IPMI 2023), reconstructed from its lineage: DSMIL (Li, Li and Eliceiri,
        CVPR 2021).

    Relations:
        A = 0 gives the mean of the normalised regions (see `biovil`), A = 1 with t -> 0 gives `maxsim`.
    """
    return Method(_non_local(dim, temperature), name="nl")


def lse_nl(
    dim: int = 128,
    sharpness: float = 10.0,
    temperature: float | None = 0.05,
    combine: Literal["losses", "scores"] = "scores",
) -> Method:
    """The local and the global score together.

    Equation:
        1/2 lse + 1/2 nl to rank with; InfoNCE of that mean, or InfoNCE(lse) + InfoNCE(nl), to learn with

    Reference:
        Wang, Wells, Berkowitz, Horng and Golland, Using Multiple Instance Learning to Build Multimodal Representations,
        IPMI 2023 (arXiv 2212.05561). Its equations were not at hand: this is a reconstruction from its abstract and
        lineage.

    Relations:
        The mean of `lse` and `nl`, whose limits are its own.

    Args:
        dim: size of the joint space.
        sharpness: of the log-sum-exp.
        temperature: of the affinities around the key region.
        combine: "scores" contrasts the mean of the two, "losses" each score on its own. The default is what learned
            more in the same time on the phantom; see docs/lse-nl.md.
    """
    local, non_local = _local(LogSumExp(sharpness)), _non_local(dim, temperature)
    score = 0.5 * (local + non_local)
    if combine not in ("losses", "scores"):
        raise ValueError(f'lse_nl combines "losses" or "scores", not {combine!r}.')
    loss = InfoNCE(local) + InfoNCE(non_local) if combine == "losses" else InfoNCE(score)
    return Method(score, loss, name="lse_nl")


def _local(over_regions: LogSumExp | Max) -> Score:
    return chain(Cosine(), over_regions.over("regions"), Mean().over("sentences"))


def _non_local(dim: int, temperature: float | None) -> Score:
    return chain(NonLocal(dim, temperature).over("regions"), Cosine(), Mean().over("sentences"))


METHODS: dict[str, Callable[..., Method]] = {f.__name__: f for f in (clip, biovil, maxsim, lse, nl, lse_nl)}
"""Every recipe by name."""


@dataclass(frozen=True)
class Description:
    """What there is to know of a method: its formula, equation, reference and relations to others."""

    name: str
    summary: str
    formula: str
    loss: str
    equation: str
    reference: str
    relations: str


def build(name: str, dim: int, **options: float | str | None) -> Method:
    """Build a method by name for a joint space of ``dim``.

    Raises:
        ValueError: if there is no such method or option, with the nearest one.

    Example:
        >>> build("lse", dim=64, sharpness=8.0).score
        chain(Cosine(), LogSumExp(sharpness=8.0).over("regions"), Mean().over("sentences"))
    """
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}; {_nearest(name, METHODS)}")
    accepted = inspect.signature(METHODS[name]).parameters
    for option in options:
        if option not in accepted or option == "dim":
            raise ValueError(
                f"{name} has no option {option!r}; {_nearest(option, [a for a in accepted if a != 'dim'])}"
            )
    return METHODS[name](**({"dim": dim} if "dim" in accepted else {}), **options)


def describe(name: str) -> Description:
    """Formula, equation, reference and relations of a method, from its docstring and a small instance."""
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
        section("Relations"),
    )


def _nearest(word: str, known: object) -> str:
    names = list(known)  # type: ignore[call-overload]
    close = difflib.get_close_matches(word, names, n=1)
    there = ", ".join(names) if names else "none"
    return f"did you mean {close[0]!r}? There are: {there}." if close else f"there are: {there}."
