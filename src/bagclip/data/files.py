"""Image and mask files: what is accepted, and the studies' images and masks that read them.

Only what has one meaning is accepted: a picture of 8-bit gray or colour values, one frame, no transparency. Anything
else (16 bits, CMYK, an alpha channel) would need a choice that only its owner can make, so it is refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import numpy as np

from bagclip.data.study import Image, Mask

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile as Picture

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")

MAX_PIXELS = 80_000_000
"""Largest image accepted by default, about 9,000 x 9,000 pixels: below the size that pillow itself warns of."""

# The plain formats, so that a foreign file never reaches a rarely used decoder, nor one that allocates the whole
# picture before its size can be checked (WebP).
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF")
_MODES = ("1", "L", "P", "RGB")
_ORIENTATION = 0x0112


class BadFile(ValueError):
    """A file that is not used; ``reason`` says why without naming it, "<what is wrong>: <details>"."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.reason}"


def check_image(path: str | Path, *, max_pixels: int = MAX_PIXELS, decode: bool = True) -> tuple[int, int]:
    """The size (height, width) of an image file, upright as its EXIF orientation says, if the file is good.

    Args:
        path: a PNG, JPEG, BMP, GIF or TIFF file.
        max_pixels: more than these are refused before anything is decoded.
        decode: decode all of it, the only way to find truncated and damaged files; otherwise read the header alone.

    Raises:
        BadFile: a ``ValueError`` that names the file, if it is missing, empty, no image, truncated, too large, of
            several frames, of 16 bits or floats, CMYK or another colour space than gray and RGB, or transparent.

    Example:
        >>> import tempfile, PIL.Image
        >>> path = Path(tempfile.mkdtemp()) / "gray.png"
        >>> PIL.Image.new("L", (640, 480)).save(path)
        >>> check_image(path)
        (480, 640)
    """
    with _opened(Path(path), max_pixels) as picture:
        return _size(picture, decode)


def check_mask(path: str | Path, size: tuple[int, int], *, max_pixels: int = MAX_PIXELS, decode: bool = True) -> None:
    """Raise ``BadFile`` unless a mask file is a good image of ``size`` (height, width) with a pixel inside.

    A JPEG is refused: its compression leaves a haze of non-zero values around every edge.
    """
    path = Path(path)
    with _opened(path, max_pixels) as picture:
        if picture.format in ("JPEG", "MPO"):
            raise BadFile(path, "mask is a JPEG: lossy compression blurs its edge; save it as PNG.")
        height, width = _size(picture, decode)
        if (height, width) != size:
            raise BadFile(
                path,
                f"mask of another size: it is {width} x {height} pixels, its image is {size[1]} x {size[0]}; "
                f"give it the size of the image.",
            )
        if decode and not np.array(picture).any():
            raise BadFile(path, "mask is empty: every pixel is zero; draw it, or leave its row out.")


def check_all(check: Callable[[Key], Result], keys: Iterable[Key]) -> dict[Key, Result | BadFile]:
    """The result, or the ``BadFile``, of checking each different key, in threads: pillow decodes outside of the GIL."""

    def checked(key: Key) -> Result | BadFile:
        try:
            return check(key)
        except BadFile as bad:
            return bad

    different = list(dict.fromkeys(keys))
    with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool:
        return dict(zip(different, pool.map(checked, different), strict=True))


@dataclass(frozen=True)
class ImageFile(Image):
    """An image in a file, which ``check_image`` has found good.

    Args:
        path: where it is.
        size: (height, width) in pixels, upright, as ``check_image`` returns it.
        view: how it was taken, or empty.
    """

    path: Path
    size: tuple[int, int]
    view: str = ""

    def pixels(self) -> np.ndarray:
        """Gray images as (height, width), all others as RGB (height, width, 3), upright; ``OSError`` if unreadable."""
        picture = _read(self.path, self.size)
        return np.array(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))


@dataclass(frozen=True)
class MaskFile(Mask):
    """A mask in an image file of its image's size (height, width): what is not zero is inside.

    Of a palette image the indices count, not their colours.
    """

    path: Path
    size: tuple[int, int]

    def pixels(self) -> np.ndarray:
        """True inside; ``OSError`` if the file cannot be read."""
        inside = np.array(_read(self.path, self.size)) != 0
        return inside if inside.ndim == 2 else inside.any(axis=2)


