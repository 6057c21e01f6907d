"""Cost: what every arm gains over one-task against what it costs, and which arms nothing cheaper beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle

from mtlbench.analysis.arms import Arms
from mtlbench.analysis.costs import pair_costs
from mtlbench.analysis.frame import FEWEST_SEEDS, list_records, mean_over_tasks, relative_change
from mtlbench.analysis.front import find_front
from mtlbench.analysis.inference import compute_intervals, describe_intervals
from mtlbench.analysis.selection import NEWEST, Selection, describe_failures, select_newest
from mtlbench.arm_names import BASELINE, arm_order
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.figures import _style as style
from mtlbench.figures._costs import DOWN, FRONT_DASHES, draw_costs, label_costs, limit_costs
from mtlbench.figures._panels import LINE, add_panel, draw_caption, draw_legend, far_off, seeds_text, wrap
from mtlbench.figures._shown_arms import choose_arms, marker_of
from mtlbench.text import MINUS, list_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


AXES = {  # of `costs.pair_costs` -> name on the axis
    "parameters": "parameters",
    "flops": "FLOPs, forward",
    "seconds_with_parents": "seconds, with parents",
}
MEAN = "mean over tasks"
POINTS = (
    *("panel", "arm", "mean", "n", "low", "high", "cost", "x"),
    *("front", "named", "plain", "marker", "split", "label", "far"),
)
MOST_TREES = 6  # that are all named; of more only those on the front
USUAL_ARMS = 12  # named in the mean's panel; with more it is higher


@dataclass(frozen=True)
class Layout:
    """Sizes in inches."""

    width: float = 7.6
    left: float = 0.7
    right: float = 0.1
    between: float = 0.14
    header: float = 0.08
    title: float = 0.25
    mean_panel: float = 2.75
    more_names: float = 0.12  # that a name above the usual number adds to the mean's panel
    task_panel: float = 1.2
    labels: float = 0.42
    legend: float = 0.2


INCHES = Layout()


@dataclass(frozen=True, eq=False)
class CostData:
    """points: panel ("mean over tasks" or a task), arm, mean, n, low, high (headline change against one-task in %, the
    interval of `inference.compute_intervals`), cost (its name), x (per pair, as `costs.pair_costs`), front, named
    (labelled: on the front or no ablation), plain (the arm that it is a variant of, or its own name), marker, split,
    label, far (off the axis). panels: panel, place (of the task in its pair, -1 for the mean).
    """

    points: pd.DataFrame
    panels: pd.DataFrame
    caption: str


class Cost:
    """Ours: the mean headline change on test against parameters, FLOPs and seconds, with the Pareto front."""

    def data(
        self,
        results: Results,
        selection: Selection = NEWEST,
        paper: bool = False,
        arms: Sequence[str] = (),
    ) -> CostData:
        """Everything that is drawn; arms that lack a task or a cost are named in the caption.

        `arms` are globs, without any all arms. The paper publishes no costs, so `paper` adds only a remark. Raises
        UserError without one-task or without a second arm.
        """
        frame, note = select_newest(results.frame, selection)
        changes = relative_change(frame).dropna(subset=["change"])
        names, names_text = choose_arms(frame[frame["arm"].isin(set(changes["arm"]))], arms, every=True)
        points = _price(changes, frame, names)
        if BASELINE not in set(points["arm"]) or points["arm"].nunique() < 2:
            raise UserError(
                f"cost compares arms with {BASELINE}, but there are test numbers and costs of"
                f" {', '.join(arm_order(points['arm'])) or 'no arm'} only (every task and seed of {BASELINE} counts);"
                f" type: mtlbench run --pair {frame['pair'].iloc[0]}"
            )
        points = _mark(points, Arms.of(frame))
        tasks = list(dict.fromkeys(changes["task"]))
        lacking = arm_order({*names} - {*points["arm"]})
        remarks = (
            names_text,
            describe_failures(frame, results.failures),
            "The paper publishes no costs." if paper else "",
        )
        return CostData(
            points=points[[*POINTS]],
            panels=pd.DataFrame({"panel": [MEAN, *tasks], "place": range(-1, len(tasks))}),
            caption=write_caption(changes[changes["arm"].isin(names)], points, note, lacking, remarks),
        )

    def draw(self, data: CostData, canvas: Canvas) -> None:
        """Draws on an empty canvas, whose size is set to fit the number of tasks."""
        with style.theme():
            _draw(data, canvas)


def _draw(data: CostData, canvas: Canvas) -> None:
    """A row of panels for the mean over tasks and for each task, a column a cost."""
    points, panels = data.points, list_records(data.panels)
    lines = wrap(data.caption, INCHES.width)
    handles = _make_legend(points)
    legend_rows = -(-len(handles) // 6)
    foot = INCHES.legend * legend_rows + LINE * len(lines) + 0.12
    named = points.loc[points["named"] & (points["panel"] == MEAN), "arm"].nunique()
    tall_mean = INCHES.mean_panel + INCHES.more_names * max(named - USUAL_ARMS, 0)
    talls = [tall_mean if panel["panel"] == MEAN else INCHES.task_panel for panel in panels]
    canvas.set_size_inches(INCHES.width, INCHES.header + sum(talls) + INCHES.title * len(panels) + INCHES.labels + foot)
    top = INCHES.header
    for panel, tall in zip(panels, talls, strict=True):
        top += INCHES.title
        made = _draw_row(canvas, points, panel, top, tall)
        for axes, name in zip(made, AXES.values(), strict=True):
            axes.tick_params(labelbottom=panel is panels[-1])
            if panel is panels[-1]:
                axes.set_xlabel(name, fontsize=style.NORMAL)
        top += tall
    draw_legend(canvas, handles, legend_rows, foot, spacing=1.4)
    draw_caption(canvas, lines)


def _draw_row(canvas: Canvas, points: pd.DataFrame, panel: dict[str, Any], top: float, tall: float) -> list[Axes]:
    """A panel per cost, of the mean over tasks with names or of one task."""
    wide = (INCHES.width - INCHES.left - INCHES.right - INCHES.between * (len(AXES) - 1)) / len(AXES)
    rows = points[points["panel"] == panel["panel"]]
    is_mean, made = panel["panel"] == MEAN, []
    for column, cost in enumerate(AXES):
        axes = add_panel(canvas, INCHES.left + column * (wide + INCHES.between), top, wide, tall)
        own = rows[rows["cost"] == cost]
        limit_costs(axes, points[points["cost"] == cost]["x"], rows)
        draw_costs(axes, own, style.FAINT if is_mean else style.task_colour(panel["place"]))
        if is_mean:
            label_costs(axes, own)
        axes.tick_params(labelleft=column == 0)
        made.append(axes)
    made[0].set_ylabel("change vs one-task (%, up is better)" if is_mean else "change (%)", fontsize=style.NORMAL)
    made[0].yaxis.set_label_coords(-0.5 / wide, 0.5)
    made[0].set_title(panel["panel"], fontsize=style.LARGE, loc="left", pad=3, color=style.INK)
    return made


def _price(changes: pd.DataFrame, frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Mean change and cost, per panel, of the named arms that have all tasks and a cost."""
    means = compute_intervals(pd.concat([mean_over_tasks(changes, MEAN), changes], ignore_index=True))
    costs = pair_costs(frame)[list(AXES)].reset_index().melt("arm", var_name="cost", value_name="x")
    whole = set(means.loc[means["task"] == MEAN, "arm"])
    shown = means[means["arm"].isin(whole & set(names))].merge(costs[costs["x"] > 0], on="arm")
    return shown.rename(columns={"task": "panel"})


