"""Alphas: how much of its own and of the other tasks' features each task takes, per layer (the paper's Table 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mtlbench.analysis.frame import records
from mtlbench.analysis.selection import newest
from mtlbench.errors import UserError
from mtlbench.figures import _panels as panels
from mtlbench.figures import _style as style
from mtlbench.figures._alphas import (
    MAIN,
    by_receiver,
    claims_of,
    claims_text,
    numbers_of,
    numbers_text,
    shown_arms,
    sorted_values,
    starts_of,
    training_of,
    what_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


WORDS = {"alpha_s": r"$\alpha_s$", "alpha_d": r"$\alpha_d$"}
ENDS = ("alpha_s_low", "alpha_s_high", "alpha_d_low", "alpha_d_high")
SORTED_POINTS = 200  # drawn of a layer's units
# layout in inches
WIDTH, LEFT, RIGHT, GAP, TRAINING, NARROWEST_PANEL = 6.8, 0.62, 0.12, 0.09, 1.35, 0.8
MARGIN, NUMBERS, PANEL, LOW_PANEL, GROUP, TICKS, LEGEND = 0.06, 0.29, 0.9, 0.6, 0.24, 0.38, 0.17


class Alphas:
    """Section 5.4, Table 4, with seeds, and alphas over training (Ours)."""

    def data(
        self,
        results: Any,
        paper: bool = False,
        pair: str | None = None,
        dataset: str | None = None,
        recipe: str | None = None,
        backbone: str | None = None,
        arms: Sequence[str] = (),
    ) -> dict[str, pd.DataFrame]:
        """Everything that is drawn or said, as frames: starts, stages, sorted, training, numbers, claims, caption.

        starts: arm, own and other (the start of alpha_s and alpha_d), seeds. stages: stage, in the networks' order.
        sorted: arm, stage, task (receiver), quantity (alpha_s, alpha_d), rank, mean over seeds of the values sorted per
        seed, low, high (smallest and largest seed), n. training: the same of the means over a layer's units, by
        iteration, and where they start.
        numbers: arm, stage, task, units, n and mean over units at the end with 95 % t interval over seeds of alpha_s,
        alpha_d and difference (alpha_s - alpha_d). claims: `claims_of`. caption: text, one row. alpha_d is the mean
        over the other tasks as givers. `arms` are globs, without any the starts of Table 1. Raises UserError where no
        arm has alphas.
        """
        frame, note = newest(results.frame, pair, dataset, recipe, backbone)
        rows = shown_arms(panels.rows_of(results.alphas, frame), arms)
        if rows.empty:
            known = frame["pair"].iloc[0]
            raise UserError(f"alphas needs an arm with alphas; type: mtlbench run --pair {known} --arm {MAIN}")
        units = _in_order(by_receiver(rows), results.architectures_of(frame))
        last = units["iteration"] == units.groupby(["arm", "seed"])["iteration"].transform("max")
        final, means = units[last & (units["channel"] >= 0)], units[units["channel"] < 0]
        numbers, differences = numbers_of(final)
        starts, claims = starts_of(means), claims_of(differences)
        sections = [
            what_text(numbers, units["seed"]),
            note,
            numbers_text(numbers, starts["arm"].iloc[0]),
            claims_text(claims, starts["arm"].tolist()),
            "The paper's Table 4 is a picture: there are no published numbers." if paper else "",
            panels.failed_text(frame, [fail for fail in results.failures if str(fail["arm"]).startswith(MAIN)]),
        ]
        return {
            "starts": starts,
            "stages": pd.DataFrame({"stage": units["stage"].unique()}),
            "sorted": sorted_values(final),
            "training": training_of(means),
            "numbers": numbers,
            "claims": claims,
            "caption": pd.DataFrame({"text": [" ".join(section for section in sections if section)]}),
        }

    def draw(self, data: dict[str, pd.DataFrame], canvas: Canvas) -> None:
        """Draws on an empty canvas: a row per start and task, a column per layer, training to the right."""
        starts, numbers = records(data["starts"]), data["numbers"]
        tasks, stages = list(dict.fromkeys(numbers["task"])), data["stages"]["stage"].tolist()
        most = int(numbers.groupby("arm")["stage"].nunique().max())
        width = max(WIDTH, LEFT + RIGHT + most * (NARROWEST_PANEL + GAP) + 0.4 + TRAINING)
        column = (width - LEFT - RIGHT - 0.4 - TRAINING) / most
        lines = panels.wrapped(data["caption"]["text"].iloc[0], width)
        rows = len(starts) * len(tasks)
        tall = PANEL if rows <= 6 else LOW_PANEL  # eight rows fit a page
        foot = 2 * LEGEND + panels.LINE * len(lines) + 0.12
        height = MARGIN + rows * (NUMBERS + tall) + len(starts) * (GROUP + TICKS) + foot
        canvas.set_size_inches(width, height)
        shades = dict(zip(stages, matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, len(stages))), strict=True))
        top = MARGIN
        for start in starts:
            own = {name: table[table["arm"] == start["arm"]] for name, table in data.items() if "arm" in table}
            mine = own["numbers"]
            theirs = [stage for stage in stages if stage in set(mine["stage"])]
            reach = pd.concat([own["sorted"]["mean"], *(mine[name] for name in ENDS if mine["units"].max() == 1)])
            limits = _limits(reach.dropna(), 0.2 if mine["units"].max() == 1 else 0.06)
            changes = _limits(own["training"][["low", "high"]].sub(own["training"]["start"], axis=0), 0.06)
            canvas.text(
                0.08 / width,
                1 - (top + 0.02) / height,
                _heading(start),
                fontsize=style.LARGE,
                va="top",
                color=style.INK,
            )
            top += GROUP
            for place, task in enumerate(tasks):
                mine = {name: table[table["task"] == task] for name, table in own.items() if "task" in table}
                colour, last = style.task_colour(place), place == len(tasks) - 1
                top += NUMBERS
                made = _layer_panels(canvas, mine, theirs, colour, top, tall, column, last)
                right = panels.add_panel(canvas, width - RIGHT - TRAINING, top, TRAINING, tall)
                _draw_training(right, mine["training"], shades, last)
                for axes in made:
                    axes.set_ylim(*limits)
                for axes, values in [*((axes, (start["own"], start["other"])) for axes in made), (right, (0.0,))]:
                    for value in values:
                        axes.axhline(value, color=style.FAINT, lw=0.7, ls=(0, (1, 1.5)), zorder=1)
                right.set_ylim(*changes)
                made[0].set_ylabel(task, fontsize=style.NORMAL, color=colour, fontweight="bold", labelpad=3)
                if place == 0:
                    right.set_title("change of means in training", fontsize=style.SMALL, pad=3, color=style.INK)
                top += tall
            top += TICKS
        handles = _legend(data, tasks, shades)
        canvas.legend(
            handles=handles,
            ncols=-(-len(handles) // 2),
            loc="upper center",
            frameon=False,
            bbox_to_anchor=(0.5, foot / height),
            fontsize=style.SMALL,
            handletextpad=0.5,
            columnspacing=1.2,
        )
        panels.draw_caption(canvas, lines)


def _in_order(units: pd.DataFrame, architectures: Mapping[str, Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """The rows by stage as the networks have them: arms may have their units at different places."""
    known = dict.fromkeys(stage["stage"] for trunk in architectures.values() for stage in trunk)
    places = {stage: place for place, stage in enumerate(dict.fromkeys([*known, *units["stage"]]))}
    return units.sort_values("stage", key=lambda column: column.map(places), kind="stable", ignore_index=True)


def _heading(start: dict[str, Any]) -> str:
    words = rf"start ($\alpha_s$, $\alpha_d$) = ({start['own']:.2g}, {start['other']:.2g})"
    return f"{words}:  {start['arm']}, {start['seeds']} seed{'s' if start['seeds'] > 1 else ''}"


def _limits(shown: pd.DataFrame | pd.Series, room: float) -> tuple[float, float]:
    """Of an axis: all that is shown and some room, as a share of it."""
    low, high = float(np.min(shown)), float(np.max(shown))
    spare = room * max(high - low, 0.02)
    return low - spare, high + spare


def _layer_panels(
    canvas: Canvas,
    mine: dict[str, pd.DataFrame],
    stages: list[str],
    colour: str,
    top: float,
    tall: float,
    column: float,
    last: bool,
) -> list[Axes]:
    """A panel per layer, or one for all layers where each has a single unit."""
    numbers = {row["stage"]: row for row in records(mine["numbers"])}
    if mine["numbers"]["units"].max() == 1:
        wide = len(stages) * column - GAP
        axes = panels.add_panel(canvas, LEFT, top - NUMBERS + 0.1, wide, tall + NUMBERS - 0.1)
        _draw_points(axes, numbers, stages, colour)
        axes.tick_params(labelbottom=last)
        return [axes]
    made = []
    for place, stage in enumerate(stages):
        axes = panels.add_panel(canvas, LEFT + place * column, top, column - GAP, tall)
        made.append(axes)
        if place:
            axes.tick_params(labelleft=False)
        row, table = numbers[stage], mine["sorted"][mine["sorted"]["stage"] == stage]
        for quantity, (tint, dashes) in _strokes(colour).items():
            line = table[table["quantity"] == quantity]
            if row["units"] == 1:
                _error(axes, 0, row, quantity, tint)
                continue
            picked = line.iloc[np.unique(np.linspace(0, len(line) - 1, SORTED_POINTS).round().astype(int))]
            axes.fill_between(picked["rank"], picked["low"], picked["high"], color=tint, alpha=0.25, lw=0, zorder=2)
            axes.plot(picked["rank"], picked["mean"], color=tint, lw=1.1, ls=dashes, zorder=3)
        end = int(row["units"]) - 1
        axes.set_xlim(-0.04 * end - 0.5, 1.04 * end + 0.5)
        axes.set_xticks([0, end] if end else [0], ["1", str(end + 1)] if end else ["1"])
        if end:
            axes.get_xticklabels()[0].set_horizontalalignment("left")
            axes.get_xticklabels()[1].set_horizontalalignment("right")
        if last:
            axes.set_xlabel(f"{stage}, units", fontsize=style.SMALL, labelpad=1)
        else:
            axes.tick_params(labelbottom=False)
        _write_numbers(axes, row, colour)
    return made


def _strokes(colour: str) -> dict[str, tuple[str, Any]]:
    return {"alpha_s": (colour, "-"), "alpha_d": (style.DOTS, (0, (3, 1.2)))}


def _amount(row: dict[str, Any], quantity: str) -> str:
    text = f"{round(row[quantity], 2) + 0.0:.2f}"  # + 0.0: no -0.00
    return text if np.isnan(row[f"{quantity}_low"]) else f"{text} ± {row[f'{quantity}_high'] - row[quantity]:.2f}"


def _write_numbers(axes: Axes, row: dict[str, Any], colour: str) -> None:
    """A layer's two means above its panel."""
    for quantity, (tint, _) in _strokes(colour).items():
        y = 3.5 if quantity == "alpha_d" else 12
        for words, x in ((WORDS[quantity], 0), (_amount(row, quantity), 10)):  # formulas are slow: the same two always
            axes.annotate(
                words,
                (0, 1),
                (x, y),
                xycoords="axes fraction",
                textcoords="offset points",
                va="baseline",
                color=tint,
                fontsize=style.SMALL - 0.5,
            )


