"""The text of a table: a CSV, TSV or Parquet file as rows of words."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mtlbench.datasets._problems import Problem
from mtlbench.errors import UserError
from mtlbench.system.given import read_text

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # that people have in place of commas
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
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=separator, strict=True)
    rows: list[Row] = []
    problems: list[Problem] = []
    try:
        header = tuple(cell.strip() for cell in next(reader, []))
        _check_separator(path, header)
        for cells in reader:
            row = Row(reader.line_num, tuple(cell.strip() for cell in cells))
            if len(row.cells) == len(header):
                rows.append(row)
            elif any(row.cells):
                problems.append(_wrong_length(path, row, len(header)))
    except csv.Error as error:
        where = f"{path}:{reader.line_num}"
        raise UserError(f"{where}: {error}; quotes around a text must be closed, and doubled inside it") from error
    return Text(path, header, tuple(row for row in rows if any(row.cells)), tuple(problems))


def _check_separator(path: Path, header: Sequence[str]) -> None:
    """Raises UserError for a first line that is not parted as it should be."""
    if not any(header):
        raise UserError(f"{path} is empty, or its first line is; it must name the columns")
    for separator, name in SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise UserError(
                f"{path}:1: columns are parted by {name}; save it with commas (decimal points, too)"
                + (", or call it .tsv" if separator == "\t" else "")
            )


def _wrong_length(path: Path, row: Row, wanted: int) -> Problem:
    where = f"{path}:{row.line}"
    what = "cells, the first line has"
    return Problem(
        f"{where}: {len(row.cells)} {what} {wanted}; put text with commas into quotes",
        None,
        f"lines have more or fewer cells than the {wanted} of the first; put text with commas into quotes",
        where,
    )


def _of_parquet(path: Path) -> Text:
    from pyarrow import parquet  # takes half a second

    try:
        table = parquet.read_table(path)
    except Exception as error:  # it raises what it likes
        raise UserError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())[:200]}") from error
    columns = [column.to_pylist() for column in table.columns]
    cells = zip(*columns, strict=True)
    rows = tuple(Row(number, tuple(map(_word, row))) for number, row in enumerate(cells, start=1))
    return Text(path, tuple(map(str, table.column_names)), rows)


def _word(value: Any) -> str:
    """A value as a CSV would have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
