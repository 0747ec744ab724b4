"""Chance by re-pairing: give every unit another unit's answer and measure again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int


def derangement(n: int, seed: int = 0) -> Int[np.ndarray, "n"]:
    """A random permutation that leaves nothing in its place: unit i takes the answer of unit ``derangement(n)[i]``.

    It is one random cycle through all units (Sattolo, 1986), so every other unit is equally likely.

    Raises:
        ValueError: if n is below 2; a single unit has nobody to exchange with.

    Example:
        >>> sorted(derangement(4, seed=0).tolist())
        [0, 1, 2, 3]
        >>> bool((derangement(4, seed=0) == np.arange(4)).any())
        False
    """
    if n < 2:
        raise ValueError(f"no permutation of {n} unit(s) moves all of them; chance by re-pairing needs at least 2.")
    cycle = np.random.Generator(np.random.Philox(seed)).permutation(n)
    deal = np.empty_like(cycle)
    deal[cycle] = np.roll(cycle, 1)
    return deal
