"""Figure 2: the architectures from fully shared to fully separate, and what each is worth against one-task."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mtlbench.analysis.choice import best_split
from mtlbench.analysis.frame import FEWEST_SEEDS, records, relative_change
from mtlbench.analysis.inference import intervals, noise_band
from mtlbench.analysis.paper import comparable
from mtlbench.analysis.selection import newest
from mtlbench.arm_names import BASELINE, arm_order, family, is_split, short
from mtlbench.errors import UserError
from mtlbench.figures import _style as style
from mtlbench.figures._arms import listed, shown_arms
from mtlbench.figures._changes import DAGGER, GAP, draw_panel
from mtlbench.figures._panels import LINE, draw_caption, failed_text, far_off, seeds_text, wrapped
from mtlbench.figures._schematic import architecture_rows, draw_architectures, own_units, row_tops, seeds_differ

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


BESIDE = ("one-task-longer", "ensemble", "mtl-shared", "cross-stitch")  # to the right of the spectrum, then custom arms
PAPER_TABLES = ("Table 5", "Table 6")  # the tables that compare arms; the others are ablations
# layout in inches
COLUMN, WIDEST_COLUMN, LEFT, RIGHT = 0.53, 0.95, 0.78, 0.12
HEADER, PANEL, PANEL_TITLE, LEGEND = 0.3, 1.75, 0.27, 0.2
NARROWEST = 6.8
LABEL_LINE, LABEL_MARGIN, LETTER, LETTERS = 0.1, 0.07, 0.048, 10  # of the arms' names: inches, letters in a line
UPRIGHT, CROWDED_COLUMN = 16, 0.4  # up to so many arms; with more the names stand upright, in narrower columns


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
        arms: Sequence[str] = (),
    ) -> dict[str, pd.DataFrame]:
        """Everything that is drawn, as frames: arms, points, means, band, architectures, published, caption.

        `results` has frame, architectures_of and failures; the newest pair, dataset, backbone and recipe are taken, or
        those asked for; `arms` are globs, without any all arms but ablations. arms: arm, label, x. points: task, arm,
        seed, x, change (%). means: `inference.intervals` (low, high: the shown ones, of all arms' pool) with x, far
        (off the axis), chosen_task and chosen_pair. band: `inference.noise_band`. architectures: `architecture_rows`.
        published: task, arm, x, value, change (empty unless `paper` and comparable). caption: text, one row. Raises
        UserError without one-task.
        """
        frame, note = newest(results.frame, pair, dataset, recipe, backbone)
        changes = relative_change(frame).dropna(subset=["change"])
        if changes.empty:
            raise UserError(f"figure2 needs {BASELINE} on test; type: mtlbench run --pair {frame['pair'].iloc[0]}")
        shown, names_text = shown_arms(frame[frame["arm"].isin(set(changes["arm"]))], arms)
        places = layout(shown)
        tasks = list(dict.fromkeys(changes["task"]))
        chosen = best_split(frame)
        means = intervals(changes).drop(columns=["low", "high"]).merge(places[["arm", "x"]])
        means = means.rename(columns={"shown_low": "low", "shown_high": "high"})
        means["far"] = pd.concat([far_off(rows) for _, rows in means.groupby("task")])
        choice = dict(zip(chosen["task"], chosen["arm"], strict=True))
        means["chosen_task"] = means["arm"] == means["task"].map(choice)
        means["chosen_pair"] = means["arm"] == choice.get("")
        trials = frame[frame["arm"].isin(shown)].drop_duplicates(["arm", "seed", "key"])
        architectures = {
            seed: architecture_rows(results.architectures_of(own), places, tasks)
            for seed, own in trials.groupby("seed", dropna=False)
        }
        overlay, remark = _overlay(frame, results, places) if paper else (pd.DataFrame(), "")
        remarks = (names_text, _search_text(seeds_differ(architectures)), failed_text(frame, results.failures), remark)
        points = changes.merge(places[["arm", "x"]])[["task", "metric", "arm", "seed", "x", "value", "change"]]
        band = noise_band(frame).merge(changes[["task", "unit", "higher_is_better"]].drop_duplicates())
        return {
            "arms": places,
            "points": points,
            "means": means,
            "band": band.sort_values("task", key=lambda column: column.map(tasks.index), ignore_index=True),
            "architectures": _first_of(architectures, places["arm"]),
            "published": overlay,
            "caption": pd.DataFrame({"text": [caption(points, means, note, len(chosen) > 0, remarks)]}),
        }

    def draw(self, data: dict[str, pd.DataFrame], canvas: Canvas) -> None:
        """Draws on an empty canvas, whose size is set to fit the number of arms and tasks."""
        arms, tasks = data["arms"], list(data["band"]["task"])
        drawing = float(row_tops(data["architectures"])[-1])
        columns = float(arms["x"].max()) + 1.0
        crowded = len(arms) > UPRIGHT
        least = CROWDED_COLUMN if crowded else COLUMN
        width = max(NARROWEST, LEFT + columns * least + RIGHT)
        column = min((width - LEFT - RIGHT) / columns, WIDEST_COLUMN)
        aside = ((width - LEFT - RIGHT) / column - columns) / 2  # empty on both sides where arms are few
        span = (-0.5 - aside, columns - 0.5 + aside)
        lines = wrapped(data["caption"]["text"].iloc[0], width)
        handles = _legend(data, tasks)
        legend_rows = 2 if len(handles) <= 10 else 3
        foot = LEGEND + LINE * legend_rows + LINE * len(lines) + 0.08
        labels = _label_height(arms, crowded)
        height = HEADER + drawing + labels + len(tasks) * (PANEL_TITLE + PANEL) + labels + foot
        canvas.set_size_inches(width, height)

        def axes(top: float, tall: float) -> Axes:
            box = (LEFT / width, 1 - (top + tall) / height, 1 - (LEFT + RIGHT) / width, tall / height)
            return canvas.add_axes(box, xlim=span)

        sketch = axes(HEADER, drawing)
        draw_architectures(sketch, data["architectures"], tasks, least / column)
        _spectrum_header(sketch, arms)
        _arm_labels(sketch, arms, crowded)
        top = HEADER + drawing + labels
        for place, task in enumerate(tasks):
            panel = axes(top + PANEL_TITLE, PANEL)
            draw_panel(panel, data, task, style.task_colour(place), least / column)
            top += PANEL_TITLE + PANEL
            if place == len(tasks) - 1:
                _arm_labels(panel, arms, crowded)
            else:
                panel.tick_params(labelbottom=False)
        for text, y in (("(a)", HEADER - 0.03), ("(b)", HEADER + drawing + labels + PANEL_TITLE - 0.06)):
            canvas.text(0.08 / width, 1 - y / height, text, fontsize=style.LARGE, fontweight="bold", color=style.INK)
        canvas.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, foot / height),
            ncols=-(-len(handles) // legend_rows),
            fontsize=style.SMALL,
            frameon=False,
            handletextpad=0.5,
            columnspacing=1.2,
        )
        draw_caption(canvas, lines)


def layout(names: Iterable[str]) -> pd.DataFrame:
    """Arms from left to right: Splits from fully shared to nearly separate, one-task, a gap, the arms beside them."""
    ordered = arm_order(names)
    spectrum = [arm for arm in reversed(ordered) if is_split(arm)] + [BASELINE]
    beside = [arm for arm in BESIDE if arm in ordered]
    beside += [arm for arm in ordered if arm not in (*spectrum, *beside)]
    first = {family(arm): place for place, arm in reversed([*enumerate(beside)])}
    beside.sort(key=lambda arm: first[family(arm)])  # an arm's variants stand beside it
    x = [float(i) for i in range(len(spectrum))] + [len(spectrum) + GAP + i for i in range(len(beside))]
    arms = [*spectrum, *beside]
    return pd.DataFrame({"arm": arms, "label": [_label(arm) for arm in arms], "x": x})


def _label(arm: str) -> str:
    """The arm's name in short lines, broken at hyphens where possible."""
    if arm.startswith("split-"):
        return "Split\n" + "\n".join(textwrap.wrap(arm.removeprefix("split-"), LETTERS))
    lines = [""]
    for part in re.split(r"(?<=-)", arm.replace("mtl-", "MTL-")):
        for piece in textwrap.wrap(part, LETTERS, break_on_hyphens=False):
            lines = [*lines[:-1], lines[-1] + piece] if len(lines[-1] + piece) <= LETTERS else [*lines, piece]
    return "\n".join(line for line in lines if line)


def _first_of(architectures: dict[Any, pd.DataFrame], arms: Iterable[str]) -> pd.DataFrame:
    """Each arm's architecture with the first seed that has one, in the arms' order."""
    rows = pd.concat([rows.assign(seed=place) for place, rows in enumerate(architectures.values())], ignore_index=True)
    first = rows[rows["seed"] == rows.groupby("arm")["seed"].transform("min")].drop(columns="seed")
    order = {arm: place for place, arm in enumerate(arms)}
    return first.sort_values("arm", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def _search_text(differing: list[str]) -> str:
    if not differing:
        return ""
    return f"(a) has the first seed's network of {', '.join(differing)}: the search found others with other seeds."


def caption(points: pd.DataFrame, means: pd.DataFrame, note: str, chosen: bool, remarks: Sequence[str]) -> str:
    """What was compared, on what, with how many seeds, and what whiskers, band and marks mean."""
    headlines = ", ".join(dict.fromkeys(f"{row['task']} {row['metric']}" for row in records(means)))
    listed_seeds = seeds_text(points["seed"])
    parts = [
        f"Change of the headline metric ({headlines}) on test against one-task with the same seed; {listed_seeds}.",
        note,
    ]
    if means["low"].notna().any():
        freedom = "/".join(dict.fromkeys(str(value) for value in means["freedom"]))  # tasks differ where cells miss
        parts.append(
            f"Whiskers: 95 % t interval of the paired mean, residual of arm + seed pooled over all arms ({freedom}"
            " degrees of freedom). Band: unpaired 95 % t interval of one-task's own mean over its seeds."
        )
        if flagged := _flagged(means):
            parts.append(f"{DAGGER}: noisier than that pool, so the interval is of the arm's own seeds ({flagged}).")
    else:
        parts.append(f"No intervals and no band below {FEWEST_SEEDS} seeds.")
    if means["far"].any():
        parts.append("Arrows: off the axis, with the mean; their seeds and whiskers are not drawn.")
    parts.append("Star, ring: chosen on val, shown on test." if chosen else "No Split could be chosen on val.")
    if any(short(arm).startswith("CS-") for arm in means["arm"]) and means["arm"].nunique() > UPRIGHT:
        parts.append("CS: cross-stitch; MTL: MTL-shared.")
    return " ".join(part for part in (*parts, *remarks) if part)


def _flagged(means: pd.DataFrame) -> str:
    """The arms with an interval of their own, or why all have one."""
    arms = list(dict.fromkeys(means.loc[means["flagged"] & means["low"].notna(), "arm"]))
    everywhere = means[means["flagged"]].groupby("task")["arm"].nunique().eq(means["arm"].nunique())
    if everywhere.any():
        return f"all arms of {', '.join(everywhere.index[everywhere])}, for {BASELINE} itself is noisier"
    return listed(arms)


def _overlay(frame: pd.DataFrame, results: Any, arms: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The published changes of the arms shown and a remark; an empty frame where they do not compare."""
    theirs, why_not = comparable(frame, results)
    theirs = theirs[theirs["source"].isin(PAPER_TABLES)]
    if theirs.empty:
        return pd.DataFrame(), why_not
    table = relative_change(theirs).merge(arms[["arm", "x"]])
    source = theirs["source"].iloc[0]
    return table[["task", "arm", "x", "value", "change"]], f"Published: {source} of the paper, one run each."


def _spectrum_header(axes: Axes, arms: pd.DataFrame) -> None:
    """An arrow `fully shared <-> fully separate` above the Splits and one-task."""
    last = float(arms.loc[arms["arm"] == BASELINE, "x"].iloc[0])
    if last < 3:
        return
    where, height = axes.get_xaxis_transform(), 1.11
    axes.annotate(
        "",
        (last + 0.4, height),
        (-0.4, height),
        xycoords=where,
        annotation_clip=False,
        arrowprops={"arrowstyle": "<->", "color": style.FAINT, "lw": 0.8},
    )
    backing = {"facecolor": "white", "edgecolor": "none", "pad": 2}
    for x, words in ((-0.05, "fully shared"), (last + 0.05, "fully separate")):
        axes.text(
            x,
            height,
            words,
            ha="left" if x < 0 else "right",
            va="center",
            transform=where,
            bbox=backing,
            fontsize=style.NORMAL,
            color=style.INK,
        )


def _label_height(arms: pd.DataFrame, upright: bool) -> float:
    """What the arms' names take, in inches."""
    if upright:
        return LABEL_MARGIN + LETTER * max(len(short(arm)) for arm in arms["arm"])
    return LABEL_MARGIN + LABEL_LINE * max(label.count("\n") + 1 for label in arms["label"])


def _arm_labels(axes: Axes, arms: pd.DataFrame, upright: bool) -> None:
    """Names below the columns, in several lines or, where there are many, upright in one."""
    texts = [short(arm) for arm in arms["arm"]] if upright else arms["label"]
    axes.set_xticks(arms["x"], texts, fontsize=style.SMALL, linespacing=1.0, rotation=90 if upright else 0)


def _legend(data: dict[str, pd.DataFrame], tasks: list[str]) -> list[Any]:
    """Only what is in the picture."""
    means = data["means"]
    many = data["points"]["seed"].nunique() > 1
    drawn, own = data["architectures"], own_units(data["architectures"])

    def box(colour: str, label: str) -> Patch:
        return Patch(facecolor=colour, edgecolor=style.INK, lw=0.5, label=label)

    def mark(shape: str, size: float, label: str, edge: str = style.INK, face: str = "white") -> Line2D:
        return Line2D([], [], marker=shape, ls="", ms=size, mfc=face, mec=edge, label=label)

    wanted: list[tuple[bool, Any]] = [
        *((True, box(style.task_colour(place), task)) for place, task in enumerate(tasks)),
        (True, box(style.SHARED, "shared by tasks")),
        (bool((drawn["unit"] & ~own).any()), mark("x", 5, "unit mixing columns")),
        (bool(own.any()), mark("o", 3, "task's unit in shared stage", face=style.FAINT)),
        (many, mark("o", 3, "single seed", edge=style.DOTS)),
        (True, mark("o", 5, "mean over seeds" if many else "one seed")),
        (bool(means["low"].notna().any()), mark("|", 7, "95 % interval")),
        (bool(data["band"]["half_width"].notna().any()), box(style.BAND, "one-task's own noise")),
        (bool(means["chosen_task"].any()), mark("*", 9, "Split chosen on val (task)")),
        (bool(means["chosen_pair"].any()), mark("o", 10, "Split chosen on val (pair)", face="none")),
        (len(data["published"]) > 0, mark("d", 4.5, "published (one run)")),
    ]
    return [handle for shown, handle in wanted if shown]
