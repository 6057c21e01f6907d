"""Figure 2: the architectures from fully shared to fully separate, and what each is worth against one-task."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mtlbench.errors import UserError
from mtlbench.figures import _style as style
from mtlbench.figures._panels import LINE, draw_caption, failed_text, seeds_text, wrapped
from mtlbench.figures._schematic import architecture_rows, draw_architectures, row_tops
from mtlbench.inference import best_split, intervals, noise_band
from mtlbench.stats import (
    BASELINE,
    FEWEST_SEEDS,
    IDENTITY,
    arm_order,
    is_split,
    newest,
    published,
    records,
    relative_change,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

BESIDE = ("one-task-longer", "ensemble", "mtl-shared", "cross-stitch")  # to the right of the spectrum, then custom arms
GAP = 0.7  # between the spectrum and the arms beside it, in columns
PAPER_TABLES = ("Table 5", "Table 6")  # the tables that compare arms; the others are ablations

# layout in inches
COLUMN, WIDEST_COLUMN, LEFT, RIGHT = 0.53, 0.95, 0.78, 0.12
HEADER, LABELS, PANEL, PANEL_TITLE, LEGEND = 0.3, 0.36, 1.75, 0.27, 0.2
NARROWEST = 6.8


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

        `results` has frame, architectures_of and failures; the newest pair, dataset, backbone and recipe are taken, or
        those asked for. arms: arm, label, x. points: task, arm, seed, x, change (%). means: `stats.intervals` with x,
        chosen_task and chosen_pair. band: `stats.noise_band`. architectures: arm, x, stage, row, task, place, group,
        unit, copies. published: task, arm, x, value, change (empty unless `paper` and comparable). caption: text, one
        row. Raises UserError without one-task.
        """
        frame, note = newest(results.frame, pair, dataset, recipe, backbone)
        changes = relative_change(frame).dropna(subset=["change"])
        if changes.empty:
            raise UserError(f"figure2 needs {BASELINE} on test; type: mtlbench run --pair {frame['pair'].iloc[0]}")
        arms = layout(changes["arm"].unique())
        tasks = list(dict.fromkeys(changes["task"]))
        chosen = best_split(frame)
        means = intervals(changes).merge(arms[["arm", "x"]])
        choice = dict(zip(chosen["task"], chosen["arm"], strict=True))
        means["chosen_task"] = means["arm"] == means["task"].map(choice)
        means["chosen_pair"] = means["arm"] == choice.get("")
        overlay, remark = _overlay(frame, arms) if paper else (pd.DataFrame(), "")
        failed = failed_text(frame, results.failures)
        text = caption(changes, means, note, len(chosen) > 0, remark, failed)
        return {
            "arms": arms,
            "points": changes.merge(arms[["arm", "x"]])[["task", "metric", "arm", "seed", "x", "value", "change"]],
            "means": means,
            "band": noise_band(frame).merge(changes[["task", "unit", "higher_is_better"]].drop_duplicates()),
            "architectures": architecture_rows(results.architectures_of(frame), arms, tasks),
            "published": overlay,
            "caption": pd.DataFrame({"text": [text]}),
        }

    def draw(self, data: dict[str, pd.DataFrame], canvas: Canvas) -> None:
        """Draws on an empty canvas, whose size is set to fit the number of arms and tasks."""
        arms, tasks = data["arms"], list(data["band"]["task"])
        drawing = float(row_tops(data["architectures"])[-1])
        columns = float(arms["x"].max()) + 1.0
        width = max(NARROWEST, LEFT + columns * COLUMN + RIGHT)
        column = min((width - LEFT - RIGHT) / columns, WIDEST_COLUMN)
        aside = ((width - LEFT - RIGHT) / column - columns) / 2  # empty on both sides where arms are few
        span = (-0.5 - aside, columns - 0.5 + aside)
        lines = wrapped(data["caption"]["text"].iloc[0], width)
        handles = _legend(data, tasks)
        legend_rows = 2 if len(handles) <= 10 else 3
        foot = LEGEND + LINE * legend_rows + LINE * len(lines) + 0.08
        height = HEADER + drawing + LABELS + len(tasks) * (PANEL_TITLE + PANEL) + LABELS + foot
        canvas.set_size_inches(width, height)

        def axes(top: float, tall: float) -> Axes:
            box = (LEFT / width, 1 - (top + tall) / height, 1 - (LEFT + RIGHT) / width, tall / height)
            return canvas.add_axes(box, xlim=span)

        sketch = axes(HEADER, drawing)
        draw_architectures(sketch, data["architectures"], tasks, COLUMN / column)
        _spectrum_header(sketch, arms)
        _arm_labels(sketch, arms)
        top = HEADER + drawing + LABELS
        for place, task in enumerate(tasks):
            panel = axes(top + PANEL_TITLE, PANEL)
            _draw_panel(panel, data, task, style.task_colour(place), COLUMN / column)
            top += PANEL_TITLE + PANEL
            if place == len(tasks) - 1:
                _arm_labels(panel, arms)
            else:
                panel.tick_params(labelbottom=False)
        for text, y in (("(a)", HEADER - 0.03), ("(b)", HEADER + drawing + LABELS + PANEL_TITLE - 0.06)):
            canvas.text(0.08 / width, 1 - y / height, text, fontsize=style.LARGE, fontweight="bold", color=style.INK)
        canvas.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, foot / height),
                      ncols=-(-len(handles) // legend_rows), fontsize=style.SMALL, frameon=False, handletextpad=0.5,
                      columnspacing=1.2)  # fmt: skip
        draw_caption(canvas, lines)


