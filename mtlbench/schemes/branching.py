"""The tree that a `branching_search` has found, trained from the start (Guo, Lee and Ulbricht, ICML 2020)."""

from __future__ import annotations

from typing import Any

from torch import nn

from mtlbench.contracts import Stage
from mtlbench.errors import UserError


class Branching:
    """Tasks share a stage where the search led their heads back to the same column; no units.

    Before a search is adopted every task is for itself.
    """

    version = 1

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def adopt(self, outcomes: list[dict[str, Any]]) -> None:
        """Take the tree of one search. Raises UserError for another number of them."""
        if len(outcomes) != 1:
            raise UserError(f"scheme Branching takes one search as its parent, not {len(outcomes)}")
        self.found = outcomes[0]

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The tasks of each column; a stage without parameters goes with the stage before it."""
        if not self.found:
            return [(task,) for task in tasks]
        columns = [columns for name, columns in self._columns(stage).items() if not stage.before(name)]
        if not columns:
            return [tasks]
        used = {task: columns[-1][task] for task in tasks}
        return [tuple(t for t in tasks if used[t] == column) for column in dict.fromkeys(used.values())]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """None."""
        return None

    def _columns(self, stage: Stage) -> dict[str, dict[str, int]]:
        """{stage with parameters, in order: {task: the column that its head is led back to}}."""
        tasks: list[str] = self.found["tasks"]
        column, columns = {task: index for index, task in enumerate(tasks)}, {}
        for name in reversed([name for name in stage.trunk.order if name in self.found["parents"]]):
            parents = self.found["parents"][name]
            column = columns[name] = {task: parents[child] for task, child in column.items()}
        return dict(reversed(columns.items()))
