"""Figure 2: the architectures from fully shared to fully separate, and what each is worth against one-task."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from mtlbench.errors import UserError
from mtlbench.figures import _style as style
from mtlbench.stats import (
    BASELINE,
    FEWEST_SEEDS,
    IDENTITY,
    arm_order,
    best_split,
    intervals,
    is_split,
    newest,
    noise_band,
    published,
    relative_change,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

BESIDE = ("one-task-longer", "ensemble", "mtl-shared", "cross-stitch")  # to the right of the spectrum, then custom arms
SHADOW = 0.05  # offset of the ensemble's second network, in columns
GAP = 0.7  # between the spectrum and the arms beside it, in columns
PAPER_TABLES = ("Table 5", "Table 6")  # the tables that compare arms; the others are ablations

# layout in inches
COLUMN, LEFT, RIGHT = 0.53, 0.78, 0.12
HEADER, ROW, POOL_ROW, BETWEEN = 0.3, 0.115, 0.06, 0.03
LABELS, PANEL, PANEL_TITLE, LEGEND, LINE = 0.36, 1.75, 0.27, 0.5, 0.135
NARROWEST = 6.8
LETTERS = 19.5  # of the caption's size in an inch


class Figure2:
    """Section 1.1, Figure 2, with seeds, intervals, controls and the Split that val chooses."""

    def data(
        self,
        results: Any,
        paper: bool = False,
        pair: str | None = None,
        dataset: str | None = None,
        recipe: str | None = None,
        backbone: str | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Everything that is drawn, as frames: arms, points, means, band, architectures, published, caption.

        `results` has frame, architectures and failures; the newest pair, dataset, backbone and recipe are taken, or those
        asked for. arms: arm, label, x. points: task, arm, seed, x, change (%). means: `stats.intervals` with x, chosen_task
        and chosen_pair. band: `stats.noise_band`. architectures: arm, x, stage, row, task, place, group, unit, copies. published:
        task, arm, x, change (empty unless `paper` and comparable). caption: text, one row. Raises UserError without one-task.
        """
        frame, note = newest(results.frame, pair, dataset, recipe, backbone)
        changes = relative_change(frame).dropna(subset=["change"])
        if changes.empty:
            raise UserError(f"figure2 needs {BASELINE} on test; type: mtlbench run --pair {frame['pair'].iloc[0]}")
        arms = layout(changes["arm"].unique())
        tasks = list(dict.fromkeys(changes["task"]))
        chosen = best_split(frame)
        means = intervals(changes).merge(arms[["arm", "x"]])
        choice = chosen.set_index("task")["arm"].to_dict()
        means["chosen_task"] = means["arm"] == means["task"].map(choice)
        means["chosen_pair"] = means["arm"] == choice.get("")
        overlay, remark = _overlay(frame, arms) if paper else (pd.DataFrame(), "")
        text = caption(changes, means, note, len(chosen) > 0, remark, results.failures)
        return {
            "arms": arms,
            "points": changes.merge(arms[["arm", "x"]])[["task", "metric", "arm", "seed", "x", "value", "change"]],
            "means": means,
            "band": noise_band(frame).merge(changes[["task", "unit", "higher_is_better"]].drop_duplicates()),
            "architectures": architecture_rows(results.architectures, arms, tasks),
            "published": overlay,
            "caption": pd.DataFrame({"text": [text]}),
        }

    def draw(self, data: dict[str, pd.DataFrame], canvas: Canvas) -> None:
        """Draws on an empty canvas, whose size is set to fit the number of arms and tasks."""
        arms, tasks = data["arms"], list(data["band"]["task"])
        rows = data["architectures"].drop_duplicates("row").sort_values("row")["stage"].tolist()
        tops = _row_tops(rows)
        drawing = float(tops[-1])
        span = (float(arms["x"].min()) - 0.5, float(arms["x"].max()) + 0.5)
        width = max(NARROWEST, LEFT + (span[1] - span[0]) * COLUMN + RIGHT)
        lines = textwrap.wrap(data["caption"]["text"].iloc[0], int(width * LETTERS))
        foot = LEGEND + LINE * len(lines) + 0.08
        height = HEADER + drawing + LABELS + len(tasks) * (PANEL_TITLE + PANEL) + LABELS + foot
        canvas.set_size_inches(width, height)

        def axes(top: float, tall: float) -> Axes:
            box = (LEFT / width, 1 - (top + tall) / height, 1 - (LEFT + RIGHT) / width, tall / height)
            return canvas.add_axes(box, xlim=span)

        sketch = axes(HEADER, drawing)
        _draw_architectures(sketch, data, rows, tops, tasks)
        _arm_labels(sketch, arms)
        top = HEADER + drawing + LABELS
        for place, task in enumerate(tasks):
            panel = axes(top + PANEL_TITLE, PANEL)
            _draw_panel(panel, data, task, style.task_colour(place))
            top += PANEL_TITLE + PANEL
            if place == len(tasks) - 1:
                _arm_labels(panel, arms)
            else:
                panel.tick_params(labelbottom=False)
        for text, y in (("(a)", HEADER - 0.03), ("(b)", HEADER + drawing + LABELS + PANEL_TITLE - 0.06)):
            canvas.text(0.08 / width, 1 - y / height, text, fontsize=style.LARGE, fontweight="bold", color=style.INK)
        handles = _legend(data, tasks)
        canvas.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, foot / height), ncols=(len(handles) + 1) // 2,
                      fontsize=style.SMALL, frameon=False, handletextpad=0.5, columnspacing=1.2)  # fmt: skip
        canvas.text(0.08 / width, (LINE * len(lines) + 0.05) / height, "\n".join(lines), fontsize=style.SMALL,
                    va="top", linespacing=1.25, color=style.INK)  # fmt: skip


