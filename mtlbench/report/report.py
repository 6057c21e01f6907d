"""One self-contained HTML file with all that the results of a pair say: no network, no scripts, prints well."""

from __future__ import annotations

import datetime
import io
import platform
import re
import shlex
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure as Canvas

from mtlbench._version import __version__
from mtlbench.analysis.choice import optimism
from mtlbench.analysis.comparison import Case, case_of
from mtlbench.analysis.deltas import DELTAS, deltas, published_deltas
from mtlbench.analysis.frame import FEWEST_SEEDS, records
from mtlbench.analysis.paper import comparable
from mtlbench.arm_names import HIDDEN_ARMS, arm_order, named
from mtlbench.errors import UserError
from mtlbench.plan import spaces
from mtlbench.plugins import create, names
from mtlbench.report.claims import IMAGENET
from mtlbench.report.paper_tables import TABLES, paper_table
from mtlbench.report.results_table import results_table
from mtlbench.report.verdict import verdict_on
from mtlbench.report.words import (
    ABLATIONS,
    answer_sentences,
    claim_sentences,
    gap_sentences,
    in_words,
    resolution_sentences,
)
from mtlbench.text import DAGGER, NOTHING, count, listed, percent, printable, short

FIRST = ("figure2", "alphas", "figure5", "figure6", "curves", "cost")  # then the others, by name
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
STROKES = "stroke-linejoin:round;stroke-linecap:butt"  # what matplotlib's own style sheet says, kept in the picture


@dataclass(frozen=True)
class Picture:
    """A figure as SVG, or why there is none."""

    name: str
    title: str
    svg: Markup = Markup()
    reason: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of texts: `strong` cells are (row, column); notes stand beneath."""

    title: str
    heads: list[str]
    rows: list[list[str]]
    notes: Sequence[str] = ()
    strong: frozenset[tuple[int, int]] = frozenset()


def report(
    results: Any,
    out: Path,
    pair: str | None = None,
    dataset: str | None = None,
    recipe: str | None = None,
    backbone: str | None = None,
) -> Path:
    """Write the report on the newest results, or on those asked for, to the file `out` and return it.

    `results` is `store.Results`. Published numbers stand beside where they compare. Raises UserError where there are no
    results or the file cannot be written.
    """
    case = case_of(results, pair, dataset, recipe, backbone)
    text = printable(page(case, results))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; name another file with --out") from error
    return out


def page(case: Case, results: Any) -> str:
    """The report as HTML. Everything that comes from results is escaped by the template."""
    trials = results.provenance_of(case.frame)
    tables, missing = _paper_tables(case, results)
    found = verdict_on(case, results)
    environment = Environment(
        loader=PackageLoader("mtlbench.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        case=case,
        tasks=[task for task in case.scopes if task],
        seeds=_seeds(case),
        answer=answer_sentences(found.answer),
        resolution=resolution_sentences(found.resolution, case),
        claims=claim_sentences(found.claims, case),
        gaps=gap_sentences(found.gaps, case),
        facts=_facts(case, trials),
        fields=_fields(trials),
        commands=_commands(case, trials),
        figures=_pictures(case, results),
        table=_table(case, results),
        paper_tables=tables,
        missing_tables=missing,
        numbers=[_deltas(case, results), _optimism(case), _compute(case)],
        problems=results.problems,
        fewest=FEWEST_SEEDS,
        version=__version__,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _seeds(case: Case) -> list[str]:
    """Seeds of the visible arms, in order."""
    found = case.frame.loc[~case.frame["arm"].isin(HIDDEN_ARMS), "seed"].unique()
    return [f"{seed:g}" for seed in sorted(found)]


def _facts(case: Case, trials: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(term, what it was) of the run; several values are all listed."""

    def distinct(value: Callable[[Mapping[str, Any]], Any]) -> str:
        return "; ".join(dict.fromkeys(text for trial in trials if (text := str(value(trial)))))

    arms = arm_order(set(case.frame["arm"]) - set(HIDDEN_ARMS))
    aliases = [f"{arm} = {case.names[arm]}" for arm in arms if case.names.get(arm, arm) != arm]
    arms = [arm for arm in arms if case.names.get(arm, arm) == arm]
    finished = sorted(str(trial["finished"])[:16].replace("T", " ") for trial in trials)
    hours = sum(float(trial["seconds"]) for trial in trials) / 3600
    facts = [
        ("Pair", f"{case.pair}: {listed([task for task in case.scopes if task])}"),
        ("Data set", distinct(lambda trial: trial["dataset"])),
        ("Fingerprint of the data", distinct(lambda trial: trial["fingerprint"])),
        ("Folder of the data", distinct(lambda trial: trial["data_root"])),
        ("Backbone", distinct(lambda trial: trial["backbone"])),
        ("Recipe", case.pick["recipe"]),
        ("Seeds", ", ".join(_seeds(case))),
        (f"Arms ({len(arms)})", ", ".join(map(named, arms))),
        ("Other names of these", ", ".join(aliases)),
        ("Trials", f"{len(trials)}, {hours:.1f} hours of training and evaluation" if trials else ""),
        ("Finished", f"{finished[0]} to {finished[-1]} UTC" if finished else ""),
        ("Trained with", distinct(lambda trial: _machine(trial["environment"]))),
        ("Reported with", f"mtlbench {__version__}, Python {platform.python_version()}"),
    ]
    return [(term, what) for term, what in facts if what]


