"""The table of arms against metrics and costs, as text, Markdown, LaTeX or CSV."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mtlbench.analysis.choice import best_split
from mtlbench.analysis.costs import COSTS, pair_costs
from mtlbench.analysis.frame import FEWEST_SEEDS, records, relative_change, whole_task
from mtlbench.analysis.inference import intervals
from mtlbench.analysis.selection import failures_of, newest, one_name_each, reason_of
from mtlbench.arm_names import BASELINE, HIDDEN_ARMS, arm_order
from mtlbench.plugins import unknown
from mtlbench.report.render import FORMATS, latex_table, latex_text
from mtlbench.text import DAGGER, NOTHING, short

CHANGE = {  # column of the CSV -> of `inference.intervals`
    "change %": "mean",
    "change low %": "shown_low",
    "change high %": "shown_high",
    "change low_single %": "low_single",
    "change high_single %": "high_single",
    "noisier than the pool": "flagged",
}
CHANCE = "chance"


@dataclass(frozen=True)
class Evidence:
    """What a table shows, as numbers: `means` are arm x (task, metric), `costs` arm x metric."""

    arms: list[str]
    seeds: pd.DataFrame  # how many, arm x task
    headlines: dict[str, str]  # task -> metric
    units: dict[tuple[str, str], str]  # (task, metric) -> unit
    means: pd.DataFrame
    changes: dict[tuple[str, str], dict[str, Any]]  # (task, arm) -> a row of `inference.intervals`
    costs: pd.DataFrame
    chance: dict[tuple[str, str], float]  # (task, metric) -> value
    chosen: list[dict[str, Any]]  # rows of `choice.best_split`
    names: dict[str, str]  # arm -> the name that its network counts by

    def metrics(self, task: str) -> list[str]:
        """The metrics of a task, the headline first."""
        return [metric for name, metric in self.units if name == task]

    def choice(self, task: str) -> str:
        """The Split that val chooses for a task ("" = the pair); "" if none."""
        return next((row["arm"] for row in self.chosen if row["task"] == task), "")


def results_table(
    frame: pd.DataFrame,
    format: str = "text",
    *,
    pair: str | None = None,
    dataset: str | None = None,
    recipe: str | None = None,
    backbone: str | None = None,
    failures: Sequence[Mapping[str, Any]] = (),
    confidence: float = 0.95,
    width: int = 150,
) -> str:
    """Arms x whole-task metrics on test (mean over seeds), headline change against one-task with interval, and costs.

    Shows the newest results or those asked for (`stats.newest`). `failures` are mappings with arm, seed, task, status
    and reason. Text is broken into blocks (a task or the costs each) to fit `width` characters. Raises UserError for an
    unknown format, or where there are no results.
    """
    if format not in FORMATS:
        raise unknown("table format", format, FORMATS)
    rows, note = newest(frame, pair, dataset, recipe, backbone)
    failures = failures_of(rows, failures)
    evidence = gather(rows, [str(failure["arm"]) for failure in failures], confidence)
    if format == "csv":
        return _numbers(evidence, failures).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    blocks = _blocks(evidence)
    feet = _feet(evidence, failures, confidence)
    if format == "latex":
        heads, *cells = [" & ".join(map(latex_text, row)) for row in _rows_of(_beside(blocks))]
        return latex_table(note, sum(block.shape[1] for block in blocks), [heads], cells, feet)
    if format == "markdown":
        parts = [note, _markdown(_beside(blocks)), "\n".join(f"- {foot}" for foot in feet)]
    else:
        wrapped = [textwrap.fill(foot, width, subsequent_indent="  ") for foot in feet]
        parts = [note, *map(_aligned, _merged(blocks, width)), "\n".join(wrapped)]
    return "\n\n".join(parts) + "\n"


def gather(rows: pd.DataFrame, failed_arms: Sequence[str] = (), confidence: float = 0.95) -> Evidence:
    """The numbers of a table from the rows of one pair, dataset, backbone and recipe."""
    test, chance = whole_task(rows, "test"), whole_task(rows, "chance")
    test = test[test["task"].isin(test.loc[test["headline"], "task"])]  # a diverged task may lack its headline
    cell = ["task", "metric"]
    metrics = records(test[[*cell, "unit", "headline"]].drop_duplicates())
    headlines: dict[str, str] = {row["task"]: row["metric"] for row in metrics if row["headline"]}
    metrics.sort(key=lambda row: (list(headlines).index(row["task"]), not row["headline"]))
    arms = arm_order(arm for arm in [*test["arm"], *failed_arms] if arm not in HIDDEN_ARMS)
    means = test.groupby(["arm", *cell])["value"].mean().unstack(cell)
    seeds = test.groupby(["arm", "task"])["seed"].nunique(dropna=False).unstack("task")
    return Evidence(
        arms=arms,
        seeds=seeds.reindex(index=arms, columns=list(headlines)).fillna(0).astype(int),
        headlines=headlines,
        units={(row["task"], row["metric"]): row["unit"] for row in metrics},
        means=means.reindex(index=arms),
        changes={(row["task"], row["arm"]): row for row in records(intervals(relative_change(rows), confidence))},
        costs=pair_costs(rows).reindex(index=arms),
        chance={
            (row["task"], row["metric"]): row["value"]
            for row in records(chance.groupby(cell, sort=False)["value"].mean().reset_index())
        },
        chosen=records(best_split(rows)),
        names=one_name_each(rows),
    )


def _number(value: float, unit: str) -> str:
    """One decimal for measured units (%, degrees), none for counts (no unit)."""
    return NOTHING if pd.isna(value) else f"{value:.1f}" if unit else f"{value:.0f}"


def _change(evidence: Evidence, task: str, arm: str) -> str:
    """`+1.2 [-0.3, +2.7]`, without the interval where there is none, with a mark where it is of the arm's own noise."""
    row = evidence.changes.get((task, arm))
    if row is None or arm == BASELINE:
        return NOTHING
    bounds = row["shown_low"], row["shown_high"]
    digits = 1
    while digits < 4 and any(0 < abs(bound) < 0.5 * 10**-digits for bound in bounds):  # no bound reads 0 that is not
        digits += 1
    mean, low, high = (f"{round(value, digits) + 0.0:+.{digits}f}" for value in (row["mean"], *bounds))  # no -0.0
    return mean if pd.isna(bounds[0]) else f"{mean} [{low}, {high}]{DAGGER if row['flagged'] else ''}"


