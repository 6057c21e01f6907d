"""Cost: what every arm gains over one-task against what it costs, and which arms nothing cheaper beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN, CARETUP, MarkerStyle
from matplotlib.textpath import text_to_path

from mtlbench.analysis.costs import pair_costs
from mtlbench.analysis.frame import FEWEST_SEEDS, records, relative_change
from mtlbench.analysis.inference import intervals
from mtlbench.analysis.selection import newest
from mtlbench.arm_names import BASELINE, arm_order, family, is_ablation, is_split
from mtlbench.errors import UserError
from mtlbench.figures import _style as style
from mtlbench.figures._arms import listed, shown_arms
from mtlbench.figures._labels import along, place_labels
from mtlbench.figures._panels import LINE, draw_caption, failed_text, far_off, label_logarithmic, seeds_text, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


COSTS = {  # of `tables.pair_costs` -> name on the axis
    "parameters": "parameters",
    "flops": "FLOPs, forward",
    "seconds_with_parents": "seconds, with parents",
}
MEAN = "mean over tasks"
NARROWEST_RANGE = 4.0  # of a cost axis, highest over lowest
# layout in inches
WIDTH, LEFT, RIGHT, BETWEEN = 7.6, 0.7, 0.1, 0.14
HEADER, MEAN_PANEL, TASK_PANEL, TITLE, LABELS, LEGEND = 0.08, 2.75, 1.2, 0.25, 0.42, 0.2
USUAL_ARMS, MORE = 12, 0.12  # the mean panel grows with every further name
POINTS = 72  # in an inch
DOWN, UP = MarkerStyle(CARETDOWN), MarkerStyle(CARETUP)  # at the edge, of arms beyond the axis
LEADER = 8.0  # points from which on a line leads from the marker to its label


class Cost:
    """Ours: the mean headline change on test against parameters, FLOPs and seconds, with the Pareto front."""

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
        """Everything that is drawn, as frames; arms that lack a task or a cost are named in the caption.

        points: panel ("mean over tasks" or a task), arm, mean, n, low, high (headline change against one-task in %,
        the interval that `inference.intervals` shows), cost (its name), x (per pair, as `tables.pair_costs`), front,
        named (labelled: on the front or no ablation), far (off the axis). panels: panel, place (of the task in its
        pair, -1 for the mean). caption: text. `arms` are globs, without any all arms. The paper publishes no costs, so
        `paper` adds only a remark. Raises UserError without one-task or without a second arm.
        """
        frame, note = newest(results.frame, pair, dataset, recipe, backbone)
        changes = relative_change(frame).dropna(subset=["change"])
        tasks = list(dict.fromkeys(changes["task"]))
        means = intervals(pd.concat([mean_over_tasks(changes), changes], ignore_index=True))
        means = means.drop(columns=["low", "high"]).rename(columns={"shown_low": "low", "shown_high": "high"})
        costs = pair_costs(frame)[list(COSTS)].reset_index().melt("arm", var_name="cost", value_name="x")
        costs = costs[costs["x"] > 0]
        whole = set(means.loc[means["task"] == MEAN, "arm"])
        names, names_text = shown_arms(frame[frame["arm"].isin(set(changes["arm"]))], arms, every=True)
        shown = means[means["arm"].isin(whole & set(names))].merge(costs, on="arm")
        if BASELINE not in set(shown["arm"]) or shown["arm"].nunique() < 2:
            raise UserError(
                f"cost compares arms with {BASELINE}, but there are test numbers and costs of"
                f" {', '.join(arm_order(shown['arm'])) or 'no arm'} only (every task and seed of {BASELINE} counts);"
                f" type: mtlbench run --pair {frame['pair'].iloc[0]}"
            )
        shown = shown.rename(columns={"task": "panel"})
        shown["front"] = False
        for _, panel in shown.groupby(["panel", "cost"]):
            shown.loc[panel.index, "front"] = on_front(panel["x"].to_numpy(float), panel["mean"].to_numpy(float))
        shown["named"] = shown["front"] | ~shown["arm"].map(is_ablation).astype(bool)
        shown["far"] = pd.concat([far_off(rows) for _, rows in shown.groupby(["panel", "cost"])])
        order = {arm: place for place, arm in enumerate(arm_order(shown["arm"]))}
        shown = shown.sort_values("arm", key=lambda arms: arms.map(order), kind="stable", ignore_index=True)
        lacking = arm_order({*names} - {*shown["arm"]})
        remarks = (names_text, failed_text(frame, results.failures), "The paper publishes no costs." if paper else "")
        text = caption(changes[changes["arm"].isin(names)], shown, note, lacking, remarks)
        return {
            "points": shown[["panel", "arm", "mean", "n", "low", "high", "cost", "x", "front", "named", "far"]],
            "panels": pd.DataFrame({"panel": [MEAN, *tasks], "place": range(-1, len(tasks))}),
            "caption": pd.DataFrame({"text": [text]}),
        }

    def draw(self, data: dict[str, pd.DataFrame], canvas: Canvas) -> None:
        """Draws on an empty canvas, whose size is set to fit the number of tasks."""
        points, panels = data["points"], records(data["panels"])
        lines = wrapped(data["caption"]["text"].iloc[0], WIDTH)
        handles = _legend(points)
        legend_rows = -(-len(handles) // 6)
        foot = LEGEND * legend_rows + LINE * len(lines) + 0.12
        named = points.loc[points["named"] & (points["panel"] == MEAN), "arm"].nunique()
        more = MORE * max(named - USUAL_ARMS, 0)
        talls = [MEAN_PANEL + more if panel["panel"] == MEAN else TASK_PANEL for panel in panels]
        height = HEADER + sum(talls) + TITLE * len(panels) + LABELS + foot
        canvas.set_size_inches(WIDTH, height)
        wide = (WIDTH - LEFT - RIGHT - BETWEEN * (len(COSTS) - 1)) / len(COSTS)
        top = HEADER
        for panel, tall in zip(panels, talls, strict=True):
            top += TITLE
            rows = points[points["panel"] == panel["panel"]]
            for column, cost in enumerate(COSTS):
                left = LEFT + column * (wide + BETWEEN)
                axes = canvas.add_axes((left / WIDTH, 1 - (top + tall) / height, wide / WIDTH, tall / height))
                colour = style.FAINT if panel["panel"] == MEAN else style.task_colour(panel["place"])
                own = rows[rows["cost"] == cost]
                _limits(axes, points[points["cost"] == cost]["x"], rows)
                _draw_panel(axes, own, colour)
                if panel["panel"] == MEAN:
                    _draw_labels(axes, own, wide * POINTS, tall * POINTS)
                if panel is panels[-1]:
                    axes.set_xlabel(COSTS[cost], fontsize=style.NORMAL)
                else:
                    axes.tick_params(labelbottom=False)
                if column:
                    axes.tick_params(labelleft=False)
                else:
                    words = "change vs one-task (%, up is better)" if panel["panel"] == MEAN else "change (%)"
                    axes.set_ylabel(words, fontsize=style.NORMAL)
                    axes.yaxis.set_label_coords(-0.5 / wide, 0.5)
                    axes.set_title(panel["panel"], fontsize=style.LARGE, loc="left", pad=3, color=style.INK)
            top += tall
        canvas.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, foot / height),
            ncols=-(-len(handles) // legend_rows),
            fontsize=style.SMALL,
            frameon=False,
            handletextpad=0.5,
            columnspacing=1.4,
        )
        draw_caption(canvas, lines)


def mean_over_tasks(changes: pd.DataFrame) -> pd.DataFrame:
    """Per arm and seed the mean over tasks of the headline changes, where the seed has all tasks."""
    count = changes["task"].nunique()
    sums = changes.groupby(["arm", "seed"], sort=False)["change"].agg(["mean", "count"]).reset_index()
    whole = sums.loc[sums["count"] == count, ["arm", "seed", "mean"]].rename(columns={"mean": "change"})
    return whole.assign(task=MEAN, metric="headlines")


def on_front(cost: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Which points no other point beats: none is as cheap and as good, and better in one of the two."""
    as_good = (cost[None, :] <= cost[:, None]) & (gain[None, :] >= gain[:, None])
    better = (cost[None, :] < cost[:, None]) | (gain[None, :] > gain[:, None])
    return np.asarray(~(as_good & better).any(axis=1))


