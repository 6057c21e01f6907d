"""The paper's Tables 1, 2, 3, 5 and 6: its rows and columns from our results, over seeds, beside the published ones."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from mtlbench.enumerator import SPLIT_POINTS
from mtlbench.errors import UserError
from mtlbench.inference import best_split
from mtlbench.plugins import unknown
from mtlbench.spec import Recipe
from mtlbench.stats import (
    FEWEST_SEEDS,
    IDENTITY,
    arm_order,
    failures_of,
    is_split,
    newest,
    published,
    records,
    whole_task,
)
from mtlbench.tables import FORMATS, NOTHING, latex_table, latex_text

CONFIDENCE = 0.95
Column = tuple[str, str]  # task, metric


@dataclass(frozen=True)
class Row:
    """A row of a table: how it is called, the arm it shows ("" = none), the paper's arms that it stands for."""

    label: str
    arm: str
    published: tuple[str, ...] = ()
    command: str = ""  # that trains the arm; "" = the table's


@dataclass(frozen=True)
class Layout:
    """A table of the paper. `best`: in the place of None among the rows, the Splits that val chooses, {task or "" for
    the pair: the paper's choice}."""

    title: str
    pair: str
    command: str
    heading: str  # of the rows
    groups: tuple[tuple[tuple[str, ...], tuple[Column, ...]], ...]  # lines over columns, columns
    rows: tuple[Row | None, ...]
    best: Mapping[str, str]
    remark: str = ""

    @property
    def columns(self) -> list[Column]:
        """Task and metric, from left to right."""
        return [column for _, columns in self.groups for column in columns]


def _same(label: str, arm: str, command: str = "") -> Row:
    """A row whose arm has the same name in paper.csv."""
    return Row(label, arm, (arm,), command)


WITHIN = tuple(("normals", f"within_{angle}") for angle in ("11.25", "22.5", "30"))
DENSE = (
    (("Surface normals", "angle, degrees", "(lower better)"), (("normals", "mean"), ("normals", "median"))),
    (("Surface normals", "within t degrees, %", "(higher better)"), WITHIN),
    (("Segmentation", "%", "(higher better)"), tuple(("semseg", name) for name in ("pixacc", "mIoU", "fwIoU"))),
)
REGIONS = ((("Detection", "%"), (("detection", "mAP"),)), (("Attributes", "%"), (("attributes", "mAP"),)))
ABLATIONS, ARMS = "--pair ablations {setting} --all-splits", "--pair {pair} {setting} --all-splits"
IMAGENET = "--pair semseg_sn {setting} --arm cross-stitch --init cross-stitch=imagenet"  # docs/weights.md
BASELINES = (_same("one-task", "one-task"), _same("ensemble", "ensemble"), None, _same("MTL-shared", "mtl-shared"),
             _same("cross-stitch", "cross-stitch"))  # fmt: skip
TABLES = {
    "1": Layout(
        "cross-stitch units by their start (alpha_s, alpha_d)", "semseg_sn", ABLATIONS, "alpha_s, alpha_d", DENSE,
        tuple(_same(f"{s}, {d}", f"cross-stitch-alpha-{s}-{d}")
              for s, d in (("0.1", "0.9"), ("0.5", "0.5"), ("0.7", "0.3"), ("0.9", "0.1"))), {},
    ),
    "2": Layout(
        "learning rate of cross-stitch units over the network's", "semseg_sn", ABLATIONS, "scale", DENSE,
        tuple(_same(str(scale), f"cross-stitch-rate-{scale}") for scale in (1, 10, 100, 1000, 10_000)), {},
        "The paper has no row 10000; its Section 5.2 says that a scale above 1000 made the loss diverge.",
    ),
    "3": Layout(
        "what cross-stitched networks start from, as many iterations in all", "semseg_sn", ABLATIONS, "start", DENSE,
        (_same("scratch", "cross-stitch-from-scratch"), _same("ImageNet", "cross-stitch-from-imagenet", IMAGENET),
         _same("one-task", "cross-stitch-from-one-task")), {},
        "The paper has no row scratch. ImageNet needs published weights of the backbone (docs/weights.md).",
    ),
    "5": Layout("surface normals and semantic segmentation", "semseg_sn", ARMS, "arm", DENSE, BASELINES,
                {"": "split-conv4"}),
    "6": Layout("object detection and attributes", "det_attr", ARMS, "arm", REGIONS, BASELINES,
                {"detection": "split-fc7", "attributes": "split-conv2"}),
}  # fmt: skip
# What else must agree for the paper's numbers to compare: Sections 5 and 6, Long et al. 2015, Girshick 2015.
CATEGORIES = {"semseg": 40, "detection": 20, "attributes": 64}
SIDES = {"semseg_sn": (0, 0), "det_attr": (600, 1000)}  # shortest and longest in pixels, 0: as they are
ONE_RUN = {"Table 2": "cross-stitch-rate-1000", "Table 3": "cross-stitch-from-one-task", "Table 5": "cross-stitch"}


