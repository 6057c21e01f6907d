"""Figure 2: the architectures from fully shared to fully separate, and what each is worth against one-task."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mtlbench.analysis.arms import Arms
from mtlbench.analysis.choice import best_split
from mtlbench.analysis.comparison import BEATS, LOSES, Case
from mtlbench.analysis.frame import FEWEST_SEEDS, list_records, relative_change
from mtlbench.analysis.inference import compute_intervals, describe_intervals, noise_band
from mtlbench.analysis.paper import select_comparable
from mtlbench.analysis.selection import NEWEST, Selection, describe_failures, select_newest
from mtlbench.arm_names import BASELINE, arm_order
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.figures import _style as style
from mtlbench.figures._changes import draw_changes
from mtlbench.figures._panels import (
    LINE,
    add_panel,
    draw_caption,
    draw_legend,
    draw_title,
    far_off,
    seeds_text,
    wrap,
)
from mtlbench.figures._schematic import (
    architecture_rows,
    draw_architectures,
    draw_spectrum,
    own_units,
    row_tops,
    seeds_differ,
)
from mtlbench.figures._shown_arms import choose_arms, marker_of
from mtlbench.spec import Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


BESIDE = (Family.LONGER, Family.ENSEMBLE, Family.SHARED, Family.CROSS_STITCH)  # right of the spectrum, before others
PAPER_TABLES = ("Table 5", "Table 6")  # the tables that compare arms; the others are ablations
LETTERS = 10  # of an arm's name in a line
UPRIGHT = 16  # with more arms the names stand upright, in narrower columns
TREES_TEXT = (
    "Splits and trees stand in the order of how many copies of the stages they have together; a tree's name says which"
    " tasks share from each layer where some leave. The line joins Splits."
)
NO_COLUMNS: Mapping[str, int] = {}
GAP_COLUMNS = 0.7  # between the spectrum and the arms beside it


@dataclass(frozen=True)
class Layout:
    """Sizes in inches; a column is an arm's."""

    least_width: float = 6.8
    left: float = 0.78
    right: float = 0.12
    column: float = 0.53
    crowded_column: float = 0.4
    widest_column: float = 0.95
    header: float = 0.3
    panel: float = 1.75
    panel_title: float = 0.27
    label_line: float = 0.1
    label_margin: float = 0.07
    letter: float = 0.048
    legend: float = 0.2


INCHES = Layout()


@dataclass(frozen=True, eq=False)
class Figure2Data:
    """arms: arm, family, label, short (label), x (place), marker, spectrum (a Split or one-task: joined by a line).
    points: task, metric, arm, seed, x, value, change (%). means: `inference.compute_intervals` with x, marker,
    spectrum, far (off the axis), chosen_task, chosen_pair, and differs (whether the chosen Split beats or loses to
    one-task where every contrast of the report's answer is allowed for, False for other arms). band:
    `inference.noise_band`. architectures: `architecture_rows`. published: task, arm, x, value, change (empty unless
    asked for and comparable).
    """

    arms: pd.DataFrame
    points: pd.DataFrame
    means: pd.DataFrame
    band: pd.DataFrame
    architectures: pd.DataFrame
    published: pd.DataFrame
    caption: str


