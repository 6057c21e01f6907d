"""A training step at the paper's sizes in float32 and in bfloat16, as it is placed and with every tensor contiguous.

Ratios of medians in one run to float32 as it is placed (channels last on the processor).

    python benchmarks/precision.py fcn|roi [ROUNDS] [DEVICE]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import torch

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Batch
from mtlbench.nets.network import MultiTaskNet, place_on_device
from mtlbench.schemes.separate import Separate
from mtlbench.spec import Recipe
from mtlbench.system.machine import keep_memory
from mtlbench.tasks.attributes import Attributes
from mtlbench.tasks.semseg import Semseg
from mtlbench.training.loop import add_gradients
from mtlbench.training.optimiser import make_optimiser

RECIPE = Recipe("precision", {}, 0, images=4, lr=1e-3)
WAYS = {
    "fp32": ("fp32", False),
    "bf16": ("bf16", False),
    "fp32 contiguous": ("fp32", True),
    "bf16 contiguous": ("bf16", True),
}


def main(form: str, rounds: str = "3", device: str = "cpu") -> None:
    """Print seconds of a float32 step and the ratios of the other ways to it."""
    keep_memory()
    torch.set_num_threads(1)
    names = tuple(map(str, range(40 if form == "fcn" else 64)))
    tasks: dict[str, Any] = {"t": Semseg(names, {}) if form == "fcn" else Attributes(names, {})}
    steps = {way: step(form, tasks, *how, torch.device(device)) for way, how in WAYS.items()}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(int(rounds) + 1):
        for way, run in steps.items():
            start = time.perf_counter()
            run()
            seconds[way].append(time.perf_counter() - start)
    medians = {way: statistics.median(found[1:]) for way, found in seconds.items()}
    ratios = {way: round(median / medians["fp32"], 3) for way, median in medians.items()}
    print(json.dumps({"form": form, "device": device, "fp32_seconds": round(medians["fp32"], 3), "ratio": ratios}))


def step(form: str, tasks: dict[str, Any], precision: str, contiguous: bool, device: torch.device) -> Any:
    """A function that makes one optimiser step on two images of the paper's size."""
    net = place_on_device(MultiTaskNet(tasks, Caffenet(form), Separate(), form, 0, precision), device)
    images = torch.randn(2, 3, *((480, 640) if form == "fcn" else (600, 800)), device=device)
    if form == "fcn":
        batch = Batch(images, {"t": torch.randint(0, 40, (2, 480, 640), device=device)}, {"t": torch.ones(2) > 0})
        batch.labels["semseg"], batch.masks["semseg"] = batch.labels["t"], batch.masks["t"].to(device)
    else:
        corner = torch.rand(128, 2, device=device) * 300
        index = torch.arange(128, device=device)[:, None] // 64
        regions = torch.cat([index, corner, corner + 200], dim=1)
        rows = torch.randint(0, 2, (128, 64), device=device)
        own = torch.ones(128, dtype=torch.bool, device=device)
        batch = Batch(images, {"t": rows, "attributes": rows}, {"t": own, "attributes": own}, [], regions, own)
        batch.targets = torch.zeros(128, 4, device=device)
    if contiguous:
        net = net.to(memory_format=torch.contiguous_format)
    sgd = make_optimiser(net, RECIPE)

    def run() -> None:
        sgd.zero_grad(set_to_none=True)
        add_gradients(net, tasks, batch, RECIPE, 0)
        sgd.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
