"""PASCAL-Context: semantic segmentation, parts of people, saliency and surface normals (Maninis et al. 2019)."""

from dataclasses import replace

from mtlbench.authoring import Pair, like

TASKS = ("semseg", "parts", "saliency", "normals")
LIKE = like("semseg_sn", Pair("pascal4", TASKS, "fcn", {"parts": "semseg"}), {"pascal_mt": "short"})
# Of Vandenhende et al. 2021 and all who use their code.
WEIGHTS = {"semseg": 1.0, "parts": 2.0, "saliency": 5.0, "normals": 10.0}
SOURCES = {"loss_weight": "cited: Vandenhende et al. 2021; ours: normals are classes, theirs an absolute error"}
SPACE = replace(
    LIKE,
    recipes=tuple(
        replace(recipe, loss_weight=WEIGHTS, sources=SOURCES)
        for recipe in LIKE.recipes
        if recipe.name in ("smoke", "short", "long")
    ),
)
