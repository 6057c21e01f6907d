"""Which trials of a results folder are compared: the newest setting, one name each, and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from mtlbench.analysis.frame import IDENTITY, list_records, relative_change
from mtlbench.arm_names import arm_order
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown
from mtlbench.spec import Purpose


@dataclass(frozen=True)
class Selection:
    """Which results are asked for, by names of the frame's columns; what is None is that of the newest results."""

    pair: str | None = None
    dataset: str | None = None
    recipe: str | None = None
    backbone: str | None = None


NEWEST = Selection()
IN_TABLES = (Purpose.COMPARED, Purpose.RATES)


def arms_matching(arms: Sequence[str], globs: Iterable[str], what: str) -> list[str]:
    """The arms that match any of the globs. Raises UserError for a glob without an arm; `what` says what arms these
    are."""
    for glob in globs:
        if not any(fnmatchcase(arm, glob) for arm in arms):
            raise make_unknown(what, glob, arms)
    return [arm for arm in arms if any(fnmatchcase(arm, glob) for glob in globs)]


def one_name_each(frame: pd.DataFrame) -> dict[str, str]:
    """{arm: the name it is judged by}: arms that share trials are one network under several names and count once, by
    the name with the most trials, the first in table order."""
    trials = frame[["arm", "key"]].drop_duplicates().groupby("arm")["key"].agg(set)
    names: dict[str, str] = {}
    for arm in sorted(arm_order(trials.index), key=lambda arm: -len(trials[arm])):
        names[arm] = next((other for other in names.values() if trials[other] & trials[arm]), arm)
    return names


def select_newest(
    frame: pd.DataFrame,
    selection: Selection = NEWEST,
    purposes: Sequence[Purpose] = IN_TABLES,
) -> tuple[pd.DataFrame, str]:
    """The rows of one pair, dataset, backbone and recipe, and a sentence that says which and what was left out; of arms
    that are trained for one of these purposes.

    What is not given is taken from the row that finished last; so is the setting (versions and options of data,
    backbone and recipe). Where an arm, seed and task were trained more than once in it (under an older version of the
    scheme, say), only the trial that finished last stays. Raises UserError if nothing is left.
    """
    frame = frame[frame["purpose"].isin(purposes)]
    if frame.empty:
        raise UserError("there are no results yet; type: mtlbench run --pair det_attr")
    asked = {column: getattr(selection, column) for column in IDENTITY}
    candidates = frame
    for column, name in asked.items():
        if name is not None:
            valid = sorted(candidates[column].unique())
            if name not in valid:
                raise make_unknown(f"{column} with results", name, valid)
            candidates = candidates[candidates[column] == name]
    last = list_records(candidates[candidates["finished"] == candidates["finished"].max()].head(1))[0]
    newest = match_rows(candidates, Selection(**{column: last[column] for column in IDENTITY}))
    chosen = candidates[newest]
    current = _last_trials(chosen[chosen["setting"] == last["setting"]])
    stale = chosen["key"].nunique() - current["key"].nunique()
    current, rates = at_best_rates(current)
    note = f"{_sentence(last)}, {rates or describe_tuning(current)}"
    note += " (the newest results)" if None in asked.values() else ""
    others = candidates.loc[~newest, IDENTITY].drop_duplicates()
    if len(others):
        note += "; left out: " + " / ".join(_sentence(other) for other in list_records(others))
    if stale:
        note += f"; left out: {stale} older trial{'s' if stale > 1 else ''} of other versions or options"
    return current.reset_index(drop=True), f"{note}."


def match_rows(frame: pd.DataFrame, selection: Selection) -> pd.Series:
    """Which rows are of what the selection names."""
    found = pd.Series(True, index=frame.index)
    for column in IDENTITY:
        if (name := getattr(selection, column)) is not None:
            found &= frame[column] == name
    return found


def with_purpose(frame: pd.DataFrame, purpose: Purpose) -> pd.DataFrame:
    """The rows of the settings in which arms were trained for a purpose."""
    of_setting = pd.MultiIndex.from_frame(frame[[*IDENTITY, "setting"]])
    return frame[of_setting.isin(of_setting[frame["purpose"] == purpose])]


