"""The text of a table: a CSV, TSV or Parquet file as rows of words."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mtlbench.datasets._problems import Problem
from mtlbench.errors import UserError
from mtlbench.system.given import read_text
from mtlbench.text import one_line

SEPARATORS = (",", ";", "\t", "|")  # of columns; of equally many the earlier one
WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
PARQUET = (".parquet", ".pq")
EMPTY = ("", "na", "n/a", "nan", "null", "<na>")  # in small letters: no label (those that pandas reads so, but "none")


class Row(NamedTuple):
    """The words of an image; `line` of the file (of Parquet: number of the row), from 1."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Text:
    """A table as it was read; `problems` are its rows that do not fit."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...] = ()

    def column(self, index: int) -> list[str]:
        """The words of a column."""
        return [row.cells[index] for row in self.rows]


def is_empty(cell: str) -> bool:
    """Whether a cell is no label."""
    return cell.lower() in EMPTY


def read_table(path: Path) -> Text:
    """The table in a file. Raises UserError where it is none."""
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    text = _of_parquet(path) if path.suffix.lower() in PARQUET else _of_text(path)
    twice = [name for name in text.header if name and text.header.count(name) > 1]
    if twice:
        raise UserError(f"{path}: two columns are called {twice[0]!r}; rename one")
    if not text.rows and not text.problems:
        raise UserError(f"{path} has no rows under its first line; write an image a line")
    return text


def _of_text(path: Path) -> Text:
    text = read_text(path)
    separator = "\t" if path.suffix.lower() == ".tsv" else _find_separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[Row] = []
    problems: list[Problem] = []
    try:
        header = tuple(cell.strip() for cell in next(reader, []))
        if not any(header):
            raise UserError(f"{path} is empty, or its first line is; it must name the columns")
        for cells in reader:
            row = Row(reader.line_num, tuple(_read_cell(cell, separator) for cell in cells))
            if len(row.cells) == len(header):
                rows.append(row)
            elif any(row.cells):
                problems.append(_wrong_length(path, row, len(header), separator))
    except csv.Error as error:
        where = f"{path}:{reader.line_num}"
        raise UserError(f"{where}: {error}; quotes around a text must be closed, and doubled inside it") from error
    return Text(path, header, tuple(row for row in rows if any(row.cells)), tuple(problems))


def _find_separator(text: str) -> str:
    """What parts the columns: that of SEPARATORS of which the first line, read with it, has most."""
    first = text.partition("\n")[0]
    return max(SEPARATORS, key=lambda one: len(next(csv.reader([first], delimiter=one), [])))


def _read_cell(cell: str, separator: str) -> str:
    """A cell without blanks around it; `3,5` as `3.5` where commas part no columns, as spreadsheets of many countries
    write."""
    text = cell.strip()
    return text.replace(",", ".") if separator != "," and DECIMAL_COMMA.fullmatch(text) else text


def _wrong_length(path: Path, row: Row, wanted: int, separator: str) -> Problem:
    where, quotes = f"{path}:{row.line}", f"put text with {WORDS[separator]} into quotes"
    return Problem(
        f"{where}: {len(row.cells)} cells, the first line has {wanted}; {quotes}",
        None,
        f"lines have more or fewer cells than the {wanted} of the first; {quotes}",
        where,
    )


def _of_parquet(path: Path) -> Text:
    from pyarrow import parquet  # takes half a second

    try:
        table = parquet.read_table(path)
    except Exception as error:  # it raises what it likes
        raise UserError(f"{path} cannot be read as Parquet: {one_line(error, 200)}") from error
    columns = [column.to_pylist() for column in table.columns]
    cells = zip(*columns, strict=True)
    rows = tuple(Row(number, tuple(map(_write_word, row))) for number, row in enumerate(cells, start=1))
    return Text(path, tuple(map(str, table.column_names)), rows)


def _write_word(value: Any) -> str:
    """A value as a CSV would have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
