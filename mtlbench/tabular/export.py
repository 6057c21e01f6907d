"""A study as a table in plain files, which needs neither torch nor pandas to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mtlbench._version import __version__
from mtlbench.analysis.arms import without_parents
from mtlbench.analysis.frame import list_records, rows_of_trials, whole_task
from mtlbench.analysis.selection import NEWEST, Selection, select_newest
from mtlbench.arm_names import BASELINE, arm_order
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.system.files import replace_file, seal, write
from mtlbench.system.schema import convert, encode
from mtlbench.tabular.content import (
    ABOUT,
    ARCHITECTURES,
    COSTS,
    CURVE,
    FORMAT,
    LOSS,
    SCORES,
    About,
    Architecture,
    Architectures,
    Content,
    Metric,
    Stage,
)

LICENCE = "CC-BY-4.0"  # of a table, where its maker says nothing else (Ours)
CITATION = (
    "mtlbench: how much should these tasks share? The mtlbench authors.",
    "Misra, Shrivastava, Gupta, Hebert: Cross-stitch Networks for Multi-task Learning. CVPR 2016. arXiv:1604.03539.",
)
NAMES = ["arm", "seed", "task"]


def tabulate(results: Results, selection: Selection = NEWEST, licence: str = LICENCE) -> Content:
    """The newest study of the results, or the one selected, as a table. Raises UserError where there is none, or one
    without one-task, which changes are against."""
    frame, note = select_newest(results.frame, selection)
    shown = without_parents(frame)
    if BASELINE not in set(shown["arm"]):
        raise UserError(
            f"a table has changes against {BASELINE}, which was not trained; "
            f"type: mtlbench run --pair {frame['pair'].iloc[0]} --arm {BASELINE}"
        )
    own = list_records(frame.head(1))[0]
    after = pd.concat([whole_task(frame, subset) for subset in ("val", "test", "chance")], ignore_index=True)
    metrics = [convert(row, Metric) for row in _describe_metrics(after)]
    about = About(
        format=FORMAT,
        version=__version__,
        pair=str(own["pair"]),
        dataset=str(own["dataset"]),
        backbone=str(own["backbone"]),
        recipe=str(own["recipe"]),
        setting=str(own["setting"]),
        note=note,
        tasks=list(dict.fromkeys(metric.task for metric in metrics)),
        baseline=BASELINE,
        seeds=sorted({int(seed) for seed in shown["seed"]}),
        metrics=metrics,
        licence=licence,
        citation=list(CITATION),
    )
    scores = pd.concat([_scores_after(after, frame), _scores_during(results, shown, metrics)], ignore_index=True)
    costs = frame.loc[frame["subset"] == "cost", [*NAMES, "key", "metric", "value"]]  # those of parents, too
    return Content(about, _describe_arms(results, frame, shown), _columns(scores), _columns(costs))


def write_table(content: Content, folder: Path, force: bool = False) -> Path:
    """Write a table as Parquet and JSON, with the files' checksums; its folder. Raises UserError where the folder
    holds one already, unless `force`, or cannot be written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    refuse_to_replace(folder / ABOUT, force)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, columns in ((SCORES, content.scores), (COSTS, content.costs)):
            with replace_file(folder / name) as temporary:
                pq.write_table(pa.table(columns), temporary, compression="zstd")
        write(folder / ARCHITECTURES, encode(Architectures(content.architectures)))
        seals = {name: seal(folder / name).digest for name in (SCORES, COSTS, ARCHITECTURES)}
        about = {name: getattr(content.about, name) for name in About.__struct_fields__}
        write(folder / ABOUT, encode(About(**{**about, "files": seals})))  # last: its presence says that all is there
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; name another folder") from error
    return folder


def refuse_to_replace(path: Path, force: bool) -> None:
    """Raises UserError where a file is there already, unless `force`."""
    if path.exists() and not force:
        raise UserError(f"{path} exists; type --force to replace it, or name another folder")


def _describe_metrics(after: pd.DataFrame) -> list[dict[str, Any]]:
    """The metrics of the tasks, in order, as fields of `Metric`."""
    found = after[["task", "metric", "unit", "higher_is_better", "headline"]].drop_duplicates(["task", "metric"])
    found = found.rename(columns={"metric": "name"}).astype({"higher_is_better": bool, "headline": bool})
    return list_records(found)


def _scores_after(after: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """What was measured after training, at the number of iterations that the trial was trained for."""
    trained = frame[frame["metric"].eq("iterations") & frame["subset"].eq("cost")].set_index(["arm", "key"])["value"]
    iterations = dict(zip(trained.index, trained, strict=True))
    at = [int(iterations.get(trial, 0)) for trial in zip(after["arm"], after["key"], strict=True)]
    return after[[*NAMES, "subset", "metric", "value"]].assign(iteration=at)


def _scores_during(results: Results, shown: pd.DataFrame, metrics: list[Metric]) -> pd.DataFrame:
    """The headline on the first images of val, and the loss, during training."""
    curves = rows_of_trials(results.curves, shown.drop(columns=["task"]))
    if curves.empty:
        return pd.DataFrame()
    headlines = {metric.task: metric.name for metric in metrics if metric.headline}
    given = [*NAMES, "iteration"]
    scores = curves[given].assign(metric=curves["task"].map(headlines), value=curves["val_headline"])
    losses = curves[given].assign(metric=LOSS, value=curves[LOSS])
    return pd.concat([scores, losses], ignore_index=True).assign(subset=CURVE).dropna(subset=["value", "metric"])


def _describe_arms(results: Results, frame: pd.DataFrame, shown: pd.DataFrame) -> dict[str, Architecture]:
    """What each arm is, in table order."""
    stages = _merge_stages([results.architectures_of(own) for _, own in shown.groupby("task", sort=False)])
    arm_of = dict(zip(frame["key"], frame["arm"], strict=True))
    parents: dict[str, dict[str, None]] = {}  # names in order, each once
    for trial in results.provenance_of(frame):
        known = parents.setdefault(str(trial["arm"]), {})
        known.update(dict.fromkeys(arm_of[key] for key in trial["parents"] if key in arm_of))
    facts = shown.drop_duplicates("arm").set_index("arm")[["family", "variant_of"]]
    return {
        arm: Architecture(
            family=str(facts.loc[arm, "family"]),
            variant_of=str(facts.loc[arm, "variant_of"]),
            parents=list(parents.get(arm, ())),
            stages=stages.get(arm, []),
        )
        for arm in arm_order(shown["arm"])
    }


def _merge_stages(by_task: Sequence[Mapping[str, Sequence[Mapping[str, Any]]]]) -> dict[str, list[Stage]]:
    """{arm: its stages}, from what the networks of each task say: an arm with a network a task has all their groups."""
    merged: dict[str, list[Stage]] = {}
    for found in by_task:
        for arm, given in found.items():
            stages = [convert(dict(one), Stage) for one in given]
            known = merged.setdefault(arm, stages)
            if len(known) == len(stages):
                merged[arm] = list(map(_merge, known, stages))
    return merged


def _merge(one: Stage, other: Stage) -> Stage:
    """A stage with the groups of both."""
    more = [group for group in other.groups if group not in one.groups]
    return Stage(one.stage, [*one.groups, *more], one.unit)


def _columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): frame[name].tolist() for name in frame}