def layout(names: Any) -> pd.DataFrame:
    """Arms from left to right: Splits from fully shared to nearly separate, one-task, a gap, the arms beside them."""
    ordered = arm_order(names)
    spectrum = [arm for arm in reversed(ordered) if is_split(arm)] + [BASELINE]
    beside = [arm for arm in BESIDE if arm in ordered]
    beside += [arm for arm in ordered if arm not in (*spectrum, *beside)]
    x = [float(i) for i in range(len(spectrum))] + [len(spectrum) + GAP + i for i in range(len(beside))]
    arms = [*spectrum, *beside]
    return pd.DataFrame({"arm": arms, "label": [_label(arm) for arm in arms], "x": x})


def _label(arm: str) -> str:
    """The arm's name in lines of at most 9 characters, broken at hyphens where possible."""
    if is_split(arm):
        return "Split\n" + "\n".join(textwrap.wrap(arm.removeprefix("split-"), 9))
    lines = [""]
    for part in re.split(r"(?<=-)", arm.replace("mtl-", "MTL-")):
        for piece in textwrap.wrap(part, 9):
            lines = [*lines[:-1], lines[-1] + piece] if len(lines[-1] + piece) <= 9 else [*lines, piece]
    return "\n".join(line for line in lines if line)


def architecture_rows(architectures: dict[str, Any], arms: pd.DataFrame, tasks: list[str]) -> pd.DataFrame:
    """One row per arm, stage and task: which group the task's column belongs to, whether a unit follows the stage.

    The heads (fc8) are added below the trunk; a task that no group names (one-task trials know only their own) is alone.
    """
    found = []
    for arm, x in arms[["arm", "x"]].itertuples(index=False):
        stages = [*architectures.get(arm, []), {"stage": "fc8", "groups": [], "unit": False}]
        copies = 2 if arm == "ensemble" else 1  # two networks per task (Section 6.1)
        for row, stage in enumerate(stages if len(stages) > 1 else []):
            for place, task in enumerate(tasks):
                group = next((group for group in stage["groups"] if task in group), [task])
                found.append((arm, x, stage["stage"], row, task, place, "+".join(group), bool(stage["unit"]), copies))
    return pd.DataFrame(found, columns=["arm", "x", "stage", "row", "task", "place", "group", "unit", "copies"])