@dataclass(frozen=True)
class Line:
    """A line of the table as text; a single cell stands across all columns."""

    label: str
    n: str
    cells: Sequence[str]
    best: Sequence[bool]


def paper_table(
    number: str,
    results: Any,
    paper: bool = False,
    format_: str = "text",
    *,
    pair: str | None = None,
    dataset: str | None = None,
    recipe: str | None = None,
    backbone: str | None = None,
    width: int = 150,
) -> str:
    """Table 1, 2, 3, 5 or 6 of the paper from the results, as text, csv, markdown or latex.

    Cells are means on test over seeds with the half-width of a 95 % t interval of the row's own mean (from 3 seeds on);
    marked is the best on val of each column. `paper` adds the published values where `comparable`. `results` has frame,
    failures, counts_of and provenance_of. Raises UserError for another number, format or pair, and without results.
    """
    if number == "4":
        raise UserError("table 4 of the paper is a figure; type: mtlbench plot alphas")
    if number not in TABLES:
        raise unknown("table of the paper", number, TABLES)
    if format_ not in FORMATS:
        raise unknown("table format", format_, FORMATS)
    layout = TABLES[number]
    if pair not in (None, layout.pair):
        raise UserError(f"table {number} of the paper is about {layout.pair}, not {pair}; leave out --pair")
    frame = results.frame.assign(backbone=_without_weights(results.frame["backbone"]))
    if layout.pair not in set(frame["pair"]):
        raise UserError(f"table {number} needs results of {layout.pair}; type: mtlbench run "
                        + layout.command.format(pair=layout.pair, setting="").replace("  ", " "))  # fmt: skip
    wanted = None if backbone is None else WEIGHTS.sub("", backbone)
    frame, note = newest(frame, layout.pair, dataset, recipe, wanted)
    rows, chosen = _rows(layout, frame)
    table = numbers(frame, rows, layout.columns)
    failures = _failures(results.failures, frame, rows)
    theirs, remark = comparable(frame, results) if paper else (pd.DataFrame(), "")
    theirs = theirs[theirs["source"] == f"Table {number}"] if len(theirs) else theirs
    if format_ == "csv":
        return _csv(number, table, rows, theirs, failures)
    lines = _lines(table, rows, theirs, failures)
    title = f"Table {number}: {layout.title}. {note}"
    known = table["half_width"].notna().any()
    interval = f" ± half-width of the {100 * CONFIDENCE:g} % t interval of the row's own mean" if known else ""
    feet = [
        f"Means on test over n seeds{interval} (intervals from {FEWEST_SEEDS} seeds on); mtlbench table has changes"
        " paired by seed. Marked: best on val of its column, of the rows with the most seeds.",
        *_choice_feet(layout, frame, chosen), *([layout.remark] if layout.remark else []),
        *_missing_feet(layout, frame, rows, failures, table), *([remark] if remark else []),
    ]  # fmt: skip
    if len(theirs):
        feet.append(f"Published: Table {number} of the paper, one run each.{contradiction(number)}")
    return {"text": _text, "markdown": _markdown, "latex": _latex}[format_](layout, title, lines, feet, width)


