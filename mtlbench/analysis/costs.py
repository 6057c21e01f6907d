"""What a network or a pair of networks costs: parameters, operations, time, and what its parents add."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from mtlbench.analysis.arms import without_parents
from mtlbench.analysis.frame import IDENTITY
from mtlbench.arm_names import BASELINE, arm_order
from mtlbench.spec import Purpose


def compute_matched(frame: pd.DataFrame, parents: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """What each arm costs for the pair with the training of its parents, and that over one-task's.

    Columns arm, n (seeds with all of the arm's trials), parameters, flops (forward, of one image through all networks),
    image_visits (of its own training; a joint network sees an image once for all tasks), image_visits_with_parents,
    training_flops_with_parents (3 x flops x image visits: the backward pass costs twice the forward one, Kaplan et al.
    2020, 2.1), seconds_with_parents (evaluation included), and of each but arm and n its ratio to one-task
    (`..._ratio`). Sums over an arm's trials, means over seeds. `parents`: {key: keys of its parents}
    (`Results.provenance_of` has them). NaN where a parent's costs are missing. Ours.
    """
    costs = frame[frame["subset"] == "cost"]
    trial = ["arm", "family", "seed", "task", "key"]
    trials = costs.pivot(index=trial, columns="metric", values="value").reset_index()
    sums = ["parameters", "flops", "image_visits"]
    with_parents = ["image_visits_with_parents", "training_flops_with_parents", "seconds_with_parents"]
    trials = trials.reindex(columns=[*trial, *sums, "seconds_with_parents"])
    visits = dict(zip(trials["key"], trials["image_visits"], strict=True))
    work = dict(zip(trials["key"], 3 * trials["flops"] * trials["image_visits"], strict=True))
    own = without_parents(trials).groupby(["arm", "seed"], dropna=False)
    table = own[[*sums, "seconds_with_parents"]].sum()
    trained = [_with_ancestors(keys, parents) for keys in own["key"].agg(list)]
    table["image_visits_with_parents"] = [sum(visits.get(key, math.nan) for key in keys) for keys in trained]
    table["training_flops_with_parents"] = [sum(work.get(key, math.nan) for key in keys) for keys in trained]
    table = table[[*sums, *with_parents]].assign(trials=own.size()).reset_index()
    complete = table[table["trials"] == table.groupby("arm")["trials"].transform("max")].drop(columns="trials")
    means = complete.drop(columns="seed").groupby("arm").mean()
    means = means.loc[arm_order(means.index)]
    base = means.loc[BASELINE] if BASELINE in means.index else float("nan")
    counts = complete.groupby("arm").size().rename("n")
    return means.join(counts).join((means / base).add_suffix("_ratio")).reset_index()


def _with_ancestors(keys: Sequence[str], lineage: Mapping[str, Sequence[str]]) -> list[str]:
    """The keys, their parents' and so on, each once."""
    found, waiting = set(keys), list(keys)
    while waiting:
        waiting = [parent for key in waiting for parent in lineage.get(key, ()) if parent not in found]
        found.update(waiting)
    return sorted(found)


def step_costs(frame: pd.DataFrame, places: pd.DataFrame, plain: str) -> pd.DataFrame:
    """CPU seconds of a training step over those of the weighting called `plain`, mean over the seeds that have both.

    places: arm, architecture, weighting. Columns architecture, weighting, ratio.
    """
    seconds = frame[(frame["subset"] == "cost") & (frame["metric"].isin(["step_seconds", "iterations"]))]
    wide = seconds.pivot_table(index=["arm", "seed"], columns="metric", values="value", aggfunc="sum")
    wide = wide.reindex(columns=["step_seconds", "iterations"]).reset_index()
    wide["step"] = wide["step_seconds"] / wide["iterations"]
    own = places.merge(wide[["arm", "seed", "step"]], on="arm")
    base = own[own["weighting"] == plain][["architecture", "seed", "step"]].rename(columns={"step": "base"})
    ratios = own.merge(base, on=["architecture", "seed"])
    ratios["ratio"] = ratios["step"] / ratios["base"]
    return ratios.dropna(subset=["ratio"]).groupby(["architecture", "weighting"])["ratio"].mean().reset_index()


def sum_tuning_seconds(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """What it took to choose each arm's settings, in seconds by arm: every trial that only was tried out, once.

    frame: all results; rows: those of one setting that are compared (`selection.select_newest`). Empty for an untuned
    study.
    """
    if rows.empty or not rows["tuned"].any():
        return pd.Series(dtype=float)
    same = (frame[[*IDENTITY, "setting"]] == rows.iloc[0][[*IDENTITY, "setting"]]).all(axis=1)
    seconds = frame[same & (frame["purpose"] == Purpose.TUNING) & (frame["metric"] == "seconds")]
    return seconds.drop_duplicates("key").groupby("variant_of")["value"].sum()


COMPARED = {  # of `compute_matched`, in sentences
    "parameters": "Parameters",
    "training_flops_with_parents": "Training FLOPs with parents",
}
COSTS = {  # metric of the subset "cost" -> heading; per pair: the sum over an arm's trials, mean over seeds
    "parameters": "parameters",
    "flops": "FLOPs",
    "iterations": "iterations",
    "image_visits": "image visits",
    "seconds": "seconds",
    "seconds_with_parents": "with parents",
}


def pair_costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Costs per pair, arm x metric: summed over the trials of an arm and seed, mean over the seeds with all trials."""
    costs = without_parents(rows[rows["subset"] == "cost"])
    sums = costs.groupby(["arm", "metric", "seed"], dropna=False)["value"].agg(["sum", "count"]).reset_index()
    complete = sums[sums["count"] == sums.groupby(["arm", "metric"])["count"].transform("max")]
    return complete.groupby(["arm", "metric"])["sum"].mean().unstack("metric").reindex(columns=list(COSTS))
