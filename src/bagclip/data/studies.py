"""Studies: an immutable collection of studies, with the account of how they were read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, overload

from bagclip.data.study import Study


class TooManyRejected(ValueError):
    """More rows of a table were rejected than allowed."""


@dataclass(frozen=True)
class Rejection:
    """A row that was not used.

    Args:
        file: the table.
        row: its line there, as an editor counts: the header is line 1.
        reason: "<what is wrong>: <details>".
    """

    file: str
    row: int
    reason: str

    @property
    def kind(self) -> str:
        """What is wrong, without the details that differ from row to row."""
        return self.reason.partition(":")[0]


@dataclass(frozen=True)
class TableSummary:
    """What became of the rows of one table.

    Args:
        name: what the table is, "pairs", "boxes" or "masks".
        file: where it is.
        rows: how many rows it has.
        rejected: the rows with something wrong.
        unmatched: rows about images that no study has.
        superseded: boxes left out because a mask of the same thing is beside them.
    """

    name: str
    file: str
    rows: int
    rejected: tuple[Rejection, ...] = ()
    unmatched: int = 0
    superseded: int = 0

    @property
    def kept(self) -> int:
        """How many rows are used."""
        return self.rows - len(self.rejected) - self.unmatched - self.superseded

    @property
    def share(self) -> float:
        """The rejected share of the rows, 0 to 1."""
        return len(self.rejected) / self.rows if self.rows else 0.0

    def reasons(self) -> str:
        """The three most common reasons, each with its count and an example; empty if nothing was rejected."""
        counts = Counter(rejection.kind for rejection in self.rejected)
        examples = {rejection.kind: rejection for rejection in reversed(self.rejected)}
        return "; ".join(
            f"{count} x {kind} (line {examples[kind].row}: {examples[kind].reason.partition(': ')[2] or kind})"
            for kind, count in counts.most_common(3)
        )


@dataclass(frozen=True)
class Summary:
    """What was read, what was rejected and why, and what there is now. It holds no patient's name.

    Args:
        tables: what became of each table's rows; of the whole tables, also where only a part of the studies is left.
        studies: number of studies; likewise images, patients, sentences and annotations.
        splits: number of studies by split.
        labels: number of studies by label, the commonest first.
    """

    tables: tuple[TableSummary, ...]
    studies: int
    images: int
    patients: int
    sentences: int
    annotations: int
    splits: Mapping[str, int]
    labels: Mapping[str, int]

    def check(self, limit: float = 0.05) -> None:
        """Raise ``TooManyRejected`` if a table lost more than this share of its rows, 0 to 1."""
        if not 0 <= limit <= 1:
            raise ValueError(f"the share of rows that may be rejected is a number from 0 to 1, got {limit}.")
        over = [
            f"{table.file}: {len(table.rejected)} of {table.rows} rows were rejected ({table.share:.1%}, at most "
            f"{limit:.1%} may be): {table.reasons()}."
            for table in self.tables
            if table.share > limit
        ]
        if over:
            raise TooManyRejected(" ".join([*over, "Mend these rows, or allow a larger share (max_rejected)."]))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values that JSON can hold."""
        return asdict(self) | {
            "tables": [asdict(table) | {"kept": table.kept, "share": table.share} for table in self.tables]
        }

    def __str__(self) -> str:
        def counted(counts: Mapping[str, int]) -> str:
            shown = [f"{name or '(none)'} {count}" for name, count in list(counts.items())[:8]]
            return ", ".join(shown + [f"and {len(counts) - 8} more"] * (len(counts) > 8)) or "none"

        width = max((len(table.file) for table in self.tables), default=0)
        lines = [
            f"{'table':<{width}}  {'rows':>7} {'kept':>7} {'rejected':>9} {'unmatched':>9} {'under a mask':>12}"
        ] * bool(self.tables)
        for table in self.tables:
            lines.append(
                f"{table.file:<{width}}  {table.rows:>7} {table.kept:>7} {len(table.rejected):>9} "
                f"{table.unmatched:>9} {table.superseded:>12}"
            )
            lines += [f"  {table.reasons()}"] * bool(table.rejected)
        return "\n".join(
            [
                *lines,
                f"{self.studies} studies of {self.patients} patients: {self.images} images, "
                f"{self.sentences} sentences, {self.annotations} annotations",
                f"splits: {counted(self.splits)}",
                f"labels: {counted(self.labels)}",
            ]
        )


