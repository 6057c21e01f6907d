"""Semantic segmentation, surface normals and depth: three dense tasks, FCN-32s style (Ours)."""

from dataclasses import replace

from mtlbench.authoring import Pair, like

LIKE = like("semseg_sn", Pair("dense3", ("semseg", "normals", "depth"), "fcn"), {"rooms": "quick", "nyuv2": "short"})

# Recipes as of semseg_sn, to which depth brings its own weight of 1; NYU-v2 gives depth where it is asked for it.
SPACE = replace(
    LIKE,
    recipes=tuple(
        replace(recipe, dataset_options={**recipe.dataset_options, "nyuv2": {"depth": True}}) for recipe in LIKE.recipes
    ),
)