def _seeds(evidence: Evidence, arm: str) -> str:
    """The number of seeds; one number a task (`3/2`) where tasks differ."""
    counts = [str(count) for count in evidence.seeds.loc[arm]]
    return counts[0] if len(set(counts)) == 1 else "/".join(counts)


def _blocks(evidence: Evidence) -> list[pd.DataFrame]:
    """Strings: arm and n, then one frame per task, then the costs; the chance row stands last in all of them."""
    arms = evidence.arms
    names = [arm + (" +" if arm == evidence.choice("") else "") for arm in arms]
    blocks = [pd.DataFrame({"arm": [*names, CHANCE], "n": [*(_seeds(evidence, arm) for arm in arms), NOTHING]})]
    for task, headline in evidence.headlines.items():
        block: dict[str, list[str]] = {}
        for metric in evidence.metrics(task):
            unit = evidence.units[task, metric]
            values = [_number(value, unit) for value in evidence.means[task, metric]]
            chance = _number(evidence.chance.get((task, metric), float("nan")), unit)
            if metric == headline:
                marks = [" *" if arm == evidence.choice(task) else "" for arm in arms]
                values = [value + mark for value, mark in zip(values, marks, strict=True)]
                block[f"{task} {metric}"] = [*values, chance]
                block["vs one-task, %"] = [*(_change(evidence, task, arm) for arm in arms), NOTHING]
            else:
                block[metric] = [*values, chance]
        blocks.append(pd.DataFrame(block))
    blocks.append(pd.DataFrame({COSTS[name]: [*map(short, evidence.costs[name]), NOTHING] for name in COSTS}))
    return blocks


