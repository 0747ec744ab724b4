"""Feature files: what is accepted, and the studies' images that read them.

A ``.npy`` file is a matrix with a row for each region. A ``.safetensors`` file holds the matrix as its only tensor, or
as the one named "features", and may tell in "coords" where each region lies. Floats of any precision become single.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from bagclip.data.features import Features
from bagclip.data.files import BadFile

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

SUFFIXES = (".npy", ".safetensors")


def is_feature_file(path: Path) -> bool:
    """Whether a file holds features, which its name tells."""
    return path.suffix.lower() in SUFFIXES


def check_features(path: str | Path, *, decode: bool = True) -> tuple[int, int]:
    """The shape (regions, width) of a feature file, if the file is good.

    Args:
        path: a .npy or .safetensors file.
        decode: read all of it, the only way to find NaN and infinite values; otherwise read the header alone.

    Raises:
        BadFile: a ``ValueError`` that names the file, if it is missing, empty, damaged, no matrix of floats, without a
            region, of several tensors none of which is named, of coords that do not fit, or not finite.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "slide.npy"
        >>> np.save(path, np.zeros((900, 64), np.float16))
        >>> check_features(path)
        (900, 64)
    """
    path = Path(path)
    with _opened(path) as file:
        shape = _check_header(path, file)
        if decode:
            _check_values(path, file)
    return shape


@dataclass(frozen=True)
class FeatureFile(Features):
    """Features in a file, which ``check_features`` has found good.

    Args:
        path: where it is.
        shape: (regions, width), as ``check_features`` returns it.
        view: how the image was taken, or empty.
    """

    path: Path
    shape: tuple[int, int]
    view: str = ""

    def features(self) -> Float32[np.ndarray, "regions width"]:
        """All of them; ``OSError`` if the file cannot be read or has changed its shape."""
        with self._file() as file:
            return file.features()

    def coords(self) -> Float64[np.ndarray, "regions 2"] | None:
        """What the file says under "coords", if anything."""
        with self._file() as file:
            return file.coords()

    @contextmanager
    def _file(self) -> Iterator[_File]:
        try:
            with _opened(self.path) as file:
                if _check_header(self.path, file) != self.shape:
                    raise BadFile(self.path, f"another shape: it is {file.shape} and was {self.shape}.")
                yield file
        except BadFile as error:
            raise OSError(f"{error} It was good when its data set was read; read the data set again.") from error


class _File(ABC):
    """An open feature file: what its header says, and how its values are read."""

    shape: tuple[int, ...]
    dtype: str
    is_float: bool
    coords_shape: tuple[int, ...] | None = None

    @abstractmethod
    def features(self) -> np.ndarray: ...

    def coords(self) -> np.ndarray | None:
        return None


class _Npy(_File):
    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise BadFile(path, "not a .npy file: it does not begin as one.")
        # Mapped, so that nothing is read before the header is known. Objects, which would be unpickled, are refused.
        self._array = np.load(path, mmap_mode="r", allow_pickle=False)
        self.shape, self.dtype = self._array.shape, str(self._array.dtype)
        self.is_float = self._array.dtype.kind == "f"

    def features(self) -> np.ndarray:
        with np.errstate(over="ignore"):  # what overflows is infinite, and told as such
            return np.array(self._array, dtype=np.float32, order="C")


class _Safetensors(_File):
    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        self._tensors = safe_open(path, framework="pt")
        names = set(self._tensors.keys())
        others = names - {"coords"}
        if "features" not in names and len(others) != 1:
            held = ", ".join(sorted(names)) or "none"
            raise BadFile(path, f"which tensor: it holds {held}; name the one to take 'features'.")
        self._name = "features" if "features" in names else others.pop()
        header = self._tensors.get_slice(self._name)
        self.shape, self.dtype = tuple(header.get_shape()), header.get_dtype()
        self.is_float = self.dtype in ("F16", "BF16", "F32", "F64")
        if "coords" in names:
            self.coords_shape = tuple(self._tensors.get_slice("coords").get_shape())

    def features(self) -> np.ndarray:
        return self._tensors.get_tensor(self._name).to(torch.float32).numpy()

    def coords(self) -> np.ndarray | None:
        return None if self.coords_shape is None else self._tensors.get_tensor("coords").double().numpy()


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    """A feature file whose header can be read; whatever goes wrong before it is closed becomes a ``BadFile``."""
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise BadFile(path, "file not found: nothing is there.") from None
    except (OSError, ValueError) as error:
        raise BadFile(path, f"file cannot be opened: {getattr(error, 'strerror', None) or error}.") from None
    if empty:
        raise BadFile(path, "empty file: it has 0 bytes.")
    try:
        yield _Npy(path) if path.suffix.lower() == ".npy" else _Safetensors(path)
    except BadFile:
        raise
    except Exception as error:  # Readers raise many things on foreign bytes, and they always mean the same.
        what = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise BadFile(path, f"truncated or damaged: no features can be read ({what}).") from error


def _check_header(path: Path, file: _File) -> tuple[int, int]:
    if not file.is_float:
        raise BadFile(path, f"not floats: it holds {file.dtype}; save the features as float16 or float32.")
    if len(file.shape) != 2:
        raise BadFile(path, f"not a matrix: its shape is {file.shape}; save it as (regions, width).")
    regions, width = file.shape
    if not regions or not width:
        raise BadFile(path, f"empty matrix: it has {regions} regions of {width} numbers each.")
    if file.coords_shape not in (None, (regions, 2)):
        raise BadFile(path, f"coords do not fit: {regions} regions need ({regions}, 2), not {file.coords_shape}.")
    return regions, width


def _check_values(path: Path, file: _File) -> None:
    finite = np.isfinite(file.features()).all(axis=1)
    if not finite.all():
        raise BadFile(
            path,
            f"not finite: {int((~finite).sum())} of {len(finite)} regions hold NaN, infinite values or some too large "
            f"for float32, region {int(finite.argmin())} first.",
        )
    coords = file.coords()
    if coords is not None and not np.isfinite(coords).all():
        raise BadFile(path, "coords not finite: they hold NaN or infinite values.")
