"""Loss weights of a recipe for a pair: which of a small grid starves no task in the fully shared network?

    python benchmarks/loss_weights.py det_attr attributes=1,2,4,8 --seeds 100-101

For every weight it trains Split fc8 and the one-task network of the weighted task, with seeds that no study has. The
rule: the best mean over tasks of Split fc8's change, on val, against one-task at the weight that is best for it alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import torch

from mtlbench.execution.preflight import find_pretrained
from mtlbench.plan.chosen import choose_arms, start_from
from mtlbench.plan.data import prepare_dataset
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plan.options import parse_seeds
from mtlbench.plan.spaces import load, recipe_of
from mtlbench.plugins import make_plugin
from mtlbench.spec import Recipe, SearchSpace, Trial
from mtlbench.training.trial import Errand, run_trial

HEADLINES = {"semseg": ("mIoU", 1), "normals": ("mean", -1), "detection": ("mAP", 1), "attributes": ("mAP", 1)}
Scores = dict[tuple[str, str], float]  # by task and subset


def trials_of(space: SearchSpace, recipe: Recipe, arms: Sequence[str], seeds: Sequence[int]) -> list[Trial]:
    """Those of the arms that are asked for, on rooms."""
    columns = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
    starts = {recipe.init} - {"scratch"}
    weights = find_pretrained(starts, columns, space.pair.form, "rooms", None)
    data = prepare_dataset("rooms", space.pair.tasks, recipe, None, print)
    chosen = choose_arms(space, False, False, arms, ())
    return expand(
        space.pair, chosen, seeds, DataSource(data.plugin, data.root, data.fingerprint), columns, recipe, weights
    )


def scores_of(trial: Trial, known: dict[str, Scores]) -> Scores:
    """The headlines of a trial, which is run once."""
    if trial.key not in known:
        with tempfile.TemporaryDirectory() as folder:
            for _ in run_trial(trial, Path(folder), {}, Errand(torch.device("cpu"))):
                pass
            rows = json.loads((Path(folder) / "result.json").read_text())["scores"]
        known[trial.key] = {
            (task, subset): value
            for task, subset, metric, category, value in rows
            if metric == HEADLINES[task][0] and not category and subset != "chance"
        }
        found = ", ".join(f"{task} {subset} {value:.2f}" for (task, subset), value in known[trial.key].items())
        print(f"{trial.label} {trial.recipe.loss_weight}: {found}", flush=True)
    return known[trial.key]


def main() -> None:
    """Train and print; one line a weight at the end."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pair")
    parser.add_argument("weights", metavar="TASK=W,W,...")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--seeds", default="100-101")
    parser.add_argument("--init", default="")
    parser.add_argument("--arm", action="append", default=[], help="besides Split fc8")
    given = parser.parse_args()
    space = load(given.pair)
    recipe = recipe_of(space, given.recipe)
    recipe = start_from(recipe, given.init or recipe.init)
    weighted, _, grid = given.weights.partition("=")
    seeds, known = parse_seeds(given.seeds), dict[str, Scores]()
    shared: dict[str, dict[str, dict[tuple[str, str], float]]] = {}  # by weight and arm
    alone: dict[tuple[str, str], list[float]] = {}  # by task and subset, a mean a weight
    for weight in grid.split(","):
        at_weight = dataclasses.replace(recipe, loss_weight=recipe.loss_weight | {weighted: float(weight)})
        arms = ("one-task", "split-fc8", *given.arm)
        trials = trials_of(space, at_weight, arms, seeds)
        found: dict[tuple[str, tuple[str, str]], list[float]] = {}
        for trial in trials:
            for where, value in scores_of(trial, known).items():
                found.setdefault((trial.arm, where), []).append(value)
        for (arm, where), of_seeds in found.items():
            if arm == "one-task":
                alone.setdefault(where, []).append(mean(of_seeds))
            else:
                shared.setdefault(weight, {}).setdefault(arm, {})[where] = mean(of_seeds)
    best = {where: max(values, key=lambda v: v * HEADLINES[where[0]][1]) for where, values in alone.items()}
    print("one-task, best of its weights:", {f"{t} {s}": round(value, 2) for (t, s), value in best.items()})
    for weight, arms_at in shared.items():
        for arm, values in arms_at.items():
            changes = {w: 100 * HEADLINES[w[0]][1] * (value - best[w]) / best[w] for w, value in values.items()}
            for subset in ("val", "test"):
                own = [where for where in values if where[1] == subset]
                words = ", ".join(f"{where[0]} {values[where]:.1f} ({changes[where]:+.1f} %)" for where in own)
                average = mean(changes[where] for where in own)
                print(f"{weighted}={weight} {arm} {subset}: {words}; mean {average:+.1f} %")


if __name__ == "__main__":
    main()
