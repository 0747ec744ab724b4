"""Expressions: modules whose ``repr`` is the formula they were built from."""

from __future__ import annotations

import inspect
import json
from typing import Any, ClassVar, TypeVar

import numpy as np
from torch import nn

Self = TypeVar("Self", bound="Expression")


class Expression(nn.Module):
    """A part of a score or loss that prints as its own constructor call.

    A subclass keeps each constructor argument under the argument's name; arguments left at their default are not
    printed. What is printed is read back by `bagclip.parse`, which finds a subclass by its class name, yours too once
    its module is imported. ``class X(..., spelled=False)`` is for what a formula never calls by name.
    """

    spelled: ClassVar[dict[str, type[Expression]]] = {}
    """What a formula may call, by name."""

    label: str | None = None

    def __init_subclass__(cls, spelled: bool = True, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not spelled or cls.__name__.startswith("_"):
            return
        other = Expression.spelled.get(cls.__name__)
        if other is not None and other.__module__.startswith("bagclip.") and other.__module__ != cls.__module__:
            raise TypeError(
                f"{cls.__module__} defines {cls.__name__}, but a formula already means "
                f"{other.__module__}.{other.__name__} by that name; choose another."
            )
        Expression.spelled[cls.__name__] = cls

    def named(self: Self, label: str) -> Self:
        """This part under a name: where a formula names it again, the very same part is meant.

        Example:
            >>> from bagclip import parse
            >>> both = parse(
            ...     'chain(Attention(dim=4).named("pool").over("regions"), Mean().over("sentences"), Cosine()) + '
            ...     'chain(Attention(dim=4).named("pool").over("regions"), Dot(), Mean().over("sentences"))'
            ... )
            >>> both.left.left[0].aggregator is both.right.left[0].aggregator
            True
        """
        if not isinstance(label, str) or not label:
            raise ValueError(f"a part is named by a text, not by {label!r}.")
        self.label = label
        return self

    def __repr__(self) -> str:
        shown = []
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            if name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if not hasattr(self, name):
                raise AttributeError(
                    f"{type(self).__name__} does not keep its argument {name!r}; keep it as self.{name}, so that it "
                    "prints as the formula it is read back from."
                )
            value = _plain(getattr(self, name))
            # By its text: a part, a similarity say, is equal to none but itself.
            if parameter.default is inspect.Parameter.empty or repr(value) != repr(parameter.default):
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})" + (
            f".named({json.dumps(self.label)})" if self.label else ""
        )


def _plain(value: object) -> object:
    """Without the types of numpy, which do not read back."""
    if isinstance(value, np.generic):
        return value.item()
    return type(value)(map(_plain, value)) if isinstance(value, tuple | list) else value
