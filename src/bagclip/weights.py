"""Weights on disk: safetensors only, written so that a crash leaves the old file or the new one, never half of one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer once, by name; a part that is shared goes by its first name."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach() for name, tensor in named}


def restore(module: nn.Module, saved: Mapping[str, Tensor], source: str) -> None:
    """Copy saved tensors into a module that has the same ones.

    Raises:
        ValueError: if names or shapes differ, naming the first differences and ``source``.
    """
    own = tensors(module)
    missing, unexpected = sorted(own.keys() - saved.keys()), sorted(saved.keys() - own.keys())
    reshaped = [name for name in own if name in saved and own[name].shape != saved[name].shape]
    if missing or unexpected or reshaped:
        differences = [
            f"{what} {names[:3]}"
            for what, names in (("lacks", missing), ("has the unknown", unexpected), ("has another shape of", reshaped))
            if names
        ]
        raise ValueError(f"{source} does not fit this architecture: it {', '.join(differences)}.")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])


def save(path: Path, saved: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors and texts to one safetensors file, atomically.

    Raises:
        OSError: if it cannot be written (a full disk, say); an older file of that name is then untouched.
    """
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in saved.items()}
    write(path, to_bytes(plain, dict(metadata or {})))


def write(path: Path, content: bytes) -> None:
    """Write a file atomically: next to its place, flushed to the disk, then moved there.

    Raises:
        OSError: if it cannot be written; an older file of that name is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(
                error.errno, f"cannot write {path}: {error.strerror or error}; what was there is untouched"
            ) from error
        raise


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and texts of a safetensors file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is truncated or no safetensors file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there are no weights at {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}.") from None
