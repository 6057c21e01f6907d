"""The results frame: which rows compare, changes paired by seed, the published numbers.

What the changes show (intervals, the Split that val chooses) is in `inference`. Every function takes frames and returns
frames; only `published` reads a file. The frame is long: one row a number, with the columns that
`mtlbench.load_results` documents.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mtlbench.errors import UserError
from mtlbench.plugins import unknown

BASELINE = "one-task"
HIDDEN_ARMS = ("ensemble-member", "branching-search")  # parents only: in the frame, never in a table or figure
IDENTITY = ["pair", "dataset", "backbone", "recipe"]  # what a comparison never mixes
FEWEST_SEEDS = 3  # below this an interval would be a guess
_LEADING = ("one-task", "ensemble", "one-task-longer", "mtl-shared")
_VARIED = ("mtl-shared", "cross-stitch")  # arms whose variants have names that begin with theirs


def is_split(arm: str) -> bool:
    """Whether an arm is of the Split family: `split-fc8`, but no wide control and no other rate of one."""
    return re.fullmatch(r"split-[^-@]+", arm) is not None


def arm_order(arms: Iterable[str]) -> list[str]:
    """The arms in table order: baseline and controls, mtl-shared, Splits from early to late, cross-stitch, others.

    Variants (`cross-stitch-rate-10`) stand after the arm whose name they begin with; numbers in names count as numbers,
    and 1-16 as a sixteenth.
    """

    def position(arm: str) -> tuple[int, int, list[str | float]]:
        family = next((name for name in (*_VARIED, arm) if arm.startswith(name)), arm)
        if family in _LEADING:
            return 0, _LEADING.index(family), _natural(arm)
        if is_split(arm):  # conv2 .. conv5, fc6 .. fc8, and layer2 before layer10
            return 1, 0, _natural(arm)
        return 2 if family in _VARIED else 3, 0, _natural(arm)

    return sorted(set(arms), key=position)


def _natural(name: str) -> list[str | float]:
    """Texts and numbers in turn, which sort as people do: `rate-`, 10.0, ``."""
    fractions = re.sub(r"(?<![\d.])(\d+)-([1-9]\d*)(?![\d.])", lambda f: f"{int(f[1]) / int(f[2]):.9f}", name)
    parts = re.split(r"(\d+(?:\.\d+)?)", fractions)
    return [float(part) if place % 2 else part for place, part in enumerate(parts)]


def one_name_each(frame: pd.DataFrame) -> dict[str, str]:
    """{arm: the name it is judged by}: arms that share trials are one network under several names and count once, by
    the name with the most trials, the first in table order."""
    trials = frame.groupby("arm")["key"].agg(set)
    names: dict[str, str] = {}
    for arm in sorted(arm_order(trials.index), key=lambda arm: -len(trials[arm])):
        names[arm] = next((other for other in names.values() if trials[other] & trials[arm]), arm)
    return names


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
    last = records(candidates[candidates["finished"] == candidates["finished"].max()].head(1))[0]
    chosen = candidates[(candidates[IDENTITY] == [last[column] for column in IDENTITY]).all(axis=1)]
    note = _sentence(last) + (" (the newest results)" if None in asked.values() else "")
    others = candidates.drop(chosen.index)[IDENTITY].drop_duplicates()
    if len(others):
        note += "; left out: " + " / ".join(_sentence(other) for other in records(others))
    current = _last_trials(chosen[chosen["setting"] == last["setting"]])
    stale = chosen["key"].nunique() - current["key"].nunique()
    if stale:
        note += f"; left out: {stale} older trial{'s' if stale > 1 else ''} of other versions or options"
    current, rates = at_best_rates(current)
    return current.reset_index(drop=True), note + rates + "."


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries."""
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]


