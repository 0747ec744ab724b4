"""A contact sheet: grounding examples side by side in one picture, for a README or a slide."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bagclip import weights
from bagclip.report.overlay import overlay
from bagclip.report.page import GroundingExample


def save_sheet(path: str | Path, examples: Sequence[GroundingExample], columns: int = 3) -> None:
    """Write examples as one PNG: each image beside its overlay with the true boxes, its sentence and CNR below.

    Raises:
        ValueError: if there is no example.
        OSError: if it cannot be written; an older file of that name is then untouched.
    """
    if not examples:
        raise ValueError("there is no example to show.")
    from matplotlib.figure import Figure

    rows = -(-len(examples) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.15 * rows), dpi=110, layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False)
    for place in axes.flat:
        place.axis("off")
    for place, example in zip(axes.flat, examples, strict=False):
        scale = max(1, 256 // max(example.image.shape[:2]))
        shown = overlay(example.image, example.heat, region=example.region, boxes=example.boxes, scale=scale)
        plain = overlay(example.image, np.zeros_like(example.heat), scale=scale)
        place.imshow(np.concatenate([plain, np.full_like(plain[:, : 4 * scale], 255), shown], axis=1))
        place.set_title("\n".join(textwrap.wrap(example.sentence, 46)[:2]), fontsize=7, loc="left")
        place.text(1, -0.02, f"CNR {example.cnr:.2f}", fontsize=6.5, transform=place.transAxes, ha="right", va="top")
    figure.supxlabel(
        "left the image, right the map of the sentence above it; outlined: where it truly is", fontsize=6.5
    )
    file = io.BytesIO()
    figure.savefig(file, format="png")
    weights.write(Path(path), file.getvalue())
