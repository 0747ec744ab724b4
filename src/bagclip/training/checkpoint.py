"""A checkpoint: all that a run needs to go on, in one safetensors file that is replaced atomically."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bagclip import weights


@dataclass
class Progress:
    """How far a run is.

    Args:
        epoch: the epoch under way, from 0.
        batch: batches of it that are done.
        step: batches of all epochs that are done.
        loss: sum of the losses of this epoch's batches so far.
        best: highest validation value so far, and
        best_epoch: the epoch it came from, from 1; 0 when there is none yet.
        history: one entry an epoch.
        run: what the run is of (config, data, formula), so that another one cannot go on from here.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss: float = 0.0
    best: float = float("-inf")
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write a checkpoint; ``OSError`` if that is impossible, and the one before stays."""
    saved = {f"model.{name}": tensor for name, tensor in weights.tensors(model).items()}
    for index, state in optimizer.state_dict()["state"].items():
        saved |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    # A float of JSON reads back as the same float, infinity included.
    weights.save(path, saved, {"progress": json.dumps(asdict(progress))})


def read(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """What a checkpoint holds.

    Raises:
        FileNotFoundError, ValueError: if there is none, or it is damaged.
    """
    saved, metadata = weights.load(path)
    if "progress" not in metadata:
        raise ValueError(f"{path} is no checkpoint of a run; it holds weights only.")
    return saved, Progress(**json.loads(metadata["progress"]))


def restore(saved: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer, source: str) -> None:
    """Put what `read` gave into a model and an optimizer; ``ValueError`` if they are of another architecture."""
    weights.restore(model, _below(saved, "model."), source)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below(saved, "optimizer.").items():
        index, _, entry = name.partition(".")
        state.setdefault(int(index), {})[entry] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _below(saved: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in saved.items() if name.startswith(prefix)}
