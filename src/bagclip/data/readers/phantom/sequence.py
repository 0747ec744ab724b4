"""The data set: a sequence of studies that are made when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

from bagclip.data.readers.phantom.scene import PhantomImage, Scene
from bagclip.data.study import Study

SMALLEST, LARGEST = 64, 512


@dataclass(frozen=True)
class Phantom(Sequence[Study]):
    """Studies of synthetic patients, none of them stored; make one with ``phantom``.

    A slice is a view of the same studies, with the same ids.
    """

    indices: range
    seed: int
    size: int
    split: str

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Study: ...
    @overload
    def __getitem__(self, index: slice) -> Phantom: ...
    def __getitem__(self, index: int | slice) -> Study | Phantom:
        if isinstance(index, slice):
            return replace(self, indices=self.indices[index])
        number = self.indices[index]
        scene = Scene.sample(self.seed, number)
        name = f"phantom-{self.seed}-{number:06d}"
        labels = frozenset(finding.name for finding in scene.findings)
        sentences = scene.sentences()
        return Study(
            id=name,
            images=(PhantomImage(scene, self.size),),
            document=" ".join(sentence.text for sentence in sentences),
            sentences=sentences,
            patient=name,
            split=self.split,
            labels=labels or frozenset({"no finding"}),
            annotations=scene.annotations(self.size),
        )


def phantom(count: int, *, seed: int = 0, size: int = 96, split: str = "") -> Phantom:
    """Synthetic chest radiographs with their reports: a data set for demonstrations, tests and first trials.

    Study i depends on ``seed`` and i only, whatever the count; ``size`` changes how finely a patient is drawn, not who
    it is. A quarter of the studies are normal; the others have one to four findings, each said in one sentence, with
    boxes and a mask. As in all radiographs, the patient's right is on the left of the picture.

    Args:
        count: how many studies.
        seed: which data set; two seeds share no study.
        size: height and width of the pictures in pixels, 64 to 512.
        split: the split that all its studies are to be in.

    Raises:
        ValueError: if count or seed is negative, or size is out of range.

    Example:
        >>> studies = phantom(1_000, seed=1)
        >>> studies[0].images[0].pixels().shape, len(studies[:10])
        ((96, 96), 10)
    """
    if count < 0 or seed < 0:
        raise ValueError(f"count and seed of a phantom must not be negative, got count={count} and seed={seed}.")
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"a phantom's size must be {SMALLEST} to {LARGEST} pixels, got {size}.")
    return Phantom(range(count), seed, size, split)