class Figure2:
    """Section 1.1, Figure 2, with seeds, intervals, controls and the Split that val chooses."""

    def data(
        self,
        results: Results,
        selection: Selection = NEWEST,
        paper: bool = False,
        arms: Sequence[str] = (),
    ) -> Figure2Data:
        """The newest pair, dataset, backbone and recipe, or those asked for; `arms` are globs, without any all arms but
        ablations.

        `results` has frame, architectures_of and failures. Raises UserError without one-task.
        """
        frame, note = select_newest(results.frame, selection)
        changes = relative_change(frame).dropna(subset=["change"])
        if changes.empty:
            raise UserError(f"figure2 needs {BASELINE} on test; type: mtlbench run --pair {frame['pair'].iloc[0]}")
        shown, names_text = choose_arms(frame[frame["arm"].isin(set(changes["arm"]))], arms)
        trials = frame[frame["arm"].isin(shown)].drop_duplicates(["arm", "seed", "key"])
        places = layout(shown, Arms.of(frame), count_columns(results.architectures_of(trials)))
        tasks = list(dict.fromkeys(changes["task"]))
        chosen = best_split(frame)
        case = Case(frame, (), note)
        means = _compute_means(changes, places, chosen, case)
        found = [results.architectures_of(own) for _, own in trials.groupby("seed", dropna=False)]
        distinct = [one for place, one in enumerate(found) if one not in found[:place]]  # one, but where arms search
        architectures = [architecture_rows(one, places, tasks) for one in distinct]
        nothing = pd.DataFrame(columns=["task", "arm", "x", "value", "change"])
        overlay, remark = _overlay(frame, results, places) if paper else (nothing, "")
        trees = TREES_TEXT if (places["family"] == Family.TREE).any() else ""
        remarks = (
            names_text,
            trees,
            _search_text(seeds_differ(architectures)),
            describe_failures(frame, results.failures),
            remark,
        )
        points = changes.merge(places[["arm", "x"]])[["task", "metric", "arm", "seed", "x", "value", "change"]]
        band = noise_band(frame).merge(changes[["task", "unit", "higher_is_better"]].drop_duplicates())
        return Figure2Data(
            arms=places,
            points=points,
            means=means,
            band=band.sort_values("task", key=lambda column: column.map(tasks.index), ignore_index=True),
            architectures=_first_of(architectures, places["arm"]),
            published=overlay,
            caption=write_caption(
                points,
                means.merge(places[["arm", "short"]]),
                note,
                case.family if len(chosen) else 0,
                remarks,
            ),
        )

    def draw(self, data: Figure2Data, canvas: Canvas) -> None:
        """Draws on an empty canvas, whose size is set to fit the number of arms and tasks."""
        with style.theme():
            _draw(data, canvas)


def _draw(data: Figure2Data, canvas: Canvas) -> None:
    """(a) the architectures, (b) a panel per task below them, a column per arm through all."""
    tasks = list(data.band["task"])
    columns = float(data.arms["x"].max()) + 1.0
    crowded = len(data.arms) > UPRIGHT
    least = INCHES.crowded_column if crowded else INCHES.column
    width = max(INCHES.least_width, INCHES.left + columns * least + INCHES.right)
    across = width - INCHES.left - INCHES.right
    column = min(across / columns, INCHES.widest_column)
    aside = (across / column - columns) / 2  # empty columns on both sides where arms are few
    lines = wrap(data.caption, width)
    handles = _make_legend(data, tasks)
    legend_rows = 2 if len(handles) <= 10 else 3
    foot = INCHES.legend + LINE * legend_rows + LINE * len(lines) + 0.08
    drawing = float(row_tops(data.architectures)[-1])
    labels = _label_height(data.arms, crowded)
    panels = len(tasks) * (INCHES.panel_title + INCHES.panel)
    canvas.set_size_inches(width, INCHES.header + drawing + labels + panels + labels + foot)

    def add(top: float, tall: float) -> Axes:
        axes = add_panel(canvas, INCHES.left, top, across, tall)
        axes.set_xlim(-0.5 - aside, columns - 0.5 + aside)
        return axes

    sketch = add(INCHES.header, drawing)
    draw_architectures(sketch, data.architectures, tasks, least / column)
    draw_spectrum(sketch, _place_of_baseline(data))
    _arm_labels(sketch, data.arms, crowded)
    top = INCHES.header + drawing + labels
    draw_title(canvas, "(a)", INCHES.header - 0.03, bold=True)
    draw_title(canvas, "(b)", top + INCHES.panel_title - 0.06, bold=True)
    for place, task in enumerate(tasks):
        panel = add(top + INCHES.panel_title, INCHES.panel)
        _draw_task(panel, data, task, style.task_colour(place), least / column)
        top += INCHES.panel_title + INCHES.panel
        if place == len(tasks) - 1:
            _arm_labels(panel, data.arms, crowded)
        else:
            panel.tick_params(labelbottom=False)
    draw_legend(canvas, handles, legend_rows, foot)
    draw_caption(canvas, lines)


def _draw_task(axes: Axes, data: Figure2Data, task: str, colour: str, scale: float) -> None:
    """A task's panel with its title, and a line between the spectrum and the arms beside it."""
    points, means, published = (frame[frame["task"] == task] for frame in (data.points, data.means, data.published))
    band = next(row for row in list_records(data.band) if row["task"] == task)
    draw_changes(axes, points, means, colour, band["half_width"], published, scale)
    separator = _place_of_baseline(data) + (1 + GAP_COLUMNS) / 2
    if data.arms["x"].max() > separator:
        axes.axvline(separator, color=style.FAINT, lw=0.6, ls=(0, (2, 2)))
    direction = "higher" if band["higher_is_better"] else "lower"
    title = f"{task}: {band['metric']}, {direction} is better; one-task = {band['mean']:.1f} {band['unit']}"
    axes.set_title(title, fontsize=style.LARGE, loc="left", pad=3, color=style.INK)
    axes.set_ylabel("change vs one-task\n(%, up is better)", fontsize=style.NORMAL)
    axes.set_xlabel("")
    axes.set_xticks(data.arms["x"])
    axes.tick_params(axis="x", length=0)


