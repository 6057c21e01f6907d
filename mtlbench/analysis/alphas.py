"""The numbers of alphas: per receiver, means with intervals over seeds, and the paper's claims of Section 5.4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mtlbench.analysis.frame import rows_of_trials
from mtlbench.analysis.inference import CONFIDENCE, make_paired_contrast, mean_interval
from mtlbench.analysis.selection import NEWEST, Selection, arms_matching, one_name_each, select_newest
from mtlbench.arm_names import arm_order
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.spec import Family

MAIN, STARTS = "cross-stitch", "cross-stitch-alpha-"  # the arms that differ in nothing but the start (Table 1)
SHARE = 0.1  # of the 5 % of reports that may say of equal arms that they differ, for these claims
MOST_ARMS = 4  # of other arms with units, where none of those is there
CELL = ["arm", "stage", "task"]
QUANTITIES = ("alpha_s", "alpha_d")
PAPERS_TASKS = {"semseg", "normals"}  # that Section 5.4 speaks of
POOL5 = "pool5"


@dataclass(frozen=True, eq=False)
class AlphaNumbers:
    """The alphas of one pair, data set, backbone and recipe (the rows of `frame`; `note` says which).

    final and means: arm, seed, stage, task (receiver), iteration, channel, alpha_s, alpha_d (mean over the other tasks
    as givers), stages in the networks' order: of single units at the end of training, and of the mean over a layer's
    units along training (channel -1). starts: `starts_of`. numbers: `numbers_of`. claims: `claims_of`.
    """

    frame: pd.DataFrame
    note: str
    final: pd.DataFrame
    means: pd.DataFrame
    starts: pd.DataFrame
    numbers: pd.DataFrame
    claims: pd.DataFrame


def alpha_numbers(
    results: Results,
    selection: Selection = NEWEST,
    arms: Sequence[str] = (),
) -> AlphaNumbers:
    """The newest alphas, or those asked for; of the arms that match a glob, without globs of the starts of Table 1.

    Raises UserError where no arm has alphas.
    """
    frame, note = select_newest(results.frame, selection)
    rows = arms_with_alphas(rows_of_trials(results.alphas, frame), arms)
    if rows.empty:
        known = frame["pair"].iloc[0]
        raise UserError(f"alphas needs an arm with alphas; type: mtlbench run --pair {known} --arm {MAIN}")
    units = order_stages(by_receiver(rows), results.architectures_of(frame))
    last = units["iteration"] == units.groupby(["arm", "seed"])["iteration"].transform("max")
    final, means = units[last & (units["channel"] >= 0)], units[units["channel"] < 0]
    numbers, differences = numbers_of(final)
    return AlphaNumbers(frame, note, final, means, starts_of(means), numbers, claims_of(differences))


def arms_with_alphas(alphas: pd.DataFrame, globs: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of the arms that match a glob; without globs of those that differ in their start alone, cross-stitch
    first, then from high to low alpha_s, or without any of them up to 4 other arms that have alphas.

    Of arms that are the same trials only one. Raises UserError for a glob without an arm that has alphas.
    """
    names = arm_order(alphas["arm"].unique())
    asked = arms_matching(names, globs, "arm with alphas")
    ours = set(alphas.loc[alphas["family"] == Family.CROSS_STITCH, "arm"].unique())
    starts = [name for name in names if name in ours and (name == MAIN or name.startswith(STARTS))]
    starts = starts or names[:MOST_ARMS]
    wanted = sorted(asked if globs else starts, key=lambda name: name.startswith(STARTS))
    one_each = one_name_each(alphas[alphas["arm"].isin(set(wanted))])
    return alphas[alphas["arm"].isin(set(one_each.values()))]


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


def order_stages(units: pd.DataFrame, architectures: Mapping[str, Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """The rows by stage as the networks have them: arms may have their units at different places."""
    known = dict.fromkeys(stage["stage"] for trunk in architectures.values() for stage in trunk)
    places = {stage: place for place, stage in enumerate(dict.fromkeys([*known, *units["stage"].unique()]))}
    return units.sort_values("stage", key=lambda column: column.map(places), kind="stable", ignore_index=True)


def numbers_of(final: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of numbers (one row per arm, layer and task), and alpha_s - alpha_d per arm, seed, layer and task."""
    seeds = final.groupby([*CELL, "seed"], sort=False)[list(QUANTITIES)].mean().reset_index()
    seeds["difference"] = seeds["alpha_s"] - seeds["alpha_d"]
    found = []
    for cell, table in seeds.groupby(CELL, sort=False):
        row: dict[str, Any] = dict(zip(CELL, cell, strict=True))
        for quantity in (*QUANTITIES, "difference"):
            mean, low, high, row["n"] = mean_interval(table[quantity])
            row |= {quantity: mean, f"{quantity}_low": low, f"{quantity}_high": high}
        found.append(row)
    units = final.groupby(CELL)["channel"].nunique().rename("units").reset_index()
    return pd.DataFrame(found).merge(units, on=CELL), seeds


def claims_of(differences: pd.DataFrame) -> pd.DataFrame:
    """What Section 5.4 says of SemSeg + SN, as contrasts of D = alpha_s - alpha_d paired by seed.

    `differences` has arm, seed, stage, task, difference (D). Columns claim, arm, task, difference, low, high (95 % t
    interval over seeds), n, holds ("yes", "no": the interval that allows for all rows, with SHARE of the report's 5 %,
    lies on one side of 0; else "open"). pool5 is
    task-specific: D at pool5 minus the mean D of the other stitched layers, above 0 for each task (Ours: a start above
    (0.5, 0.5) alone makes D positive). Normals share: D of normals minus the mean D of the other tasks, means over
    layers, below 0.
    """
    found: list[dict[str, Any]] = []
    for task, table in differences.groupby("task", sort=False):
        wide = table.pivot(index=["arm", "seed"], columns="stage", values="difference")
        found += _contrast_columns("pool5 is more task-specific than the other layers", str(task), wide, POOL5, +1)
    whole = differences.pivot_table(index=["arm", "seed"], columns="task", values="difference", aggfunc="mean")
    found += _contrast_columns("normals shares more than the other tasks", "normals", whole, "normals", -1)
    for row in found:
        contrast = make_paired_contrast(row["difference"], row["high"], row["n"])
        low, high = contrast.simultaneous(len(found), 1 - SHARE * (1 - CONFIDENCE))
        near, far = (low, high) if row.pop("sign") > 0 else (-high, -low)
        row["holds"] = "yes" if near > 0 else "no" if far < 0 else "open"
    return pd.DataFrame(found, columns=["claim", "arm", "task", "difference", "low", "high", "n", "holds"])


def _contrast_columns(claim: str, task: str, wide: pd.DataFrame, column: str, sign: int) -> list[dict[str, Any]]:
    """Per arm one column of `wide` (index arm, seed) minus the mean of the others, and the `sign` that is claimed."""
    if column not in wide or wide.shape[1] < 2:
        return []
    contrast = (wide[column] - wide.drop(columns=column).mean(axis=1)).dropna()
    found = []
    for arm in contrast.index.unique("arm"):
        mean, low, high, n = mean_interval(contrast.loc[arm])
        row = {"claim": claim, "arm": arm, "task": task, "difference": mean, "low": low, "high": high}
        found.append({**row, "n": n, "sign": sign})
    return found
