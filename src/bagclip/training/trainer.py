"""The training loop."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from bagclip import metrics, weights
from bagclip.data.augment import Augment
from bagclip.data.batches import Batch, Loader, class_shares, keys, label_matrix, same
from bagclip.data.feature_files import FeatureFile
from bagclip.data.features import Features
from bagclip.data.files import ImageFile
from bagclip.data.study import Study
from bagclip.engine import using
from bagclip.engine.distributed import average_gradients, part, processes
from bagclip.losses import Known
from bagclip.model import Model
from bagclip.scale import Annealed, Learned, anneal
from bagclip.training import checkpoint
from bagclip.training.cached import cached_step, warn_of_batch_statistics
from bagclip.training.checkpoint import Progress
from bagclip.training.config import TrainConfig
from bagclip.training.together import in_step, rank, spread, start, together, told

log = logging.getLogger("bagclip")

SELECT_BY = ("text_to_image/MRR", "image_to_text/MRR")
"""The best epoch is the one with the highest mean of these validation metrics: reciprocal ranks, which still tell
epochs apart where a recall is full because there are few studies."""

SHOWN = ("text_to_image/R@10", "image_to_text/R@10")


@dataclass(frozen=True)
class Step:
    """What an observer of the training is told after each batch.

    Args:
        epoch: the epoch under way, from 1.
        step: batches done.
        steps: batches there will be.
        loss: of this batch.
        pairs_per_second: since this call of `train` began.
        waiting: share of that time spent waiting for data.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    pairs_per_second: float
    waiting: float


def train(
    model: Model,
    studies: Sequence[Study],
    config: TrainConfig | None = None,
    *,
    out: str | Path,
    val: Sequence[Study] | None = None,
    resume: Literal["auto", "never"] = "never",
    observe: Callable[[Step], None] | None = None,
) -> Progress:
    """Train a model on studies; the model ends with the weights of the best epoch.

    Started by a launcher (``torchrun --nproc-per-node 4``, ``accelerate launch``), several processes share each batch
    and learn what one learns from the whole of it, but for what a model draws at random (dropout) and for batch norm,
    which takes the statistics of a share. All are given the same arguments. The first one alone validates, observes and
    writes, while the others wait, as long as the process group's timeout allows; they read the folder, so all must see
    it. Resumed with as many processes, a run goes on to the last bit; another number may go on as well.

    A study that cannot be read and a file that cannot be written end all processes. Of one that dies, or has an error
    inside a step (no memory left), the others learn from the launcher, which ends them. What a model may not do is use
    a parameter in one process only. If its encoders talk to each other, by ``SyncBatchNorm``, say, and chunks are used,
    the batch size must be a multiple of the processes.

    Args:
        model: is trained in place. A text encoder without a vocabulary learns one from the studies' documents.
        studies: to learn from.
        config: how to train.
        out: folder of the run: metrics.jsonl (a line an epoch), last.safetensors (the checkpoint), model/ (the best
            model, a model folder).
        val: studies for validation by retrieval after each epoch; without, the last epoch is the best.
        resume: "auto" goes on from the folder's checkpoint if there is one; "never" refuses a folder that has one.
        observe: is told of every step, in the first process; a progress bar, say.

    Returns:
        The progress at the end, with the history of all epochs.

    Raises:
        ValueError: if there are too few studies for a batch, or the checkpoint is of another run.
        FileExistsError: if the folder has a run already and ``resume`` is "never".
        FloatingPointError: if the loss is no longer finite, naming the studies of the batch.
        RuntimeError: if processes were not started by a launcher, or to spread a model over them.
        ConnectionAbortedError: if another process has an error.

    Example:
        >>> import tempfile
        >>> from bagclip import methods
        >>> from bagclip.data.readers.phantom import phantom
        >>> from bagclip.encoders import ConvNet, Text
        >>> model = Model(ConvNet(dim=16, size=64, width=4), Text(dim=16, width=16, layers=1), methods.lse())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     progress = train(model, phantom(16, size=64), TrainConfig(epochs=1, batch_size=8), out=folder)
        >>> progress.step
        2
    """
    config = config or TrainConfig()
    accelerator = start(config.precision)
    run = _Run(model, list(studies), config, Path(out), None if val is None else list(val), observe)
    # Forked, so that a run neither depends on the caller's random state nor changes it. One process of several leaves
    # the devices of the others alone.
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng([accelerator.device] if devices and processes() > 1 else devices):
        return run(accelerator, resume)


