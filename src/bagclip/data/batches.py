"""Batches: studies made into tensors, ahead of time and in a fixed order."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bagclip.data.study import Image, Study

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64, Shaped


@dataclass(frozen=True)
class Batch:
    """Some studies as tensors.

    Args:
        studies: the studies themselves.
        inputs: of every study, in order, what the image encoder takes: the pixels of its views, in [0, 1], or the rows
            of its features.
        counts: how many of them each study has.
    """

    studies: list[Study]
    inputs: Float[Tensor, "views channels height width"] | Float[Tensor, "rows width"]
    counts: list[int]

    @property
    def documents(self) -> list[list[str]]:
        """The sentences of each study."""
        return [[sentence.text for sentence in study.sentences] for study in self.studies]


def keys(studies: Sequence[Study]) -> Int64[Tensor, "studies 2"]:
    """A number of each study and one of what its document reads, but for case and space; alike on every machine.

    They are 64 bits of a hash, so that two that differ have one number with a probability of 5e-20.
    """
    return torch.tensor([[_number(study.id), _number(_reading(study))] for study in studies])


def same(studies: Sequence[Study]) -> Bool[Tensor, "studies studies"]:
    """Which pairs are no negatives: two of one study, or two whose documents read the same but for case and space."""
    study, reading = keys(studies).mT
    return (study[:, None] == study) | (reading[:, None] == reading)


def label_matrix(studies: Sequence[Study], names: Sequence[str]) -> Float[Tensor, "studies labels"]:
    """1 where a study has a label of that name, else 0."""
    return torch.tensor([[float(name in study.labels) for name in names] for study in studies])


def class_shares(studies: Sequence[Study]) -> dict[str, float]:
    """For each study, by its id, the share of the other studies that are of its class.

    A class is a set of labels, where any study has one, else a document that reads the same.
    """
    labelled = any(study.labels for study in studies)
    classes = {study.id: study.labels if labelled else _reading(study) for study in studies}
    sizes = Counter(classes.values())
    return {name: (sizes[kind] - 1) / max(1, len(classes) - 1) for name, kind in classes.items()}


def _reading(study: Study) -> str:
    return " ".join(study.document.casefold().split())


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


Read = Callable[[Image], "Shaped[Tensor, 'inputs ...']"]
"""What an encoder takes of one image: 8-bit pixels (1, channels, height, width), or float rows (regions, width)."""

Transform = Callable[["Float[Tensor, 'images channels height width']", Sequence[str]], Tensor]


class Loader:
    """Makes batches of studies in background threads; an image is read once and kept while it fits in memory.

    Threads, not processes: decoding and resizing release the interpreter, nothing is copied between processes, and the
    order and the content of batches are the same whatever the number of threads.

    Args:
        studies: what to load.
        read: makes the encoder's input of an image; an image encoder's own ``read``.
        memory: bytes of inputs to keep.
        threads: how many batches are made at a time.

    Example:
        >>> from bagclip.data.readers.phantom import phantom
        >>> from bagclip.encoders import ConvNet
        >>> loader = Loader(phantom(4, size=64), ConvNet(size=64).read)
        >>> [tuple(batch.inputs.shape) for batch in loader.batches([[0, 1, 2], [3]])]
        [(3, 1, 64, 64), (1, 1, 64, 64)]
    """

    def __init__(self, studies: Sequence[Study], read: Read, *, memory: int = 2 << 30, threads: int = 2) -> None:
        self.studies = studies
        self.read = read
        self.threads = threads
        self._left = memory
        self._kept: dict[int, Tensor] = {}

    def batches(self, batches: Iterable[Sequence[int]], transform: Transform | None = None) -> Iterator[Batch]:
        """Batches of the studies at these indices, in this order.

        Args:
            batches: indices of the studies of each batch.
            transform: changes the pixels of a batch, given a name for each view (the study's id and the view's number).
                Features are left as they are.
        """
        pending: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                for indices in batches:
                    pending.append(pool.submit(self._batch, list(indices), transform))
                    if len(pending) > 2 * self.threads:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _batch(self, indices: list[int], transform: Transform | None) -> Batch:
        studies = [self.studies[i] for i in indices]
        parts = [self._read(i, study) for i, study in zip(indices, studies, strict=True)]
        inputs = join(parts)
        if transform is not None and not parts[0].is_floating_point():
            names = [f"{study.id}/{view}" for study in studies for view in range(len(study.images))]
            inputs = transform(inputs, names)
        return Batch(studies, inputs, [len(part) for part in parts])

    def _read(self, index: int, study: Study) -> Tensor:
        if index in self._kept:
            return self._kept[index]
        try:
            inputs = torch.cat([self.read(image) for image in study.images])
        except ValueError as error:
            raise ValueError(f"study {study.id!r}: {error}") from error
        if inputs.nbytes <= self._left:
            self._left -= inputs.nbytes
            self._kept[index] = inputs
        return inputs


def join(inputs: Sequence[Shaped[Tensor, "inputs ..."]]) -> Float[Tensor, "all_inputs ..."]:
    """Inputs one after the other, as floats: 8-bit pixels in [0, 1], features as they are."""
    joined = torch.cat(list(inputs))
    return joined if joined.is_floating_point() else joined / 255


def chunks(count: int, size: int) -> Iterator[range]:
    """Indices 0 to count in pieces of a size.

    Example:
        >>> list(chunks(5, 2))
        [range(0, 2), range(2, 4), range(4, 5)]
    """
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
