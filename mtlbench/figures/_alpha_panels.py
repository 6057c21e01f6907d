"""Panels of the figure of alphas: one layer's sorted units, one unit a layer, and how means move in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mtlbench.analysis.frame import list_records
from mtlbench.figures import _style as style
from mtlbench.figures._style import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


WORDS = {"alpha_s": r"$\alpha_s$", "alpha_d": r"$\alpha_d$"}
SORTED_POINTS = 200  # drawn of a layer's units
DASHES = (0, (3, 1.2))  # of alpha_d


def choose_strokes(colour: str) -> dict[str, tuple[str, Any]]:
    """{quantity: (colour, line style)} of a task of that colour."""
    return {"alpha_s": (colour, "-"), "alpha_d": (style.DOTS, DASHES)}


def draw_sorted_alphas(axes: Axes, values: Table, numbers: Mapping[str, Any], colour: str) -> None:
    """The alphas of one layer and receiving task over the rank of its units, and the two means above.

    values: quantity (alpha_s, alpha_d), rank, mean, low, high. numbers: units, and alpha_s, alpha_s_low, alpha_s_high
    and the same of alpha_d (the bounds NaN without an interval); of a layer with one unit these alone are drawn.
    """
    values = pd.DataFrame(values)
    for quantity, (tint, dashes) in choose_strokes(colour).items():
        if numbers["units"] == 1:
            _draw_error(axes, 0, numbers, quantity, tint)
            continue
        line = values[values["quantity"] == quantity]
        picked = line.iloc[np.unique(np.linspace(0, len(line) - 1, SORTED_POINTS).round().astype(int))]
        axes.fill_between(picked["rank"], picked["low"], picked["high"], color=tint, alpha=0.25, lw=0, zorder=2)
        axes.plot(picked["rank"], picked["mean"], color=tint, lw=1.1, ls=dashes, zorder=3)
    end = int(numbers["units"]) - 1
    axes.set_xlim(-0.04 * end - 0.5, 1.04 * end + 0.5)
    axes.set_xticks([0, end] if end else [0], ["1", str(end + 1)] if end else ["1"])
    if end:
        first, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
    _write_numbers(axes, numbers, colour)
    axes.grid(axis="y", zorder=0.2)


def draw_layer_alphas(axes: Axes, numbers: Table, stages: Sequence[str], colour: str) -> None:
    """One unit a layer: points with intervals, layer after layer, and the numbers beside them.

    numbers: stage, and alpha_s, alpha_s_low, alpha_s_high and the same of alpha_d (the bounds NaN without an interval)
    of one arm and receiving task. Of `stages` in their order those that have a row are drawn.
    """
    rows = {row["stage"]: row for row in list_records(pd.DataFrame(numbers))}
    shown = [place for place, stage in enumerate(stages) if stage in rows]
    for quantity, (tint, dashes) in choose_strokes(colour).items():
        axes.plot(shown, [rows[stages[place]][quantity] for place in shown], color=tint, lw=0.7, ls=dashes)
        for place in shown:
            row = rows[stages[place]]
            _draw_error(axes, place, row, quantity, tint)
            above = row[quantity] >= max(row["alpha_s"], row["alpha_d"])  # the larger one above, the smaller below
            end = row[f"{quantity}_high" if above else f"{quantity}_low"]
            axes.annotate(
                _amount(row, quantity),
                (place, row[quantity] if np.isnan(end) else end),
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
    axes.grid(axis="y", zorder=0.2)


def draw_alpha_training(axes: Axes, training: Table, shades: Mapping[str, Any]) -> None:
    """How the means over a layer's units moved from their start, alpha_s solid and alpha_d dashed, a colour a layer.

    training: stage, quantity, iteration, mean, low, high, start. shades: {stage: colour}.
    """
    for (stage, quantity), line in pd.DataFrame(training).groupby(["stage", "quantity"], sort=False):
        low, mean, high = (line[name] - line["start"] for name in ("low", "mean", "high"))
        axes.fill_between(line["iteration"], low, high, color=shades[str(stage)], alpha=0.15, lw=0)
        dashes = choose_strokes("")[str(quantity)][1]
        axes.plot(line["iteration"], mean, color=shades[str(stage)], lw=0.9, ls=dashes, zorder=3)
    axes.locator_params(axis="x", nbins=3)
    axes.grid(axis="y", zorder=0.2)


def _amount(row: Mapping[str, Any], quantity: str) -> str:
    text = f"{round(row[quantity], 2) + 0.0:.2f}"  # + 0.0: no -0.00
    return text if np.isnan(row[f"{quantity}_low"]) else f"{text} ± {row[f'{quantity}_high'] - row[quantity]:.2f}"


def _write_numbers(axes: Axes, row: Mapping[str, Any], colour: str) -> None:
    """A layer's two means above its panel."""
    for quantity, (tint, _) in choose_strokes(colour).items():
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


def _draw_error(axes: Axes, x: float, row: Mapping[str, Any], quantity: str, tint: str) -> None:
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
