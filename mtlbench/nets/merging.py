"""Shared weights that are made of finished one-task networks, without training: what `Scheme.merge` is asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtlbench.errors import UserError
from mtlbench.nets.norms import owner_of

State = dict[str, Tensor]


def merge_columns(
    scheme: Any,
    groups: Mapping[str, Sequence[tuple[str, ...]]],
    start: Mapping[str, Tensor],
    trained: Collection[str],
    finished: Mapping[str, Tensor],
) -> State:
    """The state of a network with these groups, {stage: groups}, from those of one-task networks, all in `finished`.

    `start`: its own state, where those networks started, too; `trained`: names of its parameters. A column of one task
    is that task's; of several it is what the scheme makes of theirs, all stages that the same tasks share at once.
    Buffers are means (Ours; counters those of the first task). Raises UserError where the scheme returns other names or
    shapes.
    """
    state = {name: value for name, value in finished.items() if not name.startswith("trunk.")}
    for tasks in dict.fromkeys(group for of_stage in groups.values() for group in of_stage):
        stages = {stage: f"trunk.{stage}.{'+'.join(tasks)}." for stage, own in groups.items() if tasks in own}
        names = {
            name: (stage, name.removeprefix(prefix))
            for stage, prefix in stages.items()
            for name in start
            if name.startswith(prefix)
        }
        for name, (stage, rest) in list(names.items()):  # each task's own batch normalisation stays
            plain, task = owner_of(rest)
            if task and len(tasks) > 1:
                state[name] = finished[f"trunk.{stage}.{task}.{plain}"]
                del names[name]
        theirs = {
            task: {name: finished[f"trunk.{s}.{task}.{rest}"] for name, (s, rest) in names.items()} for task in tasks
        }
        if len(tasks) == 1:
            state |= theirs[tasks[0]]
            continue
        own = {name: value for name, value in start.items() if name in names and name in trained}
        found = scheme.merge(own, {task: {name: of_task[name] for name in own} for task, of_task in theirs.items()})
        if {name: value.shape for name, value in found.items()} != {name: value.shape for name, value in own.items()}:
            raise UserError(f"scheme {type(scheme).__name__}: merge returned other names or shapes than it was given")
        state |= found
        for name in names.keys() - own.keys():
            values = [of_task[name] for of_task in theirs.values()]
            state[name] = torch.stack(values).mean(0) if values[0].is_floating_point() else values[0]
    return state
