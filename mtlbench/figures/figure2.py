"""Figure 2: the architectures from fully shared to fully separate, and what each is worth against one-task."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mtlbench.analysis.choice import best_split
from mtlbench.analysis.frame import FEWEST_SEEDS, records, relative_change
from mtlbench.analysis.inference import intervals, noise_band
from mtlbench.analysis.paper import comparable
from mtlbench.analysis.selection import failed_text, newest
from mtlbench.arm_names import BASELINE, arm_order, family, is_split, short
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.figures import _style as style
from mtlbench.figures._arms import listed, shown_arms
from mtlbench.figures._changes import draw_changes
from mtlbench.figures._panels import (
    LINE,
    add_panel,
    draw_caption,
    draw_legend,
    draw_title,
    far_off,
    seeds_text,
    wrapped,
)
from mtlbench.figures._schematic import (
    architecture_rows,
    draw_architectures,
    draw_spectrum,
    own_units,
    row_tops,
    seeds_differ,
)
from mtlbench.text import DAGGER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


BESIDE = ("one-task-longer", "ensemble", "mtl-shared", "cross-stitch")  # to the right of the spectrum, then custom arms
PAPER_TABLES = ("Table 5", "Table 6")  # the tables that compare arms; the others are ablations
LETTERS = 10  # of an arm's name in a line
UPRIGHT = 16  # with more arms the names stand upright, in narrower columns
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
    """arms: arm, label, x (place). points: task, metric, arm, seed, x, value, change (%). means: `inference.intervals`
    (low, high: the shown ones, of all arms' pool) with x, far (off the axis), chosen_task and chosen_pair. band:
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
        paper: bool = False,
        pair: str | None = None,
        dataset: str | None = None,
        recipe: str | None = None,
        backbone: str | None = None,
        arms: Sequence[str] = (),
    ) -> Figure2Data:
        """The newest pair, dataset, backbone and recipe, or those asked for; `arms` are globs, without any all arms but
        ablations.

        `results` has frame, architectures_of and failures. Raises UserError without one-task.
        """
        frame, note = newest(results.frame, pair, dataset, recipe, backbone)
        changes = relative_change(frame).dropna(subset=["change"])
        if changes.empty:
            raise UserError(f"figure2 needs {BASELINE} on test; type: mtlbench run --pair {frame['pair'].iloc[0]}")
        shown, names_text = shown_arms(frame[frame["arm"].isin(set(changes["arm"]))], arms)
        places = layout(shown)
        tasks = list(dict.fromkeys(changes["task"]))
        chosen = best_split(frame)
        means = _means(changes, places, chosen)
        trials = frame[frame["arm"].isin(shown)].drop_duplicates(["arm", "seed", "key"])
        architectures = {
            seed: architecture_rows(results.architectures_of(own), places, tasks)
            for seed, own in trials.groupby("seed", dropna=False)
        }
        nothing = pd.DataFrame(columns=["task", "arm", "x", "value", "change"])
        overlay, remark = _overlay(frame, results, places) if paper else (nothing, "")
        remarks = (names_text, _search_text(seeds_differ(architectures)), failed_text(frame, results.failures), remark)
        points = changes.merge(places[["arm", "x"]])[["task", "metric", "arm", "seed", "x", "value", "change"]]
        band = noise_band(frame).merge(changes[["task", "unit", "higher_is_better"]].drop_duplicates())
        return Figure2Data(
            arms=places,
            points=points,
            means=means,
            band=band.sort_values("task", key=lambda column: column.map(tasks.index), ignore_index=True),
            architectures=_first_of(architectures, places["arm"]),
            published=overlay,
            caption=caption(points, means, note, len(chosen) > 0, remarks),
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
    lines = wrapped(data.caption, width)
    handles = _legend(data, tasks)
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
    band = next(row for row in records(data.band) if row["task"] == task)
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


def _means(changes: pd.DataFrame, places: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """`inference.intervals` as they are shown, with each arm's place and whether val chose it."""
    means = intervals(changes).drop(columns=["low", "high"]).merge(places[["arm", "x"]])
    means = means.rename(columns={"shown_low": "low", "shown_high": "high"})
    means["far"] = pd.concat([far_off(rows) for _, rows in means.groupby("task")])
    choice = dict(zip(chosen["task"], chosen["arm"], strict=True))
    means["chosen_task"] = means["arm"] == means["task"].map(choice)
    means["chosen_pair"] = means["arm"] == choice.get("")
    return means


def layout(names: Iterable[str]) -> pd.DataFrame:
    """Arms from left to right: Splits from fully shared to nearly separate, one-task, a gap, the arms beside them."""
    ordered = arm_order(names)
    spectrum = [arm for arm in reversed(ordered) if is_split(arm)] + [BASELINE]
    beside = [arm for arm in BESIDE if arm in ordered]
    beside += [arm for arm in ordered if arm not in (*spectrum, *beside)]
    first = {family(arm): place for place, arm in reversed([*enumerate(beside)])}
    beside.sort(key=lambda arm: first[family(arm)])  # an arm's variants stand beside it
    x = [float(i) for i in range(len(spectrum))] + [len(spectrum) + GAP_COLUMNS + i for i in range(len(beside))]
    arms = [*spectrum, *beside]
    return pd.DataFrame({"arm": arms, "label": [_label(arm) for arm in arms], "x": x})


def _label(arm: str) -> str:
    """The arm's name in short lines, broken at hyphens where possible."""
    if arm.startswith("split-"):
        return "Split\n" + "\n".join(textwrap.wrap(arm.removeprefix("split-"), LETTERS))
    lines = [""]
    for part in re.split(r"(?<=-)", arm.replace("mtl-", "MTL-")):
        for piece in textwrap.wrap(part, LETTERS, break_on_hyphens=False):
            lines = [*lines[:-1], lines[-1] + piece] if len(lines[-1] + piece) <= LETTERS else [*lines, piece]
    return "\n".join(line for line in lines if line)


def _first_of(architectures: dict[Any, pd.DataFrame], arms: Iterable[str]) -> pd.DataFrame:
    """Each arm's architecture with the first seed that has one, in the arms' order."""
    rows = pd.concat([rows.assign(seed=place) for place, rows in enumerate(architectures.values())], ignore_index=True)
    first = rows[rows["seed"] == rows.groupby("arm")["seed"].transform("min")].drop(columns="seed")
    order = {arm: place for place, arm in enumerate(arms)}
    return first.sort_values("arm", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def _search_text(differing: list[str]) -> str:
    if not differing:
        return ""
    return f"(a) has the first seed's network of {', '.join(differing)}: the search found others with other seeds."


def caption(points: pd.DataFrame, means: pd.DataFrame, note: str, chosen: bool, remarks: Sequence[str]) -> str:
    """What was compared, on what, with how many seeds, and what whiskers, band and marks mean."""
    headlines = ", ".join(dict.fromkeys(f"{row['task']} {row['metric']}" for row in records(means)))
    listed_seeds = seeds_text(points["seed"])
    parts = [
        f"Change of the headline metric ({headlines}) on test against one-task with the same seed; {listed_seeds}.",
        note,
    ]
    if means["low"].notna().any():
        freedom = "/".join(dict.fromkeys(str(value) for value in means["freedom"]))  # tasks differ where cells miss
        parts.append(
            f"Whiskers: 95 % t interval of the paired mean, residual of arm + seed pooled over all arms ({freedom}"
            " degrees of freedom). Band: unpaired 95 % t interval of one-task's own mean over its seeds."
        )
        if flagged := _flagged(means):
            parts.append(f"{DAGGER}: noisier than that pool, so the interval is of the arm's own seeds ({flagged}).")
    else:
        parts.append(f"No intervals and no band below {FEWEST_SEEDS} seeds.")
    if means["far"].any():
        parts.append("Arrows: off the axis, with the mean; their seeds and whiskers are not drawn.")
    parts.append("Star, ring: chosen on val, shown on test." if chosen else "No Split could be chosen on val.")
    if any(short(arm).startswith("CS-") for arm in means["arm"]) and means["arm"].nunique() > UPRIGHT:
        parts.append("CS: cross-stitch; MTL: MTL-shared.")
    return " ".join(part for part in (*parts, *remarks) if part)


def _flagged(means: pd.DataFrame) -> str:
    """The arms with an interval of their own, or why all have one."""
    arms = list(dict.fromkeys(means.loc[means["flagged"] & means["low"].notna(), "arm"]))
    everywhere = means[means["flagged"]].groupby("task")["arm"].nunique().eq(means["arm"].nunique())
    if everywhere.any():
        return f"all arms of {', '.join(everywhere.index[everywhere])}, for {BASELINE} itself is noisier"
    return listed(arms)


def _overlay(frame: pd.DataFrame, results: Results, arms: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The published changes of the arms shown and a remark; an empty frame where they do not compare."""
    theirs, why_not = comparable(frame, results)
    theirs = theirs[theirs["source"].isin(PAPER_TABLES)]
    if theirs.empty:
        return pd.DataFrame(columns=["task", "arm", "x", "value", "change"]), why_not
    table = relative_change(theirs).merge(arms[["arm", "x"]])
    source = theirs["source"].iloc[0]
    return table[["task", "arm", "x", "value", "change"]], f"Published: {source} of the paper, one run each."


def _label_height(arms: pd.DataFrame, upright: bool) -> float:
    """What the arms' names take, in inches."""
    if upright:
        return INCHES.label_margin + INCHES.letter * max(len(short(arm)) for arm in arms["arm"])
    lines: int = max(label.count("\n") + 1 for label in arms["label"])
    return INCHES.label_margin + INCHES.label_line * lines


def _arm_labels(axes: Axes, arms: pd.DataFrame, upright: bool) -> None:
    """Names below the columns, in several lines or, where there are many, upright in one."""
    texts = [short(arm) for arm in arms["arm"]] if upright else arms["label"]
    axes.set_xticks(arms["x"], texts, fontsize=style.SMALL, linespacing=1.0, rotation=90 if upright else 0)


def _legend(data: Figure2Data, tasks: list[str]) -> list[Any]:
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
