"""Panels of the figure of trade-offs: one task's change against another's with the front, and hypervolumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb

from mtlbench.analysis.frame import list_records
from mtlbench.arm_names import BASELINE
from mtlbench.figures import _style as style
from mtlbench.figures._style import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


FRONT_DASHES = (0, (4, 2))
PALEST = 0.12  # of a marker's colour where the x axis' task has no weight
ROOM = 0.06  # around what is drawn, of its range
SEEDS_AT = 0.3  # below an arm's mean, in rows
NAME_ROOM = 0.19, 0.09  # of the baseline's name, as parts of the axes
BEYOND = 1.5  # times the largest volume of a seed: where the axis ends, and with it whiskers that are longer


def draw_trade_off(axes: Axes, means: Table, seeds: Table) -> None:
    """What arms change of two tasks at several weightings: a curve an arm through its means, a dot a seed, the front
    of the means as dashed steps, the baseline as a cross at the origin.

    means, in the order of the curves: arm (the baseline is there for the front alone), x, y (changes, %), and where
    known colour, marker (matplotlib's), dashes (of the curve), share (0 to 1, the weight on x: the more the darker),
    own (at the recipe's own weights, thick edge), front (not beaten), joined (whether the curve goes through it).
    seeds: arm, seed, x, y. The axes are made for the means; seeds farther from them than they span are beyond it.
    """
    means, seeds = _with_looks(pd.DataFrame(means)), pd.DataFrame(seeds)
    (left, right), (bottom, top) = limit_trade_off(means, seeds)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.axhline(0, color=style.FAINT, lw=0.6, zorder=1)
    axes.axvline(0, color=style.FAINT, lw=0.6, zorder=1)
    front = means[means["front"]].sort_values(["x", "y"], ascending=[True, False])
    if len(front):
        x = [left, *front["x"], front["x"].iloc[-1]]
        y = [front["y"].iloc[0], *front["y"], bottom]
        axes.step(x, y, where="pre", color=style.INK, lw=1.0, ls=FRONT_DASHES, zorder=2)
    several = seeds["seed"].nunique() > 1
    for arm, own in means[means["arm"] != BASELINE].groupby("arm", sort=False):
        colour = own["colour"].iloc[0]
        dots = seeds[seeds["arm"] == arm]
        if several:  # one seed: its dot would hide behind the mean
            axes.scatter(dots["x"], dots["y"], s=5, color=colour, alpha=0.55, lw=0, zorder=2.5)
        line = own[own["joined"]]
        axes.plot(line["x"], line["y"], color=colour, lw=1.2, ls=own["dashes"].iloc[0], zorder=3)
        for row in list_records(own):
            width, face = 1.3 if row["own"] else 0.5, bleach(colour, row["share"])
            shape = row["marker"]
            axes.scatter(row["x"], row["y"], marker=shape, s=27, color=[face], zorder=4, ec=style.INK, lw=width)
    axes.scatter(0, 0, marker="+", s=60, color=style.INK, lw=1.4, zorder=5)
    across, up = free_corner(axes, means)
    axes.annotate(
        BASELINE,
        (0, 0),
        (5 * across, 4 * up),
        textcoords="offset points",
        ha="left" if across > 0 else "right",
        va="bottom" if up > 0 else "top",
        fontsize=style.SMALL,
        color=style.INK,
        zorder=4.5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
    )
    for axis in ("x", "y"):
        axes.locator_params(axis=axis, nbins=7, steps=[1, 2, 5, 10])
    axes.grid(zorder=0.2)


def limit_trade_off(means: Table, seeds: Table) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of both axes: all means and the origin, and seeds no farther from these than they span."""
    found = []
    for axis in ("x", "y"):
        inner = np.append(np.asarray(pd.DataFrame(means)[axis], float), 0.0)
        dots = np.asarray(pd.DataFrame(seeds)[axis], float)
        low, high = float(inner.min()), float(inner.max())
        span = max(high - low, 0.1)
        near = np.append(dots[(dots >= low - span) & (dots <= high + span)], inner)
        low, high = float(near.min()), float(near.max())
        room = ROOM * max(high - low, 0.1)
        found.append((low - room, high + room))
    return found[0], found[1]


def free_corner(axes: Axes, means: Table) -> tuple[int, int]:
    """Of the four corners about the origin the one with the fewest means where a name would stand: 1 or -1 along x and
    along y; the lower left one of equals."""
    means = pd.DataFrame(means)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    x, y = means["x"] / (right - left), means["y"] / (top - bottom)

    def crowd(corner: tuple[int, int]) -> int:
        across, up = corner
        beside = (across * x).between(-0.02, NAME_ROOM[0]) & (up * y).between(-0.02, NAME_ROOM[1])
        outside = not left <= across * NAME_ROOM[0] * (right - left) <= right
        return int(beside.sum()) + 100 * outside

    return min(((-1, -1), (-1, 1), (1, -1), (1, 1)), key=crowd)


def bleach(colour: str, share: float) -> tuple[float, float, float]:
    """The colour on white, as strong as the share (0 to 1) says.

    >>> bleach("#000000", 1.0), [round(part, 2) for part in bleach("#000000", 0.5)]
    ((0.0, 0.0, 0.0), [0.44, 0.44, 0.44])
    """
    strength = PALEST + (1 - PALEST) * share
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def _with_looks(table: pd.DataFrame) -> pd.DataFrame:
    plain: dict[str, str | bool | float] = {
        "marker": "o",
        "dashes": "-",
        "share": 1.0,
        "own": False,
        "front": False,
        "joined": True,
        "colour": style.FAINT,
    }
    return table.assign(**{name: value for name, value in plain.items() if name not in table})


def draw_volumes(axes: Axes, volumes: Table, seeds: Table, reference: float = float("nan")) -> None:
    """A row an arm: a dot per seed, mean and interval of its hypervolume; a dotted line at the baseline's.

    volumes, from top to bottom: arm, mean, low, high (NaN without an interval), and where known label, colour, marker.
    seeds: arm, seed, volume. The axis starts at 0 and ends at BEYOND times the largest volume of a seed.
    """
    volumes, seeds = _with_looks(pd.DataFrame(volumes)), pd.DataFrame(seeds)
    places = {arm: place for place, arm in enumerate(volumes["arm"])}
    end = end_of_volumes(volumes, seeds, reference)
    axes.axvline(reference, color=style.INK, lw=0.8, ls=(0, (1, 1.5)), zorder=1)
    several = seeds["seed"].nunique() > 1
    for row in list_records(volumes):
        y = places[row["arm"]]
        low, high = (float(np.clip(row[name], 0, end)) for name in ("low", "high"))
        axes.plot([low, high], [y, y], color=style.INK, lw=1.0, zorder=2)
        for bound in ("low", "high"):
            if 0 <= row[bound] <= end:
                axes.plot(row[bound], y, color=style.INK, marker="|", ms=5, ls="", zorder=2)
        axes.scatter(row["mean"], y, marker=row["marker"], s=30, color=row["colour"], zorder=4, **style.EDGE)
        dots = seeds[seeds["arm"] == row["arm"]]
        if several:
            heights = np.full(len(dots), y + SEEDS_AT)
            axes.scatter(dots["volume"], heights, s=5, color=row["colour"], alpha=0.55, lw=0, zorder=3)
    axes.set_xlim(0, end)
    axes.set_ylim(len(places) - 0.4, -0.6)
    labels = volumes["label"] if "label" in volumes else volumes["arm"]
    axes.set_yticks(list(places.values()), list(labels), fontsize=style.SMALL)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", zorder=0.2)
    axes.spines["left"].set_visible(False)


def end_of_volumes(volumes: Table, seeds: Table, reference: float = float("nan")) -> float:
    """Where the axis of hypervolumes ends."""
    volumes, seeds = pd.DataFrame(volumes), pd.DataFrame(seeds)
    values = np.concatenate([volumes["mean"], seeds["volume"], [reference, 1e-9]]).astype(float)
    most = BEYOND * float(np.nanmax(values))
    return min(most, 1.06 * float(np.nanmax(np.append(values, volumes["high"].astype(float)))))
