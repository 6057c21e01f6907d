"""Statistics on the results frame: what to compare, changes paired by seed, intervals, the Split that val chooses.

Every function takes frames and returns frames; only `published` reads a file. The frame is long: one row a number, with
the columns that `mtlbench.load_results` documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # t quantile; scipy.stats takes half a second to import

from mtlbench.errors import UserError
from mtlbench.plugins import unknown

BASELINE = "one-task"
HIDDEN_ARMS = ("ensemble-member",)  # parents only: in the frame, never in a table or figure
IDENTITY = ["pair", "dataset", "backbone", "recipe"]  # what a comparison never mixes
FEWEST_SEEDS = 3  # below this an interval would be a guess
_LEADING = ("one-task", "ensemble", "one-task-longer", "mtl-shared")
_TRAILING = ("cross-stitch",)


def is_split(arm: str) -> bool:
    """Whether an arm is of the Split family."""
    return arm.startswith("split-")


def arm_order(arms: Iterable[str]) -> list[str]:
    """The arms in table order: baseline and controls, mtl-shared, Splits from early to late, cross-stitch, others."""

    def position(arm: str) -> tuple[int, int, str]:
        if arm in _LEADING:
            return 0, _LEADING.index(arm), ""
        if is_split(arm):  # conv2 .. conv5, fc6 .. fc8, and layer2 before layer10
            return 1, 0, re.sub(r"\d+", lambda digits: digits[0].zfill(4), arm)
        return (2, 0, "") if arm in _TRAILING else (3, 0, arm)

    return sorted(set(arms), key=position)


def newest(
    frame: pd.DataFrame,
    pair: str | None = None,
    dataset: str | None = None,
    recipe: str | None = None,
    backbone: str | None = None,
) -> tuple[pd.DataFrame, str]:
    """The rows of one pair, dataset, backbone and recipe, and a sentence that says which and what was left out.

    What is not given is taken from the row that finished last; so is the setting (versions and options of data,
    backbone and recipe). Where an arm, seed and task were trained more than once in it (under an older version of the
    scheme, say), only the trial that finished last stays. Raises UserError if nothing is left.
    """
    if frame.empty:
        raise UserError("there are no results yet; type: mtlbench run --pair det_attr")
    asked = {"pair": pair, "dataset": dataset, "backbone": backbone, "recipe": recipe}
    candidates = frame
    for column, name in asked.items():
        if name is not None:
            valid = sorted(candidates[column].unique())
            if name not in valid:
                raise unknown(f"{column} with results", name, valid)
            candidates = candidates[candidates[column] == name]
    last = records(candidates[candidates["finished"] == max(candidates["finished"])])[0]
    chosen = candidates[(candidates[IDENTITY] == [last[column] for column in IDENTITY]).all(axis=1)]
    note = _sentence(last) + (" (the newest results)" if None in asked.values() else "")
    others = candidates.drop(chosen.index)[IDENTITY].drop_duplicates()
    if len(others):
        note += "; left out: " + " / ".join(_sentence(other) for other in records(others))
    current = _last_trials(chosen[chosen["setting"] == last["setting"]])
    stale = chosen["key"].nunique() - current["key"].nunique()
    if stale:
        note += f"; left out: {stale} older trial{'s' if stale > 1 else ''} of other versions or options"
    return current.reset_index(drop=True), note + "."


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries."""
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]