def numbers(frame: pd.DataFrame, rows: Sequence[Row], columns: Sequence[Column]) -> pd.DataFrame:
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
                own = records(test.loc[[arm]])[0]
                found.append((arm, task, metric, own["unit"], own["mean"], own["half"], own["n"], arm in best))
            else:
                found.append((arm, task, metric, "", float("nan"), float("nan"), 0, False))
    return pd.DataFrame(found, columns=["arm", "task", "metric", "unit", "mean", "half_width", "n", "best"])


def _over_seeds(frame: pd.DataFrame, subset: str, arms: Sequence[str]) -> dict[Column, pd.DataFrame]:
    """{(task, metric): arm x mean, half, n, unit, higher}."""
    rows = whole_task(frame, subset)
    rows = rows[rows["arm"].isin(arms)]
    grouped = rows.groupby(["task", "metric", "arm"])
    table = grouped.agg(mean=("value", "mean"), sd=("value", "std"), n=("value", "count"), unit=("unit", "first"),
                        higher=("higher_is_better", "first"))  # fmt: skip
    enough = table["n"] >= FEWEST_SEEDS
    n = table["n"].where(enough)
    table["half"] = stdtrit(n - 1, (1 + CONFIDENCE) / 2) * table["sd"] / np.sqrt(n)
    return {column: part.droplevel([0, 1]) for column, part in table.groupby(["task", "metric"])}  # type: ignore[misc]


def comparable(frame: pd.DataFrame, results: Any) -> tuple[pd.DataFrame, str]:
    """The paper's numbers for the frame's pair, or none and a sentence that says why they do not compare.

    They do on the same data set, backbone and recipe (as in Figure 2 here), and with the same categories, image sides,
    precision and start of the networks; `results` has counts_of and provenance_of.
    """
    ours = records(frame.head(1))[0]
    theirs = published()
    theirs = theirs[theirs["pair"] == ours["pair"]]
    if theirs.empty:
        return theirs, f"The paper has no numbers for {ours['pair']}."
    ours = ours | {"backbone": WEIGHTS.sub("", ours["backbone"])}
    asked = records(theirs.head(1))[0]
    reasons = [f"{name} {ours[name]}, not {asked[name]}" for name in IDENTITY if ours[name] != asked[name]]
    for task, counts in results.counts_of(frame).items():
        if len(counts) != CATEGORIES.get(task, len(counts)):
            reasons.append(f"{len(counts)} categories of {task}, not {CATEGORIES[task]}")
    trials = [trial for trial in results.provenance_of(frame) if trial["arm"] == "one-task"]
    sides = {(trial["recipe"].get("short_side", 0), trial["recipe"].get("long_side", 0)) for trial in trials}
    reasons += [f"{_sides(*own)}, not {_sides(*SIDES[ours['pair']])}" for own in sorted(sides - {SIDES[ours["pair"]]})]
    precisions = {str(trial["recipe"].get("precision", "fp32")) for trial in trials}
    reasons += [f"precision {own}, not fp32" for own in sorted(precisions - {"fp32"})]
    if any("weights=" not in trial["backbone"] for trial in trials):
        reasons.append("networks that start from scratch, not from ImageNet")
    if reasons:
        return theirs.iloc[:0], f"Published values are not shown, they do not compare: {'; '.join(reasons)}."
    return theirs, ""


def _sides(short: int, long: int) -> str:
    return f"images with sides of {short} to {long} pixels" if short or long else "images in full size"


def contradiction(number: str) -> str:
    """Where the paper's tables give one run two values, a sentence for the tables concerned, else "".

    Tables 2 (scale 1000), 3 (one-task) and 5 (cross-stitch) show what should be one run (Sections 5.2, 5.3, 6.2).
    """
    if f"Table {number}" not in ONE_RUN:
        return ""
    theirs = published()
    theirs = theirs[theirs["arm"] == theirs["source"].map(ONE_RUN)]
    cells = theirs.pivot_table(index=["task", "metric"], columns="source", values="value", sort=False)
    differs = cells[cells.nunique(axis=1) > 1]
    said = ["{} {}: {}".format(*cell, ", ".join(f"{name} {value}" for name, value in row.items()))
            for cell, row in zip(differs.index, records(differs), strict=True)]  # fmt: skip
    return f" What should be one run differs between the paper's tables ({'; '.join(said)})." if said else ""


