"""What noting the conflicts of gradients costs: CPU time of a step with it over that of a plain step, and of training.

Usage: python benchmarks/conflicts.py [PAIR ARM]...
"""

from __future__ import annotations

import sys
import time

import torch

from mtlbench.plan import spaces
from mtlbench.plan.arms import select
from mtlbench.plan.data import open_dataset
from mtlbench.plan.expand import DataSource, Pretrained, expand
from mtlbench.plugins import make_plugin
from mtlbench.training.conflicts import Conflicts
from mtlbench.training.context import Context
from mtlbench.training.loop import add_gradients, choose_conflict_points, choose_curve_points

USUAL = ("det_attr", "split-fc8", "det_attr", "cross-stitch", "semseg_sn", "split-fc8")
ROUNDS = 8  # the shortest step of so many counts


def main(pair: str, arm: str) -> None:
    """Measure one arm of quick."""
    space = spaces.load(pair)
    recipe = spaces.recipe_of(space, "quick")
    data = make_plugin("dataset", "rooms", recipe.dataset_options["rooms"])
    source = DataSource(data, "", open_dataset(data, "").fingerprint())
    starts = {"pretrained": Pretrained("", "", {"scaled": True})}
    backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
    trials = expand(space.pair, select(space.arms, [arm]), [0], source, backbone, recipe, starts)
    trial = next(one for one in trials if one.arm == arm)
    context = Context(trial)
    net = context.network().train()
    batches = list(context.batches(0, 3, torch.device("cpu"), 0))

    def shortest(noted: bool) -> float:
        found = []
        for number in range(ROUNDS):
            begun, conflicts = time.process_time(), Conflicts() if noted else None
            add_gradients(net, context.tasks, batches[number % 3], trial.recipe, number, conflicts=conflicts)
            if conflicts:
                conflicts.rows(number)
            found.append(time.process_time() - begun)
        return min(found)

    plain, noted = shortest(False), shortest(True)
    curve = choose_curve_points(trial.iterations, recipe.curve_points)
    points = len(choose_conflict_points(curve, trial.iterations, len(trial.tasks)))
    share = points * (noted - plain) / (trial.iterations * plain)
    print(f"{pair} {arm}: {noted / plain:.1f} times a plain step; {points} of {trial.iterations} steps: {share:.2%}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    words = sys.argv[1:] or USUAL
    for pair, arm in zip(words[::2], words[1::2], strict=True):
        main(pair, arm)