def _error(axes: Axes, x: float, row: dict[str, Any], quantity: str, tint: str) -> None:
    half = row[f"{quantity}_high"] - row[quantity]
    axes.errorbar(
        x,
        row[quantity],
        yerr=None if np.isnan(half) else half,
        color=tint,
        marker="o",
        ms=3.5,
        lw=1.0,
        mfc=tint if quantity == "alpha_s" else "white",
        capsize=2,
        zorder=3,
    )


def _draw_points(axes: Axes, numbers: dict[str, dict[str, Any]], stages: list[str], colour: str) -> None:
    """One unit a layer: points with intervals, layer after layer, and the numbers beside them."""
    for quantity, (tint, dashes) in _strokes(colour).items():
        shown = [place for place, stage in enumerate(stages) if stage in numbers]
        axes.plot(shown, [numbers[stages[place]][quantity] for place in shown], color=tint, lw=0.7, ls=dashes)
        for place in shown:
            row = numbers[stages[place]]
            _error(axes, place, row, quantity, tint)
            above = row[quantity] >= max(row["alpha_s"], row["alpha_d"])  # the larger one above, the smaller below
            end = row[f"{quantity}_high" if above else f"{quantity}_low"]
            y = row[quantity] if np.isnan(end) else end
            axes.annotate(
                _amount(row, quantity),
                (place, y),
                (0, 4 if above else -4),
                ha="center",
                va="bottom" if above else "top",
                textcoords="offset points",
                fontsize=style.SMALL - 0.5,
                color=tint,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            )
    axes.set_xlim(-0.4, len(stages) - 0.6)
    axes.set_xticks(range(len(stages)), stages)


