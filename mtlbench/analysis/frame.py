"""The results frame: which rows compare, changes paired by seed, the published numbers.

What the changes show (intervals, the Split that val chooses) is in `inference`. Every function takes frames and returns
frames; only `read_published` reads a file. The frame is long: one row a number, with the columns that
`mtlbench.load_results` documents.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mtlbench.arm_names import BASELINE
from mtlbench.spec import Family

IDENTITY = ["pair", "dataset", "backbone", "recipe"]  # what a comparison never mixes
FEWEST_SEEDS = 3  # below this an interval would be a guess


def list_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries."""
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]


def whole_task(frame: pd.DataFrame, subset: str) -> pd.DataFrame:
    """The visible arms' numbers of whole tasks (no single categories, no costs) on a subset."""
    return frame[_of_whole_tasks(frame, subset)]


def _of_whole_tasks(frame: pd.DataFrame, subset: str) -> np.ndarray:
    """Whether each row is one of `whole_task`."""
    found = (frame["subset"] == subset) & (frame["category"].fillna("") == "") & (frame["family"] != Family.PARENT)
    return found.to_numpy(bool)


def rows_of_trials(series: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of curves or alphas whose trial, under the same name, is in the frame."""
    if series.empty:
        return series
    return series.merge(frame[[column for column in frame if column in series]].drop_duplicates())


def relative_change(
    frame: pd.DataFrame, baseline: str = BASELINE, subset: str = "test", metric: str | None = None
) -> pd.DataFrame:
    """Change of a metric (None = each task's headline) against the baseline with the same seed, in %, up is better.

    change = 100 * sign * (value - base) / |mean of base over seeds|, sign = -1 where lower is better; NaN where that
    mean is 0. One row per arm, seed, task and metric; the baseline's own rows are in it, identically 0. Seeds that the
    baseline lacks go. Column `key` is the trial's (second names of a network have it too), `roots` as in the frame,
    where that has it. The paper's Figure 2(b) shows "performance relative to the task-specific network", of one run.
    Ours: a mean in the denominator, since the ratio to a single noisy run is too high by its variance in the mean.
    """
    cell = ["seed", "task", "metric"]
    columns = ["arm", *cell, "unit", "higher_is_better", "value", "key", *(["roots"] if "roots" in frame else [])]
    asked = frame["headline"].astype(bool) if metric is None else frame["metric"] == metric
    rows: pd.DataFrame = frame.loc[asked.to_numpy(bool) & _of_whole_tasks(frame, subset), columns]
    base = rows.loc[rows["arm"] == baseline, [*cell, "value"]].rename(columns={"value": "base"})
    base["size"] = base.groupby(["task", "metric"])["base"].transform("mean").abs()
    joined = rows.merge(base, on=cell, validate="many_to_one")
    sign = np.where(joined["higher_is_better"].astype(bool), 1.0, -1.0)
    size = joined["size"].where(joined["size"] != 0)
    return joined.assign(change=100 * sign * (joined["value"] - joined["base"]) / size).drop(columns="size")


def mean_over_tasks(changes: pd.DataFrame, task: str) -> pd.DataFrame:
    """The mean change over the tasks, per arm and seed that has all of them, as rows of a task of this name.

    Columns arm, seed, task, metric, change, and roots (of all the tasks' networks) where `changes` has them.
    """
    tasks = changes["task"].nunique()
    groups = changes.groupby(["arm", "seed"], sort=False, dropna=False)
    means = groups["change"].agg(["mean", "count"])
    if "roots" in changes:
        means["roots"] = groups["roots"].agg(" ".join)
    means = means[means["count"] == tasks].rename(columns={"mean": "change"}).drop(columns="count").reset_index()
    return means.assign(task=task, metric="mean over tasks")
