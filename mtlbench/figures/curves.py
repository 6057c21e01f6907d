"""Curves: the headline on val and the loss along training, for every arm."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from mtlbench.analysis.frame import records, whole_task
from mtlbench.analysis.selection import newest
from mtlbench.arm_names import BASELINE, arm_order
from mtlbench.errors import UserError
from mtlbench.figures import _panels as panels
from mtlbench.figures import _style as style
from mtlbench.figures._arms import shown_arms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


# arms that differ in one thing share a colour ramp
FAMILY = re.compile(r"(split(?=-[^-@]+$)|cross-stitch-[a-z]+|mtl-shared)-.")
RAMPS = ("Blues", "Greens", "Oranges", "Purples", "Reds", "YlOrBr")
RAMP_ENDS = (0.5, 0.97)  # light to dark; paler is hard to see on white
COLOURS = {BASELINE: "#000000", "one-task-longer": "#000000", "mtl-shared": "#CC79A7", "cross-stitch": "#D55E00"}
OWN_COLOURS = (  # of arms without family or fixed colour; with more of them dash-dotted the second time
    "#009E73",
    "#8B5A2B",
    "#7F3C8D",
    "#F0027F",
    "#17A2B8",
    "#6B8E23",
    "#B8860B",
    "#708090",
    "#E9967A",
)
DASHED = ("one-task-longer",)
MOST_NAMED = 4  # arms in a sentence of the caption
QUANTITIES = ("val_headline", "train_loss")
LOG_FROM = 30.0  # largest over smallest loss from which the axis is logarithmic
# layout in inches
LEFT, PANEL, GAP, RIGHT = 0.55, 2.15, 0.5, 0.05
TITLE, VAL, LOSS, BETWEEN, TICKS = 0.3, 2.6, 1.2, 0.15, 0.36
LABEL_STEP, LETTER, LEADER = 0.105, 0.051, 0.13  # of the arms' names beside the lines


class Curves:
    """Headline on val and training loss against the iteration, parents' iterations included (Ours)."""

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
        """Everything that is drawn, as frames: arms, tasks, points, means, caption.

        arms: arm, colour, dashes. tasks: task, metric, unit, higher_is_better, chance (know-nothing score on test).
        points: arm, task, seed, iteration (own), begin (the longest line of parents, in iterations), x (their sum),
        val_headline, train_loss (weighted; mean since the point before). means: arm, task, x, quantity, mean, low, high
        (smallest and largest seed), n. far: task, arm, value (last val headline, off the axis). caption: text, one row.
        `arms` are globs, without any all arms. Raises UserError where no finished trial was trained.
        """
        frame, note = newest(results.frame, pair, dataset, recipe, backbone)
        rows = panels.rows_of(results.curves, frame)
        names, names_text = shown_arms(frame, arms, every=True)
        rows = rows[rows["arm"].isin(names)]
        if rows.empty:
            known = frame["pair"].iloc[0]
            raise UserError(f"curves needs trials with a curve.csv; type: mtlbench run --pair {known} --force '*'")
        provenance = results.provenance_of(frame)
        begins, unknown = begins_of(provenance, results.curves.groupby("key")["iteration"].max().to_dict())
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
            panels.failed_text(frame, results.failures),
        )
        text = caption(points, note, frame[frame["arm"].isin(names)], provenance, lost, remarks)
        return {
            "arms": looks(points["arm"].unique().tolist()),
            "tasks": _tasks(frame),
            "points": points.reset_index(drop=True),
            "means": table,
            "far": far,
            "caption": pd.DataFrame({"text": [text]}),
        }

    def draw(self, data: dict[str, pd.DataFrame], canvas: Canvas) -> None:
        """Draws on an empty canvas: a column per task, val above and the loss below (val only where it was taken)."""
        means = data["means"]
        tasks = [row for row in records(data["tasks"]) if row["task"] in set(means["task"])]
        quantities = [name for name in QUANTITIES if name in set(means["quantity"])]
        column = PANEL + LEADER + LETTER * (data["arms"]["arm"].str.len().max() + 8 * (len(data["far"]) > 0)) + GAP
        width = LEFT + len(tasks) * column - GAP + RIGHT
        tall = {"val_headline": max(VAL, 0.1 + LABEL_STEP * len(data["arms"])), "train_loss": LOSS}
        if quantities == ["train_loss"]:
            tall["train_loss"] = tall["val_headline"]
        lines = panels.wrapped(data["caption"]["text"].iloc[0], width)
        drawn = sum(tall[name] for name in quantities) + BETWEEN * (len(quantities) - 1)
        height = TITLE + drawn + TICKS + panels.LINE * len(lines) + 0.1
        canvas.set_size_inches(width, height)
        for place, task in enumerate(tasks):
            left, top = LEFT + place * column, TITLE
            for quantity in quantities:
                axes = panels.add_panel(canvas, left, top, PANEL, tall[quantity])
                _draw_lines(axes, data, task["task"], quantity)
                if quantity == "val_headline":
                    _dress_val(axes, data, task)
                else:
                    axes.set_ylabel("training loss", fontsize=style.NORMAL)
                if quantity == quantities[0]:
                    _label(axes, data, task["task"], quantity, tall[quantity])
                    axes.set_title(
                        task["task"],
                        fontsize=style.LARGE,
                        loc="left",
                        pad=4,
                        fontweight="bold",
                        color=style.task_colour(place),
                    )
                if quantity == quantities[-1]:
                    axes.set_xlabel("iterations, parents' included", fontsize=style.NORMAL)
                else:
                    axes.tick_params(labelbottom=False)
                top += tall[quantity] + BETWEEN
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


