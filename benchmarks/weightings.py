"""What weightings of the tasks cost: CPU time of a training step over that of the plain sum, and memory beyond it.

    python benchmarks/weightings.py [PAIR]...

Split fc8 with the recipe quick, of two tasks (det_attr) and of three (dense3). Time: the shortest of some steps, taken
in turn with plain ones. Memory: the largest resident set of a process that makes three steps of a wider network, minus
that of the plain sum, in sizes of its shared parameters.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from _figures import tell

from mtlbench.contracts import Batch
from mtlbench.nets.network import MultiTaskNet
from mtlbench.plan import spaces
from mtlbench.plan.arms import select
from mtlbench.plan.data import prepare_dataset
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plugins import create, list_names, make_plugin
from mtlbench.spec import Trial
from mtlbench.training.context import Context
from mtlbench.training.loop import add_gradients
from mtlbench.training.losses import Pieces
from mtlbench.training.optimiser import make_optimiser
from mtlbench.training.weighing import Weigher

PAIRS = ("det_attr", "dense3")
FEW = {"train": 48, "val": 16, "test": 24}  # scenes: those of the recipe smoke
ROUNDS = 8
WIDE = {"width": 0.5, "fc": 1024}  # where memory is looked at: large enough that the rest counts for little


def main(*pairs: str) -> None:
    """A row for every weighting."""
    torch.set_num_threads(1)
    rows = []
    for pair in pairs or PAIRS:
        trial, wide = trial_of(pair), trial_of(pair, **WIDE)
        plain = measure_memory(wide, "")
        for name in list_names("weighting"):
            extra, size = (measure_memory(wide, name)[0] - plain[0]), plain[1]
            rows.append(
                {
                    "pair": pair,
                    "tasks": len(trial.tasks),
                    "weighting": name,
                    "step, plain sums": round(compare_steps(trial, name), 2),
                    "memory, parameters": round(extra / size, 1),
                }
            )
    tell(rows, [])


def trial_of(pair: str, **sizes: Any) -> Trial:
    """Split fc8, seed 0, from scratch on few rooms."""
    space = spaces.load(pair)
    recipe = dataclasses.replace(
        spaces.recipe_of(space, "quick"), init="scratch", dataset_options={"rooms": FEW}, from_scratch={}
    )
    data = prepare_dataset("rooms", space.pair.tasks, recipe, None, lambda line: None)
    backbone = make_plugin("backbone", recipe.backbone, {**recipe.backbone_options, **sizes})
    source = DataSource(data.plugin, data.root, data.fingerprint)
    (trial,) = expand(space.pair, select(space.arms, ["split-fc8"]), (0,), source, backbone, recipe)
    return trial


def steps(context: Context, weighting: str) -> Iterator[MultiTaskNet]:
    """A training under a weighting, or the plain sum, step by step."""
    recipe, net = context.trial.recipe, context.network().train()
    weigher = Weigher(create("weighting", weighting), net) if weighting else None
    optimiser = make_optimiser(net, recipe)
    batches: list[Batch] = list(context.batches(0, 3, torch.device("cpu"), 0))
    for number in range(sys.maxsize):
        batch = batches[number % 3]
        optimiser.zero_grad(set_to_none=True)
        add_gradients(net, context.tasks, batch, recipe, number, weigher=weigher)
        optimiser.step()
        if weigher:
            weigher.after(Pieces(net, context.tasks, batch, recipe, number))
        yield net


def compare_steps(trial: Trial, weighting: str) -> float:
    """CPU seconds of the shortest step over that of the plain sum."""
    context = Context(trial)
    runs = steps(context, ""), steps(context, weighting)
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for run, times in zip(runs, found, strict=True):
            begun = time.process_time()
            next(run)
            times.append(time.process_time() - begun)
    plain, weighed = (min(times[1:]) for times in found)
    return weighed / plain


def measure_memory(trial: Trial, weighting: str) -> tuple[float, float]:
    """Bytes at most during three steps in a process of their own, and the bytes of the shared parameters."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)

    def train() -> None:
        run = steps(Context(trial), weighting)
        net = [next(run) for _ in range(3)][-1]
        there.send(
            (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0, sum(map(count, net.trunk.parameters())))
        )

    def count(parameter: torch.Tensor) -> int:
        return parameter.numel() * parameter.element_size()

    process = fork.Process(target=train)
    process.start()
    there.close()
    peak, size = here.recv()
    process.join()
    return peak, size


if __name__ == "__main__":
    main(*sys.argv[1:])
