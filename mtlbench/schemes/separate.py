"""Nothing is shared: every task has its own column."""

from __future__ import annotations

from torch import nn

from mtlbench.contracts import Stage


class Separate:
    """One column a task and no units: the one-task networks of Section 6.1."""

    version = 1

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Every task for itself."""
        return [(task,) for task in tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """None."""
        return None