def failures_of(frame: pd.DataFrame, failures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The failures that belong to the frame's pair, dataset, backbone, recipe and setting, as far as they tell.

    Those after which the same arm and seed finished (of the same task, for one with one task) are no longer true.
    """
    own = records(frame.head(1)[[*IDENTITY, "setting"]])[0]
    done = frame.groupby(["arm", "seed", "task"])["finished"].max()
    later = {cell: str(finished) for cell, finished in done.items()}

    def mended(failure: Mapping[str, Any]) -> bool:
        tasks = [failure["task"]] if failure["task"] else frame["task"].unique()
        times = [later.get((failure["arm"], failure["seed"], task), "") for task in tasks]
        return max(times) > failure.get("failed", "")

    same = [one for one in failures if all(one.get(name, value) == value for name, value in own.items())]
    return [failure for failure in same if not mended(failure)]


def reason_of(failure: Mapping[str, Any]) -> str:
    """Why a trial failed, without the alphas of one that diverged (`mtlbench status --failed` and the report's list of
    failures have them)."""
    return str(failure["reason"]).partition("; alphas {")[0]


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
    Column `key` is the trial's: second names of a network have it too. Definition of the paper's Figure 2(b),
    "performance relative to the task-specific network".
    """
    rows = whole_task(frame, subset)
    rows = rows[rows["headline"].astype(bool)] if metric is None else rows[rows["metric"] == metric]
    cell = ["seed", "task", "metric"]
    columns = ["arm", *cell, "unit", "higher_is_better", "value", "key"]
    base = rows.loc[rows["arm"] == baseline, [*cell, "value"]].rename(columns={"value": "base"})
    joined = rows[columns].merge(base, on=cell, validate="many_to_one")
    sign = np.where(joined["higher_is_better"].astype(bool), 1.0, -1.0)
    size = joined["base"].abs().where(joined["base"] != 0)
    return joined.assign(change=100 * sign * (joined["value"] - joined["base"]) / size)


def compute_matched(frame: pd.DataFrame, parents: Mapping[str, Sequence[str]] | None = None) -> pd.DataFrame:
    """What each arm costs for the pair with the training of its parents, and that over one-task's.

    Columns arm, n (seeds with all of the arm's trials), parameters, flops (forward, of one image through all networks),
    image_visits (of its own training; a joint network sees an image once for all tasks), image_visits_with_parents,
    training_flops_with_parents (3 x flops x image visits: the backward pass costs twice the forward one, Kaplan et al.
    2020, 2.1), seconds_with_parents (evaluation included), and of each but arm and n its ratio to one-task
    (`..._ratio`). Sums over an arm's trials, means over seeds. `parents`: {key: keys of its parents}
    (`Results.provenance_of` has them); without it the standard arms': one-task of the same seed for one-task-longer and
    cross-stitch (unless it starts from scratch or ImageNet), the second member too for the ensemble. NaN where a
    parent's costs are missing. Ours.
    """
    costs = frame[frame["subset"] == "cost"]
    trials = costs.pivot(index=["arm", "seed", "task", "key"], columns="metric", values="value").reset_index()
    sums = ["parameters", "flops", "image_visits"]
    with_parents = ["image_visits_with_parents", "training_flops_with_parents", "seconds_with_parents"]
    trials = trials.reindex(columns=["arm", "seed", "task", "key", *sums, "seconds_with_parents"])
    lineage = _usual_parents(trials) if parents is None else parents
    visits = dict(zip(trials["key"], trials["image_visits"], strict=True))
    work = dict(zip(trials["key"], 3 * trials["flops"] * trials["image_visits"], strict=True))
    own = trials[~trials["arm"].isin(HIDDEN_ARMS)].groupby(["arm", "seed"], dropna=False)
    table = own[[*sums, "seconds_with_parents"]].sum()
    trained = [_with_ancestors(keys, lineage) for keys in own["key"].agg(list)]
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


def _usual_parents(trials: pd.DataFrame) -> dict[str, list[str]]:
    """{key: keys of its parents} by the names of the standard arms; a parent that is not there by a made-up key."""
    tasks = sorted(set(trials["task"]) - {""})
    keys = {(row["arm"], row["seed"], row["task"]): row["key"] for row in records(trials)}
    found = {}
    for (arm, seed, task), key in keys.items():
        from_others = arm == "one-task-longer" or (
            arm.startswith("cross-stitch") and not arm.endswith(("-from-scratch", "-from-imagenet"))
        )
        names = [BASELINE, HIDDEN_ARMS[0]] if arm == "ensemble" else [BASELINE] if from_others else []
        found[key] = [
            keys.get((name, seed, one), f"{name} {seed} {one}") for name in names for one in ([task] if task else tasks)
        ]
    return found


def at_best_rates(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Arms that were trained at several learning rates (`ARM`, `ARM@3`, ...) at the one that is best on val, under the
    arm's own name; and a clause that says which.

    Best is the highest mean change of the headline against one-task at the recipe's rate, over the seeds that all rates
    have: over the tasks of a joint network, of each task where it has a network of its own. Without numbers of val the
    recipe's rate stays. Ours: one fixed rate favours some arms.
    """
    if not frame["arm"].str.contains("@").any():
        return frame, ""
    joint = frame[frame["subset"] != "cost"].groupby("key")["task"].nunique().gt(1)
    families = frame["arm"].str.split("@").str[0].astype(frame["arm"].dtype).rename("family")
    cell = frame["task"].where(~frame["key"].map(joint).fillna(False).astype(bool), "").rename("cell")
    changes = relative_change(frame, subset="val")
    changes = changes.assign(family=changes["arm"].str.split("@").str[0])
    keep, chosen = pd.Series(False, index=frame.index), []
    for where, rows in frame.groupby([families, cell], sort=False):
        family, task = map(str, where)
        own = changes[(changes["family"] == family) & changes["task"].isin([task] if task else changes["task"])]
        table = own.pivot(index=["seed", "task"], columns="arm", values="change").dropna()
        best = str(table.mean().idxmax()) if len(table) and table.shape[1] == rows["arm"].nunique() else family
        keep[rows.index[rows["arm"] == best]] = True
        if best != family:
            chosen.append(f"{family}{f' ({task})' if task else ''} at {best.partition('@')[2]} x the rate")
    said = ", ".join(chosen) if chosen else "the recipe's own for every arm"
    return frame[keep].assign(arm=families[keep]), f"; learning rates chosen on val: {said}"


def published() -> pd.DataFrame:
    """The paper's numbers (`paper.csv`) in the frame's columns plus `source`; one run each, the seed is empty."""
    package = Path(__file__).parent
    places = (package / "results" / "paper.csv", package.parent / "results" / "paper.csv")  # installed; checkout
    for place in places:
        if place.is_file():
            return pd.read_csv(place, keep_default_na=False, na_values={"seed": [""]}, dtype={"key": str})
    raise UserError(f"paper.csv is missing: looked at {places[0]} and {places[1]}; reinstall mtlbench")