def looks(names: Sequence[str]) -> pd.DataFrame:
    """arm, colour, dashes: Splits in one ramp from light (nearly separate) to dark (fully shared), arms that differ in
    one thing in a ramp of their own, the others in their own colours."""
    arms = arm_order(names)
    families: dict[str, list[str]] = {}
    for arm in arms:
        if found := FAMILY.match(arm):
            families.setdefault(found[1], []).append(arm)
    ramped = {name: members for name, members in families.items() if len(members) > 1 or name == "split"}
    order = sorted(ramped, key=lambda name: name != "split")
    hues = RAMPS if "split" in ramped else RAMPS[1:]  # blue is the Splits'
    colours = dict(COLOURS)
    for place, name in enumerate(order):
        shades = matplotlib.colormaps[hues[place % len(hues)]](np.linspace(*RAMP_ENDS, len(ramped[name])))
        colours |= {arm: to_hex(shade) for arm, shade in zip(ramped[name], shades, strict=True)}
    free = [arm for arm in arms if arm not in colours]
    colours |= {arm: OWN_COLOURS[place % len(OWN_COLOURS)] for place, arm in enumerate(free)}
    again = set(free[len(OWN_COLOURS) :])
    rows = [(arm, colours[arm], "--" if arm in DASHED else "-." if arm in again else "-") for arm in arms]
    return pd.DataFrame(rows, columns=["arm", "colour", "dashes"])


def _tasks(frame: pd.DataFrame) -> pd.DataFrame:
    """Each task's headline metric, its direction and what knowing nothing gives, NaN where that was not measured."""
    headline = frame[frame["headline"].astype(bool) & (frame["subset"].isin(("val", "test")))]
    tasks = headline[["task", "metric", "unit", "higher_is_better"]].drop_duplicates("task")
    chance = whole_task(frame, "chance").groupby(["task", "metric"])["value"].mean().rename("chance").reset_index()
    return tasks.merge(chance, on=["task", "metric"], how="left")


