"""The search space of a run: a built-in one, a file's, that of a table of photos, or of an earlier run on one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.plan import spaces
from mtlbench.plan.options import RunOptions
from mtlbench.plan.tables import DATASET, pair_name, root_of, table_space
from mtlbench.spec import SearchSpace, Trial
from mtlbench.store.folders import read_trial, trial_folders
from mtlbench.store.shapes import is_name
from mtlbench.text import Say


def space_of(options: RunOptions, say: Say) -> tuple[SearchSpace, RunOptions]:
    """The space that the options ask for, and the options with what a table says of them. `say` takes lines on its
    columns. Raises UserError."""
    if options.csv:
        root = root_of(options.csv, options.images)
        name = pair_name(options.csv)
        space = table_space(name, root, options.columns, options.group, say)
        options = dataclasses.replace(options, csv=None, images=None, columns={}, group="", pair=name, data_root=root)
        return space, options
    if options.pair in spaces.list_names() or options.pair.endswith(".py") or not is_name(options.pair):
        return spaces.load(options.pair), options
    trial = trial_of_table(options.results, options.pair)
    if trial is None:
        return spaces.load(options.pair), options
    root = options.data_root or Path(trial.data_root)
    space = table_space(options.pair, root, trial.dataset.options["columns"], "", lambda line: None)
    return space, dataclasses.replace(options, data_root=root)


def trial_of_table(results: Path, pair: str) -> Trial | None:
    """The newest trial of a pair that was made of a table, to go on with it without naming the table again."""
    folders = trial_folders(results / pair / DATASET)
    for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True):
        try:
            trial = read_trial(folder)
        except UserError:
            continue
        columns = trial.dataset.options.get("columns")  # the trial may be anybody's
        if isinstance(columns, dict) and all(isinstance(kind, str) for kind in columns.values()):
            return trial
    return None
