"""Expressions: modules whose ``repr`` is the formula they were built from."""

from __future__ import annotations

import inspect

from torch import nn


class Expression(nn.Module):
    """A part of a score or loss that prints as its own constructor call.

    A subclass keeps each constructor argument under the argument's name; arguments left at their default are not
    printed. What is printed is read back by `bagclip.parse`.
    """

    def __repr__(self) -> str:
        shown = []
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            if name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            value = getattr(self, name)
            if parameter.default is inspect.Parameter.empty or value != parameter.default:
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"
