"""Semantic segmentation and surface normals (Section 5), FCN-32s style."""

from mtlbench.enumerator import standard_arms
from mtlbench.spec import Pair, Recipe, SearchSpace

SMALL = {"small": True, "width": 0.25, "fc": 256, "dropout": 0.0}
TASKS = ("semseg", "normals")

SMOKE = Recipe(
    "smoke", dict.fromkeys(TASKS, 8), 4, images=4, lr=0.01, clip=5.0, curve_images=8,
    backbone_options={"small": True, "width": 0.1, "fc": 32},
    dataset_options={"rooms": {"train": 48, "val": 16, "test": 24}},
)  # fmt: skip
# Rate and mini-batch chosen on val with a small grid over the one-task networks (Ours).
QUICK = Recipe(
    "quick", dict.fromkeys(TASKS, 1200), 400, images=4, lr=0.05, extra_lr=0.01, warmup=20, clip=5.0, curve_images=16,
    backbone_options=SMALL, dataset_options={"rooms": {"val": 300}},
)  # fmt: skip
SHORT = Recipe(
    "short", dict.fromkeys(TASKS, 600), 200, images=4, lr=0.05, extra_lr=0.01, warmup=20, clip=5.0, curve_images=8,
    short_side=120, long_side=160, backbone_options=SMALL,
)  # fmt: skip
# Section 5: 25k and 15k iterations, mini-batches of 20, 10k after the parents; rate of Long et al. 2015.
# gpu_hours: FLOPs of all arms at 10 TFLOP/s.
PAPER = Recipe(
    "paper", {"semseg": 25_000, "normals": 15_000}, 10_000, images=20, lr=1e-3, decay="step", step_at=1.0,
    colour=0.1, curve_points=20, curve_images=80, gpu_hours=39.0,
)  # fmt: skip

# One cross-stitch unit per channel (Section 5).
SPACE = SearchSpace(
    Pair("semseg_sn", TASKS, "fcn"), {"rooms": "quick", "nyuv2": "paper"}, (SMOKE, QUICK, SHORT, PAPER),
    standard_arms(per_channel=True),
    short_list=("one-task", "split-conv3", "split-fc6", "split-fc8", "cross-stitch"),
)  # fmt: skip
