"""The Split architectures of Figure 2."""

from __future__ import annotations

from torch import nn

from mtlbench.contracts import Stage
from mtlbench.plugins import make_unknown


class Split:
    """All layers before `at` are shared, `at` and everything after it is task-specific (Section 1.1).

    Which side the named layer falls on is not spelled out there; ours: `at` is the first task-specific layer, so that
    `fc8` shares all but the heads. Raises UserError for a layer that the backbone does not have.
    """

    version = 1

    def __init__(self, at: str) -> None:
        self.at = at

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """One group before `at`, every task for itself from there on."""
        if self.at not in stage.trunk.order:
            raise make_unknown("layer to split at", self.at, stage.trunk.order)
        return [tasks] if stage.before(self.at) else [(task,) for task in tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """None."""
        return None
