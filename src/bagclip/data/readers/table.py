"""Tables: CSV and TSV files read row by row, with every row that cannot be used accounted for."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from bagclip.data.files import BadFile
from bagclip.data.studies import Rejection, TableSummary

Roles = Mapping[str, Sequence[str]]
"""What a reader wants of a table, and the column names that it accepts for it."""

# What "surrogateescape" makes of bytes that are not UTF-8.
_UNDECODABLE = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        line: where it begins in the file; the header is line 1.
        cells: the text for each role that has a column.
        others: the text of all other columns, by their names.
    """

    line: int
    cells: Mapping[str, str]
    others: Mapping[str, str]

    def __getitem__(self, role: str) -> str:
        return self.cells.get(role, "").strip()


@dataclass
class Table:
    """A table while it is read: good rows, and the account of the rejected ones."""

    name: str
    file: str
    header: Sequence[str]
    columns: Mapping[str, str]
    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    count: int = 0
    unmatched: int = 0
    superseded: int = 0

    def reject(self, line: int, reason: str) -> None:
        """Account for a row that is not used."""
        self.rejected.append(Rejection(self.file, line, reason))

    def summary(self) -> TableSummary:
        """The account so far, in the order of the lines."""
        rejected = tuple(sorted(self.rejected, key=lambda rejection: rejection.row))
        return TableSummary(self.name, self.file, self.count, rejected, self.unmatched, self.superseded)


def read_table(path: Path, name: str, roles: Roles, needed: Sequence[str], columns: Mapping[str, str]) -> Table:
    """Read a table: comma-separated, or tab-separated if its name ends in ".tsv" or ".tab"; UTF-8, with or without BOM.

    Rows with a wrong number of fields, stray quotes, bytes that are not UTF-8 or NUL characters are rejected. Blank
    lines are no rows.

    Args:
        path: the file.
        name: what the table is, for its summary.
        roles: accepted column names by role; upper case, spaces and hyphens in a header make no difference.
        needed: roles that must have a column.
        columns: columns by role, named by the user instead; a column that this table lacks is no matter here.

    Raises:
        FileNotFoundError: if it does not exist.
        ValueError: if it has no row, no header that can be read, lacks a needed column or has two for one role, or if
            an open quote swallowed the rows after it.
    """
    records = _records(path, delimiter="\t" if path.suffix.lower() in (".tsv", ".tab") else ",")
    _, header = next(records, (0, []))
    if not isinstance(header, list):
        raise ValueError(f"{path}: its header cannot be read: {header}.")
    header = [column.strip() or f"column {i}" for i, column in enumerate(header, 1)]
    _check_header(path, header)
    found = {role: _column(path, role, header, roles[role], columns, role in needed) for role in roles}
    table = Table(name, str(path), header, {role: column for role, column in found.items() if column})
    for line, fields in records:
        table.count += 1
        if not isinstance(fields, list):
            table.reject(line, fields)
        elif len(fields) != len(header):
            table.reject(line, f"wrong number of fields: {len(fields)} instead of {len(header)}")
        elif trouble := _unreadable(header, fields):
            table.reject(line, trouble)
        else:
            values = dict(zip(header, fields, strict=True))
            cells = {role: values.pop(column) for role, column in table.columns.items()}
            table.rows.append(Row(line, cells, values))
    if not table.count:
        raise ValueError(f"{path}: it has a header but no row; a data set needs at least one.")
    return table


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Each record with its first line: its fields, or the reason why it has none."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such table; check the path.")
    if path.is_dir():
        raise ValueError(f"{path}: it is a folder; give the CSV or TSV file in it.")
    raw = path.read_bytes()
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path}: it is UTF-16; save it as UTF-8.")
    text = raw.decode("utf-8-sig", errors="surrogateescape")
    if not text.strip():
        raise ValueError(f"{path}: it is empty; it needs a header and rows.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # A quote left open makes the rows below part of one field: they would be lost as a single bad row.
            if reader.line_num > line or "unexpected end" in str(error) or "field larger" in str(error):
                raise ValueError(
                    f"{path}: lines {line} to {reader.line_num} run together as one row ({error}); most likely a quote "
                    f"in line {line} is never closed, or one within a field is not doubled."
                ) from None
            yield line, f"stray quote or character: {error}"
            continue
        if fields:
            yield line, fields


def _check_header(path: Path, header: list[str]) -> None:
    broken = [i for i, column in enumerate(header, 1) if _UNDECODABLE.search(column) or "\0" in column]
    if broken:
        raise ValueError(f"{path}: the name of column {broken[0]} is not UTF-8 text; save the table as UTF-8.")
    repeated = sorted({column for column in header if header.count(column) > 1})
    if repeated:
        raise ValueError(f"{path}: more than one column is named {repeated[0]!r}; rename all but one.")


def _column(
    path: Path, role: str, header: list[str], accepted: Sequence[str], columns: Mapping[str, str], needed: bool
) -> str | None:
    if columns.get(role) in header:
        return columns[role]
    plain = {column: re.sub(r"[\s-]+", "_", column.casefold()) for column in header if column not in columns.values()}
    found = [column for column in plain if plain[column] in accepted]
    if len(found) > 1:
        raise ValueError(
            f"{path}: columns {found} could each be the {role}; say which, as columns={{{role!r}: {found[0]!r}}}."
        )
    if not found and needed:
        asked = [columns[role]] if role in columns else accepted
        near = [column for column in header if get_close_matches(column.casefold(), asked, n=1, cutoff=0.7)]
        hint = f" Did you mean {near[0]!r}? Then say columns={{{role!r}: {near[0]!r}}}." if near else ""
        if len(header) == 1 and re.search(r"[;\t,|]", header[0]):
            hint = " Its columns seem to be separated otherwise: save it with commas, or with tabs as .tsv."
        raise ValueError(f"{path}: no column for the {role}, named {' or '.join(asked)}; there are {header}.{hint}")
    return found[0] if found else None


def _unreadable(header: list[str], fields: list[str]) -> str:
    for column, text in zip(header, fields, strict=True):
        if bad := _UNDECODABLE.search(text):
            return f"not UTF-8: byte 0x{ord(bad[0]) - 0xDC00:02X} at character {bad.start()} of column {column!r}"
        if "\0" in text:
            return f"NUL character: at character {text.index(chr(0))} of column {column!r}"
    return ""


def locate(root: Path, text: str) -> Path:
    """A path that a table gives relative to ``root`` or in full, in the one spelling by which files are told apart."""
    return Path(os.path.abspath(root / text))


def file_trouble(bad: BadFile, hide: Iterable[str]) -> str:
    """Why a file is not used; the path of a missing one is shown, less the patients' names in it."""
    if not bad.reason.startswith("file not found"):
        return bad.reason.rstrip(".")
    path = str(bad.args[0])
    for name in filter(None, hide):
        # Whole names only: patient 10 is in "p10/x.png", but not in "p100/x.png".
        same = r"\d" if name.isdigit() else r"[^\W_]"
        path = re.sub(rf"(?<!{same}){re.escape(name)}(?!{same})", "*", path)
    return f"file not found: {path}"
