"""Where studies come from on the command line: a table of pairs, or the phantom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bagclip.data import Studies, Study, Summary, pairs, phantom, splits
from bagclip.data.readers.phantom import prompts as phantom_prompts
from bagclip.encoders import GridEncoder, ImageEncoder

PHANTOM = {"train": (6000, 1), "val": (300, 3), "test": (500, 2)}
"""How many phantom studies a split has, and their seed."""


@dataclass(frozen=True)
class Source:
    """Studies by split, and what is known of them.

    Args:
        splits: studies of "train", "val" and "test", as far as there are any.
        summary: what was read and what was rejected, for the run's folder.
        text: the same as a short table.
        facts: the same in a line each, for a report.
        prompts: sentences to classify by, if the source has its own.
    """

    splits: Mapping[str, Sequence[Study]]
    summary: Mapping[str, Any]
    text: str
    facts: Mapping[str, str | int]
    prompts: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = None

    def split(self, name: str) -> Sequence[Study]:
        """The studies of a split; ``ValueError`` if there are none."""
        if not self.splits.get(name):
            raise ValueError(f"the data have no split {name!r}; there are: {', '.join(self.splits)}.")
        return self.splits[name]


def input_size(encoder: ImageEncoder) -> int | None:
    """Height of the inputs that an image encoder reads, in pixels; None if it reads none."""
    return encoder.preprocess.size[0] if isinstance(encoder, GridEncoder) else None


def open_source(
    data: str,
    *,
    size: int | None,
    boxes: Path | None = None,
    masks: Path | None = None,
    where: Sequence[str] = (),
    max_rejected: float = 0.05,
    allow_leaks: bool = False,
    count: int | None = None,
) -> Source:
    """Open ``phantom`` (or ``phantom:COUNT`` training studies), or a CSV or TSV table of pairs.

    Studies without a split are divided by group, 80 : 10 : 10.

    Args:
        data: "phantom", "phantom:COUNT" or a path.
        size: side of phantom images, in pixels; None if the model reads no images.
        boxes: table of boxes.
        masks: table of masks.
        where: conditions such as "modality=X-ray"; several values of one column are alternatives.
        max_rejected: share of the rows of a table that may be bad.
        allow_leaks: whether splits may share patients, groups or image files.
        count: at most so many studies of each split, to try things out.
    """
    name, _, asked = data.partition(":")
    if name == "phantom":
        if asked and not asked.isdigit():
            raise ValueError(f"--data {data!r}: after 'phantom:' comes a number of studies.")
        if size is None:
            raise ValueError(
                "the phantom is made of pictures, and the model reads features; give a table of their files."
            )
        if where or boxes or masks:
            raise ValueError(
                "the phantom has its own boxes and no columns; --where, --boxes and --masks are for tables."
            )
        sizes = PHANTOM | ({"train": (int(asked), 1)} if asked else {})
        drawn = {
            split: phantom(min(number, count or number), seed=seed, size=size, split=split)
            for split, (number, seed) in sizes.items()
        }
        kept = {split: len(studies) for split, studies in drawn.items()}
        text = f"phantom studies of {size} px: {', '.join(f'{split} {n}' for split, n in kept.items())}"
        summary = {"source": "phantom", "size": size, "splits": kept}
        facts: dict[str, str | int] = {"source": "phantom: drawn, not real", "pixels": f"{size} x {size}", **kept}
        return Source(drawn, summary, text, facts, phantom_prompts())
    studies = pairs(Path(data), boxes=boxes, masks=masks, max_rejected=max_rejected)
    conditions: dict[str, list[str]] = {}
    for condition in where:
        column, equals, value = condition.partition("=")
        if not equals:
            raise ValueError(f"--where {condition!r} is not of the form column=value.")
        conditions.setdefault(column, []).append(value)
    studies = studies.where(**conditions)
    for table in studies.summary.tables:
        if table.rows and table.unmatched == table.rows:
            raise ValueError(f"{table.file}: no row is about an image of {data}; do their paths agree?")
    undecided = sum(not study.split for study in studies)
    if undecided == len(studies):
        studies = splits.assign(studies)
    elif undecided:
        raise ValueError(
            f"{undecided} of {len(studies)} studies in {data} have no split and the others have; fill the column, or "
            "take it out to have all divided by group."
        )
    splits.check(studies, allow=allow_leaks)
    divided: dict[str, Studies] = {
        split: studies.split(split)[: count or len(studies)] for split in studies.summary.splits if split
    }
    return Source(divided, studies.summary.to_dict(), str(studies.summary), _facts(studies.summary))


def _facts(summary: Summary) -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        f"{Path(table.file).name}, {table.rows} rows": (
            f"{table.kept} used, {len(table.rejected)} rejected, {table.unmatched} of other images, "
            f"{table.superseded} boxes under a mask" + (f"; {table.reasons()}" if table.rejected else "")
        )
        for table in summary.tables
    }
    facts |= {"studies": summary.studies, "patients": summary.patients, "sentences": summary.sentences}
    return facts | {f"split {name}": count for name, count in summary.splits.items()}
