"""The table of trade-offs: arms at several weightings of the losses, the Pareto front, hypervolumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mtlbench.analysis.frame import FEWEST_SEEDS, list_records
from mtlbench.analysis.inference import describe_intervals
from mtlbench.analysis.selection import NEWEST, Selection, describe_failures
from mtlbench.analysis.trade_offs import PURPOSES, TradeOffs, trade_offs
from mtlbench.arm_names import BASELINE
from mtlbench.contracts import Results
from mtlbench.report.table import Cell, Column, Group, Mark, Note, Row, Table, change
from mtlbench.text import DAGGER, NOTHING, count, write_percent

VOLUME = "hypervolume"


def front_table(results: Results, selection: Selection = NEWEST) -> Table:
    """A row an arm and weighting: its change in each task against one-task with the interval, whether it is on the
    front; then a row an arm: the hypervolume of its weightings together.

    Shows the newest setting with a grid of weightings, or that of the selection. Raises UserError where there is none.
    """
    return table_of(trade_offs(results.frame, selection), results.failures)


def table_of(found: TradeOffs, failures: Sequence[Mapping[str, Any]] = ()) -> Table:
    """The table of trade-offs that are known."""
    weights = Column("weighting", f"weights of {' : '.join(found.tasks)}", is_text=True)
    labels = (Column("arm", is_text=True), weights, Column("n"))
    groups = [_task_group(found, task) for task in found.tasks]
    ending = Group(
        (Column("front", "on the front", is_text=True), Column(VOLUME, f"{VOLUME}, {_unit(found)}", _write_volume))
    )
    bounds = Group(tuple(Column(f"{VOLUME} {bound}", shown=False) for bound in ("low", "high")))
    rows = [_point_row(own) for _, own in found.points.groupby("name", sort=False)]
    volumes = [_volume_row(row) for row in list_records(found.mean_volumes)]
    notes = tuple(map(Note, _notes(found, failures)))
    return Table(found.note, labels, (*groups, ending, bounds), (*rows, *volumes), notes)


def _task_group(found: TradeOffs, task: str) -> Group:
    """The change of a task's headline; its bounds in CSV only."""
    metric = found.test.loc[found.test["task"] == task, "metric"].iloc[0]
    name = f"{task} {metric} change %"
    bounds = (Column(f"{name} {bound}", shown=False) for bound in ("low", "high"))
    return Group((Column(name, f"{task} {metric}, %", change), *bounds))


def _point_row(own: pd.DataFrame) -> Row:
    """An arm at a weighting."""
    first = list_records(own)[0]
    cells = {
        "arm": Cell(first["arm"]),
        "weighting": Cell(NOTHING if first["arm"] == BASELINE else first["weights"]),
        "n": Cell(int(own["n"].min())),
        "front": Cell("yes" if first["front"] else "no"),
    }
    for row in list_records(own):
        key = f"{row['task']} {row['metric']} change %"
        marks = {Mark.PAIRED} if row["paired"] else {Mark.BASELINE} if row["arm"] == BASELINE else set()
        cells[key] = Cell(row["mean"], row["low"], row["high"], marks=frozenset(marks))
        cells |= {f"{key} {bound}": Cell(row[bound]) for bound in ("low", "high")}
    return Row(cells)


def _volume_row(row: Mapping[str, Any]) -> Row:
    """What an arm's weightings reach together."""
    many = NOTHING if row["arm"] == BASELINE else f"all {row['points']}"
    volume = Cell(row["mean"], row["low"], row["high"])
    cells = {"arm": Cell(row["arm"]), "weighting": Cell(many), "n": Cell(row["n"]), VOLUME: volume}
    cells |= {f"{VOLUME} {bound}": Cell(row[bound]) for bound in ("low", "high")}
    return Row(cells, apart=True)


def _write_volume(cell: Cell) -> str:
    assert isinstance(cell.value, float)
    return write_percent(cell.value, cell.low, cell.high, signed=False, unit="")


def _unit(found: TradeOffs) -> str:
    return f"%^{len(found.tasks)}"


def _notes(found: TradeOffs, failures: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the numbers mean, and what failed."""
    which = describe_intervals(found.points, DAGGER)
    intervals = f", with the 95 % interval: {which}" if which else f" (intervals from {FEWEST_SEEDS} seeds on)"
    notes = [
        "Changes of the headline metric on test against one-task with the same seed, in %, up is better, means over n"
        f" seeds{intervals}. Weights are times the recipe's own.",
        f"On the front: no other row's means are as good in {_every(found)} and better in one.",
        f"Hypervolume ({_unit(found)}): what all weightings of an arm dominate together above the worst change of any"
        " network, seed by seed, with the 95 % t interval over the seeds that have every weighting of the arm; changes"
        " are paired with one-task's, whose own volume is the same in every seed.",
    ]
    points = found.mean_volumes.loc[found.mean_volumes["arm"] != BASELINE, "points"]
    if points.nunique() > 1:
        notes.append(f"Arms have from {points.min()} to {points.max()} weightings: fewer reach less volume.")
    failed = describe_failures(found.rows, failures, PURPOSES)
    return [*notes, *([failed] if failed else [])]


def _every(found: TradeOffs) -> str:
    return "both tasks" if len(found.tasks) == 2 else f"all {count(len(found.tasks), 'task')}"