def _draw_training(axes: Axes, table: pd.DataFrame, shades: dict[str, Any], last: bool) -> None:
    """How the means over a layer's units moved from their start, alpha_s solid and alpha_d dashed."""
    for (stage, quantity), line in table.groupby(["stage", "quantity"], sort=False):
        shade, dashes = shades[str(stage)], _strokes("")[str(quantity)][1]
        low, mean, high = (line[name] - line["start"] for name in ("low", "mean", "high"))
        axes.fill_between(line["iteration"], low, high, color=shade, alpha=0.15, lw=0)
        axes.plot(line["iteration"], mean, color=shade, lw=0.9, ls=dashes, zorder=3)
    axes.locator_params(axis="x", nbins=3)
    if last:
        axes.set_xlabel("iteration", fontsize=style.SMALL, labelpad=1)
    else:
        axes.tick_params(labelbottom=False)


def _legend(data: dict[str, pd.DataFrame], tasks: list[str], shades: dict[str, Any]) -> list[Any]:
    """Only what is in the picture."""
    handles: list[Any] = [
        Line2D([], [], color=style.task_colour(place), lw=1.4, label=f"{WORDS['alpha_s']} of {task}")
        for place, task in enumerate(tasks)
    ]
    handles.append(Line2D([], [], color=style.DOTS, lw=1.4, ls=(0, (3, 1.2)), label=WORDS["alpha_d"]))
    if data["sorted"]["n"].max() > 1:
        handles.append(Patch(facecolor=style.FAINT, alpha=0.35, lw=0, label="range of seeds"))
    handles.append(Line2D([], [], color=style.FAINT, lw=0.9, ls=(0, (1, 1.5)), label="start"))
    return handles + [Line2D([], [], color=shade, lw=1.4, label=stage) for stage, shade in shades.items()]
