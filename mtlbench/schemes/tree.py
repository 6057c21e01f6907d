"""Tasks branch off on the way, some earlier than others: the architectures beyond Splits of three and more tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from mtlbench.contracts import Stage
from mtlbench.plugins import make_unknown


class Tree:
    """All tasks share the layers before the first one that `shared` names; from then on groups of them only split.

    `shared`: {layer: the groups of two and more tasks that share it and what follows, up to the next named layer}; who
    is in none of them is alone from there on. {"conv3": [["a", "b"]], "fc7": []}: c leaves at conv3, a and b part at
    fc7. Heads are never shared; without any layer all else is. A Split is the tree in which all leave at one layer
    (Ours: as in `split`, the named layer is the first that is no longer shared as before). Raises UserError for layers
    that the backbone does not have and for other tasks.
    """

    version = 1

    def __init__(self, shared: Mapping[str, Sequence[Sequence[str]]] | None = None) -> None:
        self.shared = dict(shared or {})

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Those of the last named layer up to this stage, in the order of the tasks; all tasks before the first."""
        order = stage.trunk.order
        for layer, groups in self.shared.items():
            if layer not in order:
                raise make_unknown("layer to branch at", layer, order)
            for task in [task for group in groups for task in group if task not in tasks]:
                raise make_unknown("task of the tree", task, tasks)
        passed = [layer for layer in order[: order.index(stage.name) + 1] if layer in self.shared]
        if not passed:
            return [tasks]
        together = [tuple(task for task in tasks if task in group) for group in self.shared[passed[-1]]]
        alone = [(task,) for task in tasks if not any(task in group for group in together)]
        return sorted([*together, *alone], key=lambda group: tasks.index(group[0]))

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """None."""
        return None