def caption(
    changes: pd.DataFrame, shown: pd.DataFrame, note: str, lacking: Sequence[str], remarks: Sequence[str]
) -> str:
    """What was compared, the arms on each front of the mean over tasks, what the marks mean, and what is missing."""
    headlines = ", ".join(dict.fromkeys(f"{row['task']} {row['metric']}" for row in records(changes)))
    front = shown[shown["front"] & (shown["panel"] == MEAN)]
    fronts = "; ".join(
        f"{name}: {', '.join(front[front['cost'] == cost].sort_values('x', kind='stable')['arm'])}"
        for cost, name in COSTS.items()
    )
    parts = [
        f"Change of the headline metric ({headlines}) on test against one-task with the same seed;"
        f" {seeds_text(changes['seed'])}. Costs are per pair: the sum over an arm's networks, mean over seeds; seconds"
        " as measured, on any machine.",
        note,
        f"Pareto front of the mean over tasks, from cheap to dear, by {fronts}.",
    ]
    if shown["low"].notna().any():
        parts.append(
            "Whiskers: 95 % t interval of the paired mean, residual pooled over all arms; the front goes by means, so"
            " arms whose whiskers overlap may change places."
        )
        if noisy := list(dict.fromkeys(shown.loc[shown["flagged"] & shown["low"].notna(), "arm"])):
            parts.append(f"Noisier than the pool somewhere, and there with an interval of its own: {listed(noisy)}.")
    else:
        parts.append(f"No intervals below {FEWEST_SEEDS} seeds; the front goes by means.")
    if any(is_split(arm) for arm in shown["arm"]):
        parts.append("Splits are labelled by their first task-specific layer. Columns share the cost axis.")
    if not shown["named"].all():
        parts.append("Named: the front and all arms but ablations.")
    if far := off_axis(shown[shown["panel"] == MEAN]):
        parts.append(f"Off the axis, at its edge without whiskers: {far}.")
    if lacking:
        parts.append(f"Not shown, for lack of a task, a seed or costs: {', '.join(lacking)}.")
    return " ".join(filter(None, (*parts, *remarks)))