def caption(
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
    missing = [arm for arm in arm_order(whole_task(frame, "test")["arm"]) if arm not in set(points["arm"])]
    parts = [
        f"Headline metric on {where}; loss weighted, mean since the point before."
        f" {'Thick: mean over' if most > 1 else 'One line an arm:'} {panels.seeds_text(points['seed'])}"
        f"{'; thin: each seed' if most > 1 else ''}.",
        note,
        f"From where the longest parent ends (vertical dashes): {_listed(children)}." if children else "",
        f"Parents of {_listed(lost)} are not in the results: drawn from 0." if lost else "",
        "Dotted, where in reach: what knowing nothing gives on test." if known else "",
        f"Fewer seeds: {', '.join(fewer)}." if fewer else "",
        f"Not trained, no curve: {_listed(missing)}." if missing else "",
        "No val headline was taken." if points["val_headline"].isna().all() else "",
        *remarks,
    ]
    return " ".join(part for part in parts if part)


def _listed(arms: Sequence[str]) -> str:
    """Their names, or how many they are."""
    return ", ".join(arms) if len(arms) <= MOST_NAMED else f"{len(arms)} arms"


def _draw_lines(axes: Axes, data: dict[str, pd.DataFrame], task: str, quantity: str) -> None:
    """The arms' means as thick lines, seeds as thin ones; one-task and cross-stitch on top."""
    means = data["means"]
    means = means[(means["task"] == task) & (means["quantity"] == quantity)]
    points = data["points"][data["points"]["task"] == task]
    for look in records(data["arms"]):
        arm = look["arm"]
        line, height = means[means["arm"] == arm], 4 if arm in COLOURS else 3
        if line["n"].max() > 1:
            for _, own in points[points["arm"] == arm].groupby("seed"):
                axes.plot(own["x"], own[quantity], color=look["colour"], lw=0.4, alpha=0.3, ls=look["dashes"], zorder=2)
        axes.plot(
            line["x"],
            line["mean"],
            color=look["colour"],
            lw=1.4 if arm in COLOURS else 1.0,
            ls=look["dashes"],
            zorder=height,
        )
    for begin in sorted(set(points.loc[points["begin"] > 0, "begin"])):
        axes.axvline(begin, color=style.FAINT, lw=0.6, ls=(0, (2, 2)), zorder=1)
    axes.set_xlim(0, 1.02 * data["points"]["x"].max())
    axes.locator_params(axis="x", nbins=5)
    low, high, loss = *_range(data, task, quantity), quantity == "train_loss"
    if loss and 0 < LOG_FROM * low < high:
        axes.set_yscale("log")
    elif loss and np.isfinite(high):
        axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low) + 1e-9)


def _far_off(means: pd.DataFrame) -> pd.DataFrame:
    """The arms whose last val headline would flatten the others'."""
    val = means[means["quantity"] == "val_headline"].sort_values("x", kind="stable")
    ends = val.groupby(["task", "arm"], sort=False).last().reset_index()
    far = [rows[panels.far_off(rows)] for _, rows in ends.groupby("task", sort=False)]
    return pd.concat([*far, ends.iloc[:0]])[["task", "arm", "mean"]].rename(columns={"mean": "value"})


def _range(data: dict[str, pd.DataFrame], task: str, quantity: str) -> tuple[float, float]:
    """Of the arms that are not far off."""
    far = set(data["far"].loc[data["far"]["task"] == task, "arm"])
    values = data["points"].loc[(data["points"]["task"] == task) & ~data["points"]["arm"].isin(far), quantity]
    return float(values.min()), float(values.max())


def _dress_val(axes: Axes, data: dict[str, pd.DataFrame], task: Mapping[str, Any]) -> None:
    """The metric, which way is better, and the know-nothing score; the axis is made for the arms that are not far."""
    low, high = _range(data, task["task"], "val_headline")
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


def _label(axes: Axes, data: dict[str, pd.DataFrame], task: str, quantity: str, tall: float) -> None:
    """Every arm's name at the right in its colour, in the order of the last values, tied to the end of its line."""
    means = data["means"]
    means = means[(means["task"] == task) & (means["quantity"] == quantity)].sort_values("x", kind="stable")
    ends = means.groupby("arm").last()
    arms = [look for look in records(data["arms"]) if look["arm"] in ends.index]
    to_page = axes.transLimits if axes.get_yscale() == "linear" else axes.transScale + axes.transLimits
    wanted = [to_page.transform((0, ends.loc[look["arm"], "mean"]))[1] for look in arms]
    off = data["far"][data["far"]["task"] == task].set_index("arm")["value"].map("{:.3g}".format)
    limits = axes.get_ylim()
    for look, y in zip(arms, panels.apart(wanted, LABEL_STEP / tall, (0.02, 0.98)), strict=True):
        end = ends.loc[look["arm"]]
        name = f"{look['arm']} ({off[look['arm']]})" if look["arm"] in off else look["arm"]
        leader = {
            "arrowstyle": "-",
            "color": look["colour"],
            "lw": 0.4,
            "alpha": 0.5,
            "shrinkA": 1,
            "shrinkB": 0,
            "relpos": (0.0, 0.5),
        }
        axes.annotate(
            name,
            (end["x"], np.clip(end["mean"], *limits)),
            (1 + LEADER / PANEL, y),
            textcoords="axes fraction",
            va="center",
            fontsize=style.SMALL,
            color=look["colour"],
            annotation_clip=False,
            arrowprops=leader,
        )