def _machine(environment: Mapping[str, Any]) -> str:
    python, torch, *rest = (str(environment.get(name, "?")) for name in ("python", "torch", "device", "processor"))
    return f"Python {python}, torch {torch}, on {' of '.join(rest)}"


def _fields(trials: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The recipe's fields; where arms or tasks differ, every value."""
    fields: dict[str, dict[str, None]] = {}
    for trial in trials:
        for name, value in trial["recipe"].items():
            fields.setdefault(name, {})[str(value)] = None
    return [(name, " or ".join(values)) for name, values in sorted(fields.items())]


def _commands(case: Case, trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """What trains these trials and makes this report; the rest of the options comes from the recipe."""
    arms = {str(arm) for arm in case.frame["arm"]} | {str(failure["arm"]) for failure in case.failures}
    seeds = ",".join(_seeds(case))
    setting = f"--dataset {case.pick['dataset']} --recipe {case.pick['recipe']} --seeds {seeds}"
    roots = dict.fromkeys(str(trial["data_root"]) for trial in trials if trial["data_root"])
    setting += "".join(f" --data-root {shlex.quote(root)}" for root in roots)
    written: list[str] = []
    left = set(arms)
    for name in [case.pair, *([ABLATIONS[case.pair]] if case.pair in ABLATIONS else [])]:
        if name not in spaces.names():
            continue
        own = {arm.name for arm in spaces.load(name).arms}
        if wanted := left & own if written else arms & own:
            chosen = "--all-splits" if own <= arms else " ".join(f"--arm {arm}" for arm in arm_order(wanted - _PARENTS))
            written.append(f"mtlbench run --pair {name} {setting} {_backbone(case, name)}{chosen}".rstrip())
            left -= own
    if "cross-stitch-from-imagenet" in left:
        written.append(f"mtlbench run --pair {IMAGENET.format(pair=case.pair)} {setting}")
        left.remove("cross-stitch-from-imagenet")
    if left:
        written.append(
            f"mtlbench run --pair {case.pair} {setting} --scheme FILE.py:Class  # arms of your own:"
            f" {', '.join(sorted(left))}"
        )
    picked = " ".join(f"--{name} {shlex.quote(case.pick[name])}" for name in ("pair", "dataset", "recipe"))
    return [*written, f"mtlbench report {picked}"]


_PARENTS = {"one-task", *HIDDEN_ARMS}  # come along with their children


def _backbone(case: Case, space: str) -> str:
    """`--backbone NAME ` where it is not the recipe's."""
    name = case.pick["backbone"].partition("(")[0]
    recipes = [recipe for recipe in spaces.load(space).recipes if recipe.name == case.pick["recipe"]]
    return f"--backbone {name} " if not recipes or recipes[0].backbone != name else ""


def _pictures(case: Case, results: Any) -> list[Picture]:
    """Every figure plug-in, in the order of FIRST."""
    found = names("figure")
    order = [name for name in FIRST if name in found] + [name for name in found if name not in FIRST]
    return [_picture(name, case, results) for name in order]


def _picture(name: str, case: Case, results: Any) -> Picture:
    drawer = create("figure", name)
    title = " ".join((sys.modules[type(drawer).__module__].__doc__ or name).split("\n\n")[0].split())
    try:
        data = drawer.data(results, paper=True, **case.pick)
    except UserError as error:
        return Picture(name, title, reason=str(error))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        canvas, buffer = Canvas(), io.BytesIO()
        drawer.draw(data, canvas)
        canvas.savefig(buffer, format="svg", metadata={"Date": None})
    return Picture(name, title, svg=embedded(buffer.getvalue(), name, title))


def embedded(svg: bytes, name: str, title: str) -> Markup:
    """An SVG file as an element for a page with others: ids begin with its name, no style sheet, no metadata, the title
    for who cannot see it."""
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    root = ET.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}style", f"{{{SVG}}}metadata"):
                parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key in ("href", f"{{{XLINK}}}href") and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    root.set("style", STROKES)
    root.set("role", "img")
    root.set("aria-label", title)
    return Markup(ET.tostring(root, encoding="unicode"))


def from_markdown(text: str) -> Grid:
    """A table as `results_table` and `paper_table` write it in Markdown: title, table, notes."""
    lines = text.splitlines()
    heads, _, *body = [_cells(line) for line in lines if line.startswith("|")]
    rows = [[cell.strip("*") if cell.startswith("**") else cell for cell in row] for row in body]
    strong = frozenset((y, x) for y, row in enumerate(body) for x, cell in enumerate(row) if cell.startswith("**"))
    notes = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    title = " ".join(line for line in lines if not line.startswith(("|", "- ")) and line)
    return Grid(title, heads, [[_plain(cell) for cell in row] for row in rows], notes, strong)


def _table(case: Case, results: Any) -> Grid:
    """`mtlbench table`."""
    pick = case.pick
    return from_markdown(
        results_table(
            results.frame,
            "markdown",
            pair=pick["pair"],
            dataset=pick["dataset"],
            recipe=pick["recipe"],
            backbone=pick["backbone"],
            failures=results.failures,
        )
    )


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _plain(cell: str) -> str:
    return cell.replace("\\*", "*")


def _paper_tables(case: Case, results: Any) -> tuple[list[Grid], list[str]]:
    """The paper's tables of this pair that have numbers, and why the others are not there."""
    tables, missing = [], []
    for number, layout in TABLES.items():
        if layout.pair != case.pair:
            continue
        pick = case.pick
        try:
            text = paper_table(
                number,
                results,
                True,
                "markdown",
                pair=pick["pair"],
                dataset=pick["dataset"],
                recipe=pick["recipe"],
                backbone=pick["backbone"],
            )
            grid = from_markdown(text)
        except UserError as error:
            missing.append(f"Table {number}: {error}")
            continue
        if any(cell != NOTHING for row in grid.rows for cell in row[2:]):
            tables.append(grid)
        else:
            missing.append(f"Table {number}, {layout.title}: none of its arms was trained.")
    return tables, missing


def _deltas(case: Case, results: Any) -> Grid:
    """Arms against the deltas of the field."""
    found = deltas(case.unique)
    cells = {
        (row["arm"], row["delta"]): percent(row["mean"], row["low"], row["high"])
        + (DAGGER if row["flagged"] and row["low"] == row["low"] else "")
        for row in records(found)
    }
    arms = arm_order(found["arm"].unique())
    rows = [[named(arm), *(cells.get((arm, delta), NOTHING) for delta in DELTAS)] for arm in arms]
    metrics = found.drop_duplicates("delta").set_index("delta")["metrics"]
    notes = [f"{delta}: {metrics[delta]} ({source})." for delta, source in DELTAS.items() if delta in metrics]
    theirs, remark = comparable(case.frame, results)
    if len(theirs):
        table = published_deltas()
        table = table[table["pair"] == case.pair].pivot_table(index=["arm", "source"], columns="delta", values="change")
        rows += [
            [f"{named(arm)}, published ({source})", *(percent(found[delta]) for delta in DELTAS)]
            for (arm, source), found in zip(table.index, records(table), strict=True)
        ]
    notes += (
        [f"{DAGGER} noisier than the pool: the interval is of the arm's own seeds."]
        if any(cell.endswith(DAGGER) for cell in cells.values())
        else []
    )
    notes += [remark] if remark else []
    return Grid(
        "Single numbers for all tasks, by their full names; change against one-task in %, up is better.",
        ["arm", *DELTAS],
        rows,
        notes,
    )


def _optimism(case: Case) -> Grid:
    """What choosing the Split on test would have claimed."""
    rows = []
    for row in records(optimism(case.unique)):
        if row["task"] not in case.scopes:
            continue
        error = NOTHING if pd.isna(row["error"]) else f"{row['error']:.1f}"
        rows.append(
            [
                in_words(row["task"]),
                named(row["arm_val"]),
                percent(row["test_of_val"]),
                named(row["arm_test"]),
                percent(row["test_of_test"]),
                percent(row["optimism"]),
                error,
            ]
        )
    heads = [
        "for",
        "chosen on val",
        "its change on test",
        "chosen on test",
        "its change on test",
        "optimism",
        "standard error",
    ]
    notes = [
        f"The best of {count(len([a for a in case.arms if a.startswith('split-')]), 'Split')} on the reported"
        " numbers looks better than it is; the paper chooses so."
    ]
    return Grid("What choosing the Split on test would have claimed.", heads, rows, notes)


def _compute(case: Case) -> Grid:
    """What each arm costs for the pair with the training of its parents, and its ratio to one-task's."""
    columns = {
        "parameters": "parameters",
        "flops": "FLOPs an image",
        "image_visits": "image visits",
        "image_visits_with_parents": "with parents",
        "training_flops_with_parents": "training FLOPs with parents",
        "seconds_with_parents": "seconds with parents",
    }
    rows = []
    for row in records(case.costs.reset_index()):
        if case.names.get(row["arm"], row["arm"]) != row["arm"]:  # a second name
            continue
        cells = [f"{short(row[name])} ({row[name + '_ratio']:.2f} x)" if row[name] > 0 else NOTHING for name in columns]
        rows.append([named(row["arm"]), *cells])
    notes = [
        "In brackets: over one-task's. FLOPs: forward, of one image through all networks; training: three times"
        " that for every image visit."
    ]
    return Grid(
        "What each arm costs for the pair, the training of its parents included.",
        ["arm", *columns.values()],
        rows,
        notes,
    )
