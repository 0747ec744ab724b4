"""Pairs: a table of image paths and documents, optionally with tables of boxes and masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bagclip.data.feature_files import FeatureFile, check_features, is_feature_file
from bagclip.data.files import MAX_PIXELS, BadFile, ImageFile, check_all, check_image
from bagclip.data.readers import regions
from bagclip.data.readers.table import Roles, Row, Table, file_trouble, locate, read_table
from bagclip.data.sentences import split as split_sentences
from bagclip.data.studies import Studies
from bagclip.data.study import Box, Mask, Sentence, Study

PAIRS: Roles = {
    "image_path": ("image_path", "image", "path", "filepath"),
    "document": ("document", "report", "text", "caption"),
    "id": ("id",),
    "study": ("study", "study_id"),
    "patient": ("patient", "patient_id", "subject_id"),
    "group": ("group",),
    "split": ("split",),
    "labels": ("labels", "label"),
    "view": ("view",),
}
_SPLITS = {
    "": "",
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    "test": "test",
}


def pairs(
    path: str | Path,
    *,
    root: str | Path | None = None,
    boxes: str | Path | None = None,
    masks: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    max_rejected: float = 0.05,
    check_images: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> Studies:
    """Studies from a CSV table (TSV if named so) with an image path and a document in each row.

    Columns of the main table, by any of their names: image_path (image, path, filepath) and document (report, text,
    caption) are needed; id (else the image path), study (study_id), patient (patient_id, subject_id), group, split
    (train, val, test and their usual variants), labels (label; several joined by "|") and view are used if there. All
    other columns, and the view, become attributes of the study. Rows with one value of study become one study of
    several images if their documents, patients, groups and splits agree.

    Instead of images, image_path may name files with features of their regions, .npy or .safetensors
    (`bagclip.data.feature_files`): all or none of them, and all of one width, which the first good row decides.

    ``boxes`` has image_path, phrase (label_text) or label (category_name), optionally kind and sentence (its index in
    the document), and x0, y0, x1, y1 (also left ..., x_min ...) in pixels, right and bottom exclusive, or else x, y, w,
    h. ``masks`` has mask_path in place of the numbers. All that share image, phrase, kind, label and sentence become
    one annotation, their union. Where an image has a mask for a phrase and kind, the mask alone is the region: boxes
    beside it, often drawn around it by a program, would only blur it, and are counted as superseded.

    A row with anything wrong in it is rejected and accounted for in ``.summary``; a row of boxes or masks for an image
    that no study has is counted as unmatched, one for features, which have no pixels, is rejected.

    Args:
        path: the main table.
        root: the folder that relative paths start from; by default the table's own (for masks: that of their table).
        boxes: a table of boxes.
        masks: a table of masks.
        columns: which column to take for what, as {"document": "my column"}, in each table that has this column;
            numbers of boxes go by left, top, right, bottom or x, y, width, height, the rest by its first name above.
        max_rejected: the share of a table's rows that may be rejected; 1 reads whatever can be read.
        check_images: decode every image and mask once, in threads; otherwise only headers are read, which is quick,
            but a truncated file or a NaN is then found in training and an empty mask in evaluation.
        max_pixels: larger images are rejected before they are decoded.

    Raises:
        FileNotFoundError: if a table is missing.
        ValueError: if a table cannot be read as a whole: no rows, no such column, not UTF-8.
        TooManyRejected: a ``ValueError``, if more rows than allowed are rejected.

    Example:
        >>> import tempfile, PIL.Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> PIL.Image.new("L", (64, 48)).save(folder / "a.png")
        >>> _ = (folder / "pairs.csv").write_text("image,report,patient\\na.png,Heart normal. No effusion.,p1\\n")
        >>> studies = pairs(folder / "pairs.csv")
        >>> [sentence.text for sentence in studies[0].sentences], studies[0].images[0].size
        (['Heart normal.', 'No effusion.'], (48, 64))
    """
    path, columns = Path(path), columns or {}
    folder = path.parent if root is None else Path(root)
    roles = {*PAIRS, *regions.BOXES, *regions.MASKS}
    for role in columns:
        if role not in roles:
            raise ValueError(f"columns: there is no {role!r} to name a column for, only {', '.join(sorted(roles))}.")
    table = read_table(path, "pairs", PAIRS, ("image_path", "document"), columns)
    studies = _studies(table, folder, check_images, max_pixels)
    places: defaultdict[Path, list[tuple[Study, int]]] = defaultdict(list)
    for study in studies:
        for i, image in enumerate(study.images):
            if isinstance(image, ImageFile | FeatureFile):
                places[image.path].append((study, i))

    tables = [table]
    drawn: dict[regions.Thing, list[Mask]] = {}
    framed: dict[regions.Thing, list[Box]] = {}
    if masks is not None:
        mask_root = Path(masks).parent if root is None else folder
        drawn, table = regions.read_masks(Path(masks), places, folder, mask_root, columns, check_images, max_pixels)
        tables.append(table)
    if boxes is not None:
        framed, table = regions.read_boxes(Path(boxes), places, folder, columns, drawn)
        tables.insert(1, table)
    _check_used(columns, tables)
    annotations = regions.merge(framed, drawn)
    found = Studies(
        [replace(study, annotations=annotations.get(study.id, ())) for study in studies],
        [table.summary() for table in tables],
    )
    found.summary.check(max_rejected)
    return found


class _Member(NamedTuple):
    """A good row."""

    row: Row
    image: ImageFile | FeatureFile
    sentences: tuple[Sentence, ...]


def _studies(table: Table, root: Path, decode: bool, max_pixels: int) -> list[Study]:
    paths = [locate(root, row["image_path"]) for row in table.rows if row["image_path"]]
    sizes = check_all(partial(_check_file, max_pixels=max_pixels, decode=decode), paths)
    lines: dict[str, int] = {}
    members: dict[str, list[_Member]] = {}
    for row in table.rows:
        try:
            member = _Member(row, _image(row, root, sizes), _sentences(row))
            if members:
                _check_alike(member, next(iter(members.values()))[0])
            if row["split"].lower() not in _SPLITS:
                raise ValueError(f"unknown split: {row['split']!r} is none of {', '.join(filter(None, _SPLITS))}")
            if "id" in table.columns and not row["id"]:
                raise ValueError("no id: the cell is empty")
            # "a.png" and "./a.png" are one image.
            name = row["id"] or str(member.image.path)
            if name in lines:
                raise ValueError(f"repeated id: line {lines[name]} has the same")
            study = row["study"] or row["id"] or row["image_path"]
            if study in members:
                _check_agrees(row, members[study][0].row)
        except ValueError as error:
            table.reject(row.line, str(error))
            continue
        lines[name] = row.line
        members.setdefault(study, []).append(member)
    return [_study(id, its) for id, its in members.items()]


def _check_file(path: Path, *, max_pixels: int, decode: bool) -> tuple[int, int]:
    if is_feature_file(path):
        return check_features(path, decode=decode)
    return check_image(path, max_pixels=max_pixels, decode=decode)


def _check_alike(member: _Member, first: _Member) -> None:
    """A model reads pixels, or features of one width."""
    width, expected = (m.image.shape[1] if isinstance(m.image, FeatureFile) else None for m in (member, first))
    if (width is None) != (expected is None):
        raise ValueError(f"pictures and features mixed: line {first.row.line} has the other kind of file")
    if width != expected:
        raise ValueError(f"another width: a region has {width} features, in line {first.row.line} it has {expected}")


def _image(row: Row, root: Path, sizes: Mapping[Path, tuple[int, int] | BadFile]) -> ImageFile | FeatureFile:
    if not row["image_path"]:
        raise ValueError("no image path: the cell is empty")
    path = locate(root, row["image_path"])
    size = sizes[path]
    if isinstance(size, BadFile):
        raise ValueError(file_trouble(size, hide=(row["patient"], row["group"])))
    return FeatureFile(path, size, row["view"]) if is_feature_file(path) else ImageFile(path, size, row["view"])


def _sentences(row: Row) -> tuple[Sentence, ...]:
    document = row.cells["document"]
    if not row["document"]:
        raise ValueError("empty document: it has no text")
    sentences = tuple(Sentence(document[start:end], start, end) for start, end in split_sentences(document))
    if not sentences:
        raise ValueError(f"no sentence: the document is only {row['document'][:40]!r}")
    return sentences


def _check_agrees(row: Row, first: Row) -> None:
    for role in ("document", "patient", "group", "split"):
        if row[role] != first[role]:
            raise ValueError(f"study differs in its {role}: line {first.line} of the same study has another")


def _study(id: str, members: Sequence[_Member]) -> Study:
    first = members[0].row
    attributes: dict[str, dict[str, None]] = {}
    for row, _, _ in members:
        # An id is the study's own, unless several rows make one study.
        kept = {role: row[role] for role in ("view", "id") if role in row.cells and (role == "view" or row["study"])}
        for name, value in {**row.others, **kept}.items():
            attributes.setdefault(name, {})[value] = None
    labels = (label.strip() for row, _, _ in members for label in row["labels"].split("|"))
    return Study(
        id=id,
        images=tuple(image for _, image, _ in members),
        document=first.cells["document"],
        sentences=members[0].sentences,
        patient=first["patient"],
        group=first["group"],
        split=_SPLITS[first["split"].lower()],
        labels=frozenset(filter(None, labels)),
        attributes={name: "|".join(filter(None, values)) for name, values in attributes.items()},
    )


def _check_used(columns: Mapping[str, str], tables: Sequence[Table]) -> None:
    for role, column in columns.items():
        if not any(table.columns.get(role) == column for table in tables):
            header = [name for table in tables for name in table.header]
            near = get_close_matches(column, header, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"columns: no table has a column {column!r} to take for the {role}.{hint}")
