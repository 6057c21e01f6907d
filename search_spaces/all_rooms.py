"""All tasks of rooms in one network: two about boxes (form `roi`) and three dense ones (form `fcn`) (Ours)."""

from dataclasses import replace

from mtlbench.authoring import Pair, like

PAIR = Pair("all_rooms", ("detection", "attributes", "semseg", "normals", "depth"), "mixed")
LIKE = like("det_attr", PAIR, {"rooms": "quick"})

# Recipes as of det_attr, with the weight that semseg has in semseg_sn.
SPACE = replace(
    LIKE,
    recipes=tuple(
        replace(recipe, loss_weight={**recipe.loss_weight, "semseg": 2.0}) if recipe.loss_weight else recipe
        for recipe in LIKE.recipes
    ),
)