class _Run:
    def __init__(
        self,
        model: Model,
        studies: list[Study],
        config: TrainConfig,
        out: Path,
        val: list[Study] | None,
        observe: Callable[[Step], None] | None,
    ) -> None:
        if len(studies) < 2:
            raise ValueError(f"there are {len(studies)} studies to train on; a contrast needs at least two.")
        self.model, self.studies, self.config, self.out, self.val = model, studies, config, out, val
        self.observe = observe
        self.batch_size = min(config.batch_size, len(studies))
        self.own = part(self.batch_size)
        if self.batch_size < config.batch_size and rank() == 0:
            log.warning("only %d studies to train on: the batch size is lowered to that.", len(studies))
        if config.patience is not None and val is None:
            raise ValueError("patience stops a run by its validation, but there are no studies for one; give val.")
        if val is not None and len(val) < 2:
            raise ValueError(f"there are {len(val)} studies for validation; retrieval needs at least two.")
        # Of the largest share, so that either all processes cut theirs in chunks or none does.
        self.most = -(-self.batch_size // processes())
        self.chunk = config.chunk if config.chunk is not None and config.chunk < self.most else None
        self.batches = len(studies) // self.batch_size
        self.steps = self.batches * config.epochs
        self.label_names = sorted({label for study in studies for label in study.labels})
        self.shares = class_shares(studies)

    @property
    def checkpoint(self) -> Path:
        return self.out / "last.safetensors"

    def __call__(self, accelerator: Any, resume: str) -> Progress:
        self.model.text_encoder.fit(study.document for study in self.studies)
        self.accelerator, self.device = accelerator, accelerator.device
        run = self._account()
        # The second moment follows faster than by default, as in CLIP (Radford et al., 2021): short runs learn more.
        self.optimizer = torch.optim.AdamW(self._groups(), lr=self.config.lr, betas=(0.9, 0.98))
        # "Evaluation" keeps DistributedDataParallel away: it would know nothing of chunks, refuses models with unused
        # parameters, and adds gradients up in another order once it has seen a step, so that resuming was not exact.
        self.prepared = accelerator.prepare_model(self.model, evaluation_mode=True)
        self.optimizer = accelerator.prepare(self.optimizer)
        progress = self._start(resume, run)
        loader = Loader(self.studies, self.model.image_encoder.read, memory=int(self.config.memory * 2**30))
        self.began, self.waited, self.saved, self.seen = time.monotonic(), 0.0, time.monotonic(), 0
        self._training_mode()
        if rank() == 0:
            warn_of_batch_statistics(self.model, self.chunk or self.most, self.batch_size)
        while progress.epoch < self.config.epochs and not self._stalled(progress):
            self._epoch(progress, loader)
        with self._together():
            saved, _ = weights.load(self.out / "model" / "model.safetensors")
            weights.restore(self.model, saved, str(self.out / "model"))
        self.model.eval()
        return progress

    def _account(self) -> dict[str, Any]:
        """What the run is of, the same in all processes."""
        with self._together():
            run = {
                # How much is kept in memory and how often is saved changes nothing that is learned.
                "config": {k: v for k, v in asdict(self.config).items() if k not in ("memory", "save_every")},
                "method": self.model.method.config(),
                "image_encoder": self.model.image_encoder.config(),
                "text_encoder": self.model.text_encoder.config(),
                "data": _fingerprint(self.studies),
                "validation": _fingerprint(self.val or []),
            }
            run = json.loads(json.dumps(run))
        first = told(run, self.device)
        with self._together():
            if changed := _differences(run, first):
                raise ValueError(
                    f"process {rank()} was started otherwise than the first one: {'; '.join(changed)}. Start all alike."
                )
        return run

    def _start(self, resume: str, run: dict[str, Any]) -> Progress:
        """The beginning, or where the checkpoint is."""
        if not told(self.checkpoint.exists(), self.device):
            spread(weights.tensors(self.model).values())
            progress = Progress(run=run)
            with self._together():
                self._save(progress)
            return progress
        if resume != "auto":
            raise FileExistsError(
                f"{self.out} already holds a run; go on with it (--resume auto, resume='auto') or choose another."
            )
        with self._together():
            saved, progress = checkpoint.read(self.checkpoint)
            changed = _differences(run, progress.run)
            if changed:
                raise ValueError(
                    f"{self.checkpoint} is of another run: {'; '.join(changed)}. Start in another folder, or with what "
                    "that run was started with."
                )
            checkpoint.restore(saved, self.model, self.optimizer, str(self.checkpoint))
        if rank() == 0:
            log.info("going on with %s after step %d of %d.", self.out, progress.step, self.steps)
        return progress

    def _training_mode(self) -> None:
        self.prepared.train()
        if self.config.pretrained_lr == 0:
            for module in self._pretrained():
                module.eval()  # as they are: no dropout, and statistics that stay

    def _epoch(self, progress: Progress, loader: Loader) -> None:
        self._training_mode()
        batches = in_step(self._load(loader, progress.epoch, progress.batch), self.device)
        for batch in self._timed(batches):
            loss = self._step(batch, progress.step)
            progress.batch, progress.step, progress.loss = progress.batch + 1, progress.step + 1, progress.loss + loss
            self.seen += self.batch_size
            with self._together():
                if self.observe and rank() == 0:
                    self.observe(Step(progress.epoch + 1, progress.step, self.steps, loss, *self._speed()))
                if time.monotonic() - self.saved > self.config.save_every:
                    self._save(progress)
        self._finish_epoch(progress)

    def _load(self, loader: Loader, epoch: int, done: int) -> Iterator[Batch]:
        """The batches of an epoch that are not done yet: of each, what is this process's."""
        order = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.config.seed, epoch])))
        indices = order.permutation(len(self.studies))[: self.batches * self.batch_size]
        augment = Augment()
        return loader.batches(
            indices.reshape(self.batches, -1)[done:, self.own].tolist(),
            (lambda pixels, names: augment(pixels, names, seed=self.config.seed, epoch=epoch))
            if self.config.augment
            else None,
        )

    def _step(self, batch: Batch, step: int) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = group["highest"] * _schedule(step, self.steps, self.config.warmup)
        # Dropout depends on the step (and the process) alone, so that a resumed run needs no random state.
        entropy = [self.config.seed, step, *([rank()] if rank() else [])]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        anneal(self.model, step / max(1, self.steps - 1))
        self.optimizer.zero_grad()
        with using(self.config.engine):
            value = self._backward(batch, seed)
        if not math.isfinite(value):
            self._not_finite("loss", value, batch, step)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        # In fp16 such a step is skipped, and the loss scaled down.
        if self.config.precision != "fp16" and not math.isfinite(float(norm)):
            self._not_finite("norm of the gradient", float(norm), batch, step)
        self.optimizer.step()
        return value

    def _backward(self, batch: Batch, seed: int) -> float:
        """The loss of a batch, whose gradient the parameters then have."""
        accelerator, known = self.accelerator, self._known(batch.studies).to(self.device)
        pairs = (batch.counts, batch.documents, known)
        spread(self.model.buffers())
        if self.chunk is not None:
            how = {"backward": accelerator.backward, "autocast": accelerator.autocast}
            loss = cached_step(self.model, batch.inputs, *pairs, chunk=self.chunk, seed=seed, **how)
        else:
            torch.manual_seed(seed)
            with accelerator.autocast():
                loss = self.prepared(batch.inputs.to(self.device), *pairs)
            accelerator.backward(loss)
        average_gradients(self.model.parameters())
        return loss.item()

    def _not_finite(self, what: str, value: float, batch: Batch, step: int) -> None:
        named = ", ".join(study.id for study in batch.studies[:8])
        raise FloatingPointError(
            f"the {what} is {value} at step {step + 1}, in a batch with the studies {named}, ...; lower the learning "
            f"rate (at most {self.config.lr} now), or look at these studies. {self.checkpoint} is of before."
        )

    def _finish_epoch(self, progress: Progress) -> None:
        """Validate, keep the model if it is the best, and write the epoch's line."""
        entry: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "loss": progress.loss / self.batches,
            "lr": self.optimizer.param_groups[0]["lr"],
            "scales": self._scales(),
        }
        with self._together():
            if self.val is not None and rank() == 0:
                entry["val"] = validate(self.model, self.val)
        entry = told(entry, self.device)
        value = float(progress.epoch) if self.val is None else sum(entry["val"][name] for name in SELECT_BY)
        better = value > progress.best
        if better:
            progress.best, progress.best_epoch = value, progress.epoch + 1
        progress.history.append(entry)
        progress.epoch, progress.batch, progress.loss = progress.epoch + 1, 0, 0.0
        with self._together():
            if rank() == 0:
                if better:
                    self.model.save_pretrained(self.out / "model")
                self._record(progress)
            self._save(progress)

    def _record(self, progress: Progress) -> None:
        """Write the line of the epoch that is done, and show it."""
        entry = progress.history[-1]
        speed, waiting = self._speed()
        record = self.out / "metrics.jsonl"
        # After a crash the file may be an epoch ahead of the checkpoint.
        lines = record.read_text().splitlines()[: len(progress.history) - 1] if record.exists() else []
        lines.append(json.dumps(entry | {"pairs_per_second": round(speed, 1), "waiting": round(waiting, 3)}))
        weights.write(record, ("\n".join(lines) + "\n").encode())
        shown = "".join(f", {name} {entry['val'][name]:.3f}" for name in SHOWN) if self.val is not None else ""
        log.info("epoch %d of %d: loss %.3f%s", progress.epoch, self.config.epochs, entry["loss"], shown)

    def _known(self, studies: list[Study]) -> Known:
        """What the studies tell the losses about the pairs of a batch."""
        return Known(
            keys=keys(studies) if self.config.mask_same else None,
            labels=label_matrix(studies, self.label_names) if self.label_names else None,
            prior=torch.tensor([self.shares[study.id] for study in studies]),
        )

    def _scales(self) -> dict[str, float]:
        """Where the learned and annealed temperatures and sharpnesses are now."""
        named = self.model.method.named_modules()
        return {name: part().item() for name, part in named if isinstance(part, Learned | Annealed)}

    def _stalled(self, progress: Progress) -> bool:
        patience = self.config.patience
        return self.val is not None and patience is not None and progress.epoch - progress.best_epoch >= patience

    def _save(self, progress: Progress) -> None:
        if rank() == 0:
            checkpoint.save(self.checkpoint, self.model, self.optimizer, progress)
        self.saved = time.monotonic()

    def _together(self) -> AbstractContextManager[None]:
        return together(self.device)

    def _groups(self) -> list[dict[str, Any]]:
        """Weight decay for matrices; none for biases, norms and temperatures, which have no reason to be small."""
        pretrained = {id(p) for module in self._pretrained() for p in module.parameters()}
        groups = []
        for parameters, highest in (
            ([p for p in self.model.parameters() if id(p) not in pretrained], self.config.lr),
            ([p for p in self.model.parameters() if id(p) in pretrained], self.config.pretrained_lr),
        ):
            for parameter in parameters:
                if id(parameter) in pretrained:
                    parameter.requires_grad_(highest > 0)
            learned = [p for p in parameters if p.requires_grad]
            matrices, others = [p for p in learned if p.ndim > 1], [p for p in learned if p.ndim <= 1]
            groups += [
                {"params": matrices, "weight_decay": self.config.weight_decay, "highest": highest},
                {"params": others, "weight_decay": 0.0, "highest": highest},
            ]
        return [group for group in groups if group["params"]]

    def _pretrained(self) -> list[nn.Module]:
        return self.model.image_encoder.pretrained() + self.model.text_encoder.pretrained()

    def _timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def _speed(self) -> tuple[float, float]:
        """Pairs per second and share of time spent waiting for data."""
        elapsed = max(time.monotonic() - self.began, 1e-9)
        return self.seen / elapsed, self.waited / elapsed