WEIGHTS = re.compile(r"\(weights=[^,()]*\)|,weights=[^,()]*|(?<=\()weights=[^,()]*,")


def _without_weights(labels: pd.Series) -> pd.Series:
    """Backbones less the option `weights`: where an arm starts is the arm's (Table 3), and `setting` knows the rest."""
    return labels.map({label: WEIGHTS.sub("", label) for label in labels.unique()})


def _rows(layout: Layout, frame: pd.DataFrame) -> tuple[list[Row], list[dict[str, Any]]]:
    """The rows, with the Splits that val chooses filled in, and those rows of `best_split`."""
    rows: list[Row] = []
    chosen = [row for row in records(best_split(frame)) if row["task"] in layout.best] if None in layout.rows else []
    for row in layout.rows:
        if row is not None:
            rows.append(row)
        elif not chosen:
            rows.append(Row("best Split", "", tuple(sorted(layout.best.values()))))
        else:
            for arm in arm_order(choice["arm"] for choice in chosen):
                tasks = [choice["task"] for choice in chosen if choice["arm"] == arm]
                what = f" (best for {' and '.join(tasks)})" if tasks != [""] else " (best)"
                theirs = tuple(layout.best[task] for task in tasks)
                rows.append(Row(_name(arm) + what, arm, theirs))
    return rows, chosen


def _name(arm: str) -> str:
    return f"Split {arm.removeprefix('split-')}" if is_split(arm) else arm


def _failures(failures: Sequence[Mapping[str, Any]], frame: pd.DataFrame, rows: Sequence[Row]) -> list[dict[str, str]]:
    """arm, where, reason ("diverged: ...", "failed: ..." or "blocked by ...") of what the rows lack."""
    plain = [{name: WEIGHTS.sub("", value) if name == "backbone" else value for name, value in failure.items()}
             for failure in failures]  # fmt: skip
    done = set(zip(frame["arm"], frame["seed"], frame["task"], strict=True))
    found = []
    for failure in failures_of(frame, plain):
        arm, seed, task = failure["arm"], failure["seed"], failure["task"]
        trained = any((arm, seed, name) in done for name in ([task] if task else frame["task"].unique()))
        if arm in {row.arm for row in rows} and not trained:
            said = failure["reason"].partition("; alphas {")[0]  # status --failed has them
            error, _, words = said.partition(": ")
            reason = f"diverged: {words}" if error.endswith("Diverged") else f"failed: {said}"
            reason = reason if failure["status"] == "failed" else failure["status"]
            found.append({"arm": arm, "where": f"seed {seed} {task}".strip(), "reason": reason})
    return found


def _lines(
    table: pd.DataFrame, rows: Sequence[Row], theirs: pd.DataFrame, failures: Sequence[Mapping[str, str]]
) -> list[Line]:
    lines = []
    for row in rows:
        own = table[table["arm"] == row.arm]
        broken = [failure["reason"] for failure in failures if failure["arm"] == row.arm]
        counts = [str(count) for count in own.groupby("task", sort=False)["n"].max()]
        n = counts[0] if len(set(counts)) == 1 else "/".join(counts)
        cells = [_cell(mean, half) for mean, half in zip(own["mean"], own["half_width"], strict=True)]
        if broken and own["mean"].isna().all():
            cells = [broken[0]]
        lines.append(Line(row.label, n, cells, own["best"].tolist()))
        for arm in row.published:
            values = _published(theirs, arm, own)
            if values:
                label = "published" if arm == row.arm else f"published, {_name(arm)}"
                lines.append(Line(label, NOTHING, [_cell(v, float("nan")) for v in values], [False] * len(values)))
    return lines


def _published(theirs: pd.DataFrame, arm: str, own: pd.DataFrame) -> list[float]:
    """The paper's values of an arm in the order of the columns; [] where it has none."""
    if theirs.empty or arm not in set(theirs["arm"]):
        return []
    values = theirs[theirs["arm"] == arm].set_index(["task", "metric"])["value"]
    return [float(values.get(cell, float("nan"))) for cell in zip(own["task"], own["metric"], strict=True)]