def layout(names: Iterable[str]) -> pd.DataFrame:
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


def caption(
    changes: pd.DataFrame, means: pd.DataFrame, note: str, chosen: bool, remark: str, failed: str
) -> str:
    """What was compared, on what, with how many seeds, and what whiskers, band and marks mean."""
    headlines = ", ".join(dict.fromkeys(f"{row['task']} {row['metric']}" for row in records(means)))
    listed = seeds_text(changes["seed"])
    parts = [
        f"Change of the headline metric ({headlines}) on test against one-task with the same seed; {listed}.",
        note,
    ]
    if means["low"].notna().any():
        freedom = "/".join(dict.fromkeys(str(value) for value in means["freedom"]))  # tasks differ where cells miss
        parts.append(
            f"Whiskers: 95 % t interval of the paired mean, residual of arm + seed pooled over arms ({freedom} degrees"
            " of freedom). Band: unpaired 95 % t interval of one-task's own mean over its seeds."
        )
    else:
        parts.append(f"No intervals and no band below {FEWEST_SEEDS} seeds.")
    parts.append("Star, ring: chosen on val, shown on test." if chosen else "No Split could be chosen on val.")
    return " ".join(part for part in (*parts, failed, remark) if part)


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


def _spectrum_header(axes: Axes, arms: pd.DataFrame) -> None:
    """An arrow `fully shared <-> fully separate` above the Splits and one-task."""
    last = float(arms.loc[arms["arm"] == BASELINE, "x"].iloc[0])
    if last < 3:
        return
    where, height = axes.get_xaxis_transform(), 1.11
    axes.annotate("", (last + 0.4, height), (-0.4, height), xycoords=where, annotation_clip=False,
                  arrowprops={"arrowstyle": "<->", "color": style.FAINT, "lw": 0.8})  # fmt: skip
    backing = {"facecolor": "white", "edgecolor": "none", "pad": 2}
    for x, words in ((-0.05, "fully shared"), (last + 0.05, "fully separate")):
        axes.text(x, height, words, ha="left" if x < 0 else "right", va="center", transform=where, bbox=backing,
                  fontsize=style.NORMAL, color=style.INK)  # fmt: skip


