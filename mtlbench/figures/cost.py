"""Cost: what every arm gains over one-task against what it costs, and which arms nothing cheaper beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import EngFormatter, NullLocator

from mtlbench.errors import UserError
from mtlbench.figures import _style as style
from mtlbench.figures._panels import LINE, draw_caption, failed_text, seeds_text, wrapped
from mtlbench.inference import intervals
from mtlbench.stats import (
    BASELINE,
    FEWEST_SEEDS,
    arm_order,
    is_split,
    newest,
    records,
    relative_change,
)
from mtlbench.tables import pair_costs

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
USUAL_ARMS, MORE = 12, 0.12  # the mean panel grows with every further arm
POINTS = 72  # in an inch

RINGS = (0.0, 4.0, 9.0, 15.0, 22.0, 30.0, 40.0, 52.0, 66.0)  # points between a marker's surroundings and its label
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
    ) -> dict[str, pd.DataFrame]:
        """Everything that is drawn, as frames; arms that lack a task or a cost are named in the caption.

        points: panel ("mean over tasks" or a task), arm, mean, n, low, high (headline change against one-task in %,
        the interval that `inference.intervals` shows), cost (its name), x (per pair, as `tables.pair_costs`), front.
        panels: panel, place (of the task in its pair, -1 for the mean). caption: text. The paper publishes no costs,
        so `paper` adds only a remark. Raises UserError without one-task or without a second arm.
        """
        frame, note = newest(results.frame, pair, dataset, recipe, backbone)
        changes = relative_change(frame).dropna(subset=["change"])
        tasks = list(dict.fromkeys(changes["task"]))
        means = intervals(pd.concat([mean_over_tasks(changes), changes], ignore_index=True))
        means = means.drop(columns=["low", "high"]).rename(columns={"shown_low": "low", "shown_high": "high"})
        costs = pair_costs(frame)[list(COSTS)].reset_index().melt("arm", var_name="cost", value_name="x")
        costs = costs[costs["x"] > 0]
        whole = set(means.loc[means["task"] == MEAN, "arm"])
        shown = means[means["arm"].isin(whole)].merge(costs, on="arm")
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
        order = {arm: place for place, arm in enumerate(arm_order(shown["arm"]))}
        shown = shown.sort_values("arm", key=lambda arms: arms.map(order), kind="stable", ignore_index=True)
        lacking = arm_order({*changes["arm"]} - {*shown["arm"]})
        text = caption(changes, shown, note, lacking, failed_text(frame, results.failures), paper)
        return {
            "points": shown[["panel", "arm", "mean", "n", "low", "high", "cost", "x", "front"]],
            "panels": pd.DataFrame({"panel": [MEAN, *tasks], "place": range(-1, len(tasks))}),
            "caption": pd.DataFrame({"text": [text]}),
        }

    def draw(self, data: dict[str, pd.DataFrame], canvas: Canvas) -> None:
        """Draws on an empty canvas, whose size is set to fit the number of tasks."""
        points, panels = data["points"], records(data["panels"])
        lines = wrapped(data["caption"]["text"].iloc[0], WIDTH)
        foot = LEGEND + LINE * len(lines) + 0.12
        more = MORE * max(points["arm"].nunique() - USUAL_ARMS, 0)
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
        canvas.legend(handles=_legend(points), loc="upper center", bbox_to_anchor=(0.5, foot / height), ncols=6,
                      fontsize=style.SMALL, frameon=False, handletextpad=0.5, columnspacing=1.4)  # fmt: skip
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
    changes: pd.DataFrame, shown: pd.DataFrame, note: str, lacking: Sequence[str], failed: str, paper: bool
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
            "Whiskers: 95 % t interval of the paired mean, residual pooled over arms; the front goes by means, so"
            " arms whose whiskers overlap may change places."
        )
        if noisy := list(dict.fromkeys(shown.loc[shown["flagged"] & shown["low"].notna(), "arm"])):
            parts.append(f"Noisier than the pool somewhere, and there with an interval of its own: {', '.join(noisy)}.")
    else:
        parts.append(f"No intervals below {FEWEST_SEEDS} seeds; the front goes by means.")
    if any(is_split(arm) for arm in shown["arm"]):
        parts.append("Splits are labelled by their first task-specific layer. Columns share the cost axis.")
    if lacking:
        parts.append(f"Not shown, for lack of a task, a seed or costs: {', '.join(lacking)}.")
    parts += [failed, "The paper publishes no costs." if paper else ""]
    return " ".join(filter(None, parts))


def _limits(axes: Axes, costs: pd.Series, rows: pd.DataFrame) -> None:
    """The same cost axis down a column, the same change axis along a row, with ticks at round costs."""
    low, high = float(costs.min()), float(costs.max())
    spread = max(1.0, np.sqrt(NARROWEST_RANGE * low / high)) * (high / low) ** 0.1
    axes.set_xscale("log")
    axes.set_xlim(low / spread, high * spread)
    low, high = axes.get_xlim()
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1, 2, 3, 5), (1, 3), (1,)):
        ticks = [step * decade for decade in decades for step in steps if low <= step * decade <= high]
        if len(ticks) <= 5:
            break
    axes.set_xticks(ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter())
    values = np.concatenate([rows["mean"], rows["low"], rows["high"], [0.0]])
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
    for row in records(rows):
        axes.vlines(row["x"], row["low"], row["high"], color=style.FAINT, lw=0.8, zorder=2)
        axes.scatter(row["x"], row["mean"], marker=style.marker(row["arm"]), s=24, zorder=4,
                     color=colour if row["front"] else "white", edgecolor=style.INK, linewidth=0.8)  # fmt: skip
    axes.tick_params(labelsize=style.NORMAL, length=2)
    axes.grid(color="#DDDDDD", lw=0.4, zorder=0.2)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_labels(axes: Axes, rows: pd.DataFrame, width: float, height: float) -> None:
    """Every arm's name beside its marker; a thin line leads to names that found no room there."""
    names = [arm.removeprefix("split-").replace("mtl-", "MTL-") for arm in rows["arm"]]
    font = FontProperties(size=style.SMALL)
    sizes = np.array([text_to_path.get_text_width_height_descent(name, font, False)[:2] for name in names])
    (left, right), (bottom, top) = np.log10(axes.get_xlim()), axes.get_ylim()
    scale = np.array([width, height])

    def on_paper(x: pd.Series, y: pd.Series) -> np.ndarray:
        """In points from the lower left corner."""
        return scale * np.column_stack([(np.log10(x) - left) / (right - left), (y - bottom) / (top - bottom)])

    anchors = on_paper(rows["x"], rows["mean"])
    front = rows[rows["front"]].sort_values(["x", "mean"])
    steps = np.repeat(on_paper(front["x"], front["mean"]), 2, axis=0)
    zero = -bottom / (top - bottom) * height
    ends = zip(on_paper(rows["x"], rows["low"]), on_paper(rows["x"], rows["high"]), strict=True)
    lines = [
        np.array([[0, zero], [width, zero]]),
        np.column_stack([steps[1:, 0], steps[:-1, 1]]),
        anchors[[is_split(arm) for arm in rows["arm"]]],
        *(np.array(whisker) for whisker in ends if np.isfinite(whisker).all()),
    ]
    drawn = np.concatenate([_along(line) for line in lines if len(line)])
    places = place_labels(anchors, sizes + [2.0, 2.0], drawn, scale)
    backing = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
    for name, anchor, place, size in zip(names, anchors, places, sizes, strict=True):
        nearest = np.clip(anchor, place - size / 2, place + size / 2)
        if np.hypot(*(nearest - anchor)) > LEADER:
            axes.plot(*np.column_stack([anchor / scale, nearest / scale]), transform=axes.transAxes, lw=0.5,
                      color=style.DOTS, zorder=3)  # fmt: skip
        axes.text(place[0] / width, place[1] / height, name, transform=axes.transAxes, fontsize=style.SMALL,
                  ha="center", va="center", color=style.INK, zorder=3.5, bbox=backing)  # fmt: skip


