"""Formulas: read a score or a loss back from the text it prints as, without running that text."""

from __future__ import annotations

import ast
from collections.abc import Callable

from bagclip import aggregators, losses, scores, similarity
from bagclip.aggregators import Over
from bagclip.expression import Expression

NAMES: dict[str, Callable[..., object]] = {
    "chain": scores.chain,
    "InfoNCE": losses.InfoNCE,
    "Cosine": similarity.Cosine,
    "Attention": aggregators.Attention,
    "LogSumExp": aggregators.LogSumExp,
    "Max": aggregators.Max,
    "Mean": aggregators.Mean,
    "NonLocal": aggregators.NonLocal,
}
"""What a formula may call."""


def parse(text: str, known: dict[str, Expression] | None = None) -> Expression:
    """Read a score or a loss from its formula; ``parse(repr(score))`` is the same score, newly initialised.

    Only the names of the library, numbers, strings, ``.over``, ``.T``, ``+`` and ``*`` are understood; nothing is
    evaluated.

    Args:
        text: the formula.
        known: scores by their formula. Where one occurs again it is the same module, and what is read is added: the
            score and the loss of one method share their parts.

    Raises:
        ValueError: if the text is no formula, with the part that is not understood.

    Example:
        >>> parse('0.5 * (chain(Cosine(), Max().over("regions"), Mean().over("sentences")))')
        0.5 * chain(Cosine(), Max().over("regions"), Mean().over("sentences"))
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{text!r} is not a formula: {error}.") from None
    value = _read(tree.body, known if known is not None else {})
    if not isinstance(value, Expression):
        raise ValueError(f"{text!r} is a {type(value).__name__}, not a score or a loss.")
    return value


def _read(node: ast.expr, known: dict[str, Expression]) -> object:
    """The value a node of the syntax tree stands for."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.BinOp(op=ast.Add() | ast.Mult() as operator, left=left, right=right):
            a, b = _read(left, known), _read(right, known)
            if not isinstance(a, Expression) and not isinstance(b, Expression):
                raise ValueError(f"{ast.unparse(node)!r} combines no scores.")
            return a + b if isinstance(operator, ast.Add) else a * b  # type: ignore[operator]
        case ast.Attribute(value=inner, attr="T"):
            owner = _read(inner, known)
            if isinstance(owner, Over | scores.Score):
                return owner.T
        case ast.Call(func=ast.Attribute(value=inner, attr="over"), args=[axis], keywords=[]):
            owner = _read(inner, known)
            if isinstance(owner, aggregators.Aggregator):
                return owner.over(_read(axis, known))  # type: ignore[arg-type]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in NAMES:
            if any(isinstance(arg, ast.Starred) for arg in args) or any(k.arg is None for k in keywords):
                raise ValueError(f"{ast.unparse(node)!r}: a formula spells its arguments out.")
            built = NAMES[name](
                *(_read(arg, known) for arg in args), **{str(k.arg): _read(k.value, known) for k in keywords}
            )
            return known.setdefault(repr(built), built) if isinstance(built, scores.Score) else built
        case ast.Call(func=ast.Name(id=name)):
            raise ValueError(f"{name!r} is no part of a formula; there are {', '.join(sorted(NAMES))}.")
    raise ValueError(f"{ast.unparse(node)!r} is not understood in a formula.")
