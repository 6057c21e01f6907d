"""Do categories with few labels in train gain more from cross-stitch? The numbers of Figures 5 and 6."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtlbench.analysis.inference import mean_interval
from mtlbench.analysis.paper import read_published, select_comparable
from mtlbench.analysis.selection import NEWEST, Selection, describe_failures, select_newest
from mtlbench.arm_names import BASELINE
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.text import MINUS

ARM = "cross-stitch"
INTERVAL = ["mean", "low", "high", "n"]  # as `mean_interval` gives them
SIZES = (10, 20)  # least-labelled categories of which Section 6.5 gives the mean gain


@dataclass(frozen=True)
class Question:
    """Which task's categories are compared, on what metric, and where results come from."""

    figure: str  # that shows the answer
    task: str
    metric: str
    labelled: str  # what a label count counts
    pair: str  # the built-in pair with the task
    section: str  # of the paper
    source: str  # of the published gains


ATTRIBUTES = Question(
    figure="figure5",
    task="attributes",
    metric="AP",
    labelled="labelled instances",
    pair="det_attr",
    section="Section 6.5",
    source="Section 6.5 (Figure 5)",
)
CLASSES = Question(
    figure="figure6",
    task="semseg",
    metric="IoU",
    labelled="labelled pixels",
    pair="semseg_sn",
    section="Section 6.3",
    source="Section 6.3 (Figure 6)",
)


@dataclass(frozen=True, eq=False)
class CategoryGains:
    """gain = cross-stitch - one-task with the same seed on test, in points of the metric; 95 % t intervals over seeds,
    NaN below 3.

    bars (from few to many labels): category, x, count (labels in train), mean, low, high, n. groups (least- and
    most-labelled, all, difference): group, end, size, mean, low, high, n. seeds: group, seed, gain. correlation:
    Spearman's of gain and count, one per seed, in one row (mean, low, high, n). left_out: category, reason. `frame` has
    the rows that were compared, `note` says which, `failed` names arms that failed or is "".
    """

    frame: pd.DataFrame
    note: str
    failed: str
    bars: pd.DataFrame
    groups: pd.DataFrame
    seeds: pd.DataFrame
    correlation: pd.DataFrame
    left_out: pd.DataFrame


def category_gains(
    question: Question,
    results: Results,
    selection: Selection = NEWEST,
) -> CategoryGains:
    """The gains of the newest results, or of those asked for.

    Raises UserError where an arm, the task or the counts are missing.
    """
    frame, note = select_newest(_with_task(question, results.frame, selection.pair), selection)
    failures = [failure for failure in results.failures if failure["arm"] in (BASELINE, ARM)]
    failed = describe_failures(frame, failures)
    table = _compute_gains(question, frame, failed)
    counts = pd.Series(results.counts_of(frame).get(question.task, {}), dtype=float)
    left_out = _list_left_out(table, counts)
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
    groups, seeds = _average_groups(kept)
    return CategoryGains(frame, note, failed, bars, groups, seeds, _correlate_gains(kept, counts), left_out)


def _with_task(question: Question, frame: pd.DataFrame, pair: str | None) -> pd.DataFrame:
    """The rows of pairs that have the task, so that newer results of another pair do not hide them."""
    having = sorted(frame.loc[frame["task"] == question.task, "pair"].unique())
    if frame.empty or (pair is not None and pair not in frame["pair"].unique()):
        return frame  # `select_newest` says what is wrong
    if not having or (pair is not None and pair not in having):
        where = f"pair {pair} has not" if pair else "no results have"
        hint = f"plot {question.figure} --pair {having[0]}" if having else f"run --pair {question.pair}"
        raise UserError(f"{question.figure} needs the task {question.task}, which {where}; type: mtlbench {hint}")
    return frame[frame["pair"].isin(having)]


def _compute_gains(question: Question, frame: pd.DataFrame, failed: str) -> pd.DataFrame:
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


def _list_left_out(gains: pd.DataFrame, counts: pd.Series) -> pd.DataFrame:
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


def _average_groups(gains: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
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


def _correlate_gains(gains: pd.DataFrame, counts: pd.Series) -> pd.DataFrame:
    """Mean over seeds of Spearman's rank correlation of gain and label count; undefined (NaN) below 3 categories."""
    ranks = gains.rank()
    defined = len(gains) >= 3 and counts.nunique() > 1 and (ranks.nunique() > 1).all()
    values = ranks.corrwith(counts.rank()) if defined else pd.Series(np.nan, gains.columns)
    mean, low, high, n = mean_interval(values)
    return pd.DataFrame([(mean, *np.clip([low, high], -1, 1), n)], columns=INTERVAL)


def read_published_gains(question: Question, frame: pd.DataFrame, results: Results) -> tuple[pd.DataFrame, str]:
    """The paper's mean gains and a remark; an empty frame where there are none or they do not compare."""
    nothing = pd.DataFrame(columns=["group", "value"])
    printed = read_published()
    if printed[(printed["source"] == question.source) & (printed["task"] == question.task)].empty:
        return nothing, f"The paper prints no mean gains for {question.task}."
    theirs, why_not = select_comparable(frame, results)
    if theirs.empty:
        return nothing, why_not
    theirs = theirs[(theirs["source"] == question.source) & (theirs["task"] == question.task)]
    sizes = theirs["metric"].str.extract(r"_gain_(\d+)_rarest")[0]
    overlay = pd.DataFrame({"group": sizes + " least-labelled", "value": theirs["value"].to_numpy()})
    said = ", ".join(f"{size} least-labelled {value:+.1f}" for size, value in zip(sizes, theirs["value"], strict=True))
    return overlay, f"Published, one run: {said} (Section 6.5)."
