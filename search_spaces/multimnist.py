"""Left and right digit of MultiMNIST (Sener and Koltun 2018) on a LeNet, after the protocol of Kurin et al. 2022."""

from mtlbench.authoring import (
    Pair,
    Recipe,
    SearchSpace,
    alternatives,
    cross_stitch,
    ensemble,
    every_split,
    mtl_shared,
    one_task,
    one_task_longer,
)

TASKS = ("left", "right")
POINTS = ("conv2", "fc3", "fc4", "fc8")  # Kurin's network is Split fc4

SMOKE = Recipe(
    "smoke",
    dict.fromkeys(TASKS, 8),
    4,
    images=8,
    lr=1e-3,
    optimiser="adam",
    mirror=False,
    curve_images=16,
    backbone="lenet",
    backbone_options={"width": 0.5, "fc": 16},
    dataset_options={"multimnist": {"train": 60, "val": 20, "test": 30}},
)
QUICK = Recipe(
    "quick",
    dict.fromkeys(TASKS, 1500),
    500,
    images=32,
    lr=3e-3,
    extra_lr=1e-3,
    optimiser="adam",
    weight_decay=0.0,
    bias_lr=1.0,
    mirror=False,
    curve_images=250,
    backbone="lenet",
)
KURIN = Recipe(
    "kurin",
    dict.fromkeys(TASKS, 1400),
    460,
    images=256,
    lr=1e-2,
    optimiser="adam",
    weight_decay=0.0,
    bias_lr=1.0,
    mirror=False,
    curve_images=500,
    short_side=28,
    long_side=28,
    backbone="lenet",
    sources={
        "iterations": "cited: Kurin et al. 2022, C.1.1, 100 epochs: of our 3500 images, 14 steps each; of their 50 000,"
        " 196",
        "extra_iterations": "ours: a third; they have no cross-stitch",
        "images": "cited: Kurin et al. 2022, C.1.1",
        "lr": "cited: Kurin et al. 2022, C.1.1, the best of three for all methods",
        "extra_lr": "ours: the same rate",
        "optimiser": "cited: Kurin et al. 2022, C.1.1, Adam",
        "momentum": "cited: the default of torch in their code, .9",
        "beta2": "cited: the default of torch in their code",
        "weight_decay": "cited: Kurin et al. 2022, 4.1.1, none",
        "bias_lr": "cited: their code, one rate for all",
        "init": "ours: He; theirs is torch's default start",
        "chunk": "ours: a batch fits any machine",
        "warmup": "cited: none",
        "decay": "ours: cosine; theirs is times .95 an epoch, to .006 at the end",
        "clip": "cited: none",
        "short_side": "cited: their code, the canvas of 36 pixels is made 28 wide; ours: with smoothing, theirs takes"
        " the nearest pixel",
        "long_side": "cited: the same",
        "mirror": "cited: none",
        "colour": "cited: none",
        "frozen": "cited: none",
        "loss_weight": "cited: Kurin et al. 2022, unitary scalarisation: the sum",
        "weighting": "cited: Kurin et al. 2022, unitary scalarisation",
        "task_options": "cited: Kurin et al. 2022, C.1.1, cross-entropy",
        "precision": "cited: float32",
        "backbone": "cited: Kurin et al. 2022, C.1.1, after Sener and Koltun 2018; ours: what its docstring says",
        "backbone_options": "cited: Kurin et al. 2022, 4.1.1, the published widths, dropout .5 in encoder and heads",
        "dataset_options": "ours: 3500, 500 and 1000 digits for their 50 000, 10 000 and 10 000; the last network is"
        " tested, theirs is the one that is best on val over the epochs",
    },
)

SPACE = SearchSpace(
    Pair("multimnist", TASKS, "image", dict.fromkeys(TASKS, "classification")),
    {"multimnist": "quick"},
    (SMOKE, QUICK, KURIN),
    (
        one_task(),
        *ensemble(),
        one_task_longer(),
        mtl_shared(),
        *every_split(POINTS),
        cross_stitch(False),
    ),
    short_list=("one-task", "split-fc4", "split-fc8", "cross-stitch"),
    more=alternatives(),
)