def caption(
    changes: pd.DataFrame, means: pd.DataFrame, note: str, chosen: bool, remark: str, failures: list[dict[str, Any]]
) -> str:
    """What was compared, on what, with how many seeds, and what whiskers, band and marks mean."""
    headlines = ", ".join(f"{task} {metric}" for task, metric in means[["task", "metric"]].drop_duplicates().to_numpy())
    seeds = sorted(changes["seed"].unique())
    listed = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} ({', '.join(f'{seed:g}' for seed in seeds)})"
    parts = [f"Change of the headline metric ({headlines}) on test against one-task with the same seed; {listed}. {note}"]
    if means["low"].notna().any():
        freedom = "/".join(dict.fromkeys(str(value) for value in means["freedom"]))  # tasks differ where cells miss
        parts.append(
            f"Whiskers: 95 % t interval of the paired mean, residual of arm + seed pooled over arms ({freedom} degrees of"
            " freedom). Band: unpaired 95 % t interval of one-task's own mean over its seeds."
        )
    else:
        parts.append(f"No intervals and no band below {FEWEST_SEEDS} seeds.")
    parts.append("Star, ring: chosen on val, shown on test." if chosen else "No Split could be chosen on val.")
    if failures:
        parts.append("Failed or blocked: " + ", ".join(dict.fromkeys(str(failure["arm"]) for failure in failures)) + ".")
    return " ".join([*parts, remark]).strip()