def _along(line: np.ndarray) -> np.ndarray:
    """Points along a line, at most 3 points (1/24 inch) apart."""
    lengths = np.hypot(*np.diff(line, axis=0).T)
    travelled = np.concatenate([[0.0], np.cumsum(lengths)])
    stops = np.linspace(0, travelled[-1], int(travelled[-1] / 3) + 2)
    return np.column_stack([np.interp(stops, travelled, line[:, axis]) for axis in (0, 1)])


def place_labels(anchors: np.ndarray, sizes: np.ndarray, lines: np.ndarray, page: np.ndarray) -> np.ndarray:
    """Centres for labels (N x 2, points) near their anchors, on the page, that cover neither each other nor markers.

    Greedy: each label in turn takes the place that covers least, near ones first, given the places of the others, four
    times over. `lines` are points along drawn lines, better not covered. Ours.
    """
    marker = np.full(anchors.shape, 3.5)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    directions = np.column_stack([np.cos(angles), np.sin(angles)])
    far = np.repeat(RINGS, len(directions))
    options, fixed = [], []  # places of each label, and what each costs whatever the others do
    for anchor, half in zip(anchors, sizes / 2, strict=True):
        choices = np.concatenate([anchor + directions * (half + 4.0 + ring) for ring in RINGS])
        outside = np.maximum(half - choices, 0) + np.maximum(choices + half - page, 0)
        crossed = (np.abs(choices[:, None] - lines[None]) < half).all(axis=2).sum(axis=1)
        options.append(choices)
        fixed.append(far + 3 * crossed + 10 * _covered(choices, half, anchors, marker) + 1000 * outside.sum(axis=1))
    places = np.full(anchors.shape, np.inf)  # not placed yet
    for _ in range(4):
        for i in range(len(anchors)):
            others = np.isfinite(places[:, 0]) & (np.arange(len(anchors)) != i)
            covered = _covered(options[i], sizes[i] / 2, places[others], sizes[others] / 2)
            places[i] = options[i][np.argmin(fixed[i] + 10 * covered)]
    return places


