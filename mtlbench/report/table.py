"""A table as data: columns in groups, rows of cells that keep their numbers until a renderer writes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from mtlbench.text import NOTHING, shorten, write_percent

Value = float | str | bool | None  # integers, too


class Mark(Enum):
    """Why a cell stands out; each renderer has its own sign for it."""

    BEST = "best of its column"
    CHOSEN = "chosen on val for its task"
    CHOSEN_FOR_PAIR = "chosen on val for the pair"
    PAIRED = "its interval is the paired t interval"
    BASELINE = "what the others are compared with"  # its change is 0, and written as nothing


@dataclass(frozen=True)
class Cell:
    """A value (None or NaN: nothing to show), its interval, its ratio to the baseline's (NaN: none), marks."""

    value: Value = None
    low: float = math.nan
    high: float = math.nan
    ratio: float = math.nan
    marks: frozenset[Mark] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return self.value is None or (isinstance(self.value, float) and math.isnan(self.value))


EMPTY = Cell()
Writer = Callable[[Cell], str]


def plain(cell: Cell) -> str:
    """Texts and whole numbers as they are."""
    return str(cell.value)


def decimals(digits: int) -> Writer:
    """A writer of numbers with so many decimals."""
    return lambda cell: f"{cell.value:.{digits}f}"


def three_digits(cell: Cell) -> str:
    """A number of any size: `0.0123`, `12.3`, `12.3 k`."""
    value = _number(cell)
    return f"{value:.3g}" if abs(value) < 999.5 else shorten(value)


def large(cell: Cell) -> str:
    """`1.23 M`, with a ratio `1.23 M (0.50 x)`."""
    return shorten(_number(cell)) + ("" if math.isnan(cell.ratio) else f" ({cell.ratio:.2f} x)")


def change(cell: Cell) -> str:
    """A change in percent, the unit in the column's head: `+1.2 [-0.3, +2.7]`."""
    return write_percent(_number(cell), cell.low, cell.high, unit="")


def change_with_unit(cell: Cell) -> str:
    """A change in percent: `+1.2 % [-0.3, +2.7]`."""
    return write_percent(_number(cell), cell.low, cell.high)


def plus_minus(cell: Cell) -> str:
    """A mean with the half-width of its interval: `51.2 ± 0.8`."""
    half = (cell.high - cell.low) / 2
    return f"{cell.value:.1f}" + ("" if math.isnan(half) else f" ± {half:.{1 if half >= 0.05 else 2}f}")


def _number(cell: Cell) -> float:
    assert isinstance(cell.value, int | float)
    return float(cell.value)


def count_seeds(counts: Iterable[int]) -> Cell:
    """The number of seeds; one number a task (`3/2`) where tasks differ."""
    numbers = list(counts)
    return Cell(numbers[0] if len(set(numbers)) == 1 else "/".join(map(str, numbers)))


@dataclass(frozen=True)
class Column:
    """A column. `name` is its key in rows and its head in CSV; `head`, else the name, stands over it elsewhere."""

    name: str
    head: str = ""
    write: Writer = plain
    shown: bool = True  # False: in CSV only
    in_csv: bool = True
    is_text: bool = False  # aligned to the left

    @property
    def heading(self) -> str:
        """What stands over the column under its group's words."""
        return self.head or self.name

    def text(self, cell: Cell) -> str:
        """A cell of this column without its marks."""
        return NOTHING if cell.is_empty or Mark.BASELINE in cell.marks else self.write(cell)


@dataclass(frozen=True)
class Group:
    """Columns that stand together, with lines of words over them."""

    columns: tuple[Column, ...]
    words: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns that are not in CSV only."""
        return tuple(column for column in self.columns if column.shown)


@dataclass(frozen=True)
class Row:
    """Cells by the names of their columns. `span` stands across the groups in place of cells and says why there are
    none."""

    cells: Mapping[str, Cell]
    span: str = ""
    beneath: bool = False  # belongs to the row above
    apart: bool = False  # set off by a rule, with those like it that follow

    def cell(self, column: Column) -> Cell:
        """The cell of a column, empty where the row has none."""
        return self.cells.get(column.name, EMPTY)


@dataclass(frozen=True)
class Note:
    """A sentence under a table, and a command to type that belongs to it."""

    text: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.command}".rstrip()


@dataclass(frozen=True)
class Table:
    """A table. `labels` are the columns that say what a row is: they stand left of all groups."""

    title: str
    labels: tuple[Column, ...]
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    notes: tuple[Note, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns from left to right, those in CSV only among them."""
        return (*self.labels, *(column for group in self.groups for column in group.columns))

    @property
    def shown_labels(self) -> tuple[Column, ...]:
        """The labels that are not in CSV only."""
        return tuple(column for column in self.labels if column.shown)

    @property
    def shown_groups(self) -> tuple[Group, ...]:
        """The groups that have columns to show."""
        return tuple(group for group in self.groups if group.shown)

    @property
    def head_lines(self) -> int:
        """How many lines of words stand over the groups."""
        return max((len(group.words) for group in self.shown_groups), default=0)

    @property
    def says_something(self) -> bool:
        """Whether any row has a value to show in the groups, or says why not."""
        columns = [column for group in self.shown_groups for column in group.shown]
        return any(row.span or any(not row.cell(column).is_empty for column in columns) for row in self.rows)


def simple_table(heads: Iterable[str | Column], rows: Iterable[Iterable[Value]], title: str = "") -> Table:
    """A table of values as they are: the first column labels the rows, heads alone are those of text columns."""
    columns = [head if isinstance(head, Column) else Column(head, is_text=True) for head in heads]
    names = [column.name for column in columns]
    cells = [{name: Cell(value) for name, value in zip(names, row, strict=True)} for row in rows]
    return Table(title, tuple(columns[:1]), (Group(tuple(columns[1:])),), tuple(map(Row, cells)))
