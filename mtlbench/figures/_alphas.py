"""The series that the figure of alphas draws, and what its caption says of the numbers."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from mtlbench.analysis.alphas import CELL, PAPERS_TASKS, QUANTITIES
from mtlbench.analysis.frame import FEWEST_SEEDS, list_records
from mtlbench.figures import _panels as panels


def sort_values(final: pd.DataFrame) -> pd.DataFrame:
    """A layer's alphas sorted per seed, then averaged by rank; `low` and `high` are the seeds' range."""
    found = []
    for quantity in QUANTITIES:
        ordered = final.sort_values(quantity, kind="stable")
        ordered = ordered.assign(rank=ordered.groupby([*CELL, "seed"], sort=False).cumcount())
        found.append(_melt(ordered, quantity, "rank"))
    table = pd.concat(found, ignore_index=True)
    return table.sort_values("rank", kind="stable", ignore_index=True)


def average_training(means: pd.DataFrame) -> pd.DataFrame:
    """Means over a layer's units along training, and in `start` where they began."""
    table = pd.concat([_melt(means, quantity, "iteration") for quantity in QUANTITIES], ignore_index=True)
    table = table.sort_values("iteration", kind="stable", ignore_index=True)
    return table.assign(start=table.groupby([*CELL, "quantity"])["mean"].transform("first"))


def _melt(rows: pd.DataFrame, quantity: str, axis: str) -> pd.DataFrame:
    """A quantity over seeds along an axis, in the columns of `sorted` and `training`."""
    return panels.over_seeds(rows, [*CELL, axis], quantity).assign(quantity=quantity)


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
            f"{row['stage']} {panels.write_signed(row['difference'], row['difference_low'], row['difference_high'])}"
            for row in sorted(list_records(table), key=lambda row: -row["difference"])
        ]
        texts.append(f"{task} {said[0]}" if len(said) == 1 else f"{task} most at {said[0]}, least at {said[-1]}")
    return f"alpha_s - alpha_d of {arm} (high: task-specific): {'; '.join(texts)}."


def claims_text(claims: pd.DataFrame, arms: list[str]) -> str:
    """The claims for the first arm with their intervals, and how often they hold for the other arms."""
    texts = []
    for claim, table in claims.groupby("claim", sort=False):
        first, others = table[table["arm"] == arms[0]], table[table["arm"] != arms[0]]
        said = [
            f"{row['task']} {panels.write_signed(row['difference'], row['low'], row['high'])} ({row['holds']})"
            for row in list_records(first)
        ]
        text = f"{claim}: {', '.join(said)}"
        if len(others):
            counts = others["holds"].value_counts()
            found = ", ".join(f"{word} {counts.get(word, 0)}" for word in ("yes", "no", "open"))
            text += f"; the other arms shown: {found}"
        texts.append(text)
    where = "" if set(claims["task"]) >= PAPERS_TASKS else " (made of SemSeg + SN)"
    return f"Section 5.4's claims{where}, as differences of alpha_s - alpha_d: {'. '.join(texts)}." if texts else ""
