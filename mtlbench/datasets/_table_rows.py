"""What the rows of a table say of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mtlbench.datasets._problems import Problem
from mtlbench.datasets._table_columns import SUBSETS, Column, TableTask, label_of, wrong_cell
from mtlbench.datasets._table_text import Text


@dataclass
class Rows:
    """What the rows say, an image once: its name, line, group, subset ("" = none is given) and label of each task."""

    names: list[str] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    subsets: list[str] = field(default_factory=list)
    labels: list[dict[str, np.ndarray]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    repeated: list[Problem] = field(default_factory=list)  # rows that say the same again, which harms nothing

    def add_repeated(self, name: str, where: str, same: bool) -> None:
        """Note that an image stands in a second row, at `where`, which says the `same` or not."""
        what = "with the same cells" if same else "with other cells"
        text = f"{where}: {name} stands in line {self.lines[name]} already, {what}; take one out"
        kind = f"images stand in two lines, {what}; take one out"
        (self.repeated if same else self.problems).append(Problem(text, name, kind, name))

    def subset_of(self, name: str, where: str, word: str) -> str:
        """The subset that a cell names; "" and a problem where it names none."""
        subset = SUBSETS.get(word.lower(), "")
        if not subset:
            text = f"{where}: subset is {word!r}; write train, val or test"
            self.problems.append(Problem(text, name, "subsets are not train, val or test; correct them", where))
        return subset

    def labels_of(
        self, name: str, where: str, cells: Sequence[str], tasks: Sequence[TableTask]
    ) -> dict[str, np.ndarray]:
        """The label of each task that an image has one of; a problem for each cell that is none."""
        labels: dict[str, np.ndarray] = {}
        for task in tasks:
            try:
                label = label_of(task, cells)
            except ValueError as error:
                self.problems.append(wrong_cell(where, name, error))
            else:
                labels |= {} if label is None else {task.name: label}
        return labels


def read_rows(text: Text, columns: Sequence[Column], tasks: Sequence[TableTask]) -> Rows:
    """What the rows of a table say. A file that stands in two rows with the same cells counts once."""
    place = {column.kind: column.index for column in columns if not column.task and column.kind != "skip"}
    found, cells_of = Rows(), dict[str, tuple[str, ...]]()
    for row in text.rows:
        name, where = row.cells[place["file"]], f"{text.path}:{row.line}"
        if not name:
            found.problems.append(Problem(f"{where}: no file is named; take the line out"))
            continue
        if name in cells_of:
            found.add_repeated(name, where, same=cells_of[name] == row.cells)
            continue
        cells_of[name], found.lines[name] = row.cells, row.line
        group = row.cells[place["group"]] if "group" in place else ""
        found.names.append(name)
        found.groups.append(f"group {group}" if group else name)
        found.subsets.append(found.subset_of(name, where, row.cells[place["subset"]]) if "subset" in place else "")
        found.labels.append(found.labels_of(name, where, row.cells, tasks))
    return found
