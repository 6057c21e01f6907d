"""The table of arms against metrics and costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mtlbench.analysis.choice import best_split
from mtlbench.analysis.costs import COSTS, pair_costs, sum_tuning_seconds
from mtlbench.analysis.frame import FEWEST_SEEDS, list_records, relative_change, whole_task
from mtlbench.analysis.inference import INTERVAL_COLUMNS, compute_intervals, describe_intervals
from mtlbench.analysis.selection import NEWEST, Selection, failures_of, one_name_each, select_newest
from mtlbench.arm_names import BASELINE, arm_order
from mtlbench.report.table import (
    Cell,
    Column,
    Group,
    Mark,
    Note,
    Row,
    Table,
    change,
    count_seeds,
    decimals,
    large,
    three_digits,
)
from mtlbench.spec import Family
from mtlbench.text import DAGGER, write_duration

CHANGE = "change %"
NO_TUNING: Mapping[Any, float] = {}
MORE_OF_CHANGE = {  # column of the CSV, after the headline's name -> of `inference.compute_intervals`
    "change low %": "low",
    "change high %": "high",
    "paired interval": "paired",
}
CHOICE = Group((Column("pair chosen on val", shown=False),))
COST_GROUP = Group(tuple(Column(name, heading, large) for name, heading in COSTS.items()))
SETTING, TUNING_SECONDS = "setting", "tuning seconds"
FAILURES = Group((Column("failures", shown=False),))
STARVED_SHARE = 0.1  # of one-task's way from chance, below which an arm is said to know hardly more (Ours)


@dataclass(frozen=True)
class Evidence:
    """What a table shows, as numbers: `means` are arm x (task, metric), `costs` arm x metric."""

    arms: list[str]
    seeds: pd.DataFrame  # how many, arm x task
    headlines: dict[str, str]  # task -> metric
    units: dict[tuple[str, str], str]  # (task, metric) -> unit
    means: pd.DataFrame
    changes: dict[tuple[str, str], dict[str, Any]]  # (task, arm) -> a row of `inference.compute_intervals`
    costs: pd.DataFrame
    chance: dict[tuple[str, str], float]  # (task, metric) -> value
    chosen: list[dict[str, Any]]  # rows of `choice.best_split`
    names: dict[str, str]  # arm -> the name that its network counts by
    settings: dict[str, str]  # of a tuned study: arm -> in words
    tuning: dict[str, float]  # of a tuned study: arm -> what its settings took, s

    def metrics(self, task: str) -> list[str]:
        """The metrics of a task, the headline first."""
        return [metric for name, metric in self.units if name == task]

    def choice(self, task: str) -> str:
        """The Split that val chooses for a task ("" = the pair); "" if none."""
        return next((row["arm"] for row in self.chosen if row["task"] == task), "")


def results_table(
    frame: pd.DataFrame,
    selection: Selection = NEWEST,
    failures: Sequence[Mapping[str, Any]] = (),
    confidence: float = 0.95,
) -> Table:
    """Arms x whole-task metrics on test (mean over seeds), headline change against one-task with interval, and costs.

    Shows the newest results or those selected (`selection.select_newest`). `failures` are mappings with arm, seed,
    task, status and reason. Raises UserError where there are no results.
    """
    rows, note = select_newest(frame, selection)
    failures = failures_of(rows, failures)
    failed = [str(failure["arm"]) for failure in failures if failure["family"] != Family.PARENT]
    evidence = gather(rows, failed, confidence, dict(sum_tuning_seconds(frame, rows)))
    groups = tuple(_task_group(evidence, task) for task in evidence.headlines)
    tuning = (_make_tuning_group(rows),) if evidence.settings else ()
    labels = (Column("arm", is_text=True), Column("n", in_csv=False))
    table_rows = [_arm_row(evidence, arm, failures) for arm in evidence.arms]
    notes = _notes(evidence, failures, confidence)
    return Table(
        note,
        labels,
        (*groups, CHOICE, *tuning, COST_GROUP, FAILURES),
        (*table_rows, _chance_row(evidence)),
        tuple(map(Note, notes)),
    )


def gather(
    rows: pd.DataFrame,
    failed_arms: Sequence[str] = (),
    confidence: float = 0.95,
    tuning: Mapping[Any, float] = NO_TUNING,  # by arm
) -> Evidence:
    """The numbers of a table from the rows of one pair, dataset, backbone and recipe; `tuning`: `tuning_seconds`."""
    test, chance = whole_task(rows, "test"), whole_task(rows, "chance")
    test = test[test["task"].isin(test.loc[test["headline"], "task"])]  # a diverged task may lack its headline
    cell = ["task", "metric"]
    metrics = list_records(test[[*cell, "unit", "headline"]].drop_duplicates())
    headlines: dict[str, str] = {row["task"]: row["metric"] for row in metrics if row["headline"]}
    metrics.sort(key=lambda row: (list(headlines).index(row["task"]), not row["headline"]))
    arms = arm_order([*test["arm"], *failed_arms])
    means = test.groupby(["arm", *cell])["value"].mean().unstack(cell)
    seeds = test.groupby(["arm", "task"])["seed"].nunique(dropna=False).unstack("task")
    return Evidence(
        arms=arms,
        seeds=seeds.reindex(index=arms, columns=list(headlines)).fillna(0).astype(int),
        headlines=headlines,
        units={(row["task"], row["metric"]): row["unit"] for row in metrics},
        means=means.reindex(index=arms),
        changes={
            (row["task"], row["arm"]): row for row in list_records(compute_intervals(relative_change(rows), confidence))
        },
        costs=pair_costs(rows).reindex(index=arms),
        chance={
            (row["task"], row["metric"]): row["value"]
            for row in list_records(chance.groupby(cell, sort=False)["value"].mean().reset_index())
        },
        chosen=list_records(best_split(rows)),
        names=one_name_each(rows),
        settings=settings_in_words(rows) if rows["tuned"].any() else {},
        tuning=dict(tuning),
    )


def settings_in_words(rows: pd.DataFrame) -> dict[str, str]:
    """{arm: what its learning rate and weights of losses are multiplied by, of each task where it has networks of its
    own}: `rate 0.5, attributes 1.2, detection 0.8` or `detection: rate 2; attributes: rate 0.5`."""
    found: dict[str, str] = {}
    scores = whole_task(rows, "test")
    for arm, own in scores[scores["headline"].astype(bool)].groupby("arm", sort=False):
        if own["family"].iloc[0] == Family.ENSEMBLE:
            continue
        words = {
            row["task"]: f"rate {row['rate']:g}" + (f", {row['weighting']}" if row["weighting"] else "")
            for row in list_records(own.drop_duplicates("task"))
        }
        same = len(set(words.values())) == 1
        found[str(arm)] = next(iter(words.values())) if same else "; ".join(f"{task}: {w}" for task, w in words.items())
    return found


def _make_tuning_group(rows: pd.DataFrame) -> Group:
    """The columns of a tuned study: what was chosen for an arm, and what that took."""
    heading = f"best on val of {int(rows['tuned'].max())} settings"
    return Group((Column(SETTING, heading, is_text=True), Column(TUNING_SECONDS, "tuning, seconds", decimals(0))))


def _task_group(evidence: Evidence, task: str) -> Group:
    """The columns of a task: its metrics, the headline first and with its change; more numbers in CSV only."""
    columns = [Column(f"{task} n", shown=False)]
    for metric in evidence.metrics(task):
        name = f"{task} {metric}"
        is_headline = metric == evidence.headlines[task]
        # A number of a user's own has no unit that we know.
        writer = decimals(1) if evidence.units[task, metric] else three_digits
        columns.append(Column(name, name if is_headline else metric, writer))
        if is_headline:
            columns.append(Column(f"{name} {CHANGE}", "vs one-task, %", change))
            columns += [Column(f"{name} {heading}", shown=False) for heading in MORE_OF_CHANGE]
    return Group((*columns, Column(f"{task} chosen on val", shown=False)))


def _arm_row(evidence: Evidence, arm: str, failures: Sequence[Mapping[str, Any]]) -> Row:
    """The means, changes and costs of an arm."""
    seeds, means, costs = (table.loc[arm].to_dict() for table in (evidence.seeds, evidence.means, evidence.costs))
    is_choice = arm == evidence.choice("")
    cells = {
        "arm": Cell(arm, marks=frozenset({Mark.CHOSEN_FOR_PAIR} if is_choice else ())),
        "n": count_seeds(seeds.values()),
        "pair chosen on val": Cell(is_choice),
        "failures": Cell("; ".join(_failure(failure) for failure in failures if failure["arm"] == arm)),
        **{name: Cell(costs[name]) for name in COSTS},
    }
    if evidence.settings:
        cells |= {SETTING: Cell(evidence.settings.get(arm)), TUNING_SECONDS: Cell(evidence.tuning.get(arm))}
    for task, headline in evidence.headlines.items():
        is_choice = arm == evidence.choice(task)
        cells[f"{task} n"] = Cell(seeds[task])
        cells[f"{task} chosen on val"] = Cell(is_choice)
        for metric in evidence.metrics(task):
            marks = frozenset({Mark.CHOSEN} if is_choice and metric == headline else ())
            cells[f"{task} {metric}"] = Cell(means[task, metric], marks=marks)
        row = evidence.changes.get((task, arm))
        if row:
            cells |= {f"{task} {headline} {heading}": Cell(row[name]) for heading, name in MORE_OF_CHANGE.items()}
            cells[f"{task} {headline} {CHANGE}"] = _change_cell(row)
    return Row(cells)


def _change_cell(row: Mapping[str, Any]) -> Cell:
    """A row of `inference.compute_intervals` as a cell."""
    marks = {Mark.BASELINE} if row["arm"] == BASELINE else set()
    if row["paired"]:
        marks.add(Mark.PAIRED)
    return Cell(row["mean"], row["low"], row["high"], marks=frozenset(marks))


def _chance_row(evidence: Evidence) -> Row:
    """The scores of knowing nothing."""
    cells = {f"{task} {metric}": Cell(value) for (task, metric), value in evidence.chance.items()}
    return Row({"arm": Cell("chance"), **cells}, apart=True)


def _notes(evidence: Evidence, failures: Sequence[Mapping[str, Any]], confidence: float) -> list[str]:
    """What the marks and numbers mean, other know-nothing scores, and every failed or blocked trial."""
    which = describe_intervals(pd.DataFrame(list(evidence.changes.values()), columns=INTERVAL_COLUMNS), DAGGER)
    notes = [
        "Means on test over n seeds. vs one-task: change of the headline metric in %, up is better, paired by seed,"
        f" with the {100 * confidence:g} % interval{f': {which}' if which else f' (from {FEWEST_SEEDS} seeds on)'}."
        " Costs are per pair: the sum over an arm's networks; seconds without and with parents."
    ]
    notes += _names_notes(evidence)
    if evidence.settings:
        notes.append(
            "Settings are times the recipe's learning rate and weights of losses. Choosing them took"
            f" {write_duration(sum(evidence.tuning.values()))} in all, which is in no other column."
        )
    if not evidence.changes:
        notes.append(f"No changes: the results hold no {BASELINE} for these seeds.")
    if evidence.chosen:
        said = [
            "{} {} (val {:+.1f} %, test {:+.1f} %)".format(
                row["task"] or "the pair", row["arm"], row["val_change"], row["test_change"]
            )
            for row in evidence.chosen
        ]
        notes.append(f"Split chosen on val, * per task and + for the pair: {', '.join(said)}.")
    else:
        notes.append("No Split is chosen: there are no Splits with val numbers.")
    notes += _starved_notes(evidence)
    others = [f"{' '.join(cell)} {value:.1f}" for cell, value in evidence.chance.items() if cell not in evidence.units]
    if others:
        notes.append(f"Know-nothing scores besides: {', '.join(others)}.")
    for failure in failures:
        task = f", {failure['task']}" if failure["task"] else ""
        reason = f": {failure['reason']}" if failure["reason"] else ""
        notes.append(f"{failure['status']}: {failure['arm']}, seed {failure['seed']}{task}{reason}")
    return notes


def _starved_notes(evidence: Evidence) -> list[str]:
    """Which arms hardly learn a task that one-task learns: other tasks' losses may outweigh its own."""
    starved: dict[str, list[str]] = {}
    for cell in evidence.headlines.items():
        chance, values = evidence.chance.get(cell, math.nan), evidence.means[cell]
        way = values.get(BASELINE, math.nan) - chance
        if way:
            starved[cell[0]] = [arm for arm in evidence.arms if (values[arm] - chance) / way < STARVED_SHARE]
    said = [f"{task}: {', '.join(arms)}" for task, arms in starved.items() if arms]
    if not said:
        return []
    task = next(task for task, arms in starved.items() if arms)
    hint = "" if evidence.settings else f"; try --tune 6, or --loss-weight {task}=3"
    return [
        f"Hardly better than chance (under {100 * STARVED_SHARE:g} % of one-task's way from it): {'; '.join(said)}."
        f" The other tasks' losses may outweigh such a task's{hint}."
    ]


def _names_notes(evidence: Evidence) -> list[str]:
    """Which arms are one network."""
    others: dict[str, list[str]] = {}
    for arm in evidence.arms:
        if (name := evidence.names.get(arm, arm)) != arm:
            others.setdefault(name, [name]).append(arm)
    texts = [" = ".join(names) for names in others.values()]
    return [f"One network, trained and counted once, under several names: {'; '.join(texts)}."] if texts else []


def _failure(failure: Mapping[str, Any]) -> str:
    """`failed seed 1 detection` or `seed 1 blocked by one-task detection seed 1`."""
    which = f"seed {failure['seed']} {failure['task']}".strip()
    return f"failed {which}" if failure["status"] == "failed" else f"{which} {failure['status']}"