def _place_of_baseline(data: Figure2Data) -> float:
    return float(data.arms.loc[data.arms["arm"] == BASELINE, "x"].iloc[0])


def _compute_means(changes: pd.DataFrame, places: pd.DataFrame, chosen: pd.DataFrame, case: Case) -> pd.DataFrame:
    """`inference.compute_intervals` with each arm's place, whether val chose it, and whether it then differs from
    one-task."""
    means = compute_intervals(changes).merge(places[["arm", "x", "marker", "spectrum"]])
    means["far"] = pd.concat([far_off(rows) for _, rows in means.groupby("task")])
    choice = dict(zip(chosen["task"], chosen["arm"], strict=True))
    means["chosen_task"] = means["arm"] == means["task"].map(choice)
    means["chosen_pair"] = means["arm"] == choice.get("")
    found = {task: case.difference(task, case.names[arm], BASELINE) for task, arm in choice.items() if task}
    differing = {task for task, one in found.items() if one and one.relation in (BEATS, LOSES)}
    means["differs"] = means["chosen_task"] & means["task"].isin(differing)
    return means


def count_columns(architectures: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    """{arm: the copies that its network has of all stages together}: the fewer, the more is shared."""
    return {arm: sum(len(stage["groups"]) for stage in stages) for arm, stages in architectures.items()}


def layout(names: Iterable[str], arms: Arms, columns: Mapping[str, int] = NO_COLUMNS) -> pd.DataFrame:
    """Arms from left to right: Splits and trees from fully shared to nearly separate, one-task, a gap, the arms beside
    them. `columns` as `count_columns` gives them: trees stand where they share as much as their neighbours."""
    ordered = arm_order(names)
    joined = [arm for arm in reversed(ordered) if arms.is_split(arm)] + [BASELINE]
    trees = [arm for arm in reversed(ordered) if arms.is_tree(arm)]
    spectrum = [*sorted([*joined[:-1], *trees], key=lambda arm: columns.get(arm, 0)), BASELINE] if trees else joined
    others = [arm for arm in ordered if arm not in spectrum]
    plain = [arm for arm in others if arms.kind(arm).family in BESIDE and not arms.is_variant(arm)]
    beside = sorted(plain, key=lambda arm: BESIDE.index(Family(arms.kind(arm).family)))
    beside += [arm for arm in others if arm not in plain]
    first = {arms.plain(arm): place for place, arm in reversed([*enumerate(beside)])}
    beside.sort(key=lambda arm: first[arms.plain(arm)])  # an arm's variants stand beside it
    x = [float(i) for i in range(len(spectrum))] + [len(spectrum) + GAP_COLUMNS + i for i in range(len(beside))]
    rows = [
        {
            "arm": arm,
            "family": arms.kind(arm).family,
            "label": _in_lines(arms.label(arm)),
            "short": arms.short(arm),
            "x": place,
            "marker": marker_of(arms, arm),
            "spectrum": arm in joined,
        }
        for arm, place in zip([*spectrum, *beside], x, strict=True)
    ]
    return pd.DataFrame(rows)


def _in_lines(label: str) -> str:
    """An arm's label in short lines, broken at hyphens where possible."""
    if label.startswith("Split "):
        return "Split\n" + "\n".join(textwrap.wrap(label.removeprefix("Split "), LETTERS))
    lines = [""]
    for part in re.split(r"(?<=-)", label):
        for piece in textwrap.wrap(part, LETTERS, break_on_hyphens=False):
            lines = [*lines[:-1], lines[-1] + piece] if len(lines[-1] + piece) <= LETTERS else [*lines, piece]
    return "\n".join(line for line in lines if line)


def _first_of(architectures: Sequence[pd.DataFrame], arms: Iterable[str]) -> pd.DataFrame:
    """Each arm's architecture with the first seed that has one, in the arms' order."""
    rows = pd.concat([rows.assign(seed=place) for place, rows in enumerate(architectures)], ignore_index=True)
    first = rows[rows["seed"] == rows.groupby("arm")["seed"].transform("min")].drop(columns="seed")
    order = {arm: place for place, arm in enumerate(arms)}
    return first.sort_values("arm", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def _search_text(differing: list[str]) -> str:
    if not differing:
        return ""
    return f"(a) has the first seed's network of {', '.join(differing)}: the search found others with other seeds."


def write_caption(points: pd.DataFrame, means: pd.DataFrame, note: str, family: int, remarks: Sequence[str]) -> str:
    """What was compared, on what, with how many seeds, and what whiskers, band and marks mean; `family`: how many
    contrasts the report's answer makes, 0 where no Split is chosen."""
    headlines = ", ".join(dict.fromkeys(f"{row['task']} {row['metric']}" for row in list_records(means)))
    listed_seeds = seeds_text(points["seed"])
    parts = [
        f"Change of the headline metric ({headlines}) on test against one-task with the same seed; {listed_seeds}.",
        note,
    ]
    if which := describe_intervals(means):
        parts.append(f"Whiskers: 95 % intervals of the paired mean, {which}.")
        parts.append("Band: unpaired 95 % t interval of one-task's own mean over its seeds.")
    else:
        parts.append(f"No intervals and no band below {FEWEST_SEEDS} seeds.")
    if means["far"].any():
        parts.append("Arrows: off the axis, with the mean; their seeds and whiskers are not drawn.")
    if family:
        parts.append(
            "Star, ring: chosen on val, shown on test; a star is filled where it differs from one-task when all"
            f" {family} contrasts of the report's answer are allowed for."
        )
    else:
        parts.append("No Split could be chosen on val.")
    if any(short.startswith("CS-") for short in means["short"]) and means["arm"].nunique() > UPRIGHT:
        parts.append("CS: cross-stitch; MTL: MTL-shared.")
    return " ".join(part for part in (*parts, *remarks) if part)


def _overlay(frame: pd.DataFrame, results: Results, arms: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The published changes of the arms shown and a remark; an empty frame where they do not compare."""
    theirs, why_not = select_comparable(frame, results)
    theirs = theirs[theirs["source"].isin(PAPER_TABLES)]
    if theirs.empty:
        return pd.DataFrame(columns=["task", "arm", "x", "value", "change"]), why_not
    table = relative_change(theirs).merge(arms[["arm", "x"]])
    source = theirs["source"].iloc[0]
    return table[["task", "arm", "x", "value", "change"]], f"Published: {source} of the paper, one run each."


def _label_height(arms: pd.DataFrame, upright: bool) -> float:
    """What the arms' names take, in inches."""
    if upright:
        longest: int = arms["short"].str.len().max()
        return INCHES.label_margin + INCHES.letter * longest
    lines: int = max(label.count("\n") + 1 for label in arms["label"])
    return INCHES.label_margin + INCHES.label_line * lines


def _arm_labels(axes: Axes, arms: pd.DataFrame, upright: bool) -> None:
    """Names below the columns, in several lines or, where there are many, upright in one."""
    texts = arms["short"] if upright else arms["label"]
    axes.set_xticks(arms["x"], texts, fontsize=style.SMALL, linespacing=1.0, rotation=90 if upright else 0)


def _make_legend(data: Figure2Data, tasks: list[str]) -> list[Any]:
    """Only what is in the picture."""
    means = data.means
    many = data.points["seed"].nunique() > 1
    drawn, own = data.architectures, own_units(data.architectures)

    def box(colour: str, label: str) -> Patch:
        return Patch(facecolor=colour, edgecolor=style.INK, lw=0.5, label=label)

    def mark(shape: str, size: float, label: str, edge: str = style.INK, face: str = "white") -> Line2D:
        return Line2D([], [], marker=shape, ls="", ms=size, mfc=face, mec=edge, label=label)

    wanted: list[tuple[bool, Any]] = [
        *((True, box(style.task_colour(place), task)) for place, task in enumerate(tasks)),
        (True, box(style.SHARED, "shared by tasks")),
        (bool((drawn["unit"] & ~own).any()), mark("x", 5, "unit mixing columns")),
        (bool(own.any()), mark("o", 3, "task's unit in shared stage", face=style.FAINT)),
        (many, mark("o", 3, "single seed", edge=style.DOTS)),
        (True, mark("o", 5, "mean over seeds" if many else "one seed")),
        (bool(means["low"].notna().any()), mark("|", 7, "95 % interval")),
        (bool(data.band["half_width"].notna().any()), box(style.BAND, "one-task's own noise")),
        (bool(means["chosen_task"].any()), mark("*", 9, "Split chosen on val (task)")),
        (bool(means["chosen_pair"].any()), mark("o", 10, "Split chosen on val (pair)", face="none")),
        (len(data.published) > 0, mark("d", 4.5, "published (one run)")),
    ]
    return [handle for shown, handle in wanted if shown]
