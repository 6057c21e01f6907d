"""How long the report, every table and every figure take from a store of many trials.

    python benchmarks/report_speed.py [TRIALS] [SPACE] [FOLDER]

Writes a made-up store of at least TRIALS (500) trials of the arms of SPACE (semseg_sn), into FOLDER where one is given,
and prints the processor seconds (user + system) of each part, then of whole commands, imports included.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtlbench import spaces
from mtlbench.enumerator import expand, plugin
from mtlbench.errors import UserError
from mtlbench.paper_tables import TABLES, paper_table
from mtlbench.plugins import create, names
from mtlbench.report import report
from mtlbench.spec import FORMAT, SearchSpace, Trial
from mtlbench.store import Results, Store
from mtlbench.tables import results_table

STAGES = {"conv1": 24, "pool1": 24, "conv2": 64, "pool2": 64, "conv3": 96, "conv4": 96, "conv5": 64, "pool5": 64,
          "fc6": 256, "fc7": 256}  # channels
STITCHED = ("pool1", "pool2", "pool5", "fc6", "fc7")
METRICS = {  # task -> metric, one-task's mean, unit, higher is better; the first is the headline; "of": per category
    "semseg": [("mIoU", 14, "%", True), ("pixacc", 62, "%", True), ("fwIoU", 42, "%", True), ("IoU", 14, "%", True)],
    "normals": [("mean", 29, "degrees", False), ("median", 22, "degrees", False), ("within_11.25", 20, "%", True),
                ("within_22.5", 50, "%", True), ("within_30", 64, "%", True)],
    "detection": [("mAP", 40, "%", True), ("AP", 40, "%", True)],
    "attributes": [("mAP", 50, "%", True), ("AP", 50, "%", True)],
}  # fmt: skip
CATEGORIES = {"semseg": "IoU", "detection": "AP", "attributes": "AP"}  # task -> metric that is per category
COST = {"parameters": 6e5, "flops": 5e7, "seconds": 28.0, "seconds_with_parents": 60.0, "image_visits": 4800,
        "iterations": 1200, "step_seconds": 22.0, "evaluation_seconds": 3.0, "training_seconds": 24.0,
        "wait_seconds": 1.0}  # fmt: skip


def result_of(trial: Trial, place: int, rng: np.random.Generator) -> dict[str, Any]:
    """A result.json as a trial leaves it: values around one-task's, 17 categories."""
    scores, metrics = [], {}
    for task in trial.tasks:
        about = METRICS[task]
        metrics[task] = {name: {"unit": unit, "higher_is_better": higher, "headline": place == 0}
                         for place, (name, _, unit, higher) in enumerate(about)}  # fmt: skip
        for subset, (name, mean, _, _) in itertools.product(("val", "test", "chance"), about):
            categories = [f"c{place}" for place in range(17)] if name == CATEGORIES.get(task) else [""]
            if subset != "chance" or trial.arm == "one-task":
                scores += [[task, subset, name, one, mean * rng.normal(1, 0.03)] for one in categories]
    groups = [[task] for task in trial.tasks]
    stitched = trial.scheme.name == "cross_stitch"
    return {
        "format": FORMAT, "key": trial.key, "backbone": trial.backbone.label, "files": {}, "scores": scores,
        "metrics": metrics, "cost": COST, "environment": {"python": "3", "torch": "2", "device": "cpu"},
        "architecture": [{"stage": stage, "groups": groups, "unit": stitched and stage in STITCHED}
                         for stage in STAGES],
        "counts": {task: {f"c{place}": 10 * 2**place for place in range(17)} if task in CATEGORIES else {}
                   for task in trial.tasks},
        "finished": f"2026-01-02T03:04:05.{place % 1000:03}+00:00",
    }  # fmt: skip


def alphas_of(trial: Trial, rng: np.random.Generator) -> list[str]:
    """The lines of alphas.csv."""
    lines = ["iteration,stage,receiver,giver,channel,alpha"]
    for stage, receiver, giver in itertools.product(STITCHED, trial.tasks, trial.tasks):
        own = 0.9 if receiver == giver else 0.1
        lines += [f"{i},{stage},{receiver},{giver},-1,{own + 1e-5 * i}" for i in range(0, 401, 20)]
        lines += [f"400,{stage},{receiver},{giver},{place},{value}"
                  for place, value in enumerate(rng.normal(own, 0.02, STAGES[stage]))]  # fmt: skip
    return lines


def fill(root: Path, space: SearchSpace, count: int) -> int:
    """Write a store of at least `count` trials; returns how many."""
    store, written = Store(root, create=True), 0
    recipe, backbone = space.recipes[0], space.recipes[0].backbone
    for seed in itertools.count():
        trials = expand(space.pair, space.arms, [seed], plugin("dataset", "rooms", {}), "", "f1f2",
                        plugin("backbone", backbone, {}), recipe)  # fmt: skip
        for trial in trials:
            if (store.folder(trial) / "result.json").exists():
                store.name(trial)
                continue
            folder, rng = store.begin(trial), np.random.default_rng(written)
            points = [f"{i},{task},{2 - i / 1200},{10 + i / 100}"
                      for i in range(150, 1201, 150) for task in trial.tasks]  # fmt: skip
            (folder / "curve.csv").write_text("\n".join(["iteration,task,train_loss,val_headline", *points]) + "\n")
            if trial.scheme.name == "cross_stitch":
                (folder / "alphas.csv").write_text("\n".join(alphas_of(trial, rng)) + "\n")
            (folder / "result.json").write_text(json.dumps(result_of(trial, written, rng), indent=1))
            written += 1
        if written >= count:
            return written
    raise AssertionError


def timed(what: str, work: Callable[[], Any]) -> None:
    """Print the processor seconds that a piece of work takes in this process."""
    start = time.process_time()
    try:
        work()
        print(f"  {time.process_time() - start:6.2f}  {what}")
    except UserError as error:
        print(f"       -  {what}: {error}")


def command(root: Path, *words: str) -> None:
    """Print the processor seconds of a whole command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "mtlbench", *words, "--results", root], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(f"  {seconds:6.2f}  mtlbench {' '.join(words)}{'' if done.returncode == 0 else '  ' + done.stderr.strip()}")


def figure(name: str, results: Results, root: Path) -> None:
    """Draw one figure into a file."""
    canvas, drawer = Figure(), create("figure", name)
    drawer.draw(drawer.data(results), canvas)
    canvas.savefig(root / f"{name}.svg")


def measure(root: Path) -> None:
    """Every part, then whole commands."""
    results = Store(root).load()
    timed("load", lambda: results.frame)
    timed("failures", lambda: results.failures)
    timed("curves", lambda: results.curves)
    timed("alphas", lambda: results.alphas)
    timed("table", lambda: results_table(results.frame, failures=results.failures))
    for number in TABLES:
        timed(f"table {number}", lambda number=number: paper_table(number, results, paper=True))
    for name in names("figure"):
        timed(name, lambda name=name: figure(name, results, root))
    timed("report", lambda: report(results, root / "report.html"))
    print("whole commands, imports included:")
    for words in (["table"], ["plot", "all"], ["report"]):
        command(root, *words)


def main() -> None:
    """Fill a store and measure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    space = spaces.load(sys.argv[2] if len(sys.argv) > 2 else "semseg_sn")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(sys.argv[3] if len(sys.argv) > 3 else folder)
        print(f"{fill(root, space, count)} trials of {len(space.arms)} arms; processor seconds:")
        measure(root)


if __name__ == "__main__":
    main()