def _mark(points: pd.DataFrame, arms: Arms) -> pd.DataFrame:
    """The points in table order, with front, named, plain, marker, split, label and far."""
    points = points.assign(front=False)
    for _, panel in points.groupby(["panel", "cost"]):
        gains = panel.assign(cheapness=-panel["x"])[["cheapness", "mean"]]
        points.loc[panel.index, "front"] = find_front(gains.to_numpy(float))
    hidden = points["arm"].map(arms.is_variant).astype(bool)
    trees = points["arm"].map(arms.is_tree).astype(bool)
    if points.loc[trees, "arm"].nunique() > MOST_TREES:
        hidden |= trees
    points["named"] = points["front"] | ~hidden
    points["plain"] = points["arm"].map(arms.plain)
    points["marker"] = [marker_of(arms, arm) for arm in points["arm"]]
    points["split"] = points["arm"].map(arms.is_split).astype(bool)
    points["label"] = [arms.label(arm).removeprefix("Split ").removeprefix("tree-") for arm in points["arm"]]
    points["far"] = pd.concat([far_off(rows) for _, rows in points.groupby(["panel", "cost"])])
    order = {arm: place for place, arm in enumerate(arm_order(points["arm"]))}
    return points.sort_values("arm", key=lambda arms: arms.map(order), kind="stable", ignore_index=True)


