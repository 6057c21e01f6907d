"""The paper's Tables 1, 2, 3, 5 and 6, and those of other published protocols: their rows and columns from our
results, over seeds, beside the published ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mtlbench.analysis.arms import Arms
from mtlbench.analysis.choice import best_split
from mtlbench.analysis.frame import FEWEST_SEEDS, list_records, whole_task
from mtlbench.analysis.inference import half_width
from mtlbench.analysis.paper import describe_contradiction, select_comparable
from mtlbench.analysis.selection import NEWEST, Selection, failures_of, select_newest
from mtlbench.arm_names import arm_order, expected_splits
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.plan.backbones import words_of
from mtlbench.plugins import make_unknown
from mtlbench.report.paper_layouts import PROTOCOLS, TABLES, Layout, LayoutRow, Score
from mtlbench.report.table import Cell, Column, Group, Mark, Note, Row, Table, count_seeds, plus_minus
from mtlbench.spec import Recipe
from mtlbench.text import count

CONFIDENCE = 0.95
HALF_WIDTH, SEEDS, IS_BEST = "half width", "n", "best on val"  # of a score, in CSV
FAILURES = Group((Column("failures", shown=False),))


def paper_table(number: str, results: Results, selection: Selection = NEWEST, paper: bool = False) -> Table:
    """Table 1, 2, 3, 5 or 6 of the paper, or one of `PROTOCOLS`, from the results.

    Cells are means on test over seeds with a 95 % t interval of the row's own mean (from 3 seeds on); marked is the
    best on val of each column. `paper` adds the published values where `select_comparable`. `results` has frame,
    failures, counts_of and provenance_of. Raises UserError for another number or pair, and without results.
    """
    layout = _layout(number, results, selection)
    frame, note = select_newest(results.frame, dataclasses.replace(selection, pair=layout.pair))
    rows, chosen = _rows(layout, frame)
    table = numbers(frame, rows, layout.scores)
    failures = _failures(results.failures, frame, rows)
    theirs, remark = select_comparable(frame, results) if paper else (pd.DataFrame(), "")
    sources = layout.sources or (f"Table {number}",)
    theirs = theirs[theirs["source"].isin(sources)] if len(theirs) else theirs
    known = table["half_width"].notna().any()
    interval = f" ± half-width of the {100 * CONFIDENCE:g} % t interval of the row's own mean" if known else ""
    notes = [
        Note(
            f"Means on test over n seeds{interval} (intervals from {FEWEST_SEEDS} seeds on); mtlbench table has changes"
            " paired by seed. Marked: best on val of its column, of the rows with the most seeds."
        ),
        *_choice_notes(layout, frame, chosen),
        *([Note(layout.remark)] if layout.remark else []),
        *_note_missing(layout, frame, rows, failures, table),
        *([Note(remark)] if remark else []),
    ]
    if len(theirs):
        notes.append(Note(f"Published: {_say_sources(number, layout)} {describe_contradiction(number)}".rstrip()))
    shown: list[Row] = []
    for row in rows:
        shown.append(_make_measured_row(row, table, failures))
        shown += _make_published_rows(row, table, theirs)
    groups = (*(Group(_columns(scores), words) for words, scores in layout.groups), FAILURES)
    title = f"Table {number}: {layout.title}. {note}"
    return Table(title, _labels(layout), groups, tuple(shown), tuple(notes))


def _layout(number: str, results: Results, selection: Selection) -> Layout:
    """The layout of a table that the results allow. Raises UserError."""
    if number == "4":
        raise UserError("table 4 of the paper is a figure; type: mtlbench plot alphas")
    known = {**TABLES, **PROTOCOLS}
    if number not in known:
        raise make_unknown("table of the paper", number, known)
    layout = known[number]
    if selection.pair not in (None, layout.pair):
        of = "of the paper " if number in TABLES else ""
        raise UserError(f"table {number} {of}is about {layout.pair}, not {selection.pair}; leave out --pair")
    if layout.pair not in results.frame["pair"].unique():
        setting = f"--dataset mtan --data-root DIR --recipe {layout.recipe}" if layout.recipe else ""
        raise UserError(
            f"table {number} needs results of {layout.pair}; type: mtlbench run "
            + layout.command.format(pair=layout.pair, setting=setting).replace("  ", " ")
        )
    return layout


def _say_sources(number: str, layout: Layout) -> str:
    """Where the published numbers are from, a sentence."""
    return f"{' and '.join(layout.sources)}." if layout.sources else f"Table {number} of the paper, one run each."


def _labels(layout: Layout) -> tuple[Column, ...]:
    """What a row is; in CSV a published row says its table and the row that it belongs to."""
    return (
        Column("label", layout.heading, in_csv=False, is_text=True),
        Column("row", shown=False),
        Column("arm", shown=False),
        Column("source", shown=False),
        Column("n", in_csv=False),
    )


def _columns(scores: Sequence[Score]) -> tuple[Column, ...]:
    """A column for each score, and what CSV has besides."""
    columns = []
    for task, metric in scores:
        name = f"{task} {metric}"
        columns.append(Column(name, metric.removeprefix("within_"), plus_minus))
        columns += [Column(f"{name} {what}", shown=False) for what in (HALF_WIDTH, SEEDS, IS_BEST)]
    return tuple(columns)


def numbers(frame: pd.DataFrame, rows: Sequence[LayoutRow], columns: Sequence[Score]) -> pd.DataFrame:
    """Per row, task and metric: arm, task, metric, unit, mean, half_width (t interval over the arm's own seeds, NaN
    below 3), n (seeds), best (on val, of the arms with the most seeds; equal ones all). `frame`: of one setting.

    Ours: the paper's cells are single runs, its bold ones the best on the numbers it reports.
    """
    found = []
    means = {subset: _over_seeds(frame, subset, [row.arm for row in rows]) for subset in ("test", "val")}
    for task, metric in columns:
        test, val = (means[subset].get((task, metric), pd.DataFrame()) for subset in ("test", "val"))
        best: set[str] = set()
        if len(val) and len(test):
            ready = val[val["n"] == val["n"].max()]
            values = ready["mean"] * np.where(ready["higher"], 1, -1)
            best = set(values.index[values == values.max()]) if len(ready) > 1 else set()
        for arm in dict.fromkeys(row.arm for row in rows):
            if arm in test.index:
                own = list_records(test.loc[[arm]])[0]
                found.append((arm, task, metric, own["unit"], own["mean"], own["half"], own["n"], arm in best))
            else:
                found.append((arm, task, metric, "", float("nan"), float("nan"), 0, False))
    return pd.DataFrame(found, columns=["arm", "task", "metric", "unit", "mean", "half_width", "n", "best"])


def _over_seeds(frame: pd.DataFrame, subset: str, arms: Sequence[str]) -> dict[Score, pd.DataFrame]:
    """{(task, metric): arm x mean, half, n, unit, higher}."""
    rows = whole_task(frame, subset)
    rows = rows[rows["arm"].isin(arms)]
    grouped = rows.groupby(["task", "metric", "arm"])
    table = grouped.agg(
        mean=("value", "mean"),
        sd=("value", "std"),
        n=("value", "count"),
        unit=("unit", "first"),
        higher=("higher_is_better", "first"),
    )
    enough = table["n"] >= FEWEST_SEEDS
    n = table["n"].where(enough)
    table["half"] = half_width(table["sd"] / np.sqrt(n), n - 1, CONFIDENCE)
    return {column: part.droplevel([0, 1]) for column, part in table.groupby(["task", "metric"])}  # type: ignore[misc]


def _rows(layout: Layout, frame: pd.DataFrame) -> tuple[list[LayoutRow], list[dict[str, Any]]]:
    """The rows, with the Splits that val chooses filled in, and those rows of `best_split`."""
    rows: list[LayoutRow] = []
    chosen = (
        [row for row in list_records(best_split(frame)) if row["task"] in layout.best] if None in layout.rows else []
    )
    for row in layout.rows:
        if row is not None:
            rows.append(row)
        elif not chosen:
            rows.append(LayoutRow("best Split", "", tuple(sorted(layout.best.values()))))
        else:
            for arm in arm_order(choice["arm"] for choice in chosen):
                tasks = [choice["task"] for choice in chosen if choice["arm"] == arm]
                what = f" (best for {' and '.join(tasks)})" if tasks != [""] else " (best)"
                theirs = tuple(layout.best[task] for task in tasks)
                rows.append(LayoutRow(_name(arm) + what, arm, theirs))
    return rows, chosen


def _name(arm: str) -> str:
    return f"Split {arm.removeprefix('split-')}" if arm.startswith("split-") else arm


def _failures(
    failures: Sequence[Mapping[str, Any]], frame: pd.DataFrame, rows: Sequence[LayoutRow]
) -> list[dict[str, str]]:
    """arm, where, reason ("diverged: ...", "failed: ..." or "blocked by ...") of what the rows lack."""
    done = set(frame[["arm", "seed", "task"]].drop_duplicates().itertuples(index=False, name=None))
    found = []
    for failure in failures_of(frame, failures):
        arm, seed, task = failure["arm"], failure["seed"], failure["task"]
        trained = any((arm, seed, name) in done for name in ([task] if task else frame["task"].unique()))
        if arm in {row.arm for row in rows} and not trained:
            said = str(failure["reason"])
            diverged = failure["kind"] == "diverged"
            reason = f"diverged: {said.partition(': ')[2]}" if diverged else f"failed: {said}"
            reason = reason if failure["status"] == "failed" else failure["status"]
            found.append({"arm": arm, "where": f"seed {seed} {task}".strip(), "reason": reason})
    return found


def _make_measured_row(row: LayoutRow, table: pd.DataFrame, failures: Sequence[Mapping[str, str]]) -> Row:
    """Our numbers; where there are none because a trial failed, why."""
    own = table[table["arm"] == row.arm]
    broken = [failure for failure in failures if failure["arm"] == row.arm]
    cells = {
        "label": Cell(row.label),
        "row": Cell(row.label),
        "arm": Cell(row.arm),
        "source": Cell("measured"),
        "n": count_seeds(own.groupby("task", sort=False)["n"].max().tolist()),
        "failures": Cell("; ".join(f"{failure['where']}: {failure['reason']}" for failure in broken)),
    }
    for found in list_records(own):
        name, mean, half = f"{found['task']} {found['metric']}", found["mean"], found["half_width"]
        marks = frozenset({Mark.BEST} if found["best"] else ())
        cells[name] = Cell(mean, mean - half, mean + half, marks=marks)
        cells[f"{name} {HALF_WIDTH}"] = Cell(half)
        cells[f"{name} {SEEDS}"] = Cell(found["n"])
        cells[f"{name} {IS_BEST}"] = Cell(found["best"])
    return Row(cells, span=broken[0]["reason"] if broken and own["mean"].isna().all() else "")


def _make_published_rows(row: LayoutRow, table: pd.DataFrame, theirs: pd.DataFrame) -> list[Row]:
    """The paper's values of the arms that a row stands for, as far as the paper has some."""
    columns = table.loc[table["arm"] == row.arm, ["task", "metric"]]
    rows = []
    for arm in row.published:
        values = _find_published(theirs, arm, columns)
        if values:
            label = "published" if arm == row.arm else f"published, {_name(arm)}"
            source = theirs.loc[theirs["arm"] == arm, "source"].iloc[0]
            cells = {"label": Cell(label), "row": Cell(row.label), "arm": Cell(arm), "source": Cell(source)}
            names = columns["task"] + " " + columns["metric"]
            rows.append(Row({**cells, **dict(zip(names, map(Cell, values), strict=True))}, beneath=True))
    return rows