def _covered(centres: np.ndarray, half: np.ndarray, others: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Area that a rectangle around each centre shares with other rectangles, summed over those."""
    reach = half + halves[None] - np.abs(centres[:, None] - others[None])
    shared = np.minimum(np.maximum(reach, 0), 2 * np.minimum(half, halves)[None])
    return shared.prod(axis=2).sum(axis=1)


def _legend(points: pd.DataFrame) -> list[Any]:
    """Only what is in the picture."""

    def mark(face: str, label: str) -> Line2D:
        return Line2D([], [], marker="o", ls="", ms=4.5, mfc=face, mec=style.INK, label=label)

    def line(label: str, **look: Any) -> Line2D:
        return Line2D([], [], label=label, **look)

    stepped = points[points["front"]].groupby(["panel", "cost"]).size().max() > 1
    wanted = [
        (True, mark(style.FAINT, "on the front")),
        (not points["front"].all(), mark("white", "beaten by a cheaper or better arm")),
        (stepped, line("Pareto front (cheaper, better)", color=style.INK, lw=1.0, ls=(0, (4, 2)))),
        (any(is_split(arm) for arm in points["arm"]), line("Splits", color=style.FAINT, lw=0.7)),
        (bool(points["low"].notna().any()), line("95 % interval", color=style.FAINT, lw=0.8, marker="|", ls="", ms=7)),
    ]
    return [handle for shown, handle in wanted if shown]
