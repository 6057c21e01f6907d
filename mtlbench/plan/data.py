"""Opening and preparing the data set of a study or of a trial: once in a process, for the study and all its trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtlbench.contracts import Dataset
from mtlbench.errors import UserError
from mtlbench.plan.chosen import name_in_recipes
from mtlbench.plugins import blame, create, make_plugin
from mtlbench.spec import Options, Plugin, Recipe, write_canonical
from mtlbench.text import Say

KEPT = 2  # data sets that a process keeps open


@dataclass(frozen=True, eq=False)  # two openings are never the same: files may have changed in between
class Prepared:
    """A data set whose caches are made; `root` is its folder as absolute text ("" = it needs none)."""

    dataset: Dataset
    plugin: Plugin
    root: str
    fingerprint: str


_kept: dict[str, Prepared] = {}  # by what was opened, the newest last


def open_options(name: str, options: Options, data_root: Path | None) -> tuple[Dataset, Plugin, str]:
    """A data set with these options, not yet prepared, and its folder as absolute text. Raises UserError."""
    data = make_plugin("dataset", name, options)
    root = str(data_root.expanduser().resolve()) if data_root else ""
    with blame(name):
        return open_dataset(data, root), data, root


def prepare_dataset(name: str, tasks: Sequence[str], recipe: Recipe, data_root: Path | None, say: Say) -> Prepared:
    """The data set of a study, opened anew (its files may have changed) and kept for the study's trials.

    `say` takes lines on what is made. Raises UserError where it has no labels for one of the tasks.
    """
    dataset, data, root = open_options(name, recipe.dataset_options.get(name_in_recipes(name), {}), data_root)
    if lacking := [task for task in tasks if task not in dataset.tasks]:
        raise UserError(
            f"{name} has no labels for {' and '.join(lacking)} (it has {', '.join(dataset.tasks)}); give a "
            "--pair of its tasks, docs/own_task.md says how to make one"
        )
    with blame(name):
        return _prepare(dataset, data, root, say)


def open_prepared(data: Plugin, root: str) -> Prepared:
    """The data set of a trial, as the study or an earlier trial in this process left it. Raises UserError."""
    if known := _kept.get(_identity(data, root)):
        return known
    return _prepare(open_dataset(data, root), data, root, lambda line: None)


def open_dataset(data: Plugin, data_root: str) -> Dataset:
    """A data set, not yet prepared. Raises UserError."""
    root = Path(data_root) if data_root else None
    dataset: Dataset = create("dataset", data.source or data.name, root=root, **data.options)
    return dataset


def forget() -> None:
    """Keep no data set open."""
    _kept.clear()


def _prepare(dataset: Dataset, data: Plugin, root: str, say: Callable[[str], None]) -> Prepared:
    dataset.prepare(say)
    what = _identity(data, root)
    _kept.pop(what, None)
    while len(_kept) >= KEPT:
        del _kept[next(iter(_kept))]
    _kept[what] = Prepared(dataset, data, root, dataset.fingerprint())
    return _kept[what]


def _identity(data: Plugin, root: str) -> str:
    return write_canonical([data.name, data.options, data.version, data.source, root])
