"""Formulas: read a score or a loss back from the text it prints as, without running that text."""

from __future__ import annotations

import ast
import inspect

from torch import nn

from bagclip import aggregators, losses, scores, similarity
from bagclip.aggregators import Over
from bagclip.expression import Expression
from bagclip.spelling import nearest

__all__ = ["parse"]

# Imported so that every part of the library is known by its name.
_LIBRARY = (aggregators, losses, scores, similarity)


def parse(text: str, known: dict[str, Expression] | None = None) -> Expression:
    """Read a score or a loss from its formula; ``parse(repr(score))`` is the same score, newly initialised.

    Only the names of parts (the library's, and yours once their module is imported), numbers, strings, ``.over``,
    ``.named``, ``.T``, ``+`` and ``*`` are understood; nothing is evaluated.

    Args:
        text: the formula.
        known: scores and named parts by their formula. Where one occurs again it is the same module, and what is read
            is added: the score and the loss of one method share their parts.

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
        case ast.Tuple(elts=elements):
            return tuple(_read(element, known) for element in elements)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.BinOp(op=ast.Add() | ast.Mult() as operator, left=left, right=right):
            a, b = _read(left, known), _read(right, known)
            if not isinstance(a, Expression) and not isinstance(b, Expression):
                raise ValueError(f"{ast.unparse(node)!r} combines no scores.")
            try:
                return a + b if isinstance(operator, ast.Add) else a * b  # type: ignore[operator]
            except TypeError as error:
                raise ValueError(f"{ast.unparse(node)!r}: {error}") from None
        case ast.Attribute(value=inner, attr="T"):
            owner = _read(inner, known)
            if isinstance(owner, Over | scores.Score):
                return owner.T
        case ast.Call(func=ast.Attribute(value=inner, attr="over"), args=[axis], keywords=[]):
            owner = _read(inner, known)
            if isinstance(owner, aggregators.Aggregator):
                return owner.over(_read(axis, known))  # type: ignore[arg-type]
        case ast.Call(func=ast.Attribute(value=inner, attr="named"), args=[label], keywords=[]):
            owner = _read(inner, known)
            if isinstance(owner, Expression):
                owner.named(_read(label, known))  # type: ignore[arg-type]
                for other in known.values():
                    if other.label == owner.label and repr(other) != repr(owner):
                        raise ValueError(f"{owner.label!r} names both {other!r} and {owner!r}; name them differently.")
                return known.setdefault(repr(owner), owner)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            if any(isinstance(arg, ast.Starred) for arg in args) or any(k.arg is None for k in keywords):
                raise ValueError(f"{ast.unparse(node)!r}: a formula spells its arguments out.")
            positional = [_read(arg, known) for arg in args]
            named = {str(k.arg): _read(k.value, known) for k in keywords}
            built = _build(ast.unparse(node), name, positional, named)
            return known.setdefault(repr(built), built) if isinstance(built, scores.Score) else built
    raise ValueError(f"{ast.unparse(node)!r} is not understood in a formula.")


def _build(text: str, name: str, positional: list[object], named: dict[str, object]) -> Expression:
    """Call what a formula calls."""
    if name == "chain":
        make = scores.chain
    elif name in Expression.spelled:
        make = Expression.spelled[name]  # type: ignore[assignment]
    else:
        raise ValueError(f"{name!r} is no part of a formula; {nearest(name, sorted(['chain', *Expression.spelled]))}")
    try:
        # What has no constructor of its own takes nothing, though that of torch's modules claims to take anything.
        takes = (
            inspect.Signature() if getattr(make, "__init__", None) is nn.Module.__init__ else inspect.signature(make)
        )
        takes.bind(*positional, **named)
    except TypeError as error:
        raise ValueError(f"{text!r}: {name} {error}.") from None
    try:
        return make(*positional, **named)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"{text!r}: {error}") from None
