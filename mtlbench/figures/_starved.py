"""What Figures 5 and 6 share: do categories with few labels in train gain more from cross-stitch than the others?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mtlbench.analysis.frame import FEWEST_SEEDS, records, whole_task
from mtlbench.analysis.inference import mean_interval
from mtlbench.analysis.paper import comparable, published
from mtlbench.analysis.selection import newest
from mtlbench.arm_names import BASELINE
from mtlbench.errors import UserError
from mtlbench.figures import _panels as panels
from mtlbench.figures import _style as style
from mtlbench.figures._panels import LINE, draw_caption, failed_text, seeds_text, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


ARM = "cross-stitch"
INTERVAL = ["mean", "low", "high", "n"]  # as `mean_interval` gives them
SIZES = (10, 20)  # least-labelled categories of which Section 6.5 gives the mean gain
MINUS = "\N{MINUS SIGN}"
# layout in inches
NARROWEST, STEP, LEFT, RIGHT = 6.8, 0.105, 0.62, 0.62
HEADER, PANEL, GAP, TITLE, ROW, LETTER = 0.46, 1.95, 0.08, 0.27, 0.175, 0.05
GROUP_NAMES, GROUP_NUMBERS = 1.3, 1.35


@dataclass(frozen=True)
class Question:
    """Which task's categories a figure compares, on what metric, and where its results come from."""

    figure: str
    task: str
    metric: str
    labelled: str  # what a label count counts
    pair: str  # the built-in pair with the task
    source: str  # of the published gains


def starved_data(
    question: Question,
    results: Any,
    paper: bool,
    pair: str | None,
    dataset: str | None,
    recipe: str | None,
    backbone: str | None,
) -> dict[str, pd.DataFrame]:
    """Everything that is drawn, as frames.

    gain = cross-stitch - one-task with the same seed on test, in points of the metric. bars (from few to many labels):
    category, x, count, mean, n, low, high. groups (least- and most-labelled, all, difference): group, end, size, mean,
    n, low, high. seeds: group, seed, gain. correlation: Spearman's of gain and count, one per seed (mean, n, low,
    high). left_out: category, reason. published: group, value. about: task, metric, labelled, place of the task in its
    pair. caption: text. Intervals are 95 % t intervals over seeds, NaN below 3. Raises UserError where an arm, the
    task or the counts are missing.
    """
    frame, note = newest(_with_task(question, results.frame, pair), pair, dataset, recipe, backbone)
    failures = [failure for failure in results.failures if failure["arm"] in (BASELINE, ARM)]
    table = _gains(question, frame, failed_text(frame, failures))
    counts = pd.Series(results.counts_of(frame).get(question.task, {}), dtype=float)
    left_out = _left_out(table, counts)
    kept = table.drop(index=[name for name in left_out["category"] if name in table.index])
    if kept.empty:
        raise UserError(
            f"{question.figure}: no category of {question.task} has both labels in train and a number on test;"
            f" type: mtlbench run --pair {frame['pair'].iloc[0]} --force '*'"
        )
    order = sorted(kept.index, key=lambda name: (counts[name], name))
    kept, counts = kept.loc[order], counts[order]
    bars = pd.DataFrame([mean_interval(kept.loc[name]) for name in order], columns=INTERVAL)
    bars = pd.DataFrame({"category": order, "x": range(len(order)), "count": counts.to_numpy(int)}).join(bars)
    groups, seeds = _groups(kept)
    correlation = _correlation(kept, counts)
    overlay, remark = _published(question, frame, results) if paper else (pd.DataFrame(columns=["group", "value"]), "")
    tasks = list(dict.fromkeys(whole_task(frame, "test")["task"]))
    about = {
        "task": question.task,
        "metric": question.metric,
        "labelled": question.labelled,
        "place": tasks.index(question.task) if question.task in tasks else 0,
    }
    said = _said(question, seeds, bars, groups, correlation, left_out)
    said = [*said[:1], note, *said[1:], failed_text(frame, failures), remark]
    return {
        "bars": bars,
        "groups": groups,
        "seeds": seeds,
        "correlation": correlation,
        "left_out": left_out,
        "published": overlay[overlay["group"].isin(groups["group"])],
        "about": pd.DataFrame([about]),
        "caption": pd.DataFrame({"text": [" ".join(filter(None, said))]}),
    }


