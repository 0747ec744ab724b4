"""Batches: studies made into tensors, ahead of time and in a fixed order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bagclip.data.study import Study
from bagclip.preprocess import Preprocess

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8


@dataclass(frozen=True)
class Batch:
    """Some studies as tensors.

    Args:
        studies: the studies themselves.
        pixels: every view of every study, in order, in [0, 1].
        views: how many views each study has.
    """

    studies: list[Study]
    pixels: Float[Tensor, "views channels height width"]
    views: list[int]

    @property
    def documents(self) -> list[list[str]]:
        """The sentences of each study."""
        return [[sentence.text for sentence in study.sentences] for study in self.studies]


def same(studies: Sequence[Study]) -> Bool[Tensor, "studies studies"]:
    """Which pairs are no negatives: two of one study, or two whose documents read the same but for case and space."""
    texts = [" ".join(study.document.casefold().split()) for study in studies]
    ids = [study.id for study in studies]
    return _equal(texts) | _equal(ids)


def _equal(values: Sequence[str]) -> Tensor:
    numbers = {value: i for i, value in enumerate(dict.fromkeys(values))}
    codes = torch.tensor([numbers[value] for value in values])
    return codes[:, None] == codes


Transform = Callable[["Float[Tensor, 'images channels height width']", Sequence[str]], Tensor]


class Loader:
    """Makes batches of studies in background threads; an image is decoded once and kept while it fits in memory.

    Threads, not processes: decoding and resizing release the interpreter, nothing is copied between processes, and the
    order and the content of batches are the same whatever the number of threads.

    Args:
        studies: what to load.
        preprocess: makes the encoder's input.
        memory: bytes of decoded images to keep.
        threads: how many batches are made at a time.

    Example:
        >>> from bagclip.data.readers.phantom import phantom
        >>> loader = Loader(phantom(4, size=64), Preprocess(size=(64, 64)))
        >>> [tuple(batch.pixels.shape) for batch in loader.batches([[0, 1, 2], [3]])]
        [(3, 1, 64, 64), (1, 1, 64, 64)]
    """

    def __init__(
        self, studies: Sequence[Study], preprocess: Preprocess, *, memory: int = 2 << 30, threads: int = 2
    ) -> None:
        self.studies = studies
        self.preprocess = preprocess
        self.threads = threads
        self._left = memory
        self._kept: dict[int, UInt8[Tensor, "views channels height width"]] = {}

    def batches(self, batches: Iterable[Sequence[int]], transform: Transform | None = None) -> Iterator[Batch]:
        """Batches of the studies at these indices, in this order.

        Args:
            batches: indices of the studies of each batch.
            transform: changes the pixels of a batch, given a name for each view (the study's id and the view's number).
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
        images = [self._pixels(i, study) for i, study in zip(indices, studies, strict=True)]
        pixels = torch.cat(images) / 255
        if transform is not None:
            names = [f"{study.id}/{view}" for study in studies for view in range(len(study.images))]
            pixels = transform(pixels, names)
        return Batch(studies, pixels, [len(views) for views in images])

    def _pixels(self, index: int, study: Study) -> Tensor:
        if index in self._kept:
            return self._kept[index]
        pixels = torch.stack([self.preprocess(image.pixels())[0] for image in study.images])
        if pixels.numel() <= self._left:
            self._left -= pixels.numel()
            self._kept[index] = pixels
        return pixels


def chunks(count: int, size: int) -> Iterator[range]:
    """Indices 0 to count in pieces of a size.

    Example:
        >>> list(chunks(5, 2))
        [range(0, 2), range(2, 4), range(4, 5)]
    """
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