def write_caption(
    changes: pd.DataFrame, shown: pd.DataFrame, note: str, lacking: Sequence[str], remarks: Sequence[str]
) -> str:
    """What was compared, the arms on each front of the mean over tasks, what the marks mean, and what is missing."""
    headlines = ", ".join(dict.fromkeys(f"{row['task']} {row['metric']}" for row in list_records(changes)))
    front = shown[shown["front"] & (shown["panel"] == MEAN)]
    fronts = "; ".join(
        f"{name}: {', '.join(front[front['cost'] == cost].sort_values('x', kind='stable')['arm'])}"
        for cost, name in AXES.items()
    )
    parts = [
        f"Change of the headline metric ({headlines}) on test against one-task with the same seed;"
        f" {seeds_text(changes['seed'])}. Costs are per pair: the sum over an arm's networks, mean over seeds; seconds"
        " as measured, on any machine.",
        note,
        f"Pareto front of the mean over tasks, from cheap to dear, by {fronts}.",
    ]
    if which := describe_intervals(shown):
        parts.append(
            f"Whiskers: 95 % intervals of the paired mean, {which}. The front goes by means, so arms whose whiskers"
            " overlap may change places."
        )
    else:
        parts.append(f"No intervals below {FEWEST_SEEDS} seeds; the front goes by means.")
    if shown["split"].any():
        parts.append("Splits are labelled by their first task-specific layer. Columns share the cost axis.")
    if not shown["named"].all():
        unnamed = shown[~shown["named"]]
        ablated = unnamed["plain"] != unnamed["arm"]
        others = [what for what, some in (("ablations", ablated.any()), ("trees", (~ablated).any())) if some]
        parts.append(f"Named: the front and all arms but {list_in_words(others)}.")
    if far := off_axis(shown[shown["panel"] == MEAN]):
        parts.append(f"Off the axis, at its edge without whiskers: {far}.")
    if lacking:
        parts.append(f"Not shown, for lack of a task, a seed or costs: {', '.join(lacking)}.")
    return " ".join(filter(None, (*parts, *remarks)))


def off_axis(rows: pd.DataFrame) -> str:
    """The arms beyond the axis with their means."""
    far = rows[rows["far"]].drop_duplicates("arm")
    return ", ".join(f"{row['arm']} {row['mean']:+.0f} %".replace(" -", f" {MINUS}") for row in list_records(far))


def _make_legend(points: pd.DataFrame) -> list[Any]:
    """Only what is in the picture."""

    def mark(face: str, label: str, shape: str | MarkerStyle = "o", size: float = 4.5) -> Line2D:
        return Line2D([], [], marker=shape, ls="", ms=size, mfc=face, mec=style.INK, label=label)

    def line(label: str, **look: Any) -> Line2D:
        return Line2D([], [], label=label, **look)

    stepped = points[points["front"]].groupby(["panel", "cost"]).size().max() > 1
    variants = points[~points["named"] & (points["panel"] == MEAN)]
    whose = (variants["plain"] + ": variants").mask(variants["plain"] == variants["arm"], "trees")
    variants = variants.assign(whose=whose).drop_duplicates("whose")
    wanted = [
        (True, mark(style.FAINT, "on the front")),
        (not points["front"].all(), mark("white", "beaten by a cheaper or better arm")),
        (stepped, line("Pareto front (cheaper, better)", color=style.INK, lw=1.0, ls=FRONT_DASHES)),
        (bool(points["split"].any()), line("Splits", color=style.FAINT, lw=0.7)),
        *((True, mark("white", row["whose"], row["marker"], 3.2)) for row in list_records(variants)),
        (bool(points["far"].any()), mark(style.INK, "off the axis", DOWN, 6)),
        (bool(points["low"].notna().any()), line("95 % interval", color=style.FAINT, lw=0.8, marker="|", ls="", ms=7)),
    ]
    return [handle for shown, handle in wanted if shown]