def _with_task(question: Question, frame: pd.DataFrame, pair: str | None) -> pd.DataFrame:
    """The rows of pairs that have the task, so that newer results of another pair do not hide them."""
    having = sorted(frame.loc[frame["task"] == question.task, "pair"].unique())
    if frame.empty or (pair is not None and pair not in set(frame["pair"])):
        return frame  # `newest` says what is wrong
    if not having or (pair is not None and pair not in having):
        where = f"pair {pair} has not" if pair else "no results have"
        hint = f"plot {question.figure} --pair {having[0]}" if having else f"run --pair {question.pair}"
        raise UserError(f"{question.figure} needs the task {question.task}, which {where}; type: mtlbench {hint}")
    return frame[frame["pair"].isin(having)]


def _gains(question: Question, frame: pd.DataFrame, failed: str) -> pd.DataFrame:
    """Gain in points, category x seed, over the seeds that both arms have."""
    rows = frame[(frame["task"] == question.task) & (frame["metric"] == question.metric) & (frame["subset"] == "test")]
    rows = rows[rows["category"].fillna("") != ""]
    baseline, stitched = (
        rows[rows["arm"] == arm].pivot(index="category", columns="seed", values="value") for arm in (BASELINE, ARM)
    )
    seeds = baseline.columns.intersection(stitched.columns)
    if seeds.empty:
        missing = [arm for arm, table in ((BASELINE, baseline), (ARM, stitched)) if table.empty]
        lack = f"there are no test numbers of {' and '.join(missing)}" if missing else "they share no seed"
        raise UserError(
            f"{question.figure} compares {ARM} with {BASELINE} on {question.task} seed by seed, but {lack}."
            f" {failed} Type: mtlbench run --pair {frame['pair'].iloc[0]} --arm {ARM}".replace("  ", " ")
        )
    return stitched[seeds] - baseline[seeds]


def _left_out(gains: pd.DataFrame, counts: pd.Series) -> pd.DataFrame:
    """Every category that cannot be shown, with the reason."""
    reasons = {}
    for name in [*counts.index, *gains.index.difference(counts.index, sort=False)]:
        if name not in counts.index:
            reasons[name] = "label count unknown"
        elif not counts[name]:
            reasons[name] = "no labels in train"
        elif name not in gains.index:
            reasons[name] = "none in test"
        elif gains.loc[name].isna().any():
            reasons[name] = "no number for every seed"
    return pd.DataFrame(sorted(reasons.items()), columns=["category", "reason"])


