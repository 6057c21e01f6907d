"""Alphas: how much of its own and of the other tasks' features each task takes, per layer (the paper's Table 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mtlbench.analysis.alphas import alpha_numbers
from mtlbench.analysis.frame import list_records
from mtlbench.analysis.selection import NEWEST, Selection, describe_failures
from mtlbench.contracts import Results
from mtlbench.figures import _panels as panels
from mtlbench.figures import _style as style
from mtlbench.figures._alpha_panels import (
    DASHES,
    WORDS,
    draw_alpha_training,
    draw_layer_alphas,
    draw_sorted_alphas,
)
from mtlbench.figures._alphas import average_training, claims_text, numbers_text, sort_values, what_text
from mtlbench.spec import Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


ENDS = ("alpha_s_low", "alpha_s_high", "alpha_d_low", "alpha_d_high")
DOTTED = (0, (1, 1.5))  # where alphas started
FEW_ROWS = 6  # of panels; with more they are lower, so that eight fit a page


@dataclass(frozen=True)
class Layout:
    """Sizes in inches."""

    least_width: float = 6.8
    left: float = 0.62
    right: float = 0.12
    gap: float = 0.09
    training: float = 1.35
    training_gap: float = 0.4
    narrowest_panel: float = 0.8
    margin: float = 0.06
    numbers: float = 0.29
    panel: float = 0.9
    low_panel: float = 0.6
    heading: float = 0.24
    ticks: float = 0.38
    legend: float = 0.17


INCHES = Layout()


@dataclass(frozen=True, eq=False)
class AlphasData:
    """starts: arm, own and other (the start of alpha_s and alpha_d), seeds. stages: in the networks' order.

    sorted: arm, stage, task (receiver), quantity (alpha_s, alpha_d), rank, mean over seeds of the values sorted per
    seed, low, high (smallest and largest seed), n. training: the same of the means over a layer's units, by iteration,
    and where they start. numbers: arm, stage, task, units, n and mean over units at the end with 95 % t interval over
    seeds of alpha_s, alpha_d and difference (alpha_s - alpha_d). claims: `analysis.alphas.claims_of`. alpha_d is the
    mean over the other tasks as givers.
    """

    starts: pd.DataFrame
    stages: Sequence[str]
    sorted: pd.DataFrame
    training: pd.DataFrame
    numbers: pd.DataFrame
    claims: pd.DataFrame
    caption: str

    def of(self, column: str, value: str) -> AlphasData:
        """The rows of one arm or task."""
        tables = {name: getattr(self, name) for name in ("sorted", "training", "numbers")}
        return replace(self, **{name: table[table[column] == value] for name, table in tables.items()})

    @property
    def one_unit(self) -> bool:
        """Whether every layer has a single unit."""
        return bool(self.numbers["units"].max() == 1)


class Alphas:
    """Section 5.4, Table 4, with seeds, and alphas over training (Ours)."""

    def data(
        self,
        results: Results,
        selection: Selection = NEWEST,
        paper: bool = False,
        arms: Sequence[str] = (),
    ) -> AlphasData:
        """Everything that is drawn or said; `arms` are globs, without any the starts of Table 1.

        Raises UserError where no arm has alphas.
        """
        found = alpha_numbers(results, selection, arms)
        failures = [fail for fail in results.failures if fail["family"] == Family.CROSS_STITCH]
        names = found.starts["arm"].tolist()
        sections = [
            what_text(found.numbers, found.means["seed"]),
            found.note,
            numbers_text(found.numbers, names[0]),
            claims_text(found.claims, names),
            "The paper's Table 4 is a picture: there are no published numbers." if paper else "",
            describe_failures(found.frame, failures),
        ]
        return AlphasData(
            starts=found.starts,
            stages=found.means["stage"].unique().tolist(),
            sorted=sort_values(found.final),
            training=average_training(found.means),
            numbers=found.numbers,
            claims=found.claims,
            caption=" ".join(section for section in sections if section),
        )

    def draw(self, data: AlphasData, canvas: Canvas) -> None:
        """Draws on an empty canvas: a row per start and task, a column per layer, training to the right."""
        with style.theme():
            _draw(data, canvas)


@dataclass(frozen=True)
class Row:
    """Where a row of panels stands, in inches, and whether it is the first or last of its start."""

    top: float
    tall: float
    column: float  # width of a layer's panel and its gap
    first: bool
    last: bool


def _draw(data: AlphasData, canvas: Canvas) -> None:
    tasks = list(dict.fromkeys(data.numbers["task"]))
    most = int(data.numbers.groupby("arm")["stage"].nunique().max())
    beside = INCHES.left + INCHES.right + INCHES.training_gap + INCHES.training
    width = max(INCHES.least_width, beside + most * (INCHES.narrowest_panel + INCHES.gap))
    lines = panels.wrap(data.caption, width)
    rows = len(data.starts) * len(tasks)
    tall = INCHES.panel if rows <= FEW_ROWS else INCHES.low_panel
    foot = 2 * INCHES.legend + panels.LINE * len(lines) + 0.12
    heads = len(data.starts) * (INCHES.heading + INCHES.ticks)
    canvas.set_size_inches(width, INCHES.margin + rows * (INCHES.numbers + tall) + heads + foot)
    ramp = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, len(data.stages)))
    shades = dict(zip(data.stages, ramp, strict=True))
    top = INCHES.margin
    for start in list_records(data.starts):
        panels.draw_title(canvas, _write_heading(start), top + 0.14)
        top += INCHES.heading
        for place, task in enumerate(tasks):
            top += INCHES.numbers
            row = Row(top, tall, (width - beside) / most, first=place == 0, last=place == len(tasks) - 1)
            _draw_row(canvas, data.of("arm", start["arm"]), task, start, row, shades)
            top += tall
        top += INCHES.ticks
    panels.draw_legend(canvas, _make_legend(data, tasks, shades), 2, foot)
    panels.draw_caption(canvas, lines)


def _draw_row(
    canvas: Canvas, arm: AlphasData, task: str, start: dict[str, Any], row: Row, shades: dict[str, Any]
) -> None:
    """One receiving task of one arm: its layers, and to the right their training."""
    mine = arm.of("task", task)
    colour = style.task_colour(list(dict.fromkeys(arm.numbers["task"])).index(task))
    stages = [stage for stage in arm.stages if stage in set(arm.numbers["stage"])]
    made = _draw_layers(canvas, mine, stages, colour, row)
    left = canvas.get_figwidth() - INCHES.right - INCHES.training
    right = panels.add_panel(canvas, left, row.top, INCHES.training, row.tall, style.SMALL)
    draw_alpha_training(right, mine.training, shades)
    right.tick_params(labelbottom=row.last)
    if row.last:
        right.set_xlabel("iteration", fontsize=style.SMALL, labelpad=1)
    if row.first:
        right.set_title("change of means in training", fontsize=style.SMALL, pad=3, color=style.INK)
    reach = pd.concat([arm.sorted["mean"], *(arm.numbers[name] for name in ENDS if arm.one_unit)]).dropna()
    for axes in made:
        axes.set_ylim(*_find_limits(reach, 0.2 if arm.one_unit else 0.06))
    for axes, values in [*((axes, (start["own"], start["other"])) for axes in made), (right, (0.0,))]:
        for value in values:
            axes.axhline(value, color=style.FAINT, lw=0.7, ls=DOTTED, zorder=1)
    right.set_ylim(*_find_limits(arm.training[["low", "high"]].sub(arm.training["start"], axis=0), 0.06))
    made[0].set_ylabel(task, fontsize=style.NORMAL, color=colour, fontweight="bold", labelpad=3)


def _draw_layers(canvas: Canvas, mine: AlphasData, stages: list[str], colour: str, row: Row) -> list[Axes]:
    """A panel per layer, or one for all layers where each has a single unit."""
    if mine.one_unit:
        wide, above = len(stages) * row.column - INCHES.gap, INCHES.numbers - 0.1
        axes = panels.add_panel(canvas, INCHES.left, row.top - above, wide, row.tall + above, style.SMALL)
        draw_layer_alphas(axes, mine.numbers, stages, colour)
        axes.tick_params(labelbottom=row.last)
        return [axes]
    numbers = {number["stage"]: number for number in list_records(mine.numbers)}
    made = []
    for place, stage in enumerate(stages):
        left = INCHES.left + place * row.column
        axes = panels.add_panel(canvas, left, row.top, row.column - INCHES.gap, row.tall, style.SMALL)
        draw_sorted_alphas(axes, mine.sorted[mine.sorted["stage"] == stage], numbers[stage], colour)
        axes.tick_params(labelleft=place == 0, labelbottom=row.last)
        if row.last:
            axes.set_xlabel(f"{stage}, units", fontsize=style.SMALL, labelpad=1)
        made.append(axes)
    return made


def _write_heading(start: dict[str, Any]) -> str:
    words = rf"start ($\alpha_s$, $\alpha_d$) = ({start['own']:.2g}, {start['other']:.2g})"
    return f"{words}:  {start['arm']}, {start['seeds']} seed{'s' if start['seeds'] > 1 else ''}"


def _find_limits(shown: pd.DataFrame | pd.Series, room: float) -> tuple[float, float]:
    """Of an axis: all that is shown and some room, as a share of it."""
    low, high = float(np.min(shown)), float(np.max(shown))
    spare = room * max(high - low, 0.02)
    return low - spare, high + spare


def _make_legend(data: AlphasData, tasks: list[str], shades: dict[str, Any]) -> list[Any]:
    """Only what is in the picture."""
    handles: list[Any] = [
        Line2D([], [], color=style.task_colour(place), lw=1.4, label=f"{WORDS['alpha_s']} of {task}")
        for place, task in enumerate(tasks)
    ]
    handles.append(Line2D([], [], color=style.DOTS, lw=1.4, ls=DASHES, label=WORDS["alpha_d"]))
    if data.sorted["n"].max() > 1:
        handles.append(Patch(facecolor=style.FAINT, alpha=0.35, lw=0, label="range of seeds"))
    handles.append(Line2D([], [], color=style.FAINT, lw=0.9, ls=DOTTED, label="start"))
    return handles + [Line2D([], [], color=shade, lw=1.4, label=stage) for stage, shade in shades.items()]
