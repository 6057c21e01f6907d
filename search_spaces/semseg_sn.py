"""Semantic segmentation and surface normals (Section 5), FCN-32s style."""

from dataclasses import replace

from mtlbench.authoring import Pair, Recipe, SearchSpace, alternatives, standard_arms

SMALL = {"small": True, "width": 0.25, "fc": 256, "dropout": 0.0}
TASKS = ("semseg", "normals")

SMOKE = Recipe(
    "smoke",
    dict.fromkeys(TASKS, 8),
    4,
    images=4,
    lr=0.01,
    clip=5.0,
    curve_images=8,
    backbone_options={"small": True, "width": 0.1, "fc": 32},
    dataset_options={"rooms": {"train": 48, "val": 16, "test": 24}},
)
# Rates and mini-batch chosen on val with a small grid over the one-task networks (Ours).
QUICK = Recipe(
    "quick",
    dict.fromkeys(TASKS, 1200),
    400,
    images=4,
    lr=0.03,
    extra_lr=0.01,
    init="pretrained",
    from_scratch={"lr": 0.05, "loss_weight": {}, "sources": {}},
    loss_weight={"semseg": 2.0},
    warmup=20,
    clip=5.0,
    curve_images=16,
    backbone_options=SMALL,
    dataset_options={"rooms": {"val": 300}},
    sources={
        "init": "ours: the package's trunk for rooms, as the paper's networks start from ImageNet",
        "lr": "ours: the best of .03, .05 on val for both one-task networks together",
        "loss_weight": "ours: of 1, 2, 3 for semseg, the best mean change of Split fc8 on val from one-task at the"
        " weight that is best for it alone (benchmarks/loss_weights.py)",
    },
)
SHORT = Recipe(
    "short",
    dict.fromkeys(TASKS, 600),
    200,
    images=4,
    lr=0.05,
    extra_lr=0.01,
    warmup=20,
    clip=5.0,
    curve_images=8,
    short_side=120,
    long_side=160,
    backbone_options=SMALL,
)
LONG = replace(SHORT, name="long", iterations=dict.fromkeys(TASKS, 2500), extra_iterations=800, colour=0.2)
# Half a minute of one core for each one-task network, from ImageNet weights that need no download (extra `pretrained`).
PRETRAINED = Recipe(
    "pretrained",
    dict.fromkeys(TASKS, 160),
    50,
    images=4,
    lr=1e-3,
    extra_lr=3e-4,
    optimiser="adamw",
    weight_decay=0.01,
    bias_lr=1.0,
    init="imagenet",
    warmup=20,
    clip=5.0,
    short_side=96,
    long_side=128,
    colour=0.2,
    frozen=("stage1",),
    loss_weight={"semseg": 2.0},
    curve_points=4,
    curve_images=16,
    decoder="fpn",
    backbone="timm",
    backbone_options={"model": "tf_efficientnet_lite0", "batch_norm": "frozen"},
    sources={
        "iterations": "ours: half a minute of one core",
        "extra_iterations": "ours: a third",
        "images": "ours: four images and twice the steps instead of eight",
        "lr": "ours: the best of .0005, .001, .002, .004 on val for both one-task networks",
        "extra_lr": "ours: a third of the rate",
        "optimiser": "ours: AdamW, since decoders start from nothing",
        "weight_decay": "ours: the default of torch",
        "bias_lr": "ours: one rate for all",
        "init": "ours: EfficientNet-Lite0's from a package, as the paper's networks start from ImageNet",
        "short_side": "ours: both sides are multiples of 32, so that TensorFlow's padding shifts no map",
        "long_side": "ours: the same",
        "frozen": "ours: as the released CaffeNet does with conv1 (Split stage2 is then two one-task networks)",
        "loss_weight": "ours: of 1, 2 for semseg, the better mean change of Split fc8 on val from one-task",
        "decoder": "ours: on val ahead of linear on maps with cells of 16 pixels, and cheaper",
        "backbone": "ours: the network whose weights need no download",
        "backbone_options": "ours: batches of 4 are too small for statistics of their own",
    },
)
# gpu_hours: FLOPs of all arms at 10 TFLOP/s.
PAPER = Recipe(
    "paper",
    {"semseg": 25_000, "normals": 15_000},
    10_000,
    images=20,
    lr=1e-3,
    init="imagenet",
    chunk=4,
    decay="step",
    step_at=1.0,
    colour=0.1,
    curve_points=20,
    curve_images=80,
    gpu_hours=39.0,
    sources={
        "iterations": "text: Section 5, 25k and 15k; ours for Splits and MTL-shared, the longest",
        "extra_iterations": "text: Section 5, 10k from one-task",
        "images": "text: Section 5",
        "lr": "cited: Long et al. 2015, FCN-AlexNet; the released solver has 1e-4 for a normalised softmax",
        "extra_lr": "ours: the same rate",
        "init": "cited: Long et al. 2015, networks pretrained on ImageNet; text: cross-stitch from one-task, Section 5",
        "chunk": "ours: gradient accumulation, so that 20 full-size images fit any GPU",
        "optimiser": "text: Section 5, SGD",
        "momentum": "cited: Long et al. 2015",
        "weight_decay": "cited: Long et al. 2015",
        "bias_lr": "cited: Long et al. 2015, twice the rate; no decay on biases",
        "warmup": "cited: none",
        "decay": "cited: Long et al. 2015, a fixed rate",
        "step_at": "cited: Long et al. 2015, a fixed rate",
        "step_factor": "cited: Long et al. 2015, a fixed rate",
        "clip": "cited: none",
        "short_side": "cited: Long et al. 2015, whole images",
        "long_side": "cited: Long et al. 2015, whole images",
        "mirror": "ours: usual; the start of Section 5 is missing from our copy",
        "balance": "cited: every image once an epoch",
        "colour": "ours: factors within a tenth of 1; the start of Section 5 is missing from our copy",
        "frozen": "cited: none",
        "loss_weight": "text: Section 6, Scaling losses: both 1",
        "weighting": "text: Section 6, Scaling losses: fixed",
        "task_options": "cited: Wang et al. 2015, nearest of 20 codes; Ladicky et al. 2014, decoding by triangles",
        "threads": "ours",
        "precision": "cited: float32",
        "backbone": "text: Section 5, FCN-32s on AlexNet; cited: Long et al. 2015, CaffeNet",
        "backbone_options": "cited: the published widths, conv1 padded by 100, dropout .5",
        "dataset_options": "ours: val is a tenth of train, whole rooms",
    },
)

# One cross-stitch unit per channel (Section 5).
SPACE = SearchSpace(
    Pair("semseg_sn", TASKS, "fcn"),
    {"rooms": "quick", "nyuv2": "paper"},
    (SMOKE, QUICK, SHORT, LONG, PRETRAINED, PAPER),
    standard_arms(per_channel=True),
    short_list=("one-task", "split-conv3", "split-fc6", "split-fc8", "cross-stitch"),
    more=alternatives(),
)
