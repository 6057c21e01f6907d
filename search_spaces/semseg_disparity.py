"""Semantic segmentation and inverse depth of streets: Cityscapes as Liu, Johns and Davison 2019 and LibMTL have it."""

from dataclasses import replace

from mtlbench.authoring import Pair, like, load_space

TASKS = ("semseg", "disparity")
DATASETS = {"mtan": "libmtl", "cityscapes": "short"}
LIKE = like("semseg_sn", Pair("semseg_disparity", TASKS, "fcn"), DATASETS)
OF_ROOMS = {recipe.name: recipe for recipe in load_space("dense3").recipes}
FILES = "cited: 128 x 256, as the files are"

# As of NYUv2, but for what the examples for Cityscapes have otherwise: LibMTL's, commit 4336804, examples/cityscapes.
LIBMTL = replace(
    OF_ROOMS["libmtl"],
    iterations=dict.fromkeys(TASKS, 9200),
    extra_iterations=3100,
    images=64,
    task_options={},
    gpu_hours=40.0,
    sources=OF_ROOMS["libmtl"].sources
    | {
        "iterations": "cited: main.py, 200 epochs, of 46 whole batches; ours: as many on nine tenths of train",
        "images": "cited: main.py",
        "short_side": FILES,
        "long_side": FILES,
        "task_options": "cited: utils.py, cross-entropy, absolute error; metrics over all pixels together",
    },
)
# FAMO's (Liu et al. 2023), github.com/Cranial-XIX/FAMO, commit 5b92c20, experiments/cityscapes.
NASH = replace(
    OF_ROOMS["nash"],
    iterations=dict.fromkeys(TASKS, 74_400),
    extra_iterations=24_800,
    images=8,
    task_options={"disparity": {"batches": 8}},
    gpu_hours=12.0,
    sources=OF_ROOMS["nash"].sources
    | {
        "iterations": "cited: FAMO, trainer.py, 200 epochs, of 372 batches; ours: as many on nine tenths of train",
        "images": "cited: FAMO, trainer.py",
        "short_side": FILES,
        "long_side": FILES,
        "task_options": "cited: FAMO, trainer.py, the same losses; inverse depth has the mean of the values of batches"
        " of 8, mIoU and pixel accuracy are over all pixels",
    },
)

OTHERS = tuple(recipe for recipe in LIKE.recipes if recipe.name in ("smoke", "short", "long"))
SPACE = replace(LIKE, recipes=(*OTHERS, LIBMTL, NASH))
