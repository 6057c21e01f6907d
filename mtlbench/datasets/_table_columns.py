"""What the columns of a table are, as asked for or as they look, and the tasks that come of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtlbench.datasets._problems import Problem
from mtlbench.datasets._table_text import Text, is_empty
from mtlbench.errors import UserError
from mtlbench.plugins import list_names as names_of_plugins
from mtlbench.plugins import make_unknown

LABELS = ("regression", "classification", "multilabel")  # kinds that become tasks: those of the tasks with these names
KINDS = (*LABELS, "file", "group", "subset", "skip")
TAGS = "tags"  # the task of yes-or-no columns, unless told
YES, NO = ("1", "true", "yes"), ("0", "-1", "false", "no")  # in small letters; -1 as CelebA has it
SUBSETS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
FEW = 10  # different numbers, at most, that are taken for classes (ours) ...
EACH = 5  # ... where each has so many images on average (ours)
MOST_NUMBERS = 0.9  # share of the cells that are numbers where the column is one of numbers (ours)
MOST_CLASSES = 1000  # ours
TRIED = 50  # cells that tell which column names the files
IGNORED = 255


@dataclass(frozen=True)
class Column:
    """A column: its place, its kind (one of KINDS) and, of a label, its task; `note` says why one is left out."""

    index: int
    name: str
    kind: str
    task: str = ""
    note: str = ""

    @property
    def asked(self) -> str:
        """What to ask for to have it as it is."""
        return f"{self.kind}:{self.task}" if self.task else self.kind


@dataclass(frozen=True)
class TableTask:
    """A task, its kind (one of LABELS), its columns and its categories."""

    name: str
    kind: str
    columns: tuple[Column, ...]
    categories: tuple[str, ...] = ()


def columns_of(text: Text, asked: Mapping[str, str], group: str, is_file: Callable[[str], bool]) -> tuple[Column, ...]:
    """The columns in their order: as `asked` (`kind` or `kind:task` by name), else as they look.

    `group`: the column of groups, or nothing. `is_file` tells whether a cell names an image. Raises UserError.
    """
    asked = {**asked, **({group: "group"} if group else {})}
    for name in asked:
        if name not in text.header:
            raise make_unknown(f"column in {text.path.name}", name, text.header)
    told = {name: _describe(name, what) for name, what in asked.items()}
    found = []
    for index, name in enumerate(text.header):
        if name in told:
            column = replace(told[name], index=index)
            if column.kind in LABELS and all(map(is_empty, text.column(index))):
                raise UserError(f"{text.path}: all cells of column {name} are empty; leave out --column {name}:...")
        else:
            column = _infer_column(index, name, [cell for cell in text.column(index) if not is_empty(cell)])
        found.append(column)
    found = _with_file(text, found, is_file)
    flags = [column for column in found if column.kind == "multilabel"]
    if len(flags) == 1 and flags[0].name not in told:  # a yes or no alone is a class
        found[flags[0].index] = replace(flags[0], kind="classification", task="")
    return tuple(_name_tasks(found))


def parse_column(word: str) -> tuple[str, str]:
    """`age:regression` or `smiling:multilabel:face` as a column and what it is asked to be. Raises UserError.

    >>> parse_column("a:b:regression")
    ('a:b', 'regression')
    """
    parts = word.split(":")
    for place in (len(parts) - 1, len(parts) - 2):
        if place > 0 and parts[place] in KINDS:
            return ":".join(parts[:place]), ":".join(parts[place:])
    raise UserError(f"{word!r}: write COLUMN:KIND or COLUMN:KIND:TASK, where KIND is one of {', '.join(KINDS)}")


def _describe(name: str, what: str) -> Column:
    kind, _, task = what.partition(":")
    if kind not in KINDS:
        raise make_unknown(f"kind of column {name}", kind, KINDS)
    if task and task != make_identifier(task):
        raise UserError(f"column {name}: {task!r} cannot be the name of a task; {make_identifier(task)!r} could")
    return Column(0, name, kind, task)


def _infer_column(index: int, name: str, cells: Sequence[str]) -> Column:
    """What a column looks like, from the cells that are not empty."""
    values = set(cells)
    small = {cell.lower() for cell in values}

    def leave_out(why: str) -> Column:
        return Column(index, name, "skip", note=why)

    if not name:
        return leave_out("no name")
    if not values:
        return leave_out("all cells are empty")
    if len(values) == 1:
        return leave_out(f"one value everywhere ({cells[0]})")
    if name.lower() in ("subset", "split") and (name.lower() == "subset" or small <= SUBSETS.keys()):
        return Column(index, name, "subset")
    if small <= {*YES, *NO} and not {"0", "-1"} <= small:
        return Column(index, name, "multilabel")
    numbers = [number for cell in cells if (number := number_of(cell)) is not None]
    if len(numbers) == len(cells) and len(values) <= FEW and len(cells) >= EACH * len(values):
        return Column(index, name, "classification")
    if len(numbers) >= MOST_NUMBERS * len(cells):  # the other cells are then named as wrong
        steps = np.diff(np.array(numbers, dtype=np.float64))
        if len(steps) > 1 and (steps == 1).all():
            return leave_out("a number for each row")
        return Column(index, name, "regression")
    if 2 * len(values) > len(cells) or len(values) > MOST_CLASSES:
        return leave_out("another text in nearly every row")
    return Column(index, name, "classification")


def _with_file(text: Text, columns: list[Column], is_file: Callable[[str], bool]) -> list[Column]:
    """The columns with the one that names the files: as asked, else the one that names most. Raises
    UserError."""
    asked = [column for column in columns if column.kind == "file"]
    if len(asked) > 1:
        raise UserError(f"{asked[0].name} and {asked[1].name} cannot both name the files; ask for one :file")
    if asked:
        return columns
    tried = text.rows[:TRIED]
    hits = [sum(map(is_file, {row.cells[column.index] for row in tried})) for column in columns]
    best = int(np.argmax(hits)) if hits else 0
    if not hits or not hits[best]:
        first = next((cell for row in tried for cell in row.cells if cell), "")
        raise UserError(
            f"{text.path}: no column names files in the folder of images (its first cell is {first!r}); give the "
            "folder with --images DIR, or say which column it is with --column NAME:file"
        )
    columns[best] = replace(columns[best], kind="file", task="", note="")
    return columns


def _name_tasks(columns: Sequence[Column]) -> list[Column]:
    """The columns with a task each, multilabel ones with one together; no two kinds share a name."""
    used = {TAGS, *(column.task for column in columns if column.task)}
    found = []
    for column in columns:
        if column.kind in LABELS and not column.task:
            task = TAGS
            if column.kind != "multilabel":
                task = make_identifier(column.name)
                while task in used:
                    task += "_"
                used.add(task)
            column = replace(column, task=task)
        found.append(column)
    return found


def make_identifier(name: str) -> str:
    """A name as a plain word that no built-in task has and networks can use.

    >>> make_identifier("size (cm)"), make_identifier("2nd"), make_identifier("depth"), make_identifier("type")
    ('size_cm', 'c_2nd', 'depth_', 'type_')
    """
    from torch import nn  # takes a second

    word = re.sub(r"\W+", "_", name).strip("_") or "column"
    word = word if word.isidentifier() else f"c_{word}"
    taken = hasattr(nn.ModuleDict, word) or hasattr(nn.ParameterDict, word) or word == "training"
    return f"{word}_" if taken or word in names_of_plugins("task") else word


def tasks_of(text: Text, columns: Sequence[Column]) -> tuple[TableTask, ...]:
    """The tasks, in the order of their first columns. Raises UserError where two kinds of columns share one."""
    together: dict[str, list[Column]] = {}
    for column in columns:
        if column.kind in LABELS:
            together.setdefault(column.task, []).append(column)
    found = []
    for name, own in together.items():
        kind = own[0].kind
        if len({column.kind for column in own}) > 1 or (len(own) > 1 and kind != "multilabel"):
            raise UserError(f"columns {' and '.join(c.name for c in own[:2])} cannot both be task {name}")
        categories: tuple[str, ...] = ()
        if kind == "multilabel":
            categories = tuple(column.name for column in own)
        elif kind == "classification":
            categories = classes_of(cell for cell in text.column(own[0].index) if not is_empty(cell))
        found.append(TableTask(name, kind, tuple(own), categories))
    return tuple(found)


def classes_of(cells: Iterable[str]) -> tuple[str, ...]:
    """The different values: numbers in their order, else texts in theirs."""
    values = sorted({*cells})
    if all(number_of(value) is not None for value in values):
        values.sort(key=float)
    return tuple(values)


def number_of(cell: str) -> float | None:
    """The finite number that a cell is, if it is one."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in cell else None


def label_of(task: TableTask, cells: Sequence[str]) -> np.ndarray | None:
    """An image's label, None where it has none. Raises ValueError with the column and what its cell should be."""
    own = [cells[column.index] for column in task.columns]
    if all(map(is_empty, own)):
        return None
    if task.kind == "classification":
        return np.array(task.categories.index(own[0]))
    if task.kind == "regression":
        number = number_of(own[0])
        if number is None:
            raise ValueError(f"{task.columns[0].name} is {own[0]!r}, which is no number")
        return np.array(number, dtype=np.float32)
    label = np.full(len(own), IGNORED, dtype=np.uint8)
    for place, (column, cell) in enumerate(zip(task.columns, own, strict=True)):
        if cell.lower() in (*YES, *NO):
            label[place] = cell.lower() in YES
        elif not is_empty(cell):
            raise ValueError(f"{column.name} is {cell!r}, which is not 0 or 1")
    return label


def wrong_cell(where: str, image: str, error: ValueError) -> Problem:
    """The problem of a cell that is no label of its kind."""
    return Problem(
        f"{where}: {error}; correct it, or empty the cell",
        image,
        "cells are not what their column should have; correct them, or empty them",
        where,
    )
