"""Choosing a Split: what val chooses, what choosing on test would claim, and whether ranks hold on fresh seeds."""

from __future__ import annotations

import math

import pandas as pd

from mtlbench.analysis.arms import Arms
from mtlbench.analysis.frame import FEWEST_SEEDS, relative_change
from mtlbench.arm_names import arm_order


def best_split(frame: pd.DataFrame) -> pd.DataFrame:
    """The Split that val chooses, per task and for the pair, and what it gives on test.

    Columns scope ("task" or "pair"), task ("" for the pair), arm, val_change, test_change (mean headline change in %;
    for the pair the mean over its tasks, over Splits that have all of them). Empty without val numbers. The
    paper picks on the reported numbers (Sections 1.1, 6.1; per task in Table 6, per pair in Table 5); val is ours.
    """
    val, test = (_average_seeds(_split_changes(frame, subset)) for subset in ("val", "test"))
    none = pd.Series(dtype=float)
    rows = [
        ("task" if task else "pair", task, arm, val[task][arm], test.get(task, none).get(arm, math.nan))
        for task, arm in _choose_best(val).items()
    ]
    return pd.DataFrame(rows, columns=["scope", "task", "arm", "val_change", "test_change"])


def measure_optimism(frame: pd.DataFrame) -> pd.DataFrame:
    """What choosing the Split on test would have claimed, beside choosing it on val; per task and for the pair.

    Columns scope, task, arm_val, test_of_val, arm_test, test_of_test, optimism (test_of_test - test_of_val, never below
    0), error (of optimism: sd over seeds / sqrt(n), the two arms taken as given; NaN below 3 seeds and where val and
    test agree), n (seeds that both arms have). Mean headline changes in %. The best of several noisy means is biased
    upwards (Cawley and Talbot 2010). Choosing on val takes away what is owed to the images: val and test share none.
    It does not take away what is owed to training: the same networks are scored on both, so that an arm whose few
    seeds trained well is chosen for it and shows it on test too, and test_of_val is still too high by that part.
    `optimism` is what choosing on test adds. Only new seeds of the chosen arm are free of both
    (`rank_correlation`). Ours.
    """
    val, changes = _average_seeds(_split_changes(frame, "val")), _split_changes(frame, "test")
    test, rows = _average_seeds(changes), []
    on_test = _choose_best(test)
    for task, arm in _choose_best(val).items():
        if task not in on_test or arm not in test[task].dropna():
            continue
        other = on_test[task]
        cells = changes[task] if task else changes.mean(axis=1, skipna=False)
        differences = (cells.xs(other) - cells.xs(arm)).dropna()
        n = len(differences)
        error = float(differences.std(ddof=1)) / math.sqrt(n) if n >= FEWEST_SEEDS and other != arm else math.nan
        rows.append(
            (
                "task" if task else "pair",
                task,
                arm,
                test[task][arm],
                other,
                test[task][other],
                test[task][other] - test[task][arm],
                error,
                n,
            )
        )
    columns = ["scope", "task", "arm_val", "test_of_val", "arm_test", "test_of_test", "optimism", "error", "n"]
    return pd.DataFrame(rows, columns=columns)


def _split_changes(frame: pd.DataFrame, subset: str) -> pd.DataFrame:
    """Headline changes of the Splits in %, (arm, seed) x task."""
    changes = relative_change(frame, subset=subset)
    splits = changes[changes["arm"].isin(Arms.of(frame).splits())]
    cells = splits.pivot(index=["arm", "seed"], columns="task", values="change")
    return cells.reindex(columns=list(dict.fromkeys(changes["task"]))).astype(float)


def _average_seeds(changes: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, arm x task, and as task "" the mean over the tasks where none is missing."""
    means = changes.groupby("arm").mean()
    means = means.loc[arm_order(means.index)]
    return means.assign(**{"": means.mean(axis=1, skipna=False)})


def _choose_best(means: pd.DataFrame) -> dict[str, str]:
    """{task: the arm with the highest mean}, the earlier one of equals."""
    return {str(task): str(means[task].idxmax()) for task in means.columns if means[task].notna().any()}


def rank_correlation(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of the arms' mean headline changes between two sets of seeds, per task.

    Columns task, arms (in both sets, the baseline included), correlation (ties get mean ranks; NaN below 3 arms).
    """
    tables = [
        relative_change(frame).pivot_table(index="arm", columns="task", values="change", aggfunc="mean", sort=False)
        for frame in (frame_a, frame_b)
    ]
    rows = []
    for task in [task for task in tables[0].columns if task in tables[1].columns]:
        both = pd.concat([table[task] for table in tables], axis=1, keys=["a", "b"]).dropna().rank()
        correlation = both["a"].corr(both["b"]) if len(both) >= 3 else math.nan
        rows.append((task, len(both), correlation))
    return pd.DataFrame(rows, columns=["task", "arms", "correlation"])
