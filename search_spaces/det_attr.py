"""Object detection and attribute prediction (Section 6), Fast R-CNN style."""

from mtlbench.enumerator import alternatives, standard_arms
from mtlbench.spec import Pair, Recipe, SearchSpace

SMALL = {"small": True, "width": 0.25, "fc": 256, "dropout": 0.0}
TASKS = ("detection", "attributes")

SMOKE = Recipe(
    "smoke", dict.fromkeys(TASKS, 8), 4, images=4, lr=0.01, clip=5.0, regions=16, curve_images=8,
    backbone_options={"small": True, "width": 0.1, "fc": 32},
    dataset_options={"rooms": {"train": 48, "val": 16, "test": 24}},
)  # fmt: skip
# Rate, mini-batch and width chosen on val with a small grid over the one-task networks and their times (Ours).
QUICK = Recipe(
    "quick", dict.fromkeys(TASKS, 850), 280, images=6, lr=0.06, extra_lr=0.002, warmup=20, clip=5.0, regions=24,
    curve_images=16, backbone_options={**SMALL, "width": 0.125}, dataset_options={"rooms": {"val": 300}},
)  # fmt: skip
SHORT = Recipe(
    "short", dict.fromkeys(TASKS, 600), 200, images=2, lr=0.02, extra_lr=0.0005, warmup=20, clip=5.0, regions=64,
    curve_images=16,
    short_side=160, long_side=240, backbone_options={"width": 0.25, "fc": 512},
    dataset_options={"voc2008": {"proposals": 128}},
)  # fmt: skip
LONG = Recipe(
    "long", dict.fromkeys(TASKS, 3500), 1000, images=4, lr=0.02, extra_lr=0.001, warmup=20, clip=5.0, regions=32,
    colour=0.2, curve_images=52, short_side=96, long_side=144, backbone_options=SMALL,
    dataset_options={"voc2008": {"proposals": 128}},
)  # fmt: skip
# gpu_hours: FLOPs of all arms at 10 TFLOP/s.
PAPER = Recipe(
    "paper", dict.fromkeys(TASKS, 40_000), 10_000, images=2, lr=1e-3, init="imagenet", chunk=2, decay="step",
    step_at=0.75, regions=64, fill_background=False, frozen=("conv1",), short_side=600, long_side=1000, curve_points=20,
    curve_images=200, gpu_hours=3.0, dataset_options={"voc2008": {"proposals": 2000, "proposal_size": 500}},
    sources={
        "iterations": "cited: Girshick 2015, 30k at the first rate and 10k at a tenth; ours for Splits and MTL-shared",
        "extra_iterations": "ours: Section 6 gives none",
        "images": "cited: Girshick 2015, Section 2.3",
        "lr": "cited: Girshick 2015, Section 2.3",
        "extra_lr": "ours: the same rate",
        "init": "cited: Girshick 2015, networks pretrained on ImageNet; text: cross-stitch from one-task, Section 5",
        "chunk": "ours: two images fit any GPU, in evaluation too",
        "momentum": "cited: Girshick 2015, Section 2.3",
        "weight_decay": "cited: Girshick 2015, Section 2.3",
        "bias_lr": "cited: Girshick 2015, Section 2.3; no decay on biases as the released solver",
        "warmup": "cited: none",
        "decay": "cited: Girshick 2015, a tenth after 30k",
        "step_at": "cited: Girshick 2015, 30k of 40k",
        "clip": "cited: none",
        "short_side": "cited: Girshick 2015, Section 4",
        "long_side": "cited: Girshick 2015, Section 4",
        "mirror": "cited: Girshick 2015, half of the images; ours: drawn at random",
        "colour": "cited: none",
        "regions": "cited: Girshick 2015, Section 2.3, 128 of two images",
        "fill_background": "cited: Girshick 2015, Section 2.3, background overlaps in [.1, .5) only",
        "frozen": "cited: the released CaffeNet model does not train conv1 (Split conv2 is then two one-task networks)",
        "loss_weight": "text: Section 6, Scaling losses: attributes by 1/64, which makes their sum a mean",
        "weighting": "text: Section 6, Scaling losses: fixed",
        "task_options": "cited: Girshick 2015, offsets normalised by class",
        "threads": "ours",
        "precision": "cited: float32",
        "backbone": "text: Section 6, AlexNet as Fast R-CNN's CaffeNet",
        "backbone_options": "cited: the published widths, dropout .5",
        "dataset_options": "cited: some 2000 boxes of selective search an image; ours: val is a fifth of train",
    },
)  # fmt: skip

# One cross-stitch unit per layer: one per channel "led to unstable learning" (Section 6).
SPACE = SearchSpace(
    Pair("det_attr", TASKS, "roi"), {"rooms": "quick", "voc2008": "paper"}, (SMOKE, QUICK, SHORT, LONG, PAPER),
    standard_arms(per_channel=False),
    short_list=("one-task", "split-conv3", "split-fc6", "split-fc8", "cross-stitch"),
    more=alternatives(),
)  # fmt: skip
