"""Curves: the headline on val and the loss along training, for every arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mtlbench.analysis.arms import Arms
from mtlbench.analysis.frame import list_records, rows_of_trials, whole_task
from mtlbench.analysis.selection import NEWEST, Selection, describe_failures, select_newest
from mtlbench.arm_names import arm_order
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.figures import _panels as panels
from mtlbench.figures import _style as style
from mtlbench.figures._curves import LABEL_STEP_INCHES, LEADER_INCHES, draw_curves, label_curves
from mtlbench.figures._looks import choose_looks
from mtlbench.figures._shown_arms import choose_arms, list_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


QUANTITIES = ("val_headline", "train_loss")
LOG_FROM = 30.0  # largest over smallest loss from which the axis is logarithmic


@dataclass(frozen=True)
class Layout:
    """Sizes in inches."""

    left: float = 0.55
    right: float = 0.05
    panel: float = 2.15
    gap: float = 0.5
    title: float = 0.3
    val: float = 2.6
    loss: float = 1.2
    between: float = 0.15
    ticks: float = 0.36
    letter: float = 0.051  # of an arm's name


INCHES = Layout()


@dataclass(frozen=True, eq=False)
class CurvesData:
    """arms: arm, colour, dashes, strong (drawn thicker). tasks: task, metric, unit, higher_is_better, chance
    (know-nothing score on test).

    points: arm, task, seed, iteration (own), begin (the longest line of parents, in iterations), x (their sum),
    val_headline, train_loss (weighted; mean since the point before). means: arm, task, x, quantity, mean, low, high
    (smallest and largest seed), n. far: task, arm, value (last val headline, off the axis).
    """

    arms: pd.DataFrame
    tasks: pd.DataFrame
    points: pd.DataFrame
    means: pd.DataFrame
    far: pd.DataFrame
    caption: str


class Curves:
    """Headline on val and training loss against the iteration, parents' iterations included (Ours)."""

    def data(
        self,
        results: Results,
        selection: Selection = NEWEST,
        paper: bool = False,
        arms: Sequence[str] = (),
    ) -> CurvesData:
        """Everything that is drawn; `arms` are globs, without any all arms.

        Raises UserError where no finished trial was trained.
        """
        frame, note = select_newest(results.frame, selection)
        rows = rows_of_trials(results.curves, frame)
        names, names_text = choose_arms(frame, arms, every=True)
        rows = rows[rows["arm"].isin(names)]
        if rows.empty:
            known = frame["pair"].iloc[0]
            raise UserError(f"curves needs trials with a curve.csv; type: mtlbench run --pair {known} --force '*'")
        provenance = results.provenance_of(frame)
        last = results.curves.groupby("key")["iteration"].max()
        begins, unknown = begins_of(provenance, {str(key): int(iteration) for key, iteration in last.items()})
        points = rows[["arm", "task", "seed", "iteration", *QUANTITIES]].assign(begin=rows["key"].map(begins).fillna(0))
        points["x"] = points["begin"] + points["iteration"]
        means = [panels.over_seeds(points, ["arm", "task", "x"], name).assign(quantity=name) for name in QUANTITIES]
        lost = arm_order(rows.loc[rows["key"].isin(unknown), "arm"])
        table = pd.concat(means, ignore_index=True).dropna(subset=["mean"])
        far = _far_off(table)
        remarks = (
            "In brackets: the last value of arms so far off that axes leave them out." if len(far) else "",
            names_text,
            "The paper publishes no curves." if paper else "",
            describe_failures(frame, results.failures),
        )
        return CurvesData(
            arms=choose_looks(points["arm"].unique().tolist(), Arms.of(frame)),
            tasks=_tasks(frame),
            points=points.reset_index(drop=True),
            means=table,
            far=far,
            caption=write_caption(points, note, frame[frame["arm"].isin(names)], provenance, lost, remarks),
        )

    def draw(self, data: CurvesData, canvas: Canvas) -> None:
        """Draws on an empty canvas: a column per task, val above and the loss below (val only where it was taken)."""
        with style.theme():
            _draw(data, canvas)