def failures_of(
    frame: pd.DataFrame, failures: Sequence[Mapping[str, Any]], purposes: Sequence[Purpose] = IN_TABLES
) -> list[Mapping[str, Any]]:
    """The failures that belong to the frame's pair, dataset, backbone, recipe and setting, as far as they tell, of arms
    that are trained for one of these purposes.

    Those after which the same arm and seed finished (of the same task, for one with one task) are no longer true.
    """
    own = list_records(frame.head(1)[[*IDENTITY, "setting"]])[0]
    done = frame.groupby(["arm", "seed", "task"])["finished"].max()
    later = {cell: str(finished) for cell, finished in done.items()}

    def is_mended(failure: Mapping[str, Any]) -> bool:
        tasks = [failure["task"]] if failure["task"] else frame["task"].unique()
        times = [later.get((failure["arm"], failure["seed"], task), "") for task in tasks]
        return max(times) > str(failure.get("failed", ""))

    same = [one for one in failures if all(one.get(name, value) == value for name, value in own.items())]
    return [failure for failure in same if failure.get("purpose", "") in purposes and not is_mended(failure)]


def describe_failures(
    frame: pd.DataFrame, failures: Sequence[Mapping[str, Any]], purposes: Sequence[Purpose] = IN_TABLES
) -> str:
    """`Failed or blocked: a, b.` for the frame's failures, or nothing."""
    names = dict.fromkeys(str(failure["arm"]) for failure in failures_of(frame, failures, purposes))
    return f"Failed or blocked: {', '.join(names)}." if names else ""


def _sentence(identity: Mapping[str, Any]) -> str:
    return f"{identity['pair']} on {identity['dataset']}, backbone {identity['backbone']}, recipe {identity['recipe']}"


def _last_trials(frame: pd.DataFrame) -> pd.DataFrame:
    """Per arm, seed and task the numbers of the trial that finished last; a trial with none left loses its costs."""
    once = frame.loc[frame["subset"] != "cost", ["arm", "seed", "task", "key"]].drop_duplicates()
    if not once.duplicated(["arm", "seed", "task"]).any():
        return frame  # most stores: everything was trained once
    measured = frame[frame["subset"] != "cost"].sort_values("finished", kind="stable")
    last = measured.groupby(["arm", "seed", "task"], dropna=False, sort=False)["key"].transform("last")
    outdated = measured[measured["key"] != last]
    trials = pd.MultiIndex.from_frame(measured.loc[measured["key"] == last, ["arm", "key"]])
    dead = pd.MultiIndex.from_frame(measured[["arm", "key"]]).difference(trials)
    costs = frame[frame["subset"] == "cost"]
    dead_costs = costs[pd.MultiIndex.from_frame(costs[["arm", "key"]]).isin(dead)]
    return frame.drop(outdated.index.union(dead_costs.index))


def describe_tuning(frame: pd.DataFrame) -> str:
    """At which learning rates and weights of losses the arms were trained, as a clause."""
    budget = int(frame["tuned"].max())
    if budget:
        return f"every arm at the best on val of {budget} settings of learning rate and loss weights"
    return "untuned"


def at_best_rates(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Arms that were trained at several learning rates (column `rate`; at another than the recipe's for the purpose
    `rates`, as a variant of the arm) at the one that is best on val, under the arm's own name; and a clause that says
    which.

    Best is the highest mean change of the headline against one-task at the recipe's rate, over the seeds that all rates
    have: over the tasks of a joint network, of each task where it has a network of its own. Without numbers of val the
    recipe's rate stays. Ours: one fixed rate favours some arms.
    """
    at_other_rates = frame["purpose"] == Purpose.RATES
    if not at_other_rates.any():
        return frame, ""
    joint = frame[frame["subset"] != "cost"].groupby("key")["task"].nunique().gt(1)
    own_names = frame["arm"].where(~at_other_rates, frame["variant_of"]).rename("own_name")
    rates = dict(zip(frame["arm"], frame["rate"], strict=True))
    base = dict(zip(frame["arm"], own_names, strict=True))
    cell = frame["task"].where(~frame["key"].map(joint).fillna(False).astype(bool), "").rename("cell")
    changes = relative_change(frame, subset="val")
    changes = changes.assign(own_name=changes["arm"].map(base))
    keep, chosen = pd.Series(False, index=frame.index), []
    for where, rows in frame.groupby([own_names, cell], sort=False):
        name, task = map(str, where)
        own = changes[(changes["own_name"] == name) & changes["task"].isin([task] if task else changes["task"])]
        table = own.pivot(index=["seed", "task"], columns="arm", values="change").dropna()
        best = str(table.mean().idxmax()) if len(table) and table.shape[1] == rows["arm"].nunique() else name
        keep[rows.index[rows["arm"] == best]] = True
        if best != name:
            chosen.append(f"{name}{f' ({task})' if task else ''} at {rates[best]:g} x the rate")
    said = ", ".join(chosen) if chosen else "the recipe's own for every arm"
    varied = frame.loc[~at_other_rates].drop_duplicates("arm").set_index("arm")["variant_of"]
    names = own_names[keep]
    kept = frame[keep].assign(arm=names, variant_of=names.map(varied).fillna(""))
    return kept, f"learning rates chosen on val: {said}"