def _groups(gains: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean gain of groups of categories with its interval over seeds, and per seed; `gains` from few labels to many."""
    categories = len(gains)
    half = min(SIZES[0], categories // 2)  # least- and most-labelled halves where there are fewer than 20
    sizes = sorted({half, *(size for size in SIZES if size < categories)} - {0})
    members = [(f"{size} least-labelled", "least", size, gains.iloc[:size].mean()) for size in sizes]
    members.append((f"all {categories}", "all", categories, gains.mean()))
    members += [(f"{size} most-labelled", "most", size, gains.iloc[-size:].mean()) for size in reversed(sizes)]
    if half:
        difference = gains.iloc[:half].mean() - gains.iloc[-half:].mean()
        members.append((f"{half} least {MINUS} {half} most", "difference", half, difference))
    rows = [(name, end, size, *mean_interval(values)) for name, end, size, values in members]
    seeds = [(name, seed, gain) for name, _, _, values in members for seed, gain in values.items()]
    return (
        pd.DataFrame(rows, columns=["group", "end", "size", *INTERVAL]),
        pd.DataFrame(seeds, columns=["group", "seed", "gain"]),
    )


def _correlation(gains: pd.DataFrame, counts: pd.Series) -> pd.DataFrame:
    """Mean over seeds of Spearman's rank correlation of gain and label count; undefined (NaN) below 3 categories."""
    ranks = gains.rank()
    defined = len(gains) >= 3 and counts.nunique() > 1 and (ranks.nunique() > 1).all()
    values = ranks.corrwith(counts.rank()) if defined else pd.Series(np.nan, gains.columns)
    mean, low, high, n = mean_interval(values)
    return pd.DataFrame([(mean, *np.clip([low, high], -1, 1), n)], columns=INTERVAL)


def _published(question: Question, frame: pd.DataFrame, results: Any) -> tuple[pd.DataFrame, str]:
    """The paper's mean gains and a remark; an empty frame where there are none or they do not compare."""
    nothing = pd.DataFrame(columns=["group", "value"])
    printed = published()
    if printed[(printed["source"] == question.source) & (printed["task"] == question.task)].empty:
        return nothing, f"The paper prints no mean gains for {question.task}."
    theirs, why_not = comparable(frame, results)
    if theirs.empty:
        return nothing, why_not
    theirs = theirs[(theirs["source"] == question.source) & (theirs["task"] == question.task)]
    sizes = theirs["metric"].str.extract(r"_gain_(\d+)_rarest")[0]
    overlay = pd.DataFrame({"group": sizes + " least-labelled", "value": theirs["value"].to_numpy()})
    said = ", ".join(f"{size} least-labelled {value:+.1f}" for size, value in zip(sizes, theirs["value"], strict=True))
    return overlay, f"Published, one run: {said} (Section 6.5)."


def amount(row: Mapping[str, Any], digits: int = 1) -> str:
    """`+1.2 [-0.3, +2.7]` with true minus signs, without the interval where there is none."""
    mean, low, high = (f"{round(row[key], digits) + 0.0:+.{digits}f}" for key in ("mean", "low", "high"))
    return (mean if pd.isna(row["low"]) else f"{mean} [{low}, {high}]").replace("-", MINUS)


def _said(
    question: Question,
    seeds: pd.DataFrame,
    bars: pd.DataFrame,
    groups: pd.DataFrame,
    correlation: pd.DataFrame,
    left_out: pd.DataFrame,
) -> list[str]:
    """What was compared, what the groups gained, what bars, whiskers and line mean, and what is missing."""
    gained = "; ".join(f"{row['group']} {amount(row)}" for row in records(groups) if row["end"] != "most")
    parts = [
        f"Change in {question.metric} of {ARM} over {BASELINE} with the same seed per category of {question.task} on"
        f" test, in points; {seeds_text(seeds['seed'])}. Categories from few to many labels in train (line:"
        f" {question.labelled}).",
        f"Mean change: {gained}.",
    ]
    if correlation["mean"].notna().item():
        each = ", mean over seeds" if seeds["seed"].nunique() > 1 else ""
        rank = amount(records(correlation)[0], 2)
        parts.append(f"Spearman's correlation of change and label count{each}: {rank}.")
    if bars["low"].notna().any():
        parts.append(f"Whiskers and brackets: 95 % t intervals over seeds, not corrected for {len(bars)} categories.")
    else:
        parts.append(f"No intervals below {FEWEST_SEEDS} seeds.")
    if len(left_out):
        reasons = [f"{reason}: {', '.join(names)}" for reason, names in left_out.groupby("reason")["category"]]
        parts.append(f"Not shown ({'; '.join(reasons)}).")
    return parts


def draw_starved(data: dict[str, pd.DataFrame], canvas: Canvas) -> None:
    """Draws on an empty canvas, whose size is set to fit the number of categories."""
    bars, groups, about = data["bars"], data["groups"], records(data["about"])[0]
    width = max(NARROWEST, LEFT + RIGHT + STEP * len(bars))
    step = (width - LEFT - RIGHT) / len(bars)
    longest = LETTER * int(bars["category"].str.len().max())
    turned = longest > step
    names = 0.08 + (longest if turned else LINE)
    lines = wrapped(data["caption"]["text"].iloc[0], width)
    tall_groups = ROW * (len(groups) + 0.6)
    foot = LINE * len(lines) + 0.1
    height = HEADER + PANEL + names + GAP + TITLE + tall_groups + 0.42 + foot
    canvas.set_size_inches(width, height)

    def axes(left: float, right: float, top: float, tall: float) -> Axes:
        box = (left / width, 1 - (top + tall) / height, 1 - (left + right) / width, tall / height)
        return canvas.add_axes(box)

    colour = style.task_colour(about["place"])
    panel = axes(LEFT, RIGHT, HEADER, PANEL)
    _draw_bars(panel, bars, about, colour)
    panel.set_xticks(bars["x"], bars["category"], rotation=90 if turned else 0, fontsize=style.SMALL)
    _mark_least(panel, groups, len(bars), step)
    top = HEADER + PANEL + names + GAP + TITLE
    _draw_groups(axes(GROUP_NAMES, GROUP_NUMBERS, top, tall_groups), data, colour)
    mean = f"mean change of groups ({about['metric']} points)"
    if data["correlation"]["mean"].notna().item():
        mean += f"; rank correlation with label count {amount(records(data['correlation'])[0], 2)}"
    whole = f"{about['task']}: {about['metric']}, {ARM} against {BASELINE} by category"
    for letter, y, title in (("a", 0.16, whole), ("b", top - 0.1, mean)):
        canvas.text(
            0.08 / width, 1 - y / height, f"({letter})", fontsize=style.LARGE, fontweight="bold", color=style.INK
        )
        canvas.text(0.32 / width, 1 - y / height, title, fontsize=style.LARGE, color=style.INK)
    draw_caption(canvas, lines)


def _draw_bars(axes: Axes, bars: pd.DataFrame, about: Mapping[str, Any], colour: str) -> None:
    """A bar and whisker a category; the label count as a line on a logarithmic axis to the right."""
    axes.bar(bars["x"], bars["mean"], width=0.72, color=colour, zorder=2)
    axes.vlines(bars["x"], bars["low"], bars["high"], color=style.FAINT, lw=0.9, zorder=3)
    axes.axhline(0, color=style.INK, lw=0.8, zorder=3)
    values = np.concatenate([bars["mean"], bars["low"], bars["high"], [0.0]])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.06 * max(high - low, 0.1)
    axes.set_ylim(low - room, high + room)
    axes.set_xlim(-0.7, len(bars) - 0.3)
    axes.set_ylabel("change (points, up is better)", fontsize=style.NORMAL)
    axes.tick_params(labelsize=style.NORMAL, length=2)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="#DDDDDD", lw=0.4, zorder=0.2)
    axes.set_axisbelow(True)
    counts = axes.twinx()
    counts.plot(bars["x"], bars["count"], color=style.INK, lw=1.0, marker=".", ms=2.5)
    counts.set_yscale("log")
    fewest, most = float(bars["count"].min()), float(bars["count"].max())
    counts.set_ylim(fewest / 1.6, most * 1.6 if most > 10 * fewest else fewest * 16)
    counts.set_ylabel(f"{about['labelled']} in train (line)", fontsize=style.NORMAL)
    panels.label_logarithmic(counts.yaxis, *counts.get_ylim(), most=7)
    counts.tick_params(labelsize=style.NORMAL, length=2)
    for side in (axes, counts):
        side.spines["top"].set_visible(False)


