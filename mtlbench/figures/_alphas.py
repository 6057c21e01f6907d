"""The numbers behind the figure of alphas: sorted values, means with intervals, what the paper says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from mtlbench.analysis import inference
from mtlbench.analysis.frame import FEWEST_SEEDS, records
from mtlbench.arm_names import arm_order
from mtlbench.figures import _panels as panels
from mtlbench.figures._arms import other_names
from mtlbench.plugins import unknown

MAIN, STARTS = "cross-stitch", "cross-stitch-alpha-"  # the arms that differ in nothing but the start (Table 1)
MOST_ARMS = 4  # of other arms with units, where none of those is there
CELL = ["arm", "stage", "task"]
QUANTITIES = ("alpha_s", "alpha_d")
PAPERS_TASKS = {"semseg", "normals"}  # that Section 5.4 speaks of
POOL5 = "pool5"


def shown_arms(alphas: pd.DataFrame, globs: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of the arms that match a glob; without globs of those that differ in their start alone, cross-stitch
    first, then from high to low alpha_s, or without any of them up to 4 other arms that have alphas.

    Of arms that are the same trials only one. Raises UserError for a glob without an arm that has alphas.
    """
    names = arm_order(alphas["arm"].unique())
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            raise unknown("arm with alphas", glob, names)
    starts = [name for name in names if name == MAIN or name.startswith(STARTS)] or names[:MOST_ARMS]
    asked = [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]
    wanted = sorted(asked if globs else starts, key=lambda name: name.startswith(STARTS))
    return alphas[alphas["arm"].isin(set(other_names(alphas, wanted)))]


def by_receiver(alphas: pd.DataFrame) -> pd.DataFrame:
    """One row per arm, seed, stage, task (receiver), iteration and channel, with alpha_s and alpha_d."""
    kind = np.where(alphas["receiver"] == alphas["giver"], *QUANTITIES)
    keys = ["arm", "seed", "stage", "receiver", "iteration", "channel"]
    wide = alphas.assign(kind=kind).groupby([*keys, "kind"], sort=False)["alpha"].mean().unstack("kind")
    return wide.reset_index().rename(columns={"receiver": "task"}).rename_axis(columns=None)


def starts_of(means: pd.DataFrame) -> pd.DataFrame:
    """arm, own, other, seeds: where alpha_s and alpha_d began (mean over layers and tasks), in the order drawn."""
    first = means[means["iteration"] == means.groupby(["arm", "seed"])["iteration"].transform("min")]
    starts = first.groupby("arm").agg(own=("alpha_s", "mean"), other=("alpha_d", "mean"), seeds=("seed", "nunique"))
    order = sorted(starts.index, key=lambda arm: (arm != MAIN, -starts["own"][arm]))
    return starts.loc[order].reset_index()


def sorted_values(final: pd.DataFrame) -> pd.DataFrame:
    """A layer's alphas sorted per seed, then averaged by rank; `low` and `high` are the seeds' range."""
    found = []
    for quantity in QUANTITIES:
        ordered = final.sort_values(quantity, kind="stable")
        ordered = ordered.assign(rank=ordered.groupby([*CELL, "seed"], sort=False).cumcount())
        found.append(_long(ordered, quantity, "rank"))
    table = pd.concat(found, ignore_index=True)
    return table.sort_values("rank", kind="stable", ignore_index=True)


def training_of(means: pd.DataFrame) -> pd.DataFrame:
    """Means over a layer's units along training, and in `start` where they began."""
    table = pd.concat([_long(means, quantity, "iteration") for quantity in QUANTITIES], ignore_index=True)
    table = table.sort_values("iteration", kind="stable", ignore_index=True)
    return table.assign(start=table.groupby([*CELL, "quantity"])["mean"].transform("first"))


def _long(rows: pd.DataFrame, quantity: str, axis: str) -> pd.DataFrame:
    """A quantity over seeds along an axis, in the columns of `sorted` and `training`."""
    return panels.over_seeds(rows, [*CELL, axis], quantity).assign(quantity=quantity)


