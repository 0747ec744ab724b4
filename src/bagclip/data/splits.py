"""Splits: divide studies into train, val and test by group, and find what leaks from one into another."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

from bagclip.data.feature_files import FeatureFile
from bagclip.data.files import ImageFile
from bagclip.data.studies import Studies
from bagclip.data.study import Study

FRACTIONS: Mapping[str, float] = {"train": 0.8, "val": 0.1, "test": 0.1}


class SplitLeak(ValueError):
    """Something that must not be divided is in more than one split."""


@dataclass(frozen=True)
class Leak:
    """Studies in different splits that share a patient, a group or the bytes of an image file.

    Args:
        kind: "patient", "group" or "image file".
        studies: ids of all studies that share it.
        splits: the splits they are in.
    """

    kind: str
    studies: tuple[str, ...]
    splits: tuple[str, ...]


def assign(studies: Studies, fractions: Mapping[str, float] = FRACTIONS, seed: int = 0) -> Studies:
    """The studies with a split each, all of a group in the same.

    A group's split depends on its name and the seed alone, so studies that are added later move no other. The shares
    are therefore met on average: close for a thousand groups, loose for twenty.

    Args:
        studies: studies without a split.
        fractions: the share of each split; they add up to 1.
        seed: another seed gives another division.

    Raises:
        ValueError: if a study has a split already, or fractions are no shares of a whole.

    Example:
        >>> import numpy as np
        >>> from bagclip.data.study import ArrayImage, Sentence
        >>> image, text = ArrayImage(np.zeros((4, 4), np.uint8)), (Sentence("Normal.", 0, 7),)
        >>> studies = Studies(Study(str(i), (image,), "Normal.", text) for i in range(1000))
        >>> assign(studies, {"train": 0.7, "test": 0.3}, seed=1).summary.splits
        {'train': 701, 'test': 299}
    """
    if min(fractions.values(), default=-1) < 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ValueError(f"fractions must be shares of a whole that add up to 1, got {dict(fractions)}.")
    decided = [study.id for study in studies if study.split]
    if decided:
        raise ValueError(
            f"{len(decided)} of {len(studies)} studies have a split already ({decided[0]!r} first); "
            f"use these splits, or take them out of the table to make new ones."
        )
    names, ends = list(fractions), list(accumulate(fractions.values()))

    def split_of(group: str) -> str:
        digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        # Rounding may leave the last end a little below 1.
        return next((name for name, end in zip(names, ends, strict=True) if place < end), names[-1])

    return studies.replaced([replace(study, split=split_of(study.group)) for study in studies])


def leaks(studies: Iterable[Study]) -> list[Leak]:
    """What studies of different splits share: a patient, a group, or an image file byte for byte.

    Studies without a split are in none. A group that is one patient counts once, as the patient.
    """
    decided = [study for study in studies if study.split]
    patients = _shared("patient", [(study.patient, study) for study in decided])
    seen = {leak.studies for leak in patients}
    groups = [leak for leak in _shared("group", [(s.group, s) for s in decided]) if leak.studies not in seen]
    return patients + groups + _shared_files(decided)


def check(studies: Iterable[Study], allow: bool = False) -> None:
    """Raise ``SplitLeak`` if there are leaks and they are not allowed; it names studies, never patients."""
    found = [] if allow else leaks(studies)
    if not found:
        return
    counts = Counter(leak.kind for leak in found)
    total = " and ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items())
    examples = "; ".join(
        f"studies {', '.join(leak.studies[:4])}{' and others' * (len(leak.studies) > 4)} share a {leak.kind} "
        f"across {' and '.join(leak.splits)}"
        for leak in found[:5]
    )
    raise SplitLeak(
        f"{total} in more than one split: {examples}{'; and more' * (len(found) > 5)}. What a model learns there it "
        f"is tested on. Put all that belongs together into one split (by its group), or allow the leak by name."
    )


def _shared(kind: str, members: Iterable[tuple[str, Study]]) -> list[Leak]:
    by_key: defaultdict[str, list[Study]] = defaultdict(list)
    for key, study in members:
        by_key[key].append(study)
    return [
        Leak(kind, tuple(dict.fromkeys(s.id for s in shared)), tuple(sorted({s.split for s in shared})))
        for shared in by_key.values()
        if len({study.split for study in shared}) > 1
    ]


def _shared_files(studies: Iterable[Study]) -> list[Leak]:
    files = [
        (image.path, study) for study in studies for image in study.images if isinstance(image, ImageFile | FeatureFile)
    ]
    # Files of one content have one size: only those need reading that share theirs across splits.
    splits: defaultdict[int, set[str]] = defaultdict(set)
    sizes = {path: path.stat().st_size for path, _ in files}
    for path, study in files:
        splits[sizes[path]].add(study.split)
    suspects = [(path, study) for path, study in files if len(splits[sizes[path]]) > 1]
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in dict(suspects)}
    return _shared("image file", [(digests[path], study) for path, study in suspects])