def _cell(mean: float, half: float) -> str:
    if np.isnan(mean):
        return NOTHING
    return f"{mean:.1f}" if np.isnan(half) else f"{mean:.1f} ± {half:.{1 if half >= 0.05 else 2}f}"


def _choice_feet(layout: Layout, frame: pd.DataFrame, chosen: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the best Splits were found, and among how many."""
    if not layout.best:
        return []
    trained = {arm for arm in whole_task(frame, "test")["arm"] if is_split(arm)}
    missing = [f"split-{point}" for point in SPLIT_POINTS if f"split-{point}" not in trained]
    lacks = f"; without {', '.join(missing)}, type: {_command(layout.command, frame)}" if missing else ""
    if not chosen:
        return [f"No Split is chosen: there are no Splits with val numbers and one-task{lacks}"]
    said = [
        "{} {} (val {:+.1f} %, test {:+.1f} %)".format(
            row["task"] or "the pair", row["arm"], row["val_change"], row["test_change"]
        )
        for row in chosen
    ]
    return [f"Best of {len(trained)} Split{'s' if len(trained) > 1 else ''} on val: {', '.join(said)}{lacks}"]


def _missing_feet(
    layout: Layout, frame: pd.DataFrame, rows: Sequence[Row], failures: Sequence[Mapping[str, str]], table: pd.DataFrame
) -> list[str]:
    """What failed, each with its reason; what is not trained, with the command that trains it."""
    alike: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        alike.setdefault((failure["arm"], failure["reason"]), []).append(failure["where"])
    feet = [f"{arm}, {', '.join(where)}: {reason}" for (arm, reason), where in alike.items()]
    counts = table.groupby("arm")["n"].max()
    empty = set(counts.index[counts == 0]) - {failure["arm"] for failure in failures} - {""}
    commands: dict[str, list[str]] = {}
    for row in rows:
        if row.arm in empty:
            commands.setdefault(row.command or layout.command, []).append(row.arm)
    return [*feet, *(f"Not trained in this setting: {', '.join(arms)}; type: {_command(command, frame)}"
                     for command, arms in commands.items())]  # fmt: skip


def _command(template: str, frame: pd.DataFrame) -> str:
    """`mtlbench run ...` for the frame's pair, data set, recipe and backbone."""
    first = frame.iloc[0]
    backbone = first["backbone"].partition("(")[0]
    setting = f"--dataset {first['dataset']} --recipe {first['recipe']}"
    setting += f" --backbone {backbone}" if backbone != Recipe.backbone else ""
    return "mtlbench run " + template.format(pair=first["pair"], setting=setting)


def _text(layout: Layout, title: str, lines: Sequence[Line], feet: Sequence[str], width: int) -> str:
    """Plain text; the best are marked ` *`, which stands out of the alignment."""
    cells = [[*line.cells] if len(line.cells) == 1 else
             [cell + (" *" if best else "  ") for cell, best in zip(line.cells, line.best, strict=True)]
             for line in lines]  # fmt: skip
    names = [metric.removeprefix("within_") + "  " for _, metric in layout.columns]
    sizes = [max([7, len(name), *(len(row[place]) for row in cells if len(row) > 1)])
             for place, name in enumerate(names)]  # fmt: skip
    left = max(len(layout.heading), *(len(line.label) + 2 * (line.n == NOTHING) for line in lines))
    count = max(len(line.n) for line in lines)
    heads, start = [" " * (left + 2 + count)] * max(len(words) for words, _ in layout.groups), 0
    for words, columns in layout.groups:
        here = slice(start, start + len(columns))
        room = sum(sizes[here]) + 2 * (len(columns) - 2)  # up to where the last column's marks stand
        sizes[start] += max(0, max(map(len, words)) - room)
        room, start = max(room, max(map(len, words))), here.stop
        heads = [head + "  " + word.rjust(room) + "  " for head, word in zip(heads, words, strict=True)]

    def joined(label: str, n: str, row: Sequence[str]) -> str:
        body = [cell.rjust(size) for cell, size in zip(row, sizes, strict=True)] if len(row) > 1 else [f" {row[0]}"]
        return "  ".join([label.ljust(left), n.rjust(count), *body]).rstrip()

    body = [joined(f"  {line.label}" if line.n == NOTHING else line.label, "" if line.n == NOTHING else line.n, row)
            for line, row in zip(lines, cells, strict=True)]  # fmt: skip
    head = [*(line.rstrip() for line in heads), joined(layout.heading, "n", names)]
    wrapped = []
    for foot in feet:
        said, _, command = foot.partition(" mtlbench run ")  # which stays in one piece, for copying
        wrapped.append(textwrap.fill(said, width, subsequent_indent="  ", break_on_hyphens=False))
        wrapped += [f"    mtlbench run {command}"] if command else []
    rule = "-" * (left + 2 + count + sum(sizes) + 2 * len(sizes))
    return "\n".join([*textwrap.wrap(title, width), "", *head, rule, *body, "", *wrapped]) + "\n"


def _spread(line: Line, bold: str) -> list[str]:
    """Label, n and one cell a column; the best as `bold` says, a cell across all columns in the first of them."""
    if len(line.cells) == 1:
        return [line.label, line.n, line.cells[0], *[NOTHING] * (len(line.best) - 1)]
    marked = [bold.format(cell) if best else cell for cell, best in zip(line.cells, line.best, strict=True)]
    return [line.label, line.n, *marked]


def _markdown(layout: Layout, title: str, lines: Sequence[Line], feet: Sequence[str], width: int) -> str:
    heads = [layout.heading, "n", *(" ".join(column) for column in layout.columns)]
    rows = [heads, ["---"] + ["---:"] * (len(heads) - 1), *(_spread(line, "**{}**") for line in lines)]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([title, "", *table, "", *(f"- {foot}" for foot in feet)]) + "\n"


def _latex(layout: Layout, title: str, lines: Sequence[Line], feet: Sequence[str], width: int) -> str:
    heads = []
    for place in range(max(len(words) for words, _ in layout.groups)):
        spans = [f"\\multicolumn{{{len(columns)}}}{{c}}{{{latex_text(words[place])}}}"
                 for words, columns in layout.groups]  # fmt: skip
        heads.append(" & ".join(["", "", *spans]).strip())
    names = [name.removeprefix("within_") for _, name in layout.columns]
    heads.append(" & ".join(map(latex_text, [layout.heading, "n", *names])))
    body = []
    for line in lines:
        label = ("\\quad " if line.n == NOTHING else "") + latex_text(line.label)
        cells = [f"\\textbf{{{latex_text(cell)}}}" if best else latex_text(cell)
                 for cell, best in zip(line.cells, line.best, strict=False)]  # fmt: skip
        if len(cells) == 1:
            cells = [f"\\multicolumn{{{len(layout.columns)}}}{{l}}{{{latex_text(line.cells[0])}}}"]
        body.append(" & ".join([label, latex_text(line.n), *cells]))
    return latex_table(title, len(layout.columns) + 2, heads, body, feet)


def _csv(
    number: str, table: pd.DataFrame, rows: Sequence[Row], theirs: pd.DataFrame, failures: Sequence[Mapping[str, str]]
) -> str:
    """One line a row and one a published arm, unrounded."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        own = table[table["arm"] == row.arm]
        line: dict[str, Any] = {"row": row.label, "arm": row.arm, "source": "measured"}
        for cell in records(own):
            name = f"{cell['task']} {cell['metric']}"
            line |= {name: cell["mean"], f"{name} half width": cell["half_width"], f"{name} n": cell["n"],
                     f"{name} best on val": cell["best"]}  # fmt: skip
        said = [f"{failure['where']}: {failure['reason']}" for failure in failures if failure["arm"] == row.arm]
        lines.append({**line, "failures": "; ".join(said)})
        for arm in row.published:
            values = _published(theirs, arm, own)
            names = [f"{task} {metric}" for task, metric in zip(own["task"], own["metric"], strict=True)]
            if values:
                lines.append({"row": row.label, "arm": arm, "source": f"Table {number}",
                              **dict(zip(names, values, strict=True))})  # fmt: skip
    return pd.DataFrame(lines).to_csv(index=False, float_format="%.6g", lineterminator="\n")