class Studies(Sequence[Study]):
    """An immutable sequence of studies; an index gives a study, a slice gives studies.

    Args:
        studies: the studies, each with an id of its own.
        tables: what became of the tables' rows that they were read from.

    Raises:
        ValueError: if two studies have one id.

    Example:
        >>> import numpy as np
        >>> from bagclip.data.study import ArrayImage, Sentence
        >>> image, text = ArrayImage(np.zeros((4, 4), np.uint8)), (Sentence("Normal.", 0, 7),)
        >>> studies = Studies(
        ...     Study(str(i), (image,), "Normal.", text, split=split, attributes={"view": view})
        ...     for i, (split, view) in enumerate([("train", "PA"), ("train", "AP"), ("test", "PA")])
        ... )
        >>> len(studies.split("train")), [study.id for study in studies.where(view="PA")]
        (2, ['0', '2'])
    """

    def __init__(self, studies: Iterable[Study], tables: Sequence[TableSummary] = ()) -> None:
        self._studies = tuple(studies)
        self._tables = tuple(tables)
        repeated = [id for id, count in Counter(study.id for study in self._studies).items() if count > 1]
        if repeated:
            raise ValueError(f"studies need different ids, but {repeated[:5]} are repeated; rename or join them.")

    def __len__(self) -> int:
        return len(self._studies)

    @overload
    def __getitem__(self, index: int) -> Study: ...
    @overload
    def __getitem__(self, index: slice) -> Studies: ...
    def __getitem__(self, index: int | slice) -> Study | Studies:
        if isinstance(index, slice):
            return self.replaced(self._studies[index])
        return self._studies[index]

    def __repr__(self) -> str:
        return f"Studies({len(self)}: {', '.join(f'{name or None} {n}' for name, n in self.summary.splits.items())})"

    @cached_property
    def summary(self) -> Summary:
        """What was read, what was rejected, and what these studies are."""
        splits = Counter(study.split for study in self)
        return Summary(
            tables=self._tables,
            studies=len(self),
            images=sum(len(study.images) for study in self),
            patients=len({study.patient for study in self}),
            sentences=sum(len(study.sentences) for study in self),
            annotations=sum(len(study.annotations) for study in self),
            splits={name: splits[name] for name in sorted(splits, key=_split_order)},
            labels=dict(Counter(label for study in self for label in sorted(study.labels)).most_common()),
        )

    def replaced(self, studies: Iterable[Study]) -> Studies:
        """Other studies, or changed ones, with the account of how these were read."""
        return Studies(studies, self._tables)

    def split(self, name: str) -> Studies:
        """The studies of one split; ``ValueError`` if there are none."""
        _known(name, self.summary.splits, "split")
        return self.replaced(study for study in self if study.split == name)

    def where(self, **attributes: str | Sequence[str]) -> Studies:
        """The studies whose attributes have these values, or one of several: ``where(view=("PA", "AP"))``.

        Where a study's images differ its values are joined by "|", and one that is asked for is enough.

        Raises:
            ValueError: if no study has such an attribute, or such a value of it.
        """
        found = self
        for name, asked in attributes.items():
            _known(name, {key for study in self for key in study.attributes}, "attribute")
            present = {study.id: _values(study.attributes.get(name, "")) for study in self}
            values = {asked} if isinstance(asked, str) else set(asked)
            for value in sorted(values):
                _known(value, set().union(*present.values()), f"{name} =")
            found = self.replaced([study for study in found if values & present[study.id]])
        return found


def _split_order(name: str) -> tuple[int, str]:
    order = ("train", "val", "test")
    return order.index(name) if name in order else len(order), name


def _values(text: str) -> set[str]:
    return {text, *text.split("|")}


def _known(name: str, names: Iterable[str], what: str) -> None:
    known = sorted(names)
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        more = f" and {len(known) - 20} more" if len(known) > 20 else ""
        raise ValueError(f"no study has {what} {name!r}; there are {known[:20]}{more}.{hint}")
