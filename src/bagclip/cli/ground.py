"""``bagclip ground``: where a phrase is seen in an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bagclip.data.files import ImageFile, check_image
from bagclip.encoders.base import GridEncoder
from bagclip.model import Model
from bagclip.report import save_overlay


def ground(
    run: Annotated[Path, typer.Argument(help="Folder of a run or a model.")],
    image: Annotated[Path, typer.Argument(help="An 8-bit image file.")],
    phrase: Annotated[str, typer.Argument(help="One sentence.")],
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("heat.png"),
) -> None:
    """Draw where a phrase is seen over an image."""
    if not phrase.strip():
        raise ValueError("the phrase is blank; say what to look for.")
    model = Model.from_pretrained(run)
    if not isinstance(model.image_encoder, GridEncoder):
        raise ValueError(
            f"the model in {run} reads given features, which have no picture to draw on; ask its "
            "model.method.score.region_map which of them answer a phrase."
        )
    picture = ImageFile(image, check_image(image), "")
    heat = model.ground(picture, phrase)
    save_overlay(out, picture.pixels(), heat, phrase=phrase)
    row, column = np.unravel_index(np.nanargmax(heat), heat.shape)
    typer.echo(
        f"{phrase!r} is seen best at row {row}, column {column} (similarity {heat[row, column]:.2f}, "
        f"median {np.nanmedian(heat):.2f}): {out}"
    )
