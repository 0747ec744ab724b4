"""What there is to choose about a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from bagclip.engine import Engine


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Args:
        epochs: passes over the studies.
        batch_size: pairs in a batch, of all processes together, each of which is contrasted with all others. What does
            not fill a last batch sits out that epoch.
        chunk: the most studies of a batch that are encoded at a time: the encoders' memory then grows with it and not
            with the batch, for a second encoding of each (see ``cached_step``, and there what batch norm makes of it).
            None encodes the whole batch at once.
        lr: highest learning rate, reached after the warm-up; then it falls to 0 along a cosine.
        pretrained_lr: the same for weights that an encoder came with; 0 leaves them as they are, in evaluation mode.
        weight_decay: of AdamW, on matrices only.
        warmup: share of all steps in which the learning rate rises.
        clip: largest norm of the gradient.
        augment: whether images are moved and re-exposed a little, differently in each epoch.
        mask_same: whether identical documents and pairs of one study are left out as negatives.
        patience: epochs without a better validation after which training stops; None to never stop early.
        engine: how scores are computed, "auto" by what is fastest; see `bagclip.engine.using`.
        precision: "no" for float32, or the mixed precision "bf16" or "fp16" of accelerate.
        seed: of everything that is random.
        memory: gigabytes of decoded images to keep, in each process.
        save_every: seconds between checkpoints inside an epoch; one is also written after each epoch.

    Raises:
        ValueError: if a value is out of range.

    Example:
        >>> TrainConfig(epochs=3, batch_size=64).lr
        0.001
    """

    epochs: int = 20
    batch_size: int = 128
    chunk: int | None = None
    lr: float = 1e-3
    pretrained_lr: float = 3e-5
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip: float = 1.0
    augment: bool = True
    mask_same: bool = True
    patience: int | None = None
    engine: Engine = "auto"
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: int = 0
    memory: float = 2.0
    save_every: float = 300.0

    def __post_init__(self) -> None:
        for name, lowest in (("epochs", 1), ("batch_size", 2), ("chunk", 1), ("patience", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < lowest):
                raise ValueError(f"{name} must be a whole number of at least {lowest}, got {value!r}.")
        for name in ("lr", "clip", "save_every"):
            if not (_is_number(value := getattr(self, name)) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value!r}.")
        for name in ("pretrained_lr", "weight_decay", "memory"):
            if not (_is_number(value := getattr(self, name)) and value >= 0):
                raise ValueError(f"{name} must not be negative, got {value!r}.")
        for name in ("augment", "mask_same"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {value!r}.")
        if not (_is_number(self.warmup) and 0 <= self.warmup <= 1):
            raise ValueError(f"warmup is a share of the steps between 0 and 1, got {self.warmup!r}.")
        if self.engine not in get_args(Engine):
            raise ValueError(f"engine is one of {', '.join(get_args(Engine))}, got {self.engine!r}.")
        if self.precision not in ("no", "bf16", "fp16"):
            raise ValueError(f'precision is "no", "bf16" or "fp16", got {self.precision!r}.')


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