def numbers_of(final: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of numbers (one row per arm, layer and task), and alpha_s - alpha_d per arm, seed, layer and task."""
    seeds = final.groupby([*CELL, "seed"], sort=False)[list(QUANTITIES)].mean().reset_index()
    seeds["difference"] = seeds["alpha_s"] - seeds["alpha_d"]
    found = []
    for cell, table in seeds.groupby(CELL, sort=False):
        row: dict[str, Any] = dict(zip(CELL, cell, strict=True))
        for quantity in (*QUANTITIES, "difference"):
            mean, low, high, row["n"] = inference.mean_interval(table[quantity])
            row |= {quantity: mean, f"{quantity}_low": low, f"{quantity}_high": high}
        found.append(row)
    units = final.groupby(CELL)["channel"].nunique().rename("units").reset_index()
    return pd.DataFrame(found).merge(units, on=CELL), seeds


def claims_of(differences: pd.DataFrame) -> pd.DataFrame:
    """What Section 5.4 says of SemSeg + SN, as contrasts of D = alpha_s - alpha_d paired by seed.

    Columns claim, arm, task, difference, low, high (95 % t interval over seeds), n, holds ("yes", "no": the interval
    lies on one side of 0; else "open"). pool5 is task-specific: D at pool5 minus the mean D of the other stitched
    layers, above 0 for each task (Ours: a start above (0.5, 0.5) alone makes D positive). Normals share: D of normals
    minus the mean D of the other tasks, means over layers, below 0.
    """
    found: list[dict[str, Any]] = []

    def add(claim: str, task: str, contrast: pd.DataFrame, sign: int) -> None:
        for arm in contrast.index.unique("arm"):
            mean, low, high, n = inference.mean_interval(contrast.loc[arm].iloc[:, 0])
            near, far = (low, high) if sign > 0 else (-high, -low)
            holds = "yes" if near > 0 else "no" if far < 0 else "open"
            found.append(
                {
                    "claim": claim,
                    "arm": arm,
                    "task": task,
                    "difference": mean,
                    "low": low,
                    "high": high,
                    "n": n,
                    "holds": holds,
                }
            )

    for task, table in differences.groupby("task", sort=False):
        wide = table.pivot(index=["arm", "seed"], columns="stage", values="difference")
        if POOL5 in wide and wide.shape[1] > 1:
            contrast = wide[POOL5] - wide.drop(columns=POOL5).mean(axis=1)
            add("pool5 is more task-specific than the other layers", str(task), contrast.dropna().to_frame(), +1)
    whole = differences.pivot_table(index=["arm", "seed"], columns="task", values="difference", aggfunc="mean")
    if "normals" in whole and whole.shape[1] > 1:
        contrast = whole["normals"] - whole.drop(columns="normals").mean(axis=1)
        add("normals shares more than the other tasks", "normals", contrast.dropna().to_frame(), -1)
    return pd.DataFrame(found, columns=["claim", "arm", "task", "difference", "low", "high", "n", "holds"])


def what_text(numbers: pd.DataFrame, seeds: Iterable[float]) -> str:
    """What curves, bands and numbers are, and of how many seeds."""
    listed, alone = panels.seeds_text(seeds), numbers["units"].max() == 1
    what = "Alphas of each layer's one unit" if alone else "Sorted alphas of all units of a layer"
    if not listed.startswith("1 "):
        listed = f"mean over {listed}" if alone else f"mean and range over {listed}, sorted per seed"
    many = " (mean over the others)" if numbers["task"].nunique() > 2 else ""
    known = numbers["n"].max() >= FEWEST_SEEDS
    bars = "+-: 95 % t interval over seeds." if known else f"No intervals below {FEWEST_SEEDS} seeds."
    return (
        f"{what} at the end of training; {listed}. A task takes alpha_s of its own and alpha_d of the other tasks'"
        f" features{many}. {'' if alone else 'Numbers: means over the units of a layer. '}{bars}"
    )


def numbers_text(numbers: pd.DataFrame, arm: str) -> str:
    """Which layer is the most task-specific and which shares most, per task, for one arm."""
    texts = []
    for task, table in numbers[numbers["arm"] == arm].groupby("task", sort=False):
        said = [
            f"{row['stage']} {panels.signed(row['difference'], row['difference_low'], row['difference_high'])}"
            for row in sorted(records(table), key=lambda row: -row["difference"])
        ]
        texts.append(f"{task} {said[0]}" if len(said) == 1 else f"{task} most at {said[0]}, least at {said[-1]}")
    return f"alpha_s - alpha_d of {arm} (high: task-specific): {'; '.join(texts)}."


def claims_text(claims: pd.DataFrame, arms: list[str]) -> str:
    """The claims for the first arm with their intervals, and how often they hold for the other arms."""
    texts = []
    for claim, table in claims.groupby("claim", sort=False):
        first, others = table[table["arm"] == arms[0]], table[table["arm"] != arms[0]]
        said = [
            f"{row['task']} {panels.signed(row['difference'], row['low'], row['high'])} ({row['holds']})"
            for row in records(first)
        ]
        text = f"{claim}: {', '.join(said)}"
        if len(others):
            counts = others["holds"].value_counts()
            found = ", ".join(f"{word} {counts.get(word, 0)}" for word in ("yes", "no", "open"))
            text += f"; the other arms shown: {found}"
        texts.append(text)
    where = "" if set(claims["task"]) >= PAPERS_TASKS else " (made of SemSeg + SN)"
    return f"Section 5.4's claims{where}, as differences of alpha_s - alpha_d: {'. '.join(texts)}." if texts else ""
