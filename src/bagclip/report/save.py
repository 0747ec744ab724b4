"""An overlay as a picture of its own: the image, and a caption that says what is seen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bagclip import weights
from bagclip.data.study import Box
from bagclip.report.names import number
from bagclip.report.overlay import BOX, REGION, extent, overlay

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

    Item = tuple[str | UInt8[np.ndarray, "height width 3"], ...]

LEGIBLE = 512
"""A small image is enlarged by a whole factor, until its longer side has at least these pixels."""

PAPER, INK, FAINT = (16, 17, 20), (235, 235, 232), (160, 163, 169)


def save_overlay(
    path: str | Path,
    image: UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"],
    heat: Float[np.ndarray, "height width"],
    *,
    phrase: str,
    region: Bool[np.ndarray, "height width"] | None = None,
    boxes: Sequence[Box] = (),
    limits: tuple[float, float] | None = None,
) -> None:
    """Write the overlay as a PNG with a caption below: the phrase, and the colours with the values they stand for.

    The overlay has the image's own pixels, a small image's enlarged by a whole factor. The rest is as in `overlay`.

    Raises:
        ValueError: if ``path`` does not end in .png, and as in `overlay`.
        OSError: if it cannot be written; an older file of that name is then untouched.

    Example:
        >>> import tempfile, PIL.Image
        >>> path = Path(tempfile.mkdtemp()) / "heat.png"
        >>> image = np.full((256, 300), 90, dtype=np.uint8)
        >>> save_overlay(path, image, np.eye(256, 300), phrase="small left pleural effusion")
        >>> PIL.Image.open(path).width
        600
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"an overlay is written as PNG, so its name must end in .png, not {path.name!r}.")
    limits = limits or extent(heat)
    scale = max(1, -(-LEGIBLE // max(image.shape[:2])))
    drawn = overlay(image, heat, region=region, boxes=boxes, limits=limits, scale=scale)
    key: list[Item] = [(f"score {number(limits[0], 2)}", colour_bar(11, 160), number(limits[1], 2))]
    if region is not None:
        key.append((_swatch(REGION), "true region"))
    if boxes:
        key.append((_swatch(BOX), "true box"))
    if np.isnan(heat).any():
        key.append((overlay(np.zeros((11, 22), np.uint8), np.full((11, 22), np.nan)), "not seen"))
    file = io.BytesIO()
    Image.fromarray(np.concatenate([drawn, _caption(drawn.shape[1], phrase, key)])).save(file, format="PNG")
    weights.write(path, file.getvalue())


def colour_bar(height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """The colours from the lowest value to the highest, as they look on gray."""
    ground = np.full((height, width), 70, dtype=np.uint8)
    return overlay(ground, np.tile(np.linspace(0, 1, width), (height, 1)))


def _swatch(colour: tuple[int, int, int]) -> UInt8[np.ndarray, "11 11 3"]:
    square = np.full((11, 11, 3), colour, dtype=np.uint8)
    square[2:-2, 2:-2] = PAPER
    return square


def _caption(width: int, phrase: str, key: Sequence[Item]) -> UInt8[np.ndarray, "rows width 3"]:
    """A strip with the phrase, and below it the items of the key, in as many rows as they need."""
    from PIL import Image, ImageDraw

    large, small = _font(max(16, width // 36)), _font(max(13, width // 48))
    zoom, space = max(1, round(small.size / 13)), small.size
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    placed: list[tuple[float, float, str | Picture, FreeTypeFont]] = []
    x, y = space, space
    for line in _wrapped(pen, phrase, large, width - 2 * space):
        placed.append((x, y, line, large))
        y += 1.3 * large.size
    y += 0.7 * space
    for item in key:
        pieces = [p if isinstance(p, str) else Image.fromarray(p.repeat(zoom, 0).repeat(zoom, 1)) for p in item]
        widths = [pen.textlength(p, small) if isinstance(p, str) else p.width for p in pieces]
        if x > space and x + sum(widths) + space / 2 * len(widths) > width:
            x, y = space, y + 1.6 * small.size
        for piece, length in zip(pieces, widths, strict=True):
            placed.append((x, y, piece, small))
            x += length + space / 2
        x += space
    strip = Image.new("RGB", (width, round(y + 2.4 * small.size)), PAPER)
    pen = ImageDraw.Draw(strip)
    for x, y, piece, font in placed:
        if isinstance(piece, str):
            pen.text((x, y + 0.6 * font.size), piece, INK if font is large else FAINT, font, anchor="lm")
        else:
            strip.paste(piece, (round(x), round(y + 0.6 * font.size - piece.height / 2)))
    return np.asarray(strip)


def _wrapped(pen: ImageDraw, text: str, font: FreeTypeFont, width: float) -> list[str]:
    """The words of the text in lines no longer than the width, unless a single word is."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if pen.textlength(longer, font) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _font(size: int) -> FreeTypeFont:
    from matplotlib import font_manager
    from PIL import ImageFont

    # The one scalable font that is sure to be there: matplotlib brings it along.
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