def _overlay(frame: pd.DataFrame, arms: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The published changes of the arms shown and a remark; an empty frame where they do not compare."""
    ours = frame[IDENTITY].iloc[0]
    theirs = published()
    theirs = theirs[theirs["source"].isin(PAPER_TABLES) & (theirs["pair"] == ours["pair"])]
    if theirs.empty:
        return pd.DataFrame(), f"The paper has no numbers for {ours['pair']}."
    differs = [name for name in IDENTITY if theirs[name].iloc[0] != ours[name]]
    if differs:
        why = ", ".join(f"{name} {theirs[name].iloc[0]}, not {ours[name]}" for name in differs)
        return pd.DataFrame(), f"Published values are not shown, they do not compare: {why}."
    table = relative_change(theirs).merge(arms[["arm", "x"]])
    source = theirs["source"].iloc[0]
    return table[["task", "arm", "x", "value", "change"]], f"Published: {source} of the paper, one run each."


def _row_tops(stages: list[str]) -> np.ndarray:
    """Tops of the stages' boxes in inches from the first, and the bottom of the last; pooling is drawn thinner."""
    heights = [(POOL_ROW if stage.startswith("pool") else ROW) + BETWEEN for stage in stages]
    return np.concatenate([[0.0], np.cumsum(heights)])


def _draw_architectures(axes: Axes, data: dict[str, pd.DataFrame], rows: list[str], tops: np.ndarray, tasks: list[str]) -> None:
    """A small network per arm, input on top: grey = shared by several tasks, coloured = a task's own, x = unit."""
    axes.set(ylim=(max(float(tops[-1]), 0.01), 0), yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    extent = 0.78  # of a schematic, in columns
    gap = 0.16 if len(tasks) > 1 else 0.0
    box = (extent - gap * (len(tasks) - 1)) / len(tasks)
    for (x, row), stage in data["architectures"].groupby(["x", "row"]):
        top, tall = tops[row], tops[row + 1] - tops[row] - BETWEEN
        lefts = [x - extent / 2 + place * (box + gap) for place in range(len(tasks))]
        for _, group in stage.groupby("group"):
            places = sorted(group["place"])
            shared = len(places) > 1
            colour = style.SHARED if shared else style.task_colour(places[0])
            runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)  # neighbours are drawn as one box
            for run in runs:
                size = lefts[run[-1]] + box - lefts[run[0]]
                for shift in (SHADOW, 0.0) if stage["copies"].iloc[0] > 1 else (0.0,):
                    corner = (lefts[run[0]] + shift, top - shift * COLUMN)
                    axes.add_patch(Rectangle(corner, size, tall, facecolor=colour, edgecolor=style.INK, lw=0.5))
            for before, after in zip(runs, runs[1:], strict=False):  # a shared stage reaches around a task in between
                ends = [lefts[before[-1]] + box, lefts[after[0]]]
                axes.plot(ends, [top + tall / 2] * 2, color=style.FAINT, lw=1.2, zorder=0.5)
        if stage["unit"].any():
            middle = top + tall / 2
            reach = ROW * 0.42
            for left in lefts[1:]:
                ends = [left - gap * 0.92, left - gap * 0.08]
                for y in ([middle - reach, middle + reach], [middle + reach, middle - reach]):
                    axes.plot(ends, y, color=style.INK, lw=1.1, solid_capstyle="round", zorder=3)
    first = float(data["arms"]["x"].min())
    for row, stage_name in enumerate(rows):
        middle = (tops[row] + tops[row + 1] - BETWEEN) / 2
        axes.text(first - 0.56, middle, stage_name, fontsize=style.SMALL - 1, ha="right", va="center", color=style.INK)
    _spectrum_header(axes, data["arms"])


def _spectrum_header(axes: Axes, arms: pd.DataFrame) -> None:
    """`fully shared -> fully separate` above the spectrum, `besides` above the rest."""
    last = float(arms.loc[arms["arm"] == BASELINE, "x"].iloc[0])
    where = axes.get_xaxis_transform()
    text = {"fontsize": style.NORMAL, "color": style.INK, "va": "center", "transform": where, "annotation_clip": False}
    if last > 2:
        axes.annotate("", (last + 0.4, 1.11), (-0.4, 1.11), xycoords=where, annotation_clip=False,
                      arrowprops={"arrowstyle": "<->", "color": style.FAINT, "lw": 0.8})  # fmt: skip
        text.pop("annotation_clip")
        backing = {"facecolor": "white", "edgecolor": "none", "pad": 2}
        for x, side, words in ((-0.05, "left", "fully shared"), (last + 0.05, "right", "fully separate")):
            axes.text(x, 1.11, words, ha=side, bbox=backing, **text)


def _draw_panel(axes: Axes, data: dict[str, pd.DataFrame], task: str, colour: str) -> None:
    """One task: a dot per seed, mean, interval, band and zero line; n along the bottom."""
    points, means = (data[name][data[name]["task"] == task] for name in ("points", "means"))
    band = data["band"].set_index("task").loc[task]
    overlay = data["published"]
    overlay = overlay[overlay["task"] == task] if len(overlay) else overlay
    if np.isfinite(band["half_width"]):
        axes.axhspan(-band["half_width"], band["half_width"], color=style.BAND, lw=0, zorder=0)
    axes.axhline(0, color=style.INK, lw=0.8, zorder=1)
    spectrum = means[[is_split(arm) or arm == BASELINE for arm in means["arm"]]].sort_values("x")
    axes.plot(spectrum["x"], spectrum["mean"], color=colour, lw=1.0, alpha=0.6, zorder=2)
    seeds = sorted(points["seed"].unique())
    if len(seeds) > 1:  # one seed: its dot would hide behind the mean
        sway = dict(zip(seeds, np.linspace(-0.12, 0.12, len(seeds)), strict=True))
        dots = points[points["arm"] != BASELINE]
        axes.scatter(dots["x"] - 0.24 + dots["seed"].map(sway), dots["change"], s=7, facecolor="white", edgecolor=style.DOTS,
                     linewidth=0.7, zorder=2.5)  # fmt: skip
    for row in means.itertuples():
        if np.isfinite(row.low):
            axes.errorbar(row.x, row.mean, yerr=[[row.mean - row.low], [row.high - row.mean]], color=style.INK, lw=1.0,
                          capsize=2.5, capthick=1.0, zorder=3)  # fmt: skip
        shape, size = ("*", 110) if row.chosen_task else (style.marker(row.arm), 26)
        axes.scatter(row.x, row.mean, marker=shape, s=size, color=colour, edgecolor=style.INK, linewidth=0.7, zorder=4)
        if row.chosen_pair:
            axes.scatter(row.x, row.mean, marker="o", s=170, facecolor="none", edgecolor=style.INK, linewidth=0.9, zorder=3.5)
    if len(overlay):
        axes.scatter(overlay["x"] + 0.24, overlay["change"], marker="d", s=18, facecolor="white", edgecolor=style.INK,
                     linewidth=0.8, zorder=4)  # fmt: skip
    _limits(axes, points, means, overlay, band["half_width"])
    for row in means.itertuples():
        axes.text(row.x, 0.025, f"n={row.n}", transform=axes.get_xaxis_transform(), fontsize=style.SMALL - 1,
                  ha="center", va="bottom", color=style.INK)  # fmt: skip
    separator = float(data["arms"].loc[data["arms"]["arm"] == BASELINE, "x"].iloc[0]) + (1 + GAP) / 2
    if data["arms"]["x"].max() > separator:
        axes.axvline(separator, color=style.FAINT, lw=0.6, ls=(0, (2, 2)))
    direction = "higher" if band["higher_is_better"] else "lower"
    axes.set_title(f"{task}: {band['metric']}, {direction} is better; one-task = {band['mean']:.1f} {band['unit']}",
                   fontsize=style.LARGE, loc="left", pad=3, color=style.INK)  # fmt: skip
    axes.set_ylabel("change vs one-task\n(%, up is better)", fontsize=style.NORMAL)
    axes.set_xticks(data["arms"]["x"])
    axes.tick_params(labelsize=style.NORMAL, length=2)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="#DDDDDD", lw=0.4, zorder=0.2)
    axes.spines[["top", "right"]].set_visible(False)