def _mark_least(axes: Axes, groups: pd.DataFrame, categories: int, step: float) -> None:
    """Where the least-labelled groups end."""
    previous = 0.0
    for size in groups.loc[groups["end"] == "least", "size"]:
        axes.axvline(size - 0.5, color=style.FAINT, lw=0.7, ls=(0, (2, 2)), zorder=1)
        words = f"{size} least" if (size - previous) * step > 0.5 else str(size)
        axes.text(
            size - 0.6,
            1.015,
            words,
            transform=axes.get_xaxis_transform(),
            ha="right",
            va="bottom",
            fontsize=style.SMALL,
            color=style.DOTS,
        )
        previous = size


def _draw_groups(axes: Axes, data: dict[str, pd.DataFrame], colour: str) -> None:
    """A row a group: seeds, mean, interval, the published mean, and the numbers in words."""
    groups, seeds, overlay = data["groups"], data["seeds"], data["published"]
    rows = {group: place for place, group in enumerate(groups["group"])}
    edge: dict[str, Any] = {"edgecolor": style.INK, "linewidth": 0.8}
    axes.axvline(0, color=style.INK, lw=0.8, zorder=1)
    several = seeds["seed"].nunique() > 1
    if several:  # one seed: its dot would hide behind the mean
        axes.scatter(
            seeds["gain"],
            seeds["group"].map(rows),
            s=7,
            facecolor="white",
            edgecolor=style.DOTS,
            linewidth=0.7,
            zorder=4,
        )
    for row in records(groups):
        y = rows[row["group"]]
        axes.plot([row["low"], row["high"]], [y, y], color=style.INK, lw=1.0, marker="|", ms=5, zorder=2)
        axes.scatter(
            row["mean"], y, marker="D" if row["end"] == "difference" else "o", s=26, color=colour, zorder=3, **edge
        )
        axes.text(
            1.02,
            y,
            amount(row),
            transform=axes.get_yaxis_transform(),
            fontsize=style.NORMAL,
            va="center",
            color=style.INK,
        )
    for row in records(overlay):
        axes.scatter(row["value"], rows[row["group"]], marker="d", s=18, facecolor="white", zorder=5, **edge)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(list(rows.values()), list(rows), fontsize=style.NORMAL)
    legend = [
        "dot: seed" * several,
        "bracket: 95 % interval" * bool(groups["low"].notna().any()),
        "diamond: published, one run" * bool(len(overlay)),
    ]
    axes.set_xlabel("; ".join(filter(None, ["right is better", *legend])), fontsize=style.SMALL, labelpad=2)
    axes.tick_params(labelsize=style.NORMAL, length=2)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#DDDDDD", lw=0.4, zorder=0.2)
    axes.margins(x=0.06)
    axes.spines[["top", "right", "left"]].set_visible(False)
