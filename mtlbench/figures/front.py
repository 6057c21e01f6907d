"""Front: what every arm gives one task against another as the losses are weighed differently, and its hypervolume."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.lines import Line2D

from mtlbench.analysis.frame import FEWEST_SEEDS, list_records
from mtlbench.analysis.front import find_front
from mtlbench.analysis.selection import NEWEST, Selection, describe_failures
from mtlbench.analysis.trade_offs import PURPOSES, TradeOffs, trade_offs
from mtlbench.arm_names import BASELINE
from mtlbench.contracts import Results
from mtlbench.figures import _style as style
from mtlbench.figures._panels import LINE, add_panel, draw_caption, draw_legend, seeds_text, wrap
from mtlbench.figures._shown_arms import list_names, marker_of
from mtlbench.figures._trade_offs import (
    FRONT_DASHES,
    bleach,
    draw_trade_off,
    draw_volumes,
    end_of_volumes,
    limit_trade_off,
)
from mtlbench.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


NAME = 22  # letters of an arm's name in a line
POWERS = {2: "\N{SUPERSCRIPT TWO}", 3: "\N{SUPERSCRIPT THREE}", 4: "\N{SUPERSCRIPT FOUR}"}
COLOURS = 10  # of arms; with more of them their curves are dotted the second time


@dataclass(frozen=True)
class Layout:
    """Sizes in inches."""

    width: float = 7.6
    left: float = 0.58
    right: float = 0.2
    between: float = 0.72
    header: float = 0.28
    panel: float = 2.9
    row: float = 0.24  # of an arm in the panel of hypervolumes, at least
    labels: float = 0.46
    letter: float = 0.056  # of an arm's name
    legend: float = 0.2
    handle: float = 0.5


INCHES = Layout()


@dataclass(frozen=True, eq=False)
class FrontData:
    """arms: arm, label, colour, marker, dashes. points: `TradeOffs.points`. panels: panel, x, y (tasks), x_metric,
    y_metric. means: panel, arm, weighting, weights, x, y (mean changes, %), n, share (of the weights of both that x's
    is), own (the recipe's weights), front (of both tasks), joined (on the arm's curve), with the arms' looks. seeds:
    panel, arm, weighting, seed, x, y. volumes: `TradeOffs.mean_volumes` without one-task, with looks; volume_seeds:
    arm, seed, volume; reference: one-task's volume.
    """

    arms: pd.DataFrame
    points: pd.DataFrame
    panels: pd.DataFrame
    means: pd.DataFrame
    seeds: pd.DataFrame
    volumes: pd.DataFrame
    volume_seeds: pd.DataFrame
    reference: float
    caption: str


class Front:
    """Ours: changes of two tasks at several weightings of the losses, the Pareto front, hypervolumes."""

    def data(
        self,
        results: Results,
        selection: Selection = NEWEST,
        paper: bool = False,
        arms: Sequence[str] = (),
    ) -> FrontData:
        """Everything that is drawn, of the newest setting with a grid of weightings; `arms` are globs.

        The paper publishes no weightings, so `paper` adds only a remark. Raises UserError where there is no grid.
        """
        found = trade_offs(results.frame, selection, arms)
        looks = _looks(found)
        panels = _panels(found)
        means = _compute_means(found, panels).merge(looks.drop(columns="label"), on="arm", how="left")
        seeds = _seeds(found, panels)
        volumes = found.mean_volumes
        base = volumes[volumes["arm"] == BASELINE]
        failed = describe_failures(found.rows, results.failures, PURPOSES)
        remarks = (failed, "The paper publishes no weightings." if paper else "")
        return FrontData(
            arms=looks,
            points=found.points,
            panels=panels,
            means=means,
            seeds=seeds,
            volumes=volumes[volumes["arm"] != BASELINE].merge(looks, on="arm"),
            volume_seeds=found.volumes[found.volumes["arm"] != BASELINE][["arm", "seed", "volume"]],
            reference=float(base["mean"].iloc[0]),
            caption=write_caption(found, means, seeds, remarks),
        )

    def draw(self, data: FrontData, canvas: Canvas) -> None:
        """Draws on an empty canvas, whose size is set to fit the number of tasks and arms."""
        with style.theme():
            _draw(data, canvas)


def _draw(data: FrontData, canvas: Canvas) -> None:
    """A panel for every two tasks, two in a row, and the hypervolumes in the last one."""
    lines = wrap(data.caption, INCHES.width)
    handles = _make_legend(data)
    longest = max(len(handle.get_label()) for handle in handles)
    legend_columns = max(1, min(6, int(INCHES.width / (INCHES.letter * longest + INCHES.handle))))
    legend_rows = -(-len(handles) // legend_columns)
    foot = INCHES.legend * legend_rows + LINE * len(lines) + 0.12
    cells = len(data.panels) + 1
    tall = max(INCHES.panel, INCHES.row * len(data.volumes)) if cells == 2 else INCHES.panel
    last = max(tall, INCHES.row * len(data.volumes))
    rows = -(-cells // 2)
    step = INCHES.header + INCHES.labels
    canvas.set_size_inches(INCHES.width, (rows - 1) * tall + last + rows * step + foot)
    wide = (INCHES.width - INCHES.left - INCHES.right - INCHES.between) / 2
    for place, panel in enumerate(list_records(data.panels)):
        row, column = divmod(place, 2)
        left, top = INCHES.left + column * (wide + INCHES.between), INCHES.header + row * (tall + step)
        _draw_pair(add_panel(canvas, left, top, wide, tall), data, panel)
    row, column = divmod(cells - 1, 2)
    left, top = INCHES.left + column * (wide + INCHES.between), INCHES.header + row * (tall + step)
    _draw_volumes(canvas, data, (left, top, wide, last), INCHES.between if column else INCHES.left)
    draw_legend(canvas, handles, legend_rows, foot, spacing=1.4)
    draw_caption(canvas, lines)


def _draw_volumes(canvas: Canvas, data: FrontData, place: tuple[float, float, float, float], room: float) -> None:
    """The hypervolumes at a place (left, top, wide, tall) that has so much room for names at its left."""
    left, top, wide, tall = place
    labels = [textwrap.fill(label, NAME) for label in data.volumes["label"]]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    more = max(0.0, INCHES.letter * longest + 0.15 - room)
    axes = add_panel(canvas, left + more, top, wide - more, tall)
    draw_volumes(axes, data.volumes.assign(label=labels), data.volume_seeds, data.reference)
    unit = "%" + POWERS.get(data.points["task"].nunique(), "")
    axes.set_xlabel(f"hypervolume ({unit}, right is better)", fontsize=style.NORMAL)
    axes.set_title("all weightings together", fontsize=style.LARGE, loc="left", pad=4, color=style.INK)


def _draw_pair(axes: Axes, data: FrontData, panel: dict[str, Any]) -> None:
    """One task's change against another's."""
    means, seeds = (frame[frame["panel"] == panel["panel"]] for frame in (data.means, data.seeds))
    draw_trade_off(axes, means, seeds)
    axes.set_xlabel(f"{panel['x']}: {panel['x_metric']}, change (%, right is better)", fontsize=style.NORMAL)
    axes.set_ylabel(f"{panel['y']}: {panel['y_metric']}, change (%, up is better)", fontsize=style.NORMAL)
    axes.set_title(f"{panel['x']} against {panel['y']}", fontsize=style.LARGE, loc="left", pad=4, color=style.INK)


def _looks(found: TradeOffs) -> pd.DataFrame:
    """arm, label, colour, marker, dashes, in table order."""
    rows = [
        (
            arm,
            found.arms.label(arm),
            style.arm_colour(place),
            marker_of(found.arms, arm),
            ":" if place >= COLOURS else "-",
        )
        for place, arm in enumerate(found.varied)
    ]
    return pd.DataFrame(rows, columns=["arm", "label", "colour", "marker", "dashes"])


def _panels(found: TradeOffs) -> pd.DataFrame:
    """Every two tasks, with their headlines."""
    metrics = dict(zip(found.test["task"], found.test["metric"], strict=True))
    rows = [(f"{x}/{y}", x, y, metrics[x], metrics[y]) for x, y in itertools.combinations(found.tasks, 2)]
    return pd.DataFrame(rows, columns=["panel", "x", "y", "x_metric", "y_metric"])


def _compute_means(found: TradeOffs, panels: pd.DataFrame) -> pd.DataFrame:
    """The means of each panel; of three tasks and more a curve goes only through what no other weighting of the arm
    beats in both, since the weightings have no order there."""
    names = ["name", "arm", "weighting", "weights"]
    table = found.points.pivot(index=names, columns="task", values="mean")
    seeds = found.points.groupby("name")["n"].min()
    order = {name: place for place, name in enumerate(found.points["name"].drop_duplicates())}
    parts = []
    for panel in list_records(panels):
        own = table[[panel["x"], panel["y"]]].set_axis(["x", "y"], axis=1).reset_index()
        places = found.tasks.index(panel["x"]), found.tasks.index(panel["y"])
        weights = [[found.weights(text)[place] for place in places] for text in own["weighting"]]
        own["front"] = find_front(own[["x", "y"]].to_numpy(float))
        own = own.assign(
            panel=panel["panel"],
            n=own["name"].map(seeds),
            share=[x / (x + y) for x, y in weights],
            own=own["name"] == own["arm"],
            joined=True,
        )
        if len(found.tasks) > 2:
            for _, rows in own.groupby("arm"):
                own.loc[rows.index, "joined"] = find_front(rows[["x", "y"]].to_numpy(float))
            own = own.sort_values(["arm", "x"], kind="stable")
        else:
            own = own.sort_values("name", key=lambda names: names.map(order), kind="stable")
        parts.append(own)
    return pd.concat(parts, ignore_index=True)


def _seeds(found: TradeOffs, panels: pd.DataFrame) -> pd.DataFrame:
    """The seeds of each panel that have both tasks."""
    index = ["name", "arm", "weighting", "seed"]
    shown = found.test[(found.test["arm"] != BASELINE) & found.test["name"].isin(set(found.points["name"]))]
    table = shown.pivot(index=index, columns="task", values="change")
    parts = [
        table[[panel["x"], panel["y"]]].set_axis(["x", "y"], axis=1).dropna().reset_index().assign(panel=panel["panel"])
        for panel in list_records(panels)
    ]
    return pd.concat(parts, ignore_index=True)


def write_caption(found: TradeOffs, means: pd.DataFrame, seeds: pd.DataFrame, remarks: Sequence[str]) -> str:
    """What was compared, what the marks mean, which weightings are on the front, which are missing or off the axis."""
    headlines = ", ".join(dict.fromkeys(f"{row['task']} {row['metric']}" for row in list_records(found.test)))
    volumes = found.mean_volumes[found.mean_volumes["arm"] != BASELINE]
    numbers = sorted({int(n) for n in volumes["n"]})
    n = "-".join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))
    parts = [
        f"Change of the headline metric ({headlines}) on test against one-task with the same seed;"
        f" {seeds_text(found.test['seed'])}.",
        found.note,
        "Markers: means at several weightings of the tasks' losses (times the recipe's own), darker the more the task"
        " on the x axis weighs; thick edge: the recipe's own.",
        _curves_text(found),
        f"Hypervolume: what an arm's weightings dominate together above the worst change of any network, in every task"
        f" at once, seed by seed; {_whiskers_text(volumes, found.volumes, n)}; dotted: one-task's.",
    ]
    if far := _count_beyond(means, seeds):
        parts.append(f"Off the axes: {count(far, 'dot')}.")
    if lacking := _list_lacking(found):
        parts.append(f"Weightings without numbers in every task and seed: {list_names(lacking, 'weightings')}.")
    return " ".join(filter(None, (*parts, *remarks)))


def _curves_text(found: TradeOffs) -> str:
    """Where curves and steps go, and what is on the front."""
    front = found.points[found.points["front"]].drop_duplicates("name")
    which = "; ".join(
        BASELINE if arm == BASELINE else f"{arm} ({', '.join(rows['weights'])})"
        for arm, rows in front.groupby("arm", sort=False)
    )
    weights = f"weights of {' : '.join(found.tasks)}"
    if len(found.tasks) == 2:
        return f"Dashed: Pareto front of all means ({weights}): {which}."
    return (
        "Curves and dashed steps go through what is not beaten in the two tasks of a panel, by the same arm and by any."
        f" On the front of all tasks ({weights}): {which}."
    )


def _whiskers_text(volumes: pd.DataFrame, seeds: pd.DataFrame, n: str) -> str:
    if volumes["low"].isna().all():
        return f"n = {n}, no intervals below {FEWEST_SEEDS} seeds"
    text = f"whiskers: 95 % t intervals over n = {n} seeds, whose changes are paired with one-task's"
    end = end_of_volumes(volumes, seeds)
    cut = ((volumes["high"] > end) | (volumes["low"] < 0)).any()
    return text + (" (those without a bar at the end go on)" if cut else "")


def _count_beyond(means: pd.DataFrame, seeds: pd.DataFrame) -> int:
    """How many seeds are off the axes of their panel."""
    far = 0
    for panel, own in seeds.groupby("panel"):
        (left, right), (bottom, top) = limit_trade_off(means[means["panel"] == panel], own)
        far += int((~own["x"].between(left, right) | ~own["y"].between(bottom, top)).sum())
    return far


def _list_lacking(found: TradeOffs) -> list[str]:
    """Weightings of arms that other arms have, or that have fewer seeds than one-task, or no number in a task."""
    seeds = found.points.groupby("name")["n"].min()
    most = int(found.points["n"].max())
    known = {(row["arm"], row["weights"]): int(seeds[row["name"]]) for row in list_records(found.points)}
    every = list(dict.fromkeys(found.points.loc[found.points["arm"] != BASELINE, "weights"]))
    counts = [(arm, weights, known.get((arm, weights), 0)) for arm in found.varied for weights in every]
    return [f"{arm} {weights} ({n} of {most})" for arm, weights, n in counts if n < most]


def _make_legend(data: FrontData) -> list[Any]:
    """Only what is in the picture."""

    def mark(face: Any, label: str, shape: str = "o", size: float = 5, edge: float = 0.5) -> Line2D:
        return Line2D([], [], marker=shape, ls="", ms=size, mfc=face, mec=style.INK, mew=edge, label=label)

    several = data.seeds["seed"].nunique() > 1
    arms = [
        Line2D([], [], color=row["colour"], marker=row["marker"], ms=5, mec=style.INK, mew=0.5, ls=row["dashes"])
        for row in list_records(data.arms)
    ]
    for handle, label in zip(arms, data.arms["label"], strict=True):
        handle.set_label(label)
    wanted = [
        (True, mark(bleach(style.FAINT, 0.1), "little weight on x")),
        (True, mark(bleach(style.INK, 0.8), "much weight on x")),
        (bool(data.means["own"].any()), mark("white", "the recipe's own weights", edge=1.3)),
        (several, Line2D([], [], marker="o", ls="", ms=2.4, color=style.FAINT, lw=0, label="single seed")),
        (True, Line2D([], [], color=style.INK, lw=1.0, ls=FRONT_DASHES, label="Pareto front of the means")),
        (
            bool(data.volumes["low"].notna().any()),
            Line2D([], [], color=style.INK, lw=1.0, marker="|", ms=6, label="95 % interval"),
        ),
    ]
    return [*arms, *(handle for shown, handle in wanted if shown)]
