"""How metrics and numbers are printed."""

from __future__ import annotations

import math
from typing import NamedTuple

QUANTITIES = {
    "R@1": "Recall at 1",
    "R@5": "Recall at 5",
    "R@10": "Recall at 10",
    "median_rank": "Median rank",
    "macro_auroc": "Macro AUROC",
    "auroc": "AUROC",
    "cnr_signed": "Signed CNR",
    "cnr_abs": "Absolute CNR",
    "miou": "Mean IoU",
    "pointing_game": "Pointing game",
}
"""What metrics measure, in words."""

VARIANTS = {
    "text_to_image": "Text to image",
    "image_to_text": "Image to text",
    "macro": "Every finding counts once",
}
"""Under which conditions, in words."""


class Label(NamedTuple):
    """The group a metric is listed in (often none), what it is called there, and the quantity it is a case of."""

    group: str
    words: str
    quantity: str


def label(name: str) -> Label:
    """Words for a metric's name; a name that is not known stands for itself.

    Example:
        >>> label("text_to_image/R@10")
        Label(group='Text to image', words='Recall at 10', quantity='R@10')
        >>> label("auroc/pleural effusion")
        Label(group='AUROC by finding', words='pleural effusion', quantity='auroc')
        >>> label("new/metric")
        Label(group='', words='new/metric', quantity='new/metric')
    """
    first, slash, rest = name.partition("/")
    if slash and first in VARIANTS:
        return Label(VARIANTS[first], QUANTITIES.get(rest, rest), rest)
    if slash and first in QUANTITIES:
        return Label(f"{QUANTITIES[first]} by finding", rest, first)
    return Label("", QUANTITIES.get(name, name), name)


def number(x: float, decimals: int = 3, *, sign: bool = False) -> str:
    """A number with a true minus, a dash for NaN, and one significant digit where rounding would leave nothing.

    Example:
        >>> number(-0.5, 2), number(0.0004), number(float("nan")), number(1.25, 1, sign=True)
        ('−0.50', '0.0004', '–', '+1.2')
    """
    if math.isnan(x):
        return "–"
    text = f"{x:.1g}" if 0 < abs(x) < 0.5 * 10**-decimals else f"{x:.{decimals}f}"
    return ("+" if sign and x > 0 else "") + text.replace("-", "−")
