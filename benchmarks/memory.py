"""How much memory a process takes that trains: three steps of every arm, each in a process of its own.

    python benchmarks/memory.py [quick|paper]

quick (the default): all arms of det_attr and semseg_sn that train, with the recipe quick. paper: one-task, split-fc8
and cross-stitch at the paper's sizes, from scratch, with two images (minutes and some gigabytes; rooms rendered large
stand for the real images). `peak` is the process with all that it imported (its largest resident set), `training` what
came after the imports, `state` what weights, gradients and momentum take: 12 bytes a parameter.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from _figures import Figure, tell

from mtlbench.nets.network import MultiTaskNet
from mtlbench.plan import spaces
from mtlbench.plan.arms import select
from mtlbench.plan.data import prepare_dataset
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plugins import make_plugin
from mtlbench.spec import Trial
from mtlbench.training.context import Context
from mtlbench.training.loop import Training

STEPS = 3
FEW = {"train": 48, "val": 16, "test": 24}  # scenes: those of the recipe smoke
PAPER = {"det_attr": 400, "semseg_sn": 480}  # side of the rooms, in pixels; Fast R-CNN's recipe scales them to 600
ARMS = ["one-task", "split-fc8", "cross-stitch"]


def main(size: str = "quick") -> None:
    """A row for every arm, and what cross-stitch takes against one-task."""
    torch.set_num_threads(1)
    rows = [measure(trial) for pair in PAPER for trial in trials_of(pair, size)]
    growth = {row["trial"]: row["training MB"] for row in rows}
    tell(
        rows,
        [
            *(
                Figure(
                    f"{pair}: cross-stitch against both one-task networks, in training",
                    round(
                        growth[f"{pair} cross-stitch"]
                        / sum(growth[name] for name in growth if name.startswith(f"{pair} one-task")),
                        3,
                    ),
                    "x",
                )
                for pair in PAPER
            ),
            Figure("largest peak", max(row["peak MB"] for row in rows), "MB"),
            Figure("largest training against its state", max(row["training / state"] for row in rows), "x"),
        ],
    )


def trials_of(pair: str, size: str) -> list[Trial]:
    """Seed 0 of every arm that trains, at these sizes on few rooms."""
    space = spaces.load(pair)
    recipe = spaces.recipe_of(space, size)
    options: dict[str, Any] = FEW if size == "quick" else {"train": 4, "val": 1, "test": 1, "size": PAPER[pair]}
    recipe = dataclasses.replace(
        recipe,
        init="scratch",
        images=min(recipe.images, 4 if size == "quick" else 2),
        dataset_options={"rooms": options},
    )
    data = prepare_dataset("rooms", space.pair.tasks, recipe, None, lambda line: None)
    backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
    arms = select(space.arms, [arm.name for arm in space.arms] if size == "quick" else ARMS)
    trials = expand(space.pair, arms, (0,), DataSource(data.plugin, data.root, data.fingerprint), backbone, recipe)
    return [trial for trial in {trial.key: trial for trial in reversed(trials)}.values() if not trial.average][::-1]


def measure(trial: Trial) -> dict[str, Any]:
    """A row, from a process that has imported all and nothing more."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    process = fork.Process(target=lambda: there.send(train(trial)))
    process.start()
    there.close()
    before, peak, parameters = here.recv()
    process.join()
    state = 12 * parameters / 1e6
    task = f" {trial.task_names[0]}" if len(trial.task_names) == 1 else ""
    return {
        "trial": f"{trial.pair} {trial.arm}{task}",
        "parameters": parameters,
        "peak MB": round(peak, 1),
        "training MB": round(peak - before, 1),
        "state MB": round(state, 1),
        "training / state": round((peak - before) / state, 2),
    }


def train(trial: Trial) -> tuple[float, float, int]:
    """Resident MB before, the most of them during three steps, and the number of parameters."""
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    context = Context(trial)
    net: MultiTaskNet = context.network()
    training = Training(net, context.tasks, trial.recipe, STEPS)
    for _ in training.run(
        lambda i: context.batches(i, STEPS, torch.device("cpu"), 1), 0, lambda: dict.fromkeys(context.tasks, 0.0)
    ):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return before, peak, sum(parameter.numel() for parameter in net.parameters())


if __name__ == "__main__":
    main(*sys.argv[1:])