def off_axis(rows: pd.DataFrame) -> str:
    """The arms beyond the axis with their means."""
    far = rows[rows["far"]].drop_duplicates("arm")
    return ", ".join(f"{row['arm']} {row['mean']:+.0f} %".replace(" -", " \N{MINUS SIGN}") for row in records(far))


def _limits(axes: Axes, costs: pd.Series, rows: pd.DataFrame) -> None:
    """The same cost axis down a column, the same change axis along a row, with ticks at round costs."""
    low, high = float(costs.min()), float(costs.max())
    spread = max(1.0, np.sqrt(NARROWEST_RANGE * low / high)) * (high / low) ** 0.1
    axes.set_xscale("log")
    axes.set_xlim(low / spread, high * spread)
    low, high = axes.get_xlim()
    label_logarithmic(axes.xaxis, low, high)
    near = rows[~rows["far"]]
    values = np.concatenate([near["mean"], near["low"], near["high"], [0.0]])
    bottom, top = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.1 * max(top - bottom, 0.1)
    axes.set_ylim(bottom - room, top + room)


def _draw_panel(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Markers (full = on the front), whiskers, the front as steps, the Splits joined by a line."""
    axes.axhline(0, color=style.INK, lw=0.8, zorder=1)
    splits = rows[[is_split(arm) for arm in rows["arm"]]]
    axes.plot(splits["x"], splits["mean"], color=style.FAINT, lw=0.7, zorder=1.5)
    front = rows[rows["front"]].sort_values(["x", "mean"])
    axes.step(front["x"], front["mean"], where="post", color=style.INK, lw=1.0, ls=(0, (4, 2)), zorder=2)
    near = rows[~rows["far"]]
    axes.vlines(near["x"], near["low"], near["high"], color=style.FAINT, lw=0.8, zorder=2)
    for (name, on_it, named), group in near.groupby([near["arm"].map(family), "front", "named"], sort=False):
        axes.scatter(
            group["x"],
            group["mean"],
            marker=style.marker(str(name)),
            s=24 if named else 13,
            zorder=4,
            color=colour if on_it else "white",
            edgecolor=style.INK,
            linewidth=0.8,
        )
    far = rows[rows["far"]]
    for down, group in far.groupby(far["mean"] < axes.get_ylim()[0]):
        edge, marker = (0.0, DOWN) if down else (1.0, UP)
        axes.scatter(
            group["x"],
            [edge] * len(group),
            marker=marker,
            s=36,
            color=style.INK,
            lw=0,
            zorder=4,
            transform=axes.get_xaxis_transform(),
        )
    axes.tick_params(labelsize=style.NORMAL, length=2)
    axes.grid(color="#DDDDDD", lw=0.4, zorder=0.2)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_labels(axes: Axes, rows: pd.DataFrame, width: float, height: float) -> None:
    """Names beside the markers of the arms that have one; a thin line leads to those that found no room there."""
    near = rows[~rows["far"]]
    rows = near[near["named"]]
    names = [arm.removeprefix("split-").replace("mtl-", "MTL-") for arm in rows["arm"]]
    font = FontProperties(size=style.SMALL)
    sizes = np.array([text_to_path.get_text_width_height_descent(name, font, False)[:2] for name in names])
    (left, right), (bottom, top) = np.log10(axes.get_xlim()), axes.get_ylim()
    scale = np.array([width, height])

    def on_paper(x: pd.Series, y: pd.Series) -> np.ndarray:
        """In points from the lower left corner."""
        return scale * np.column_stack([(np.log10(x) - left) / (right - left), (y - bottom) / (top - bottom)])

    anchors, markers = on_paper(rows["x"], rows["mean"]), on_paper(near["x"], near["mean"])
    front = rows[rows["front"]].sort_values(["x", "mean"])
    steps = np.repeat(on_paper(front["x"], front["mean"]), 2, axis=0)
    zero = -bottom / (top - bottom) * height
    ends = zip(on_paper(near["x"], near["low"]), on_paper(near["x"], near["high"]), strict=True)
    lines = [
        np.array([[0, zero], [width, zero]]),
        np.column_stack([steps[1:, 0], steps[:-1, 1]]),
        anchors[[is_split(arm) for arm in rows["arm"]]],
        *(np.array(whisker) for whisker in ends if np.isfinite(whisker).all()),
    ]
    drawn = np.concatenate([along(line) for line in lines if len(line)])
    places = place_labels(anchors, sizes + [2.0, 2.0], markers, drawn, scale)
    backing = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
    for name, anchor, place, size in zip(names, anchors, places, sizes, strict=True):
        nearest = np.clip(anchor, place - size / 2, place + size / 2)
        if np.hypot(*(nearest - anchor)) > LEADER:
            axes.plot(
                *np.column_stack([anchor / scale, nearest / scale]),
                transform=axes.transAxes,
                lw=0.5,
                color=style.DOTS,
                zorder=3,
            )
        axes.text(
            place[0] / width,
            place[1] / height,
            name,
            transform=axes.transAxes,
            fontsize=style.SMALL,
            ha="center",
            va="center",
            color=style.INK,
            zorder=3.5,
            bbox=backing,
        )


def _legend(points: pd.DataFrame) -> list[Any]:
    """Only what is in the picture."""

    def mark(face: str, label: str, shape: str | MarkerStyle = "o", size: float = 4.5) -> Line2D:
        return Line2D([], [], marker=shape, ls="", ms=size, mfc=face, mec=style.INK, label=label)

    def line(label: str, **look: Any) -> Line2D:
        return Line2D([], [], label=label, **look)

    stepped = points[points["front"]].groupby(["panel", "cost"]).size().max() > 1
    variants = dict.fromkeys(points.loc[~points["named"] & (points["panel"] == MEAN), "arm"].map(family))
    wanted = [
        (True, mark(style.FAINT, "on the front")),
        (not points["front"].all(), mark("white", "beaten by a cheaper or better arm")),
        (stepped, line("Pareto front (cheaper, better)", color=style.INK, lw=1.0, ls=(0, (4, 2)))),
        (any(is_split(arm) for arm in points["arm"]), line("Splits", color=style.FAINT, lw=0.7)),
        *((True, mark("white", f"{name}: variants", style.marker(name), 3.2)) for name in variants),
        (bool(points["far"].any()), mark(style.INK, "off the axis", DOWN, 6)),
        (bool(points["low"].notna().any()), line("95 % interval", color=style.FAINT, lw=0.8, marker="|", ls="", ms=7)),
    ]
    return [handle for shown, handle in wanted if shown]
