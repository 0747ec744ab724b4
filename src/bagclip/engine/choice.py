"""The score of every image with every document, by the engine that is chosen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, get_args

from torch import Tensor

from bagclip.bags import Bag
from bagclip.engine.blockwise import BLOCK, blockwise
from bagclip.engine.closed_form import closed_form
from bagclip.engine.plan import plan
from bagclip.scores import Score

if TYPE_CHECKING:
    from jaxtyping import Float

log = logging.getLogger("bagclip")

Engine = Literal["auto", "reference", "blockwise", "closed_form", "triton"]

_chosen: ContextVar[Engine] = ContextVar("engine", default="auto")
_told: set[tuple[str, str]] = set()


@contextmanager
def using(engine: Engine) -> Iterator[None]:
    """Score by this engine inside of the block.

    - ``"auto"``: what has a closed form by it, in plain PyTorch; the rest as it stands while it is small, else
      blockwise.
    - ``"reference"``: as `bagclip.scores` says it, in one piece.
    - ``"blockwise"``: the same in blocks that are computed again for the gradient.
    - ``"closed_form"``: in closed form, in plain PyTorch, and an error where there is none.
    - ``"triton"``: the same by the Triton kernels, on an NVIDIA GPU, and an error where they cannot be used. They have
      been run by Triton's interpreter only, so "auto" does not choose them.

    Example:
        >>> with using("reference"):
        ...     pass
    """
    if engine not in get_args(Engine):
        raise ValueError(f"an engine is one of {', '.join(get_args(Engine))}, not {engine!r}.")
    before = _chosen.set(engine)
    try:
        yield
    finally:
        _chosen.reset(before)


def matrix(score: Score, images: Bag, documents: Bag) -> Float[Tensor, "images documents"]:
    """The score of every image with every document, equal to ``score(images, documents)``.

    Raises:
        ValueError: if the bags cannot be compared, or a closed form is asked for of a score that has none.

    Example:
        >>> import torch
        >>> from bagclip import methods
        >>> images, documents = Bag.dense(torch.randn(2, 9, 4)), Bag.dense(torch.randn(3, 5, 4))
        >>> matrix(methods.lse().score, images, documents).shape
        torch.Size([2, 3])
    """
    engine = _chosen.get()
    if engine == "reference":
        _tell(score, "as it stands")
        return score(images, documents)
    if engine == "blockwise":
        _tell(score, "blockwise")
        return blockwise(score, images, documents, BLOCK)
    terms = plan(score)
    closed, rest = [t for t in terms if t.form is not None], [t for t in terms if t.form is None]
    if engine in ("closed_form", "triton") and rest:
        raise ValueError(f'{rest[0].score!r} has no closed form; choose the engine "auto" or "blockwise".')
    small = len(images.instances) * len(documents.instances) <= BLOCK
    others = f", the rest {'as it stands' if small else 'blockwise'}" if rest else ""
    _tell(score, f"{len(closed)} of {len(terms)} terms in closed form{others}")
    parts = [closed_form(closed, images, documents, engine == "triton")] if closed else []
    for term in rest:
        whole = term.score(images, documents) if small else blockwise(term.score, images, documents, BLOCK)
        parts.append(term.weight * whole)
    return sum(parts[1:], parts[0])


def _tell(score: Score, how: str) -> None:
    """Log how a score is computed, once for each."""
    if (key := (repr(score), how)) not in _told:
        _told.add(key)
        log.info("the score %s: %s.", *key)
