"""Regions: tables of boxes and masks, made into the annotations of studies."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bagclip.data.features import Features
from bagclip.data.files import BadFile, MaskFile, MaskUnion, check_all, check_mask
from bagclip.data.readers.table import Roles, Row, Table, file_trouble, locate, read_table
from bagclip.data.study import Annotation, Box, Mask, Study

Places = Mapping[Path, Sequence[tuple[Study, int]]]
"""Where an image file is: the studies that have it, and its index among their images."""

_WHAT: Roles = {
    "image_path": ("image_path", "image", "path", "filepath"),
    "phrase": ("phrase", "label_text", "text"),
    "label": ("label", "category_name", "category", "finding"),
    "kind": ("kind",),
    "sentence": ("sentence", "sentence_index"),
}
_CORNERS: Roles = {
    "left": ("left", "x0", "x_min", "xmin"),
    "top": ("top", "y0", "y_min", "ymin"),
    "right": ("right", "x1", "x_max", "xmax"),
    "bottom": ("bottom", "y1", "y_max", "ymax"),
}
_EXTENT: Roles = {"x": ("x",), "y": ("y",), "width": ("w", "width"), "height": ("h", "height")}
BOXES: Roles = {**_WHAT, **_CORNERS, **_EXTENT}
MASKS: Roles = {**_WHAT, "mask_path": ("mask_path", "mask")}


class Thing(NamedTuple):
    """What boxes and masks are of; all that are of one thing become one annotation."""

    study: str
    image: int
    phrase: str
    kind: str
    label: str
    sentence: int | None


def read_masks(
    path: Path, places: Places, root: Path, mask_root: Path, columns: Mapping[str, str], decode: bool, max_pixels: int
) -> tuple[dict[Thing, list[Mask]], Table]:
    """The masks in a table by what they are of; mask paths are relative to ``mask_root``, image paths to ``root``."""
    table = read_table(path, "masks", MASKS, ("image_path", "mask_path"), columns)
    rows = list(_matched(table, places, root))
    files = [(locate(mask_root, row["mask_path"]), found[0][0].images[found[0][1]].size) for row, found in rows]
    checked = check_all(lambda file: check_mask(*file, max_pixels=max_pixels, decode=decode), files)
    masks: defaultdict[Thing, list[Mask]] = defaultdict(list)
    for (row, found), file in zip(rows, files, strict=True):
        bad = checked[file]
        try:
            if not row["mask_path"]:
                raise ValueError("no mask path: the cell is empty")
            if isinstance(bad, BadFile):
                raise ValueError(file_trouble(bad, hide=[study.patient for study, _ in found]))
            things = [_thing(row, study, image) for study, image in found]
        except ValueError as error:
            table.reject(row.line, str(error))
            continue
        for thing in things:
            masks[thing].append(MaskFile(*file))
    return masks, table


def read_boxes(
    path: Path, places: Places, root: Path, columns: Mapping[str, str], masks: Mapping[Thing, Sequence[Mask]]
) -> tuple[dict[Thing, list[Box]], Table]:
    """The boxes in a table by what they are of, less those that ``masks`` supersede."""
    table = read_table(path, "boxes", BOXES, ("image_path",), columns)
    if not table.columns.keys() >= _CORNERS.keys() and not table.columns.keys() >= _EXTENT.keys():
        names = [" or ".join(names) for names in _CORNERS.values()]
        raise ValueError(
            f"{path}: a box needs four columns, {'; '.join(names)}, or else x, y, w, h; there are {table.header}."
        )
    masked = {thing[:4] for thing in masks}
    boxes: defaultdict[Thing, list[Box]] = defaultdict(list)
    for row, found in _matched(table, places, root):
        try:
            box = _box(row, found[0][0].images[found[0][1]].size, corners=table.columns.keys() >= _CORNERS.keys())
            things = [_thing(row, study, image) for study, image in found]
        except ValueError as error:
            table.reject(row.line, str(error))
            continue
        free = [thing for thing in things if thing[:4] not in masked]
        table.superseded += not free
        for thing in free:
            boxes[thing].append(box)
    return boxes, table


def merge(
    boxes: Mapping[Thing, Sequence[Box]], masks: Mapping[Thing, Sequence[Mask]]
) -> dict[str, tuple[Annotation, ...]]:
    """The annotations of each study by its id."""
    found: defaultdict[str, list[Annotation]] = defaultdict(list)
    for thing in dict.fromkeys([*boxes, *masks]):
        drawn = masks.get(thing, ())
        mask = None if not drawn else drawn[0] if len(drawn) == 1 else MaskUnion(tuple(drawn))
        found[thing.study].append(
            Annotation(
                thing.phrase, thing.label, thing.kind, thing.image, tuple(boxes.get(thing, ())), mask, thing.sentence
            )
        )
    return {study: tuple(its) for study, its in found.items()}


def _matched(table: Table, places: Places, root: Path) -> Iterator[tuple[Row, Sequence[tuple[Study, int]]]]:
    for row in table.rows:
        found = places.get(locate(root, row["image_path"]))
        if not found:
            table.unmatched += 1
        elif isinstance(found[0][0].images[found[0][1]], Features):
            table.reject(row.line, "no pixels: the image is given as features, on which nothing can be drawn")
        else:
            yield row, found


def _thing(row: Row, study: Study, image: int) -> Thing:
    sentence = None
    if row["sentence"]:
        number = _number(row, "sentence")
        if not number.is_integer() or not 0 <= number < len(study.sentences):
            raise ValueError(
                f"no such sentence: {row['sentence']} is not one of 0 to {len(study.sentences) - 1} of its document"
            )
        sentence = int(number)
    phrase = row["phrase"] or ("" if sentence is None else study.sentences[sentence].text) or row["label"]
    if not phrase:
        raise ValueError("no phrase: neither a phrase, a sentence nor a label says what is there")
    return Thing(study.id, image, phrase, row["kind"] or "lesion", row["label"] or phrase, sentence)


def _box(row: Row, size: tuple[int, int], corners: bool) -> Box:
    if corners:
        left, top, right, bottom = map(partial(_number, row), _CORNERS)
    else:
        left, top, width, height = map(partial(_number, row), _EXTENT)
        right, bottom = left + width, top + height
    where = f"x {left:g} to {right:g}, y {top:g} to {bottom:g}"
    if left >= right or top >= bottom:
        raise ValueError(f"box inverted or empty: {where}")
    if left < 0 or top < 0 or right > size[1] or bottom > size[0]:
        raise ValueError(f"box outside the image: {where}, in an image {size[1]} wide and {size[0]} high")
    # The centre of a pixel decides: a thin box between two centres would be a region of nothing.
    if any(math.ceil(start - 0.5) == math.ceil(end - 0.5) for start, end in ((left, right), (top, bottom))):
        raise ValueError(f"box without a pixel: {where} holds the centre of none")
    return Box(left, top, right, bottom)


def _number(row: Row, role: str) -> float:
    try:
        number = float(row[role])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"not a number: {role} is {row[role]!r}")
    return number
