"""The single numbers ("deltas") that the field gives an arm for all its tasks, each by its full name.

All are means of `stats.relative_change` in %, against one-task with the same seed, up is better; they differ in what is
averaged, and disagree where tasks have several metrics. Headlines and metrics with a unit (%, degrees) enter; a bare
count, such as how many classes had ground truth, does not.
"""

from __future__ import annotations

import pandas as pd

from mtlbench.analysis.frame import list_records, relative_change, whole_task
from mtlbench.analysis.inference import compute_intervals
from mtlbench.analysis.paper import read_published
from mtlbench.arm_names import BASELINE, arm_order

HEADLINES = "mean over tasks of headline changes"
BY_TASK = "mean over tasks of the mean over the task's metrics"
FLAT = "mean over all metrics of all tasks"
PROTOCOL = "mean over the nine metrics of NYUv2, or the four of Cityscapes"
DELTAS = {  # name -> who uses it
    HEADLINES: "Maninis et al. 2019, Vandenhende et al. 2021",
    BY_TASK: "Sun et al. 2020 (AdaShare)",
    FLAT: "Navon et al. 2022 (Nash-MTL)",
}
# Of pairs with these tasks alone.
OF_PROTOCOL = {
    PROTOCOL: "Liu et al. 2021 (CAGrad), Navon et al. 2022; they print it with the other sign, a drop is positive"
}
SEGMENTED = (("semseg", "mIoU"), ("semseg", "pixacc"))
ANGLES = tuple(("normals", name) for name in ("mean", "median", "within_11.25", "within_22.5", "within_30"))
ENTERING = (  # of Liu et al. 2019, whose protocol it is
    (*SEGMENTED, ("depth", "absolute"), ("depth", "relative"), *ANGLES),
    (*SEGMENTED, ("disparity", "absolute"), ("disparity", "relative")),
)


def compute_deltas(
    frame: pd.DataFrame, confidence: float = 0.95, baseline: str = BASELINE, subset: str = "test"
) -> pd.DataFrame:
    """The deltas of every arm with intervals, in %, up is better.

    Columns delta (full name), arm, mean, n (seeds), low, high, freedom, paired (`inference.compute_intervals` of the
    seeds'), metrics (those that enter, in words).
    """
    single = deltas_of_seeds(frame, baseline, subset)
    table = single.rename(columns={"delta": "metric"}).assign(task="")
    found = compute_intervals(table, confidence, baseline).rename(columns={"metric": "delta"})
    found = found[["delta", "arm", "mean", "n", "low", "high", "freedom", "paired"]]
    return found.assign(metrics=found["delta"].map(_in_words(frame, subset)))


def deltas_of_seeds(frame: pd.DataFrame, baseline: str = BASELINE, subset: str = "test") -> pd.DataFrame:
    """The deltas of every arm and seed that has all the metrics. Columns delta, arm, seed, change (%), and
    roots (of all its networks) where the frame has them."""
    counting = _select_metrics(frame, subset)
    changes = [relative_change(frame, baseline, subset, metric) for metric in dict.fromkeys(counting["metric"])]
    if not changes:
        return pd.DataFrame(columns=["delta", "arm", "seed", "change"])
    table = pd.concat(changes).pivot(index=["arm", "seed"], columns=["task", "metric"], values="change")
    table = table.reindex(columns=pd.MultiIndex.from_frame(counting[["task", "metric"]]))  # NaN where one-task has none
    table = table.loc[arm_order(table.index.unique("arm"))]
    tasks = table.columns.get_level_values("task")
    means = {
        HEADLINES: table.loc[:, counting["headline"].to_numpy(bool)].mean(axis=1, skipna=False),
        BY_TASK: table.T.groupby(tasks).mean().T.mean(axis=1, skipna=False).where(table.notna().all(axis=1)),
        FLAT: table.mean(axis=1, skipna=False),
    }
    if entering := _of_protocol(counting):
        means[PROTOCOL] = table[entering].mean(axis=1, skipna=False)
    found: pd.DataFrame = pd.concat(means, names=["delta"]).dropna().rename("change").reset_index()
    return (
        found[["delta", "arm", "seed", "change"]].merge(_find_roots(changes), how="left") if "roots" in frame else found
    )


def _find_roots(changes: list[pd.DataFrame]) -> pd.DataFrame:
    """arm, seed, roots: of all the networks of an arm and seed."""
    return pd.concat(changes).groupby(["arm", "seed"])["roots"].agg(" ".join).reset_index()


def _select_metrics(frame: pd.DataFrame, subset: str) -> pd.DataFrame:
    """The headlines and the metrics with a unit: task, metric, headline, higher_is_better."""
    rows = whole_task(frame, subset)
    counts = (rows["unit"] != "") | rows["headline"].astype(bool)
    return rows.loc[counts, ["task", "metric", "headline", "higher_is_better"]].drop_duplicates()


def _of_protocol(counting: pd.DataFrame) -> list[tuple[str, str]]:
    """The metrics (task, metric) of Liu et al. 2019 where the tasks are theirs and have all of them, else none."""
    there = set(zip(counting["task"], counting["metric"], strict=True))
    for metrics in ENTERING:
        if {task for task, _ in metrics} == {task for task, _ in there} and there.issuperset(metrics):
            return list(metrics)
    return []


def _in_words(frame: pd.DataFrame, subset: str) -> dict[str, str]:
    """{delta: `normals: mean (lower is better), within_30; semseg: mIoU`}."""
    counting = _select_metrics(frame, subset)
    texts = {}
    entering = _of_protocol(counting)
    for delta in (*DELTAS, *(OF_PROTOCOL if entering else ())):
        rows = counting[counting["headline"].astype(bool)] if delta == HEADLINES else counting
        if delta == PROTOCOL:
            rows = counting[[cell in entering for cell in zip(counting["task"], counting["metric"], strict=True)]]
        tasks: dict[str, list[str]] = {}
        for row in list_records(rows):
            sign = "" if row["higher_is_better"] else " (lower is better)"
            tasks.setdefault(row["task"], []).append(row["metric"] + sign)
        texts[delta] = "; ".join(f"{task}: {', '.join(names)}" for task, names in tasks.items())
    return texts


def read_published_deltas() -> pd.DataFrame:
    """The deltas of published tables, the ones with one-task.

    Columns source, pair, delta, arm, change (%, up is better), metrics.
    """
    found = []
    for _, rows in read_published().groupby("source", sort=False):
        if BASELINE in set(rows["arm"]):
            table = deltas_of_seeds(rows).drop(columns="seed")
            words = table["delta"].map(_in_words(rows, "test"))
            found.append(table.assign(source=rows["source"].iloc[0], pair=rows["pair"].iloc[0], metrics=words))
    return pd.concat(found, ignore_index=True)[["source", "pair", "delta", "arm", "change", "metrics"]]
