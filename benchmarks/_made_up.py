"""Trials and results that nobody trained, of real arms and sizes: for what only plans, stores or shows them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from mtlbench.plan.expand import DataSource, expand
from mtlbench.plugins import make_plugin
from mtlbench.spec import SearchSpace, Trial
from mtlbench.store.sealing import write_result
from mtlbench.store.shapes import Result
from mtlbench.store.store import Store
from mtlbench.system.schema import convert

STAGES = {
    "conv1": 24,
    "pool1": 24,
    "conv2": 64,
    "pool2": 64,
    "conv3": 96,
    "conv4": 96,
    "conv5": 64,
    "pool5": 64,
    "fc6": 256,
    "fc7": 256,
}  # channels
STITCHED = ("pool1", "pool2", "pool5", "fc6", "fc7")
METRICS = {  # task -> metric, one-task's mean, unit, higher is better; the first is the headline
    "semseg": [("mIoU", 14, "%", True), ("pixacc", 62, "%", True), ("fwIoU", 42, "%", True), ("IoU", 14, "%", True)],
    "normals": [
        ("mean", 29, "degrees", False),
        ("median", 22, "degrees", False),
        ("within_11.25", 20, "%", True),
        ("within_22.5", 50, "%", True),
        ("within_30", 64, "%", True),
    ],
    "detection": [("mAP", 40, "%", True), ("AP", 40, "%", True)],
    "attributes": [("mAP", 50, "%", True), ("AP", 50, "%", True)],
}
CATEGORIES = {"semseg": "IoU", "detection": "AP", "attributes": "AP"}  # task -> metric that is per category
COST = {
    "parameters": 6e5,
    "flops": 5e7,
    "seconds": 28.0,
    "seconds_with_parents": 60.0,
    "image_visits": 4800,
    "iterations": 1200,
    "step_seconds": 22.0,
    "evaluation_seconds": 3.0,
    "training_seconds": 24.0,
    "wait_seconds": 1.0,
}


def trials_of(space: SearchSpace, count: int) -> list[Trial]:
    """The trials of all arms of a space on rooms: as many whole seeds as give `count` networks. Some networks go by two
    names, as in any study."""
    recipe, keys, found = space.recipes[0], set[str](), list[Trial]()
    for seed in itertools.count():
        if len(keys) >= count:
            break
        one_seed = expand(
            space.pair,
            space.arms,
            [seed],
            DataSource(make_plugin("dataset", "rooms", {}), "", "f1f2"),
            make_plugin("backbone", recipe.backbone, {}),
            recipe,
        )
        keys |= {trial.key for trial in one_seed}
        found += one_seed
    return found


def result_of(trial: Trial, place: int, rng: np.random.Generator) -> Result:
    """A result.json as a trial leaves it: values around one-task's, 17 categories."""
    scores, metrics = [], {}
    for task in trial.task_names:
        about = METRICS[task]
        metrics[task] = {
            name: {"unit": unit, "higher_is_better": higher, "headline": place == 0}
            for place, (name, _, unit, higher) in enumerate(about)
        }
        for subset, (name, mean, _, _) in itertools.product(("val", "test", "chance"), about):
            categories = [f"c{place}" for place in range(17)] if name == CATEGORIES.get(task) else [""]
            if subset != "chance" or trial.arm == "one-task":
                scores += [[task, subset, name, one, mean * rng.normal(1, 0.03)] for one in categories]
    groups = [[task] for task in trial.task_names]
    stitched = trial.scheme.name == "cross_stitch"
    made = {
        "backbone": trial.backbone.label,
        "scores": scores,
        "metrics": metrics,
        "cost": COST,
        "environment": {"python": "3", "torch": "2", "device": "cpu"},
        "architecture": [
            {"stage": stage, "groups": groups, "unit": stitched and stage in STITCHED} for stage in STAGES
        ],
        "counts": {
            task: {f"c{place}": 10 * 2**place for place in range(17)} if task in CATEGORIES else {}
            for task in trial.task_names
        },
        "finished": f"2026-01-02T03:04:05.{place % 1000:03}+00:00",
    }
    return convert(made, Result)


def curve_of(trial: Trial) -> list[str]:
    """The lines of curve.csv."""
    points = [f"{i},{task},{2 - i / 1200},{10 + i / 100}" for i in range(150, 1201, 150) for task in trial.task_names]
    return ["iteration,task,train_loss,val_headline", *points]


def alphas_of(trial: Trial, rng: np.random.Generator) -> list[str]:
    """The lines of alphas.csv."""
    lines = ["iteration,stage,receiver,giver,channel,alpha"]
    for stage, receiver, giver in itertools.product(STITCHED, trial.task_names, trial.task_names):
        own = 0.9 if receiver == giver else 0.1
        lines += [f"{i},{stage},{receiver},{giver},-1,{own + 1e-5 * i}" for i in range(0, 401, 20)]
        lines += [
            f"400,{stage},{receiver},{giver},{place},{value}"
            for place, value in enumerate(rng.normal(own, 0.02, STAGES[stage]))
        ]
    return lines


def fill(root: Path, trials: list[Trial]) -> int:
    """Write a store in which the trials are finished; returns how many networks they are."""
    store, written = Store(root, create=True), set[str]()
    for trial in trials:
        if trial.key in written:
            store.name(trial)
            continue
        folder, rng = store.begin(trial), np.random.default_rng(len(written))
        (folder / "curve.csv").write_text("\n".join(curve_of(trial)) + "\n")
        if trial.scheme.name == "cross_stitch":
            (folder / "alphas.csv").write_text("\n".join(alphas_of(trial, rng)) + "\n")
        write_result(folder, trial.key, result_of(trial, len(written), rng))
        written.add(trial.key)
    return len(written)