def _find_published(theirs: pd.DataFrame, arm: str, own: pd.DataFrame) -> list[float]:
    """The paper's values of an arm in the order of the columns; [] where it has none."""
    if theirs.empty or arm not in set(theirs["arm"]):
        return []
    values = theirs[theirs["arm"] == arm].set_index(["task", "metric"])["value"]
    return [float(values.get(cell, float("nan"))) for cell in zip(own["task"], own["metric"], strict=True)]


def _choice_notes(layout: Layout, frame: pd.DataFrame, chosen: Sequence[Mapping[str, Any]]) -> list[Note]:
    """How the best Splits were found, and among how many."""
    if not layout.best:
        return []
    trained = set(Arms.of(whole_task(frame, "test")).splits())
    missing = [split for split in expected_splits(trained) if split not in trained]
    lacks = f"; without {', '.join(missing)}, type:" if missing else ""
    command = _command(layout.command, frame) if missing else ""
    if not chosen:
        return [Note(f"No Split is chosen: there are no Splits with val numbers and one-task{lacks}", command)]
    said = [
        "{} {} (val {:+.1f} %, test {:+.1f} %)".format(
            row["task"] or "the pair", row["arm"], row["val_change"], row["test_change"]
        )
        for row in chosen
    ]
    text = f"Best of {count(len(trained), 'Split')} on val: {', '.join(said)}{lacks}"
    return [Note(text, command)]


