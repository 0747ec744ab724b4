"""A progress bar for training."""

from __future__ import annotations

import sys
from types import TracebackType

from bagclip.training import Step
from bagclip.training.together import rank


class Bar:
    """Shows epoch, loss, pairs per second, time left and the share of time spent waiting for data, on a terminal.

    Example:
        >>> with Bar() as bar:
        ...     bar(Step(epoch=1, step=1, steps=2, loss=3.0, pairs_per_second=100.0, waiting=0.1))
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f} · {task.fields[speed]:.0f} pairs/s"),
            TextColumn("· waiting for data {task.fields[waiting]:.0%} ·"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            disable=rank() > 0 or not sys.stderr.isatty(),
            transient=True,
        )
        self.task = self.progress.add_task("", total=None, epoch=0, loss=float("nan"), speed=0.0, waiting=0.0)

    def __call__(self, step: Step) -> None:
        """Show a step."""
        self.progress.update(
            self.task,
            total=step.steps,
            completed=step.step,
            epoch=step.epoch,
            loss=step.loss,
            speed=step.pairs_per_second,
            waiting=step.waiting,
        )

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
