"""Together: several processes train one model. What the first of them says holds for all, and none goes on alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from bagclip.engine.distributed import processes

Item = TypeVar("Item")


def rank() -> int:
    """Which process this is, from 0; of those that a launcher started, also before they know each other.

    Example:
        >>> rank()
        0
    """
    if processes() > 1:
        return dist.get_rank()
    return int(os.environ.get("RANK", 0)) if _launched() > 1 else 0


def start(precision: str) -> Any:
    """The accelerator of the processes that a launcher (torchrun, accelerate launch) started, or of this one alone.

    Raises:
        RuntimeError: if accelerate joins other processes than were launched, or the launcher was told to spread a model
            over them.
    """
    from accelerate import Accelerator

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    # Unless told that they run on CPUs, accelerate takes such processes for unrelated ones.
    on_cpus = _launched() > 1 and (device is None or device.type == "mps")
    accelerator = Accelerator(mixed_precision=precision, cpu=on_cpus)
    joined, expected = accelerator.num_processes, max(processes(), _launched())
    if joined != expected:
        raise RuntimeError(
            f"there are {expected} processes, but accelerate joins {joined}, and each would train alone; start them "
            "with torchrun or accelerate launch, and leave it to training to join them."
        )
    kind = accelerator.distributed_type.value
    if joined > 1 and not kind.startswith("MULTI_"):
        raise RuntimeError(
            f"each process trains with the whole model, but accelerate was told to use {kind}; launch plain "
            "processes, with torchrun, say."
        )
    return accelerator


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """A block that all processes leave together: an error in one of them is an error in all.

    Nothing in it may wait for other processes.

    Raises:
        ConnectionAbortedError: if another process has an error.

    Example:
        >>> with together(torch.device("cpu")):
        ...     print("alone, the block is run and that is all")
        alone, the block is run and that is all
    """
    try:
        yield
    except Exception:
        _failed(True, device)
        raise
    other = _failed(False, device)
    if other is not None:
        raise ConnectionAbortedError(
            f"process {other} stopped with an error, which it tells; process {rank()} does not go on without it."
        )


def in_step(items: Iterable[Item], device: torch.device) -> Iterator[Item]:
    """Items, of which each process has as many; where one cannot make its next one, all stop, as in `together`."""
    iterator = iter(items)
    while True:
        with together(device):
            item = next(iterator, None)
        if item is None:
            return
        yield item


def told(value: Any, device: torch.device) -> Any:
    """What the first process gives, a plain value, in every process; it travels as JSON, which keeps floats exactly."""
    if processes() == 1:
        return value
    content = list(json.dumps(value).encode())
    size = torch.tensor(len(content), device=device)
    dist.broadcast(size, 0)
    text = torch.tensor(content if rank() == 0 else [0] * int(size), dtype=torch.uint8, device=device)
    dist.broadcast(text, 0)
    return json.loads(bytes(text.tolist()))


def spread(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors, in place, with those of the first process."""
    if processes() > 1:
        for sending in [dist.broadcast(tensor, 0, async_op=True) for tensor in tensors]:
            sending.wait()


def _launched() -> int:
    """How many processes a launcher started, which sets both of these."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1


def _failed(here: bool, device: torch.device) -> int | None:
    """A process that failed, or None."""
    if processes() == 1:
        return 0 if here else None
    latest = torch.tensor(rank() if here else -1, device=device)
    dist.all_reduce(latest, dist.ReduceOp.MAX)
    return None if latest < 0 else int(latest)
