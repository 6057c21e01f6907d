"""Panels of the figure of curves: lines along training, and the arms' names beside their ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection

from mtlbench.analysis.frame import list_records
from mtlbench.figures import _style as style
from mtlbench.figures._panels import Limits, apart
from mtlbench.figures._style import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


LABEL_STEP_INCHES = 0.105
LEADER_INCHES = 0.13  # between the axes and the names beside them


def draw_curves(axes: Axes, arms: Table, means: Table, seeds: Table | None = None) -> None:
    """A thick line an arm, and with several seeds a thin one each.

    arms, in the order drawn: arm, colour, dashes (matplotlib's line style), and where known strong (drawn thicker, on
    top). means: arm, x, mean. seeds: arm, seed, x, value.
    """
    seeds = pd.DataFrame(columns=["arm", "seed", "x", "value"]) if seeds is None else pd.DataFrame(seeds)
    arms, means = pd.DataFrame(arms), pd.DataFrame(means)
    for look in list_records(arms):
        colour, dashes, strong = look["colour"], look["dashes"], look.get("strong", False)
        line = means[means["arm"] == look["arm"]]
        own = seeds[seeds["arm"] == look["arm"]]
        paths = _split_by_seed(own)
        if len(paths) > 1:  # one seed: the mean's line
            axes.add_collection(
                LineCollection(paths, colors=colour, linewidths=0.4, alpha=0.3, linestyles=[dashes], zorder=2)
            )
        width, height = (1.4, 4) if strong else (1.0, 3)
        axes.plot(line["x"], line["mean"], color=colour, lw=width, ls=dashes, zorder=height)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="y", zorder=0.2)


def _split_by_seed(points: pd.DataFrame) -> list[np.ndarray]:
    """The points (N x 2: x, value) of each seed, in their order. A frame a seed takes a second for hundreds of them."""
    seeds, places = np.unique(points["seed"].to_numpy(), return_inverse=True)
    order = np.argsort(places, kind="stable")
    counts = np.bincount(places, minlength=len(seeds))
    return np.split(points[["x", "value"]].to_numpy(float)[order], np.cumsum(counts)[:-1])


def label_curves(axes: Axes, arms: Table, means: Table, ends: Mapping[str, str] | None = None) -> None:
    """Every arm's name at the right in its colour, in the order of the last values, tied to the end of its line.

    arms: arm, colour. means: arm, x, mean. `ends` are last values as text, to stand in brackets behind the names of
    arms whose line leaves the axes. The axes have their limits and their size on the page.
    """
    last = pd.DataFrame(means).sort_values("x", kind="stable").groupby("arm").last()
    shown = [look for look in list_records(pd.DataFrame(arms)) if look["arm"] in last.index]
    to_page = axes.transLimits if axes.get_yscale() == "linear" else axes.transScale + axes.transLimits
    wanted = [to_page.transform((0, last.loc[look["arm"], "mean"]))[1] for look in shown]
    figure = axes.get_figure(root=True)
    assert figure is not None
    wide, tall = figure.get_size_inches() * axes.get_position().size
    room: Limits = (0.02, 0.98)
    for look, y in zip(shown, apart(wanted, LABEL_STEP_INCHES / tall, room), strict=True):
        end, arm, colour = last.loc[look["arm"]], look["arm"], look["colour"]
        leader = {"arrowstyle": "-", "color": colour, "lw": 0.4, "alpha": 0.5, "shrinkA": 1, "shrinkB": 0}
        axes.annotate(
            f"{arm} ({ends[arm]})" if ends and arm in ends else arm,
            (end["x"], np.clip(end["mean"], *axes.get_ylim())),
            (1 + LEADER_INCHES / wide, y),
            textcoords="axes fraction",
            va="center",
            fontsize=style.SMALL,
            color=colour,
            annotation_clip=False,
            arrowprops={**leader, "relpos": (0.0, 0.5)},
        )
