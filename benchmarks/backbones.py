"""What a cross-stitch step costs over its one-task steps, on backbones of timm.

    python benchmarks/backbones.py [MODEL]...

Both forms: semseg and normals on whole images of 96 x 128 pixels, detection and attributes on regions of them; two
images of noise a step, weights from nothing. The networks take turns; a ratio is the median of the rounds'.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys

import torch
from _figures import tell
from step import PAIRS, Arm, Noise, ratio, seconds

from mtlbench.plan import spaces
from mtlbench.plan.backbones import on_backbone, pin
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plugins import make_plugin
from mtlbench.system.machine import keep_memory

MODELS = (
    "resnet18",
    "resnet50",
    "vgg16",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "tf_efficientnet_lite0",
    "mobilenetv3_small_100",
)
SIZE, IMAGES, ROUNDS = (96, 128), 2, 5
Row = dict[str, object]


def compare(model: str, pair: str) -> Row:
    """A row: milliseconds of the one-task steps and of cross-stitch's, and their ratio."""
    space = spaces.load(pair)
    recipe = dataclasses.replace(
        spaces.recipe_of(space, "quick"), init="scratch", lr=1e-9, warmup=0, images=IMAGES, short_side=0, long_side=0
    )
    backbone = make_plugin("backbone", "timm", pin("timm", {"model": model}))
    space, recipe = on_backbone(space, backbone, recipe)
    wanted = [arm for arm in space.arms if arm.name in ("one-task", "cross-stitch")]
    data = DataSource(make_plugin("dataset", "rooms", {}), "", "")
    device, subset = torch.device("cpu"), Noise(space.pair.form, SIZE)
    torch.set_num_threads(recipe.threads)
    arms = [Arm(trial, subset, device) for trial in expand(space.pair, wanted, (0,), data, backbone, recipe)]
    rounds = [[seconds(arm.step, device) for arm in arms] for _ in range(ROUNDS + 1)][1:]  # the first one is cold
    stitched = [times[-1] for times in rounds]
    alone = [sum(times[:-1]) for times in rounds]
    return {
        "backbone": model,
        "pair": pair,
        "one-task steps, ms": round(1000 * statistics.median(alone)),
        "cross-stitch, ms": round(1000 * statistics.median(stitched)),
        "ratio": round(ratio(stitched, alone), 2),
    }


def main(*models: str) -> None:
    """Print a row a backbone and pair."""
    keep_memory()
    tell([compare(model, pair) for model in models or MODELS for pair in PAIRS], [])


if __name__ == "__main__":
    main(*sys.argv[1:])