def _draw(data: CurvesData, canvas: Canvas) -> None:
    tasks = [row for row in list_records(data.tasks) if row["task"] in set(data.means["task"])]
    quantities = [name for name in QUANTITIES if name in set(data.means["quantity"])]
    letters = data.arms["arm"].str.len().max() + 8 * (len(data.far) > 0)
    column = INCHES.panel + LEADER_INCHES + INCHES.letter * letters + INCHES.gap
    width = INCHES.left + len(tasks) * column - INCHES.gap + INCHES.right
    lines = panels.wrap(data.caption, width)
    talls = [max(INCHES.val, 0.1 + LABEL_STEP_INCHES * len(data.arms)), INCHES.loss][: len(quantities)]
    drawn = sum(talls) + INCHES.between * (len(quantities) - 1)
    canvas.set_size_inches(width, INCHES.title + drawn + INCHES.ticks + panels.LINE * len(lines) + 0.1)
    for place, task in enumerate(tasks):
        top, made = INCHES.title, []
        for quantity, tall in zip(quantities, talls, strict=True):
            left = INCHES.left + place * column
            made.append(panels.add_panel(canvas, left, top, INCHES.panel, tall, style.SMALL))
            _draw_panel(made[-1], data, task, quantity)
            made[-1].tick_params(labelbottom=quantity == quantities[-1])
            top += tall + INCHES.between
        means = data.means[(data.means["task"] == task["task"]) & (data.means["quantity"] == quantities[0])]
        off = data.far[data.far["task"] == task["task"]].set_index("arm")["value"]
        label_curves(made[0], data.arms, means, {str(arm): f"{value:.3g}" for arm, value in off.items()})
        title = made[0].set_title(task["task"], fontsize=style.LARGE, loc="left", pad=4, fontweight="bold")
        title.set_color(style.task_colour(place))
        made[-1].set_xlabel("iterations, parents' included", fontsize=style.NORMAL)
    panels.draw_caption(canvas, lines)


def begins_of(provenance: Sequence[Mapping[str, Any]], lengths: Mapping[str, int]) -> tuple[dict[str, int], set[str]]:
    """{key: iterations of its longest line of parents}, and the keys of trials whose parents' lengths are unknown."""
    parents = {str(trial["key"]): [str(parent) for parent in trial["parents"]] for trial in provenance}
    unknown: set[str] = set()

    def begin(key: str) -> int:
        if any(parent not in lengths for parent in parents.get(key, [])):
            unknown.add(key)
        return max((begin(parent) + int(lengths.get(parent, 0)) for parent in parents.get(key, [])), default=0)

    return {key: begin(key) for key in parents}, unknown


def _tasks(frame: pd.DataFrame) -> pd.DataFrame:
    """Each task's headline metric, its direction and what knowing nothing gives, NaN where that was not measured."""
    headline = frame[frame["headline"].astype(bool) & (frame["subset"].isin(("val", "test")))]
    tasks = headline[["task", "metric", "unit", "higher_is_better"]].drop_duplicates("task")
    chance = whole_task(frame, "chance").groupby(["task", "metric"])["value"].mean().rename("chance").reset_index()
    return tasks.merge(chance, on=["task", "metric"], how="left")