def _note_missing(
    layout: Layout,
    frame: pd.DataFrame,
    rows: Sequence[LayoutRow],
    failures: Sequence[Mapping[str, str]],
    table: pd.DataFrame,
) -> list[Note]:
    """What failed, each with its reason; what is not trained, with the command that trains it."""
    alike: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        alike.setdefault((failure["arm"], failure["reason"]), []).append(failure["where"])
    broken = [Note(f"{arm}, {', '.join(where)}: {reason}") for (arm, reason), where in alike.items()]
    counts = table.groupby("arm")["n"].max()
    empty = set(counts.index[counts == 0]) - {failure["arm"] for failure in failures} - {""}
    commands: dict[str, list[str]] = {}
    for row in rows:
        if row.arm in empty:
            commands.setdefault(row.command or layout.command, []).append(row.arm)
    untrained = [
        Note(f"Not trained in this setting: {', '.join(arms)}; type:", _command(command, frame))
        for command, arms in commands.items()
    ]
    return broken + untrained


def _command(template: str, frame: pd.DataFrame) -> str:
    """`mtlbench run ...` for the frame's pair, data set, recipe and backbone."""
    first = frame.iloc[0]
    backbone = words_of(first["backbone"])
    setting = f"--dataset {first['dataset']} --recipe {first['recipe']}"
    setting += f" --backbone {backbone}" if backbone != Recipe.backbone else ""
    return "mtlbench run " + template.format(pair=first["pair"], setting=setting)
