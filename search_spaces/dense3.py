"""Semantic segmentation, surface normals and depth: three dense tasks, FCN-32s style (Ours)."""

from dataclasses import replace

from mtlbench.authoring import Pair, Recipe, like

TASKS = ("semseg", "normals", "depth")
DATASETS = {"rooms": "quick", "nyuv2": "short", "mtan": "libmtl", "nyud_mt": "short"}
LIKE = like("semseg_sn", Pair("dense3", TASKS, "fcn"), DATASETS)

# The protocol of LibMTL (Lin and Zhang 2023), github.com/median-research-group/LibMTL, commit 4336804, examples/nyu.
LIBMTL = Recipe(
    "libmtl",
    dict.fromkeys(TASKS, 19_800),
    6600,
    images=8,
    lr=1e-4,
    optimiser="adam",
    weight_decay=1e-5,
    bias_lr=1.0,
    init="imagenet",
    decay="step",
    step_at=0.5,
    step_factor=0.5,
    mirror=False,
    task_options={"normals": {"labels": "vector"}, "depth": {"output": "metres"}},
    curve_points=20,
    decoder="deeplab",
    backbone="timm",
    backbone_options={"model": "resnet50.tv_in1k", "output_stride": 8},
    gpu_hours=37.0,
    sources={
        "iterations": "cited: results/resnet_results.pdf, 200 epochs, of 99 whole batches; ours: as many on nine tenths"
        " of train",
        "extra_iterations": "ours: a third; their networks all start from ImageNet",
        "images": "cited: results/resnet_results.pdf",
        "lr": "cited: results/resnet_results.pdf",
        "extra_lr": "ours: the same rate",
        "optimiser": "cited: results/resnet_results.pdf, Adam",
        "momentum": "cited: the default of torch in their code, .9",
        "beta2": "cited: the default of torch in their code",
        "weight_decay": "cited: results/resnet_results.pdf; ours: none on biases",
        "bias_lr": "cited: their code, one rate for all",
        "init": "cited: README.md, ImageNet; the heads start as torch has them, ours at 0 and at (0, 0, 1)",
        "chunk": "cited: a batch at once, as batch normalisation sees it",
        "warmup": "cited: none",
        "decay": "cited: results/resnet_results.pdf, a step after 100 epochs",
        "step_at": "cited: results/resnet_results.pdf, 100 of 200 epochs",
        "step_factor": "cited: results/resnet_results.pdf",
        "clip": "cited: none",
        "short_side": "cited: 288 x 384, as the files are",
        "long_side": "cited: 288 x 384, as the files are",
        "mirror": "cited: results/resnet_results.pdf, no augmentation",
        "balance": "cited: every image once an epoch",
        "colour": "cited: none",
        "frozen": "cited: none",
        "loss_weight": "cited: EW, the sum",
        "weighting": "cited: EW, the sum",
        "task_options": "cited: utils.py, cross-entropy, 1 minus the cosine, absolute error in metres; metrics over all"
        " pixels together; a normal counts where a part of it is not 0, theirs where the parts' sum is not",
        "threads": "ours",
        "precision": "cited: float32",
        "decoder": "cited: aspp.py, torchvision's DeepLabHead; ours: enlarged from where cells lie, theirs by corners",
        "backbone": "cited: README.md, ResNet-50, dilated from stride 8 on, torchvision's weights; ours: images are"
        " scaled as these ask, theirs are 0 to 1",
        "backbone_options": "cited: the same",
        "dataset_options": "ours: val is a tenth of train, in blocks; test is their val, of the last network as theirs",
    },
)
# The protocol of Navon et al. 2022 (Nash-MTL), github.com/AvivNavon/nash-mtl, commit cce1840, experiments/nyuv2.
NASH = replace(
    LIBMTL,
    name="nash",
    iterations=dict.fromkeys(TASKS, 79_600),
    extra_iterations=26_500,
    images=2,
    weight_decay=0.0,
    init="scratch",
    mirror=True,
    task_options={"normals": {"labels": "vector", "batches": 2}, "depth": {"output": "metres", "batches": 2}},
    decoder="linear",
    backbone_options={"model": "vgg16_bn"},
    gpu_hours=15.0,
    sources=LIBMTL.sources
    | {
        "iterations": "cited: trainer.py, 200 epochs, of 398 batches; ours: as many on nine tenths of train",
        "extra_iterations": "ours: a third",
        "images": "cited: trainer.py",
        "lr": "cited: trainer.py",
        "optimiser": "cited: trainer.py, Adam",
        "weight_decay": "cited: trainer.py, none",
        "init": "cited: models.py, none; theirs is Xavier's start, ours timm's",
        "decay": "cited: trainer.py, a step after 100 epochs",
        "step_at": "cited: trainer.py, 100 of 200 epochs",
        "step_factor": "cited: trainer.py",
        "mirror": "cited: data.py, half of the images; ours: without their crops of 1/1.2 and 1/1.5",
        "loss_weight": "cited: LS, the sum",
        "weighting": "cited: LS",
        "task_options": "cited: trainer.py, the same losses; depth and normals are means of the values of batches of 2,"
        " mIoU and pixel accuracy are over all pixels",
        "backbone": "ours: VGG-16 with batch normalisation, the encoder of SegNet; theirs has its decoder, too, and"
        " MTAN's attention (our arm mtan)",
        "backbone_options": "ours: the same",
        "dataset_options": "ours: val is a tenth of train, in blocks; test is their val, of the last network; theirs is"
        " the mean of the last 10 epochs",
    },
)

# Recipes as of semseg_sn, to which depth brings its own weight of 1; NYU-v2 gives depth where it is asked for it.
SPACE = replace(
    LIKE,
    recipes=(
        *(
            replace(recipe, dataset_options={**recipe.dataset_options, "nyuv2": {"depth": True}})
            for recipe in LIKE.recipes
        ),
        LIBMTL,
        NASH,
    ),
)
