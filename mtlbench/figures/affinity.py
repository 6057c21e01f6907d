"""Affinity: who helps whom, from networks of every two tasks, and which grouping of all tasks that suggests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from mtlbench.analysis.affinity import PURPOSES, Affinities, ArmAffinity, Grouping, affinities
from mtlbench.analysis.comparison import BEATS, LOSES, Difference
from mtlbench.analysis.frame import FEWEST_SEEDS, list_records
from mtlbench.analysis.inference import noise_band
from mtlbench.analysis.selection import NEWEST, Selection, describe_failures
from mtlbench.arm_names import arm_order
from mtlbench.contracts import Results
from mtlbench.figures import _style as style
from mtlbench.figures._affinities import draw_affinity, draw_groupings
from mtlbench.figures._panels import LINE, add_panel, draw_caption, draw_legend, draw_title, seeds_text, wrap
from mtlbench.figures._shown_arms import marker_of
from mtlbench.plan.trees import abbreviate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


MOST_GROUPINGS = 12  # of an arm that are drawn
LONGEST = 30  # letters of a grouping; with more the tasks go by their first
TOGETHER = "the arm itself"  # in place of the layer where the tasks part
IN_A_ROW = 6  # of the legend
LEAST_REACH = 0.1  # of the colours, %
GROUPING_COLUMNS = ["arm", "grouping", "label", "val", "mean", "low", "high", "n", "suggested", "differs", "measured"]
NETWORK_COLUMNS = ["arm", "grouping", "name", "at", "change", "n", "marker"]


@dataclass(frozen=True)
class Layout:
    """Sizes in inches."""

    width: float = 7.6
    left: float = 0.78
    right: float = 0.28
    heading: float = 0.26
    cell_wide: float = 0.78
    cell_tall: float = 0.46
    row: float = 0.27  # of a grouping
    labels: float = 0.5
    letter: float = 0.057  # of a grouping's label
    between: float = 0.3
    narrowest: float = 2.0  # panel of groupings
    legend: float = 0.2


INCHES = Layout()


@dataclass(frozen=True, eq=False)
class AffinityData:
    """tasks: task, metric, mean (of one-task), unit. effects: arm, task (helped), partner, mean (%), low, high, n, own,
    shown (whether this effect's own interval, and the one that allows for all, exclude 0). groupings: arm, grouping,
    label, val, mean, low, high, n, suggested, differs (from one-task where all effects are allowed for), measured.
    networks: arm, grouping (place in those of its arm), name, at, change, n, marker. agreement: {arm: rank correlation
    of groupings' predictions and networks}.
    """

    tasks: pd.DataFrame
    effects: pd.DataFrame
    groupings: pd.DataFrame
    networks: pd.DataFrame
    headings: dict[str, str]
    caption: str


class Affinity:
    """Standley et al. 2020: every two tasks, and groupings from them; with intervals, choice on val, trees as truth."""

    def data(
        self,
        results: Results,
        selection: Selection = NEWEST,
        paper: bool = False,
        arms: Sequence[str] = (),
    ) -> AffinityData:
        """The newest setting with networks of two tasks; `arms` are globs of the arms that were trained for two tasks.

        The paper has two tasks, so `paper` adds only a remark. Raises UserError where there are none.
        """
        found = affinities(results, selection, arms)
        effects = pd.DataFrame([row for one in found.found for row in _effects(one)])
        groupings, networks = [], []
        for one in found.found:
            shown = one.leading(MOST_GROUPINGS)
            groupings += _groupings(one, shown)
            networks += [
                (one.arm, place, name, at or TOGETHER, change, seeds, marker_of(found.arms, name))
                for place, grouping in enumerate(shown)
                for name, at, change, seeds in grouping.networks
            ]
        band = noise_band(found.rows).merge(found.rows[["task", "metric", "unit"]].drop_duplicates())
        tasks = found.found[0].tasks
        remarks = (
            describe_failures(found.rows, results.failures, PURPOSES),
            "The paper has two tasks." if paper else "",
        )
        return AffinityData(
            tasks=band.set_index("task").loc[list(tasks)].reset_index(),
            effects=effects,
            groupings=pd.DataFrame(groupings, columns=GROUPING_COLUMNS),
            networks=pd.DataFrame(networks, columns=NETWORK_COLUMNS),
            headings={one.arm: found.arms.label(one.arm) for one in found.found},
            caption=write_caption(found, effects, remarks),
        )

    def draw(self, data: AffinityData, canvas: Canvas) -> None:
        """Draws on an empty canvas: a matrix an arm, and its groupings beside it, below where the tasks are many."""
        with style.theme():
            _draw(data, canvas)


def _excludes(one: Difference) -> bool:
    return one.has_interval and (one.low > 0 or one.high < 0)


def _effects(one: ArmAffinity) -> list[dict[str, Any]]:
    return [
        {"arm": one.arm, "task": task, "partner": partner, "mean": found.mean, "low": found.low, "high": found.high}
        | {"n": found.seeds, "own": _excludes(found), "shown": found.relation in (BEATS, LOSES)}
        for (task, partner), found in one.effects.items()
    ]


def _groupings(one: ArmAffinity, shown: Sequence[Grouping]) -> list[dict[str, Any]]:
    """Rows of the groupings that are drawn."""
    short = abbreviate(one.tasks)
    long = max((len(grouping.text) for grouping in shown), default=0) > LONGEST
    rows = []
    for grouping in shown:
        words = [" + ".join(short[task] if long else task for task in group) for group in grouping.groups]
        found = grouping.predicted
        rows.append(
            {
                "arm": one.arm,
                "grouping": grouping.text,
                "label": " | ".join(words),
                "val": grouping.val,
                "mean": found.mean,
                "low": np.nan if grouping.is_alone else found.low,
                "high": np.nan if grouping.is_alone else found.high,
                "n": found.seeds,
                "suggested": grouping is one.suggested,
                "differs": found.relation in (BEATS, LOSES),
                "measured": grouping.is_measured,
            }
        )
    return rows


def write_caption(found: Affinities, effects: pd.DataFrame, remarks: Sequence[str]) -> str:
    """What was compared, on what, and what numbers and marks mean."""
    seeds = found.rows.loc[found.rows["arm"].isin(found.rows.loc[found.rows["purpose"] == PURPOSES[1], "arm"]), "seed"]
    contrasts = next((one.comparisons for each in found.found for one in each.effects.values()), 0)
    known = effects["low"].notna().any()
    parts = [
        "Matrix: what the headline of each task (row) changes on test against one-task, in %, in a network that it"
        f" shares with one other task (column), up is better; {seeds_text(seeds)}. On the diagonal: one-task.",
        f"Brackets: 95 % intervals, each for itself; bold where it excludes 0, framed where the one that allows for all"
        f" {contrasts} effects does."
        if known
        else f"No intervals below {FEWEST_SEEDS} seeds.",
        found.note,
    ]
    if any(one.groupings for one in found.found):
        parts.append(
            "Groupings of the tasks, a network each group: mean change over the tasks. In groups of two it is"
            " measured, in larger ones a task's change is predicted as the mean of those with each of the others alone"
            " (Standley et al. 2020)."
        )
        if any(one.suggested for one in found.found):
            parts.append(
                "Star: best predicted on val, shown on test; filled where it differs from one-task when all effects are"
                " allowed for."
            )
    total = sum(len(grouping.networks) for one in found.found for grouping in one.groupings)
    if total:
        agreement = ", ".join(
            f"{one.agreement:.2f} ({found.arms.label(one.arm)})" for one in found.found if np.isfinite(one.agreement)
        )
        parts.append(
            "Below each grouping: networks of all tasks that part into it at once, by the layer where they do"
            + (f"; rank correlation with the prediction {agreement}." if agreement else ".")
        )
    return " ".join(part for part in (*parts, *remarks) if part)


def _draw(data: AffinityData, canvas: Canvas) -> None:
    """An arm after the other: its matrix, its groupings."""
    tasks, lines = list(data.tasks["task"]), wrap(data.caption, INCHES.width)
    shades = _choose_shades(data)
    handles = _make_legend(data, shades)
    legend_rows = -(-len(handles) // IN_A_ROW)
    foot = INCHES.legend * legend_rows + LINE * len(lines) + 0.12
    wide, tall = len(tasks) * INCHES.cell_wide, len(tasks) * INCHES.cell_tall
    room = INCHES.letter * max(map(len, data.groupings["label"]), default=0) + 0.14
    left, below = INCHES.left + wide + INCHES.between + room, 0.0
    if left + INCHES.narrowest > INCHES.width:
        left, below = room, tall + INCHES.labels
    of_arm = {arm: data.groupings[data.groupings["arm"] == arm] for arm in data.headings}
    heights = {arm: max(tall, below + INCHES.row * len(rows) if len(rows) else 0.0) for arm, rows in of_arm.items()}
    step = INCHES.heading + INCHES.labels
    canvas.set_size_inches(INCHES.width, sum(heights.values()) + step * len(heights) + foot)
    top = INCHES.heading
    for arm, rows in of_arm.items():
        draw_title(canvas, data.headings[arm], top - 0.09)
        _draw_effects(add_panel(canvas, INCHES.left, top, wide, tall), data, arm)
        if len(rows):
            across = INCHES.width - INCHES.right - left
            panel = add_panel(canvas, left, top + below, across, INCHES.row * len(rows))
            draw_groupings(panel, rows, data.networks[data.networks["arm"] == arm], shades)
            panel.set_xlabel("mean change over the tasks (%, right is better)", fontsize=style.NORMAL)
        top += heights[arm] + step
    if handles:
        draw_legend(canvas, handles, legend_rows, foot)
    draw_caption(canvas, lines)


def _draw_effects(axes: Axes, data: AffinityData, arm: str) -> None:
    """An arm's matrix, in the colours that all have."""
    tasks = list(data.tasks["task"])
    alone = {row["task"]: f"{row['metric']}\n{row['mean']:.1f} {row['unit']}" for row in list_records(data.tasks)}
    reach = max(float(data.effects["mean"].abs().max()), LEAST_REACH)
    draw_affinity(axes, data.effects[data.effects["arm"] == arm], tasks, reach, alone)
    axes.set_xlabel("together with", fontsize=style.NORMAL)
    axes.set_ylabel("change of", fontsize=style.NORMAL)
    for place, labels in enumerate(zip(axes.get_xticklabels(), axes.get_yticklabels(), strict=True)):
        for label in labels:
            label.set_color(style.task_colour(place))


def _choose_shades(data: AffinityData) -> dict[str, Any]:
    """{layer where networks part: its colour}, from early to late."""
    names = {f"split-{at}": at for at in data.networks["at"] if at != TOGETHER}
    ramp = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, len(names)))
    return dict(zip((names[name] for name in arm_order(names)), ramp, strict=True)) | {TOGETHER: "white"}


def _make_legend(data: AffinityData, shades: dict[str, Any]) -> list[Any]:
    """Only what is in the picture."""
    handles: list[Any] = []
    if len(data.groupings):
        handles.append(Line2D([], [], marker="o", ls="", ms=4.5, mfc=style.INK, mec=style.INK, label="grouping"))
        if data.groupings["suggested"].any():
            handles.append(Line2D([], [], marker="*", ls="", ms=9, mfc="white", mec=style.INK, label="chosen on val"))
    present = set(data.networks["at"])
    for layer, shade in shades.items():
        if layer in present:
            words = layer if layer == TOGETHER else f"parts at {layer}"
            handles.append(Line2D([], [], marker="o", ls="", ms=4.5, mfc=shade, mec=style.INK, mew=0.5, label=words))
    return handles
