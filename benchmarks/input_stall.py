"""How long training waits for its batches: some steps of a recipe on real data, with threads that make batches ahead.

python benchmarks/input_stall.py det_attr voc2008 DIR [RECIPE] [STEPS]
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time

import torch

from mtlbench.plan import spaces
from mtlbench.plan.arms import select
from mtlbench.plan.data import open_dataset
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plugins import make_plugin
from mtlbench.spec import Trial
from mtlbench.training.batches import training_batch
from mtlbench.training.context import Context
from mtlbench.training.loader import LOADERS
from mtlbench.training.loop import Training

FASTER = 50  # than this processor, a GPU


def main(pair: str, dataset: str, root: str, recipe_name: str = "paper", steps: str = "5") -> None:
    """Print one JSON object; seconds are wall time."""
    space = spaces.load(pair)
    recipe = spaces.recipe_of(space, recipe_name)
    data = make_plugin("dataset", dataset, recipe.dataset_options.get(dataset, {}))
    opened = open_dataset(data, root)
    opened.prepare(print)
    backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
    arms = select(space.arms, ["cross-stitch", "one-task"])
    scratch = dataclasses.replace(recipe, init="scratch")
    trials = expand(space.pair, arms, (0,), DataSource(data, root, opened.fingerprint()), backbone, scratch)
    found = {"pair": pair, "data": dataset, "recipe": recipe_name, "images": recipe.images, "cores": os.cpu_count()}
    torch.set_num_threads(1)
    for trial in (trials[0], trials[-1]):  # the lightest step, and one with all columns
        found[trial.label] = measure(trial, int(steps))
    print(json.dumps(found, indent=1))


def measure(trial: Trial, steps: int) -> dict[str, float]:
    """Seconds of a step and of a batch, and the share of training's wall time in which it waits."""
    context, device = Context(trial), torch.device("cpu")
    seconds = []
    for i in range(steps + 1):  # the first is cold
        start = time.perf_counter()
        training_batch(context.subsets["train"], context.tasks, context.view, 1000, i, trial.recipe.images)
        seconds.append(time.perf_counter() - start)
    training = Training(context.network(), context.tasks, trial.recipe, steps)
    for _ in training.run(lambda i: context.batches(i, steps, device, 1), 0, lambda: dict.fromkeys(context.tasks, 0.0)):
        pass
    batch, step = sum(seconds[1:]) / steps, training.record.training_seconds / steps
    return {
        "step_seconds": round(step, 4),
        "batch_seconds_one_thread": round(batch, 4),
        "stall": round(training.record.wait_seconds / training.record.training_seconds, 4),
        f"batches_a_step_at_{FASTER}x_with_{LOADERS}_threads": round(step / FASTER / (batch / LOADERS), 2),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
