"""Spelling: what somebody may have meant by a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known word, and all of them.

    Example:
        >>> nearest("sharpnes", ["sharpness", "dim"])
        "did you mean 'sharpness'? There are: sharpness, dim."
    """
    names = list(known)
    if not names:
        return "there are none."
    close = difflib.get_close_matches(word, names, n=1)
    return (f"did you mean {close[0]!r}? There" if close else "there") + f" are: {', '.join(names)}."