def _beside(blocks: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Blocks side by side (headings may repeat)."""
    return pd.concat(blocks, axis=1)


def _merged(blocks: Sequence[pd.DataFrame], width: int) -> list[pd.DataFrame]:
    """As few tables as fit the width, each starting with the first block."""
    names, *rest = blocks
    tables: list[list[pd.DataFrame]] = []
    for block in rest:
        if tables and len(_aligned(_beside([names, *tables[-1], block])).split("\n")[0]) <= width:
            tables[-1].append(block)
        else:
            tables.append([block])
    whole = [_beside([names, *table]) for table in tables]
    has_chance = [(table.iloc[-1, 1:] != NOTHING).any() for table in whole]
    return [table if chance else table.iloc[:-1] for table, chance in zip(whole, has_chance, strict=True)]


def _aligned(table: pd.DataFrame) -> str:
    """Plain text: the first column to the left, headings and numbers to the right, marks kept out of the alignment."""
    columns = []
    for place, heading in enumerate(table.columns):
        cells = table.iloc[:, place].tolist()
        for mark in (" *", DAGGER):
            if any(cell.endswith(mark) for cell in cells):
                cells = [cell if cell.endswith(mark) else cell + " " * len(mark) for cell in cells]
                heading += " " * len(mark)
        size = max(map(len, [heading, *cells]))
        columns.append([cell.ljust(size) if place == 0 else cell.rjust(size) for cell in [heading, *cells]])
    lines = ["  ".join(cells) for cells in zip(*columns, strict=True)]
    rule = "-" * len(lines[0])
    body = [*lines[1:-1], rule, lines[-1]] if table.iloc[-1, 0] == CHANCE else lines[1:]
    return "\n".join(line.rstrip() for line in [lines[0], rule, *body])


def _rows_of(table: pd.DataFrame) -> list[list[str]]:
    """The headings, then the rows."""
    return [list(table.columns), *table.to_numpy().tolist()]


def _markdown(table: pd.DataFrame) -> str:
    heads, *body = _rows_of(table)
    rows = [heads, ["---"] + ["---:"] * (table.shape[1] - 1), *body]
    return "\n".join("| " + " | ".join(cell.replace("*", "\\*") for cell in row) + " |" for row in rows)


def _feet(evidence: Evidence, failures: Sequence[Mapping[str, Any]], confidence: float) -> list[str]:
    """What the marks and numbers mean, other know-nothing scores, and every failed or blocked trial."""
    feet = [
        "Means on test over n seeds. vs one-task: change of the headline metric in %, up is better, paired by seed,"
        f" with the {100 * confidence:g} % interval (from {FEWEST_SEEDS} seeds on; residual of the arm + seed model"
        " pooled over arms). Costs are per pair: the sum over an arm's networks; seconds without and with parents."
    ]
    feet += _noisy_feet(evidence) + _names_feet(evidence)
    if not evidence.changes:
        feet.append(f"No changes: the results hold no {BASELINE} for these seeds.")
    if evidence.chosen:
        said = [
            "{} {} (val {:+.1f} %, test {:+.1f} %)".format(
                row["task"] or "the pair", row["arm"], row["val_change"], row["test_change"]
            )
            for row in evidence.chosen
        ]
        feet.append(f"Split chosen on val, * per task and + for the pair: {', '.join(said)}.")
    else:
        feet.append("No Split is chosen: there are no Splits with val numbers.")
    others = [f"{' '.join(cell)} {value:.1f}" for cell, value in evidence.chance.items() if cell not in evidence.units]
    if others:
        feet.append(f"Know-nothing scores besides: {', '.join(others)}.")
    for failure in failures:
        task = f", {failure['task']}" if failure["task"] else ""
        reason = f": {reason_of(failure)}" if failure["reason"] else ""
        feet.append(f"{failure['status']}: {failure['arm']}, seed {failure['seed']}{task}{reason}")
    return feet


def _noisy_feet(evidence: Evidence) -> list[str]:
    """What the mark of noisy arms means, if any has it."""
    marked = [task for (task, _), row in evidence.changes.items() if row["flagged"] and not pd.isna(row["shown_low"])]
    if not marked:
        return []
    whole = [
        task
        for task in dict.fromkeys(marked)
        if all(row["flagged"] for (other, _), row in evidence.changes.items() if other == task)
    ]
    why = f" (all arms of {', '.join(whole)}: {BASELINE} itself is noisier)" if whole else ""
    return [f"{DAGGER} noisier than the pool{why}: the interval is the paired t interval of the arm's own seeds."]


def _names_feet(evidence: Evidence) -> list[str]:
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


def _numbers(evidence: Evidence, failures: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row an arm (chance last) with unrounded numbers, for CSV."""
    arms = evidence.arms
    columns: dict[str, list[Any]] = {"arm": arms}
    for task, headline in evidence.headlines.items():
        columns[f"{task} n"] = evidence.seeds[task].tolist()
        for metric in evidence.metrics(task):
            columns[f"{task} {metric}"] = evidence.means[task, metric].tolist()
            if metric == headline:
                for heading, name in CHANGE.items():
                    columns[f"{task} {metric} {heading}"] = [
                        evidence.changes.get((task, arm), {}).get(name) for arm in arms
                    ]
        columns[f"{task} chosen on val"] = [arm == evidence.choice(task) for arm in arms]
    columns["pair chosen on val"] = [arm == evidence.choice("") for arm in arms]
    columns |= {name: evidence.costs[name].tolist() for name in COSTS}
    columns["failures"] = [
        "; ".join(_failure(failure) for failure in failures if failure["arm"] == arm) for arm in arms
    ]
    chance = {f"{task} {metric}": value for (task, metric), value in evidence.chance.items()}
    last = {name: [chance.get(name)] for name in columns} | {"arm": [CHANCE]}
    return pd.DataFrame({name: [*values, *last[name]] for name, values in columns.items()})