def write_caption(
    points: pd.DataFrame,
    note: str,
    frame: pd.DataFrame,
    provenance: Sequence[Mapping[str, Any]],
    lost: list[str],
    remarks: Sequence[str],
) -> str:
    """What the lines are, on how many val images, where children begin, who has fewer seeds or no curve."""
    seeds = points.groupby("arm")["seed"].nunique()
    most = int(seeds.max())
    images = {trial["recipe"].get("curve_images") for trial in provenance if "recipe" in trial} - {None}
    where = f"at most the first {max(images)} images of val" if images else "the first images of val"
    children = arm_order(points.loc[points["begin"] > 0, "arm"])
    fewer = [f"{arm} ({n})" for arm, n in seeds.items() if n < most]
    known = _tasks(frame)["chance"].notna().any()
    missing = [arm for arm in arm_order(whole_task(frame, "test")["arm"]) if arm not in seeds]
    parts = [
        f"Headline metric on {where}; loss weighted, mean since the point before."
        f" {'Thick: mean over' if most > 1 else 'One line an arm:'} {panels.seeds_text(points['seed'])}"
        f"{'; thin: each seed' if most > 1 else ''}.",
        note,
        f"From where the longest parent ends (vertical dashes): {list_names(children)}." if children else "",
        f"Parents of {list_names(lost)} are not in the results: drawn from 0." if lost else "",
        "Dotted, where in reach: what knowing nothing gives on test." if known else "",
        f"Fewer seeds: {', '.join(fewer)}." if fewer else "",
        f"Not trained, no curve: {list_names(missing)}." if missing else "",
        "No val headline was taken." if points["val_headline"].isna().all() else "",
        *remarks,
    ]
    return " ".join(part for part in parts if part)


def _draw_panel(axes: Axes, data: CurvesData, task: Mapping[str, Any], quantity: str) -> None:
    """A task's val headline or loss, with dashes where children begin."""
    means = data.means[(data.means["task"] == task["task"]) & (data.means["quantity"] == quantity)]
    points = data.points[data.points["task"] == task["task"]]
    draw_curves(axes, data.arms, means, points.rename(columns={quantity: "value"}))
    for begin in sorted(set(points.loc[points["begin"] > 0, "begin"])):
        axes.axvline(begin, color=style.FAINT, lw=0.6, ls=(0, (2, 2)), zorder=1)
    axes.set_xlim(0, 1.02 * data.points["x"].max())
    low, high = _find_range(data, task["task"], quantity)
    if quantity == "val_headline":
        _dress_val(axes, task, low, high)
        return
    axes.set_ylabel("training loss", fontsize=style.NORMAL)
    if 0 < LOG_FROM * low < high:
        axes.set_yscale("log")
    elif np.isfinite(high):
        axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low) + 1e-9)


def _far_off(means: pd.DataFrame) -> pd.DataFrame:
    """The arms whose last val headline would flatten the others'."""
    val = means[means["quantity"] == "val_headline"].sort_values("x", kind="stable")
    ends = val.groupby(["task", "arm"], sort=False).last().reset_index()
    far = [rows[panels.far_off(rows)] for _, rows in ends.groupby("task", sort=False)]
    return pd.concat([*far, ends.iloc[:0]])[["task", "arm", "mean"]].rename(columns={"mean": "value"})


def _find_range(data: CurvesData, task: str, quantity: str) -> tuple[float, float]:
    """Of the arms that are not far off."""
    far = set(data.far.loc[data.far["task"] == task, "arm"])
    values = data.points.loc[(data.points["task"] == task) & ~data.points["arm"].isin(far), quantity]
    return float(values.min()), float(values.max())


def _dress_val(axes: Axes, task: Mapping[str, Any], low: float, high: float) -> None:
    """The metric, which way is better, and the know-nothing score; the axis is made for the arms that are not far."""
    room = 0.04 * (high - low) if high > low else 1.0
    if low - (high - low) < task["chance"] < high + (high - low):
        low, high = min(low, task["chance"]), max(high, task["chance"])
    axes.set_ylim(low - room, high + room)
    unit = f", {task['unit']}" if task["unit"] else ""
    better = "higher is better" if task["higher_is_better"] else "lower is better"
    axes.set_ylabel(f"val {task['metric']}{unit} ({better})", fontsize=style.NORMAL)
    if np.isfinite(task["chance"]):
        axes.axhline(task["chance"], color=style.INK, lw=0.8, ls=(0, (1, 1.5)), zorder=1)
        axes.set_title(f"knowing nothing: {task['chance']:.3g}", fontsize=style.SMALL, loc="right", pad=4)
