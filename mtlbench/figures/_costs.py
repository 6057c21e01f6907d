"""Panels of the figure of costs: gains against a cost with the front, and names beside the markers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.font_manager import FontProperties
from matplotlib.markers import CARETDOWN, CARETUP, MarkerStyle
from matplotlib.textpath import text_to_path

from mtlbench.analysis.frame import list_records
from mtlbench.figures import _style as style
from mtlbench.figures._labels import place_labels, sample_line
from mtlbench.figures._panels import add_tip, label_logarithmic
from mtlbench.figures._style import Table
from mtlbench.text import shorten, write_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


NARROWEST_RANGE = 4.0  # of a cost axis, highest over lowest
POINTS = 72  # in an inch
LEADER_POINTS = 8.0  # from which on a line leads from the marker to its label
DOWN, UP = MarkerStyle(CARETDOWN), MarkerStyle(CARETUP)  # at the edge, of arms beyond the axis
FRONT_DASHES = (0, (4, 2))


def draw_costs(axes: Axes, points: Table, colour: str) -> None:
    """What arms gain against what they cost: markers (full = on the front), whiskers, the front as steps, the Splits
    joined by a line.

    points: arm, x (cost, above 0), mean, low, high (gain; NaN without an interval), front, and where known marker
    (matplotlib's), split (joined by a line), named (small markers of arms that are not), label (the arm's, where it is
    named) and far (at the edge, of arms that would flatten the others). Limit the axes with
    `limit_costs` before.
    """
    points = _with_marks(points)
    axes.axhline(0, color=style.INK, lw=0.8, zorder=1)
    splits = points[points["split"]]
    axes.plot(splits["x"], splits["mean"], color=style.FAINT, lw=0.7, zorder=1.5)
    front = points[points["front"]].sort_values(["x", "mean"])
    axes.step(front["x"], front["mean"], where="post", color=style.INK, lw=1.0, ls=FRONT_DASHES, zorder=2)
    near = points[~points["far"]]
    axes.vlines(near["x"], near["low"], near["high"], color=style.FAINT, lw=0.8, zorder=2)
    for (shape, on_it, named), group in near.groupby(["marker", "front", "named"], sort=False):
        size, face = 24 if named else 13, colour if on_it else "white"
        axes.scatter(group["x"], group["mean"], marker=str(shape), s=size, color=face, zorder=4, **style.EDGE)
    for row in list_records(near):
        if "arm" in row:
            change = write_percent(row["mean"], row["low"], row["high"])
            add_tip(axes, row["x"], row["mean"], f"{row['arm']}: {change} at {shorten(row['x'])}")
    far = points[points["far"]]
    for down, group in far.groupby(far["mean"] < axes.get_ylim()[0]):
        edge, marker = (0.0, DOWN) if down else (1.0, UP)
        across = axes.get_xaxis_transform()
        y = [edge] * len(group)
        axes.scatter(group["x"], y, marker=marker, s=36, color=style.INK, lw=0, zorder=4, transform=across)
    axes.grid(zorder=0.2)


def _with_marks(points: Table) -> pd.DataFrame:
    points = pd.DataFrame(points)
    marks: dict[str, str | bool] = {"marker": "o", "split": False, "named": True, "far": False}
    points = points.assign(**{name: value for name, value in marks.items() if name not in points})
    return points if "label" in points or "arm" not in points else points.assign(label=points["arm"])


def limit_costs(axes: Axes, costs: Iterable[float], gains: Table) -> None:
    """A logarithmic cost axis with ticks at round costs, and room for the gains (mean, low, high, far)."""
    gains, costs = _with_marks(gains), list(costs)
    low, high = min(costs), max(costs)
    spread = max(1.0, np.sqrt(NARROWEST_RANGE * low / high)) * (high / low) ** 0.1
    axes.set_xscale("log")
    axes.set_xlim(low / spread, high * spread)
    low, high = axes.get_xlim()
    label_logarithmic(axes.xaxis, low, high)
    near = gains[~gains["far"]]
    values = np.concatenate([near["mean"], near["low"], near["high"], [0.0]])
    bottom, top = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.1 * max(top - bottom, 0.1)
    axes.set_ylim(bottom - room, top + room)


def label_costs(axes: Axes, points: Table) -> None:
    """Names beside the markers of the `points` that have one; a thin line leads to those that found no room there.

    `points` as in `draw_costs`. The axes have their limits and their size on the page.
    """
    points = _with_marks(points)
    near = points[~points["far"]]
    rows = near[near["named"]]
    names = list(rows["label"])
    font = FontProperties(size=style.SMALL)
    sizes = np.array([text_to_path.get_text_width_height_descent(name, font, False)[:2] for name in names])
    scale = _size_points(axes)
    anchors = _on_paper(axes, rows["x"], rows["mean"])
    markers = _on_paper(axes, near["x"], near["mean"])
    lines = [sample_line(line) for line in _lines_on_paper(axes, near) if len(line)]
    places = place_labels(anchors, sizes + [2.0, 2.0], markers, np.concatenate(lines), scale)
    backing = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
    for name, anchor, place, size in zip(names, anchors, places, sizes, strict=True):
        nearest = np.clip(anchor, place - size / 2, place + size / 2)
        if np.hypot(*(nearest - anchor)) > LEADER_POINTS:
            axes.plot(
                *np.column_stack([anchor / scale, nearest / scale]),
                transform=axes.transAxes,
                lw=0.5,
                color=style.DOTS,
                zorder=3,
            )
        axes.text(
            place[0] / scale[0],
            place[1] / scale[1],
            name,
            transform=axes.transAxes,
            fontsize=style.SMALL,
            ha="center",
            va="center",
            color=style.INK,
            zorder=3.5,
            bbox=backing,
        )


def _size_points(axes: Axes) -> np.ndarray:
    """Width and height of the axes on the page."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return POINTS * figure.get_size_inches() * axes.get_position().size


def _on_paper(axes: Axes, x: pd.Series, y: pd.Series) -> np.ndarray:
    """Points (N x 2) from the lower left corner of axes whose x is logarithmic."""
    (left, right), (bottom, top) = np.log10(axes.get_xlim()), axes.get_ylim()
    across, up = (np.log10(x) - left) / (right - left), (y - bottom) / (top - bottom)
    return np.asarray(_size_points(axes) * np.column_stack([across, up]))


def _lines_on_paper(axes: Axes, points: pd.DataFrame) -> list[np.ndarray]:
    """What labels had better not cover: the line at 0, the front's steps, the Splits' line, whiskers."""
    width, height = _size_points(axes)
    bottom, top = axes.get_ylim()
    zero = -bottom / (top - bottom) * height
    named = points[points["named"]]
    front = named[named["front"]].sort_values(["x", "mean"])
    steps = np.repeat(_on_paper(axes, front["x"], front["mean"]), 2, axis=0)
    splits = named[named["split"]]
    lows, highs = (_on_paper(axes, points["x"], points[end]) for end in ("low", "high"))
    return [
        np.array([[0, zero], [width, zero]]),
        np.column_stack([steps[1:, 0], steps[:-1, 1]]),
        _on_paper(axes, splits["x"], splits["mean"]),
        *(np.array(ends) for ends in zip(lows, highs, strict=True) if np.isfinite(ends).all()),
    ]
