"""Regret: searches for the best architecture, replayed on the results, against what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mtlbench.analysis.frame import list_records
from mtlbench.analysis.selection import NEWEST, Selection
from mtlbench.arm_names import BASELINE
from mtlbench.contracts import Results
from mtlbench.figures import _panels as panels
from mtlbench.figures import _style as style
from mtlbench.spec import Family
from mtlbench.tabular.benchmark import Benchmark
from mtlbench.tabular.export import tabulate
from mtlbench.tabular.regret import Regrets, describe_measure, describe_methods, describe_saving, find_regrets

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

POINTS = 240  # of a curve
FIRST_COST = 0.004  # of the brute force: where the axis begins
WIDTH, PANEL, TOP, LEFT, RIGHT, AXIS = 6.4, 3.1, 0.12, 0.62, 0.3, 0.42  # inches
LEGEND = 0.2
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))  # as different as colours, for print


@dataclass(frozen=True, eq=False)
class RegretData:
    """curves: method, cost (over the brute force), mean, low, high (regret in %: over seeds, lowest and highest seed).
    fixed: arm, cost, regret, of arms that are trained without a search."""

    curves: pd.DataFrame
    fixed: pd.DataFrame
    caption: str


class Regret:
    """Ours, after the figures of tabular benchmarks (NAS-Bench-101, Ying et al. 2019): simple regret against cost."""

    def data(self, results: Results, selection: Selection = NEWEST, paper: bool = False) -> RegretData:
        """Everything that is drawn. Raises UserError without one-task and two other architectures of every seed."""
        content = tabulate(results, selection)
        return self.data_of(find_regrets(Benchmark.of(content)), content.about.note, paper)

    def data_of(self, found: Regrets, note: str, paper: bool = False) -> RegretData:
        """What is drawn of searches; note: of which results they are."""
        costs = np.geomspace(FIRST_COST, found.budget, POINTS)
        curves = [found.curve(method, list(costs)).assign(method=method) for method in found.traces]
        fixed = [(one.arm, one.cost, one.regret) for one in found.fixed]
        return RegretData(
            pd.concat(curves, ignore_index=True),
            pd.DataFrame(fixed, columns=["arm", "cost", "regret"]),
            _write_caption(found, note, paper),
        )

    def draw(self, data: RegretData, canvas: Canvas) -> None:
        """Draws on an empty canvas, whose size is set."""
        with style.theme():
            _draw(data, canvas)


def _write_caption(found: Regrets, note: str, paper: bool) -> str:
    parts = (
        describe_measure(found),
        note,
        f"Lines: means over seeds ({found.repeats} searches each, where a search is random); bands: from the lowest to"
        " the highest seed.",
        *describe_saving(found),
        describe_methods(found),
        "The paper names the brute force and does not search." if paper else "",
    )
    return " ".join(part for part in parts if part)


def _draw(data: RegretData, canvas: Canvas) -> None:
    handles = _make_legend(data)
    rows = -(-len(handles) // 5)
    lines = panels.wrap(data.caption, WIDTH)
    foot = LEGEND * rows + panels.LINE * len(lines) + 0.12
    canvas.set_size_inches(WIDTH, TOP + PANEL + AXIS + foot)
    axes = panels.add_panel(canvas, LEFT, TOP, WIDTH - LEFT - RIGHT, PANEL)
    for place, (_, curve) in enumerate(data.curves.groupby("method", sort=False)):
        colour = style.arm_colour(place)
        axes.fill_between(curve["cost"], curve["low"], curve["high"], step="post", color=colour, alpha=0.12, lw=0)
        axes.step(curve["cost"], curve["mean"], where="post", color=colour, ls=DASHES[place % len(DASHES)], lw=1.4)
    for point in list_records(data.fixed):
        axes.plot(point["cost"], point["regret"], ls="", zorder=5, clip_on=False, **_mark(str(point["arm"])))
    axes.axhline(0, color=style.FAINT, lw=0.7, zorder=0)
    axes.set_xscale("log")
    low, high = float(data.curves["cost"].min()), max(1.0, float(data.curves["cost"].max()), *data.fixed["cost"])
    axes.set_xlim(low, high * 1.02)
    ticks = [share for share in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if low <= share <= high]
    axes.set_xticks(ticks, [f"{100 * share:g} %" for share in ticks])
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.set_xlabel("training FLOPs, over those of training every architecture", fontsize=style.NORMAL)
    axes.set_ylabel("regret of the change on test (%, down is better)", fontsize=style.NORMAL)
    panels.draw_legend(canvas, handles, rows, foot)
    panels.draw_caption(canvas, lines)


def _mark(arm: str) -> dict[str, Any]:
    family = Family.BASELINE if arm == BASELINE else Family.CROSS_STITCH
    return {"marker": style.choose_marker(family), "ms": 6.5, "mfc": style.FAINT, "mec": style.INK}


def _make_legend(data: RegretData) -> list[Any]:
    methods = list(dict.fromkeys(data.curves["method"]))
    lines: list[Any] = [
        Line2D([], [], color=style.arm_colour(place), ls=DASHES[place % len(DASHES)], lw=1.4, label=method)
        for place, method in enumerate(methods)
    ]
    lines.append(Patch(facecolor=style.FAINT, alpha=0.25, label="lowest to highest seed"))
    return [*lines, *(Line2D([], [], ls="", label=f"{arm}, always", **_mark(str(arm))) for arm in data.fixed["arm"])]