def _draw_panel(axes: Axes, data: dict[str, pd.DataFrame], task: str, colour: str, scale: float) -> None:
    """One task: a dot per seed, mean, interval, band and zero line; n along the bottom."""
    points, means = (data[name][data[name]["task"] == task] for name in ("points", "means"))
    band = next(row for row in records(data["band"]) if row["task"] == task)
    overlay = data["published"]
    overlay = overlay[overlay["task"] == task] if len(overlay) else overlay
    edge: dict[str, Any] = {"edgecolor": style.INK, "linewidth": 0.8}
    if np.isfinite(band["half_width"]):
        axes.axhspan(-band["half_width"], band["half_width"], color=style.BAND, lw=0, zorder=0)
    axes.axhline(0, color=style.INK, lw=0.8, zorder=1)
    spectrum = means[[is_split(arm) or arm == BASELINE for arm in means["arm"]]].sort_values("x")
    axes.plot(spectrum["x"], spectrum["mean"], color=colour, lw=1.0, alpha=0.6, zorder=2)
    seeds = sorted(points["seed"].unique())
    if len(seeds) > 1:  # one seed: its dot would hide behind the mean
        sway = dict(zip(seeds, scale * np.linspace(-0.37, -0.13, len(seeds)), strict=True))
        dots = points[points["arm"] != BASELINE]
        axes.scatter(dots["x"] + dots["seed"].map(sway), dots["change"], s=7, facecolor="white", edgecolor=style.DOTS,
                     linewidth=0.7, zorder=2.5)  # fmt: skip
    for row in records(means):
        x, mean = row["x"], row["mean"]
        if np.isfinite(row["low"]):
            axes.errorbar(x, mean, yerr=row["high"] - mean, color=style.INK, lw=1.0, capsize=2.5, zorder=3)
        shape, size = ("*", 110) if row["chosen_task"] else (style.marker(row["arm"]), 26)
        axes.scatter(x, mean, marker=shape, s=size, color=colour, zorder=4, **edge)
        if row["chosen_pair"]:
            axes.scatter(x, mean, marker="o", s=170, facecolor="none", zorder=3.5, **edge)
        axes.text(x, 0.025, f"n={row['n']}", transform=axes.get_xaxis_transform(), fontsize=style.SMALL - 1,
                  ha="center", va="bottom", color=style.INK)  # fmt: skip
    if len(overlay):
        places = overlay["x"] + 0.24 * scale
        axes.scatter(places, overlay["change"], marker="d", s=18, facecolor="white", zorder=4, **edge)
    _limits(axes, points, means, overlay, band["half_width"])
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

    def box(colour: str, label: str) -> Patch:
        return Patch(facecolor=colour, edgecolor=style.INK, lw=0.5, label=label)

    def mark(shape: str, size: float, label: str, edge: str = style.INK, face: str = "white") -> Line2D:
        return Line2D([], [], marker=shape, ls="", ms=size, mfc=face, mec=edge, label=label)

    wanted: list[tuple[bool, Any]] = [
        *((True, box(style.task_colour(place), task)) for place, task in enumerate(tasks)),
        (True, box(style.SHARED, "shared by tasks")),
        (bool(data["architectures"]["unit"].any()), mark("x", 5, "unit mixing columns")),
        (many, mark("o", 3, "single seed", edge=style.DOTS)),
        (True, mark("o", 5, "mean over seeds" if many else "one seed")),
        (bool(means["low"].notna().any()), mark("|", 7, "95 % interval")),
        (bool(data["band"]["half_width"].notna().any()), box(style.BAND, "one-task's own noise")),
        (bool(means["chosen_task"].any()), mark("*", 9, "Split chosen on val (task)")),
        (bool(means["chosen_pair"].any()), mark("o", 10, "Split chosen on val (pair)", face="none")),
        (len(data["published"]) > 0, mark("d", 4.5, "published (one run)")),
    ]
    return [handle for shown, handle in wanted if shown]