def failures_of(frame: pd.DataFrame, failures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The failures that belong to the frame's pair, dataset, backbone and recipe, as far as they tell."""
    own = records(frame.head(1)[IDENTITY])[0]
    return [failure for failure in failures if all(failure.get(name, own[name]) == own[name] for name in IDENTITY)]


def _sentence(identity: Mapping[str, Any]) -> str:
    return f"{identity['pair']} on {identity['dataset']}, backbone {identity['backbone']}, recipe {identity['recipe']}"


def _last_trials(frame: pd.DataFrame) -> pd.DataFrame:
    """Per arm, seed and task the numbers of the trial that finished last; a trial with none left loses its costs."""
    measured = frame[frame["subset"] != "cost"].sort_values("finished", kind="stable")
    last = measured.groupby(["arm", "seed", "task"], dropna=False, sort=False)["key"].transform("last")
    outdated = measured[measured["key"] != last]
    trials = pd.MultiIndex.from_frame(measured.loc[measured["key"] == last, ["arm", "key"]])
    dead = pd.MultiIndex.from_frame(measured[["arm", "key"]]).difference(trials)
    costs = frame[frame["subset"] == "cost"]
    dead_costs = costs[pd.MultiIndex.from_frame(costs[["arm", "key"]]).isin(dead)]
    return frame.drop(outdated.index.union(dead_costs.index))


def whole_task(frame: pd.DataFrame, subset: str) -> pd.DataFrame:
    """The visible arms' numbers of whole tasks (no single categories, no costs) on a subset."""
    keep = (frame["subset"] == subset) & (frame["category"].fillna("") == "") & ~frame["arm"].isin(HIDDEN_ARMS)
    return frame[keep]


def relative_change(
    frame: pd.DataFrame, baseline: str = BASELINE, subset: str = "test", metric: str | None = None
) -> pd.DataFrame:
    """Change of a metric (None = each task's headline) against the baseline with the same seed, in %, up is better.

    change = 100 * sign * (value - base) / |base|, sign = -1 where lower is better; NaN where base is 0. One row per
    arm, seed, task and metric; the baseline's own rows are in it, identically 0. Seeds that the baseline lacks go.
    Definition of the paper's Figure 2(b), "performance relative to the task-specific network".
    """
    rows = whole_task(frame, subset)
    rows = rows[rows["headline"].astype(bool)] if metric is None else rows[rows["metric"] == metric]
    cell = ["seed", "task", "metric"]
    columns = ["arm", *cell, "unit", "higher_is_better", "value"]
    base = rows.loc[rows["arm"] == baseline, [*cell, "value"]].rename(columns={"value": "base"})
    joined = rows[columns].merge(base, on=cell, validate="many_to_one")
    sign = np.where(joined["higher_is_better"].astype(bool), 1.0, -1.0)
    size = joined["base"].abs().where(joined["base"] != 0)
    return joined.assign(change=100 * sign * (joined["value"] - joined["base"]) / size)


def pooled_residual(changes: pd.DataFrame) -> tuple[float, int]:
    """Standard deviation and degrees of freedom of the residual of change ~ arm + seed, for one task and metric.

    Least squares on all cells, the baseline's included: s^2 = RSS / (cells - rank), for a complete table
    (arms - 1)(seeds - 1) degrees of freedom. Since the seed effect absorbs what the baseline's own noise does to all
    arms of a seed, s estimates the noise of a single run (to first order in the baseline's relative noise) and not of a
    difference, although the baseline's change is identically 0. NaN without degrees of freedom.
    """
    arms, _ = pd.factorize(changes["arm"])
    seeds, _ = pd.factorize(changes["seed"], use_na_sentinel=False)
    design = np.hstack([np.eye(arms.max() + 1)[arms], np.eye(seeds.max() + 1)[seeds]])
    values = changes["change"].to_numpy(float)
    effects, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    freedom = len(values) - int(rank)
    if freedom == 0:
        return float("nan"), 0
    return float(np.sqrt(((values - design @ effects) ** 2).sum() / freedom)), freedom


def intervals(changes: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Mean change per task, metric and arm with its confidence interval; `changes` as `relative_change` gives them.

    Columns mean, n (seeds), low, high, low_single, high_single, noise (s), freedom (of the pooled interval).
    Pooled (low, high): mean -+ t(freedom) * s * sqrt(2 / n), with s of `pooled_residual`: one noise level for all arms.
    Single: mean -+ t(n - 1) * sd(changes of the arm) / sqrt(n), the paired t interval, as a check of that assumption.
    NaN below 3 seeds and for the baseline itself (or an arm that equals it exactly). Uncorrected for many comparisons.
    """
    rows = []
    upper = (1 + confidence) / 2
    for (task, metric), table in changes.dropna(subset=["change"]).groupby(["task", "metric"], sort=False):
        noise, freedom = pooled_residual(table)
        for arm, values in table.groupby("arm", sort=False)["change"]:
            n, mean = len(values), values.mean()
            half = half_single = float("nan")
            if n >= FEWEST_SEEDS and values.any():  # all zeros: against itself
                half = stdtrit(freedom, upper) * noise * np.sqrt(2 / n) if freedom else float("nan")
                half_single = stdtrit(n - 1, upper) * values.std(ddof=1) / np.sqrt(n)
            rows.append((task, metric, arm, mean, n, mean - half, mean + half,
                         mean - half_single, mean + half_single, noise, freedom))  # fmt: skip
    columns = ["task", "metric", "arm", "mean", "n", "low", "high", "low_single", "high_single", "noise", "freedom"]
    return pd.DataFrame(rows, columns=columns)


def noise_band(frame: pd.DataFrame, confidence: float = 0.95, subset: str = "test") -> pd.DataFrame:
    """How well the baseline's own headline is known from its seeds, per task, in % of its mean.

    Columns task, metric, n, mean (in the metric's unit), sd (of a single run, %), half_width: the half-width of the
    unpaired t interval of the baseline's mean over its n seeds, t(n - 1) * sd / sqrt(n); NaN below 3 seeds. Ours: the
    mean of n runs and not a single run, so that the band compares with markers that are means of n runs.
    """
    rows = whole_task(frame, subset)
    rows = rows[rows["headline"].astype(bool) & (rows["arm"] == BASELINE)]
    found = []
    for (task, metric), values in rows.groupby(["task", "metric"], sort=False)["value"]:
        n, mean = len(values), values.mean()
        sd = 100 * values.std(ddof=1) / abs(mean) if n > 1 and mean else float("nan")
        half = stdtrit(n - 1, (1 + confidence) / 2) * sd / np.sqrt(n) if n >= FEWEST_SEEDS else float("nan")
        found.append((task, metric, n, mean, sd, half))
    return pd.DataFrame(found, columns=["task", "metric", "n", "mean", "sd", "half_width"])


def best_split(frame: pd.DataFrame) -> pd.DataFrame:
    """The Split that val chooses, per task and for the pair, and what it gives on test.

    Columns scope ("task" or "pair"), task ("" for the pair), arm, val_change, test_change (mean headline change in %;
    for the pair the mean over its tasks, over Splits that have all of them). Empty without val numbers. The
    paper picks on the reported numbers (Sections 1.1, 6.1; per task in Table 6, per pair in Table 5); val is ours.
    """
    means = {}
    for subset in ("val", "test"):
        changes = relative_change(frame, subset=subset)
        table = changes.pivot_table(index="arm", columns="task", values="change", aggfunc="mean", sort=False)
        means[subset] = table.loc[[arm for arm in arm_order(table.index) if is_split(arm)]]
    rows = []
    for task in means["val"].columns:
        scores = means["val"][task].dropna()
        if len(scores):
            rows.append(("task", task, scores.idxmax(), scores.max()))
    scores = means["val"].mean(axis=1, skipna=False).dropna()
    if len(scores):
        rows.append(("pair", "", scores.idxmax(), scores.max()))
    means["test"][""] = means["test"].mean(axis=1, skipna=False)
    best = pd.DataFrame(rows, columns=["scope", "task", "arm", "val_change"])
    best["test_change"] = [
        means["test"][task].get(arm, float("nan")) if task in means["test"] else float("nan")
        for task, arm in zip(best["task"], best["arm"], strict=True)
    ]
    return best


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
        correlation = both["a"].corr(both["b"]) if len(both) >= 3 else float("nan")
        rows.append((task, len(both), correlation))
    return pd.DataFrame(rows, columns=["task", "arms", "correlation"])


def published() -> pd.DataFrame:
    """The paper's numbers (`paper.csv`) in the frame's columns plus `source`; one run each, the seed is empty."""
    package = Path(__file__).parent
    places = (package / "results" / "paper.csv", package.parent / "results" / "paper.csv")  # installed; checkout
    for place in places:
        if place.is_file():
            return pd.read_csv(place, keep_default_na=False, na_values={"seed": [""]}, dtype={"key": str})
    raise UserError(f"paper.csv is missing: looked at {places[0]} and {places[1]}; reinstall mtlbench")