def validate(model: Model, studies: Sequence[Study]) -> dict[str, float]:
    """Retrieval among studies in both directions: recall at 1, 5 and 10, mean reciprocal rank, median rank."""
    scores = model.score(*model.encode_studies(studies)).numpy()
    relevant = same(studies).numpy()
    values: dict[str, float] = {}
    for direction, matrix in (("image_to_text", scores), ("text_to_image", scores.T)):
        ranks = metrics.ranks(matrix, relevant)
        values |= {f"{direction}/R@{k}": float(metrics.recall_at(ranks, k).mean()) for k in (1, 5, 10)}
        values[f"{direction}/MRR"] = float((1 / ranks).mean())
        values[f"{direction}/median_rank"] = metrics.median_rank(ranks)
    return values


def _schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the highest learning rate: a linear rise, then half a cosine down to 0."""
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _fingerprint(studies: Sequence[Study]) -> str:
    """Changes when a study, its text, the size of an image or its file, or the order changes; names nobody.

    Of features the shape counts as the size.
    """
    digest = hashlib.sha256()
    for study in studies:
        files = [
            (
                i.shape if isinstance(i, Features) else i.size,
                i.path.stat().st_size if isinstance(i, ImageFile | FeatureFile) else 0,
            )
            for i in study.images
        ]
        digest.update(json.dumps([study.id, study.document, files]).encode())
    return digest.hexdigest()[:16]


def _differences(new: dict[str, Any], old: dict[str, Any], where: str = "") -> list[str]:
    """What differs, as "part.name was this and is that"."""
    found = []
    for key in sorted({*new, *old}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(after, before, f"{where}{key}.")
        elif before != after:
            found.append(f"{where}{key} was {before} and is {after}")
    return found