def _limits(axes: Axes, points: pd.DataFrame, means: pd.DataFrame, overlay: pd.DataFrame, half_width: float) -> None:
    """Room for everything that is drawn, some above for rings and a strip below for n."""
    shown = [points["change"], means["low"], means["high"], *([overlay["change"]] if len(overlay) else [])]
    values = np.concatenate([*shown, [0.0, half_width, -half_width]])
    low, high = np.nanmin(values), np.nanmax(values)
    tall = max(high - low, 1.0)
    axes.set_ylim(low - 0.2 * tall, high + 0.12 * tall)


def _arm_labels(axes: Axes, arms: pd.DataFrame) -> None:
    axes.set_xticks(arms["x"], arms["label"], fontsize=style.SMALL, linespacing=1.0)


def _legend(data: dict[str, pd.DataFrame], tasks: list[str]) -> list[Any]:
    """Only what is in the picture."""
    means = data["means"]
    many = data["points"]["seed"].nunique() > 1
    mean = Line2D([], [], marker="o", ls="", ms=5, mfc="white", mec=style.INK, label="mean over seeds" if many else "one seed")
    handles: list[Any] = [Patch(fc=style.task_colour(i), ec=style.INK, lw=0.5, label=task) for i, task in enumerate(tasks)]
    handles.append(Patch(fc=style.SHARED, ec=style.INK, lw=0.5, label="shared by tasks"))
    if data["architectures"]["unit"].any():
        handles.append(Line2D([], [], marker="x", ls="", ms=5, color=style.INK, label="unit mixing columns"))
    if many:
        handles.append(Line2D([], [], marker="o", ls="", ms=3, mfc="white", mec=style.DOTS, label="single seed"))
    handles.append(mean)
    if means["low"].notna().any():
        handles.append(Line2D([], [], marker="|", ms=7, ls="", color=style.INK, label="95 % interval"))
    if data["band"]["half_width"].notna().any():
        handles.append(Patch(fc=style.BAND, ec=style.FAINT, lw=0.3, label="one-task's own noise"))
    if means["chosen_task"].any():
        handles.append(Line2D([], [], marker="*", ls="", ms=9, mfc="white", mec=style.INK, label="Split chosen on val (task)"))
    if means["chosen_pair"].any():
        handles.append(Line2D([], [], marker="o", ls="", ms=10, mfc="none", mec=style.INK, label="... (pair)"))
    if len(data["published"]):
        handles.append(Line2D([], [], marker="d", ls="", ms=4.5, mfc="white", mec=style.INK, label="published (one run)"))
    return handles
