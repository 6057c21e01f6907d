"""Opening and preparing the data set of a study or of a trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mtlbench.contracts import Dataset
from mtlbench.errors import UserError
from mtlbench.plan.options import name_of
from mtlbench.plugins import blamed, create, plugin
from mtlbench.spec import Options, Plugin, Recipe


def opened(name: str, options: Options, data_root: Path | None) -> tuple[Dataset, Plugin, str]:
    """A data set with these options, not yet prepared, and its folder as absolute text. Raises UserError."""
    data = plugin("dataset", name, options)
    root = data_root.expanduser().resolve() if data_root else None
    with blamed(name):  # as trial.open_dataset, which is not here before torch is
        return create("dataset", data.source or data.name, root=root, **data.options), data, str(root or "")


def prepared(
    name: str, tasks: Sequence[str], recipe: Recipe, data_root: Path | None, console: Console
) -> tuple[Plugin, str, str]:
    """The data set with its caches made, its fingerprint, and its folder as absolute text. Raises UserError where it
    has no labels for one of the tasks."""
    dataset, data, root = opened(name, recipe.dataset_options.get(name_of(name), {}), data_root)
    if lacking := [task for task in tasks if task not in dataset.tasks]:
        raise UserError(
            f"{name} has no labels for {' and '.join(lacking)} (it has {', '.join(dataset.tasks)}); give a "
            "--pair of its tasks, docs/own_task.md says how to make one"
        )
    with blamed(name):
        dataset.prepare(lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
        return data, dataset.fingerprint(), root


def open_dataset(plugin: Plugin, data_root: str) -> Dataset:
    """The data set of a trial. Raises UserError."""
    root = Path(data_root) if data_root else None
    return create("dataset", plugin.source or plugin.name, root=root, **plugin.options)