@dataclass(frozen=True)
class MaskUnion(Mask):
    """Several masks of one image, each part of the same region."""

    masks: tuple[Mask, ...]

    def pixels(self) -> np.ndarray:
        """True inside any of them."""
        return np.logical_or.reduce([mask.pixels() for mask in self.masks])


def _read(path: Path, size: tuple[int, int]) -> Picture:
    try:
        with _opened(path, max_pixels=size[0] * size[1]) as picture:
            found = _size(picture, decode=True)
    except BadFile as error:
        raise OSError(f"{error} It was good when its data set was read.") from error
    if found != size:
        raise OSError(
            f"{path} is now {found[1]} x {found[0]} pixels, but was {size[1]} x {size[0]} when its data set was read; "
            f"read the data set again."
        )
    return picture


def _size(picture: Picture, decode: bool) -> tuple[int, int]:
    """Height and width of the picture upright, which it then is, if it was decoded."""
    from PIL import ImageOps

    # Pillow looks for a PNG's orientation behind the pixels too, and decodes them to get there.
    tagged = picture.format != "PNG" or "exif" in picture.info
    if decode or (tagged and picture.getexif().get(_ORIENTATION, 1) != 1):
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
    return picture.height, picture.width


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Picture]:
    """An image whose header is good, not yet decoded; whatever goes wrong before it is closed becomes a ``BadFile``."""
    from PIL import Image as pillow

    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise BadFile(path, "file not found: nothing is there.") from None
    except (OSError, ValueError) as error:
        raise BadFile(path, f"file cannot be opened: {getattr(error, 'strerror', None) or error}.") from None
    with file:
        try:
            picture = _identify(path, file)
            _check_header(path, picture, max_pixels)
            yield picture
        except BadFile:
            raise
        except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
            raise BadFile(path, f"too many pixels: pillow refuses it ({error}).") from None
        except Exception as error:  # Decoders raise anything on foreign bytes, and it always means the same.
            what = str(error).rstrip(".") or type(error).__name__
            raise BadFile(path, f"truncated or damaged: it cannot be decoded ({what}).") from error


def _identify(path: Path, file: IO[bytes]) -> Picture:
    """Read the header as ``PIL.Image.open`` does, less its size limit, which is global and not ours."""
    from PIL import Image as pillow

    prefix = file.read(16)
    if not prefix:
        raise BadFile(path, "empty file: it has 0 bytes.")
    pillow.init()
    for name in _FORMATS:
        factory, accept = pillow.OPEN[name]
        if accept is None or accept(prefix) is True:
            file.seek(0)
            # Knowing its name, pillow would map the file into memory: a TIFF that lies on its side then comes out
            # scrambled, and a file that shrinks meanwhile ends the process.
            return factory(file, "")
    raise BadFile(path, f"not an image: it does not begin as one of {', '.join(_FORMATS)}.")


def _check_header(path: Path, picture: Picture, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise BadFile(
            path,
            f"too many pixels: {width:,} x {height:,} are more than {max_pixels:,}; scale it, or raise max_pixels.",
        )
    # Pillow opens 16-bit colours as 8-bit ones without a word; only its name for the raw values tells.
    raw = [str(tile[3]) for tile in picture.tile]
    if picture.mode[0] in "IF" or any(";16" in values and "BGR;16" not in values for values in raw):
        raise BadFile(path, "more than 8 bits: convert it to 8 bits with a window that you choose.")
    if picture.mode == "CMYK":
        raise BadFile(path, "CMYK colours: convert it to RGB or gray with the colour profile it was made for.")
    if picture.has_transparency_data:
        raise BadFile(
            path, f"alpha channel ({picture.mode}): save it without transparency, on a background you choose."
        )
    if picture.mode not in _MODES:
        raise BadFile(path, f"{picture.mode} colours: convert it to RGB or gray.")
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise BadFile(path, f"several frames: it holds {frames}; save the one you mean.")
