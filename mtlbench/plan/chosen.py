"""The arms, the recipe and the trials that the options of a run choose from a search space."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Sequence

from mtlbench.errors import UserError
from mtlbench.plan.arms import check_arms, make_custom, match, select
from mtlbench.plan.backbones import parse_backbone
from mtlbench.plan.options import LossWeights, RunOptions
from mtlbench.plan.spaces import recipe_of
from mtlbench.plugins import class_of, find, make_unknown
from mtlbench.spec import Arm, Recipe, SearchSpace, Trial, is_file

TUNED = "-tune"  # in the name of a recipe, before the number of settings


def parse_tuned(recipe: str) -> tuple[str, int]:
    """The recipe's own name and its number of settings, from what tables and commands to copy call it.

    >>> parse_tuned("quick-tune6"), parse_tuned("quick")
    (('quick', 6), ('quick', 0))
    """
    name, _, number = recipe.rpartition(TUNED)
    return (name, int(number)) if name and number.isdecimal() and int(number) > 1 else (recipe, 0)


def choose_dataset(space: SearchSpace, dataset: str) -> str:
    """The data set of that name, the space's first where none is named. Raises UserError."""
    dataset = dataset or next(iter(space.datasets))
    if dataset not in space.datasets and not is_file(dataset):
        raise make_unknown(f"data set for {space.pair.name}", dataset, space.datasets)
    return dataset


def choose_recipe(space: SearchSpace, dataset: str, options: RunOptions) -> Recipe:
    """The recipe that the options name, or the data set's, under all options that change it. Raises UserError."""
    name, budget = parse_tuned(options.recipe)
    recipe = recipe_of(space, name or space.datasets.get(dataset) or default_recipe(space))
    if budget := options.tune or budget:
        recipe = dataclasses.replace(recipe, name=f"{recipe.name}{TUNED}{budget}", tune=budget)
    backbone, given = parse_backbone(options.backbone or recipe.backbone)
    other = backbone != recipe.backbone or bool(given)
    if recipe.init == "pretrained" and (other or not hasattr(find("dataset", dataset), "pretrained")):
        recipe = start_from(recipe, "scratch")  # there is no trunk
    if other:
        recipe = dataclasses.replace(recipe, backbone=backbone, backbone_options=given)
    if options.batch_norm:
        own = recipe.backbone_options | {"batch_norm": options.batch_norm}
        recipe = dataclasses.replace(recipe, backbone_options=own)
    check_tasks(space, options.task_options, "--task-option TASK.NAME=VALUE")
    tasks = {task: recipe.task_options.get(task, {}) | dict(more) for task, more in options.task_options.items()}
    name = name_in_recipes(dataset)
    data = recipe.dataset_options.get(name, {}) | dict(options.data_options)
    if options.val_fraction is not None:
        data["val_fraction"] = options.val_fraction
    recipe = dataclasses.replace(
        recipe,
        precision=options.precision or recipe.precision,
        decoder=options.decoder or recipe.decoder,
        balance=recipe.balance if options.balance is None else options.balance,
        task_options=recipe.task_options | tasks,
        dataset_options=recipe.dataset_options | ({name: data} if data else {}),
    )
    recipe = with_loss_weights(recipe, space, options.loss_weights)
    check_together(recipe, options)
    return recipe


def check_together(recipe: Recipe, options: RunOptions) -> None:
    """Raises UserError for a recipe that tunes or learns what an option varies, however the recipe came to it."""
    if recipe.tune and options.lr_grid:
        raise UserError("tune chooses learning rates and loss weights itself; leave out lr_grid")
    if recipe.tune and options.loss_weight_grid:
        raise UserError("a grid of loss weights and tuned ones are not trained at once; leave one of them out")
    if recipe.weighting != "fixed" and options.loss_weight_grid:
        raise UserError("a grid of loss weights says nothing where networks learn theirs; leave one of them out")
    if recipe.weighting != "fixed" and options.weightings:
        raise UserError("--weighting and learned loss weights (uncertainty) are two answers; leave one of them out")


def start_from(recipe: Recipe, start: str) -> Recipe:
    """The recipe with networks that start there (one of STARTS), and with what it changes for that."""
    if start == recipe.init:
        return recipe
    if start == "pretrained":
        return dataclasses.replace(recipe, init=start)
    return dataclasses.replace(recipe, **recipe.from_scratch | {"init": start, "from_scratch": {}})


def check_tasks(space: SearchSpace, tasks: Iterable[str], option: str) -> None:
    """Raises UserError for a task that the pair lacks."""
    for task in tasks:
        if task not in space.pair.tasks:
            raise make_unknown(f"task of {space.pair.name} ({option})", task, space.pair.tasks)


def with_loss_weights(recipe: Recipe, space: SearchSpace, weights: LossWeights) -> Recipe:
    """The recipe with these weights of losses. Raises UserError for a task that the pair lacks."""
    check_tasks(space, weights.tasks, "--loss-weight TASK=WEIGHT")
    start = dict.fromkeys(space.pair.tasks, 1.0) if weights.equal else recipe.loss_weight
    weighting = "uncertainty" if weights.uncertainty else recipe.weighting
    return dataclasses.replace(recipe, weighting=weighting, loss_weight=start | dict(weights.tasks))


def default_recipe(space: SearchSpace) -> str:
    """The recipe for a data set that the space does not name: short, or the first."""
    names = [recipe.name for recipe in space.recipes]
    return "short" if "short" in names else names[0]


def name_in_recipes(dataset: str) -> str:
    """What a data set goes by in recipes: a file by its class, since paths are no part of an identity."""
    return class_of(dataset) if is_file(dataset) else dataset


def choose_arms(
    space: SearchSpace,
    all_splits: bool,
    all_schemes: bool,
    globs: Sequence[str],
    schemes: Sequence[str],
    trees: Sequence[Arm] = (),
    besides: Sequence[str] = (),
) -> tuple[Arm, ...]:
    """The arms that the options ask for, parents included; a glob means arms of `more` where it means no others.

    `trees` are asked for where there are no globs; globs `besides` add to all others. Raises UserError.
    """
    known, own = (*space.arms, *space.more), tuple(map(make_custom, schemes))
    known += tuple(tree for tree in trees if tree.name not in {arm.name for arm in known})
    everything = (*known, *(arm for arm in own if arm not in known))  # `--scheme nddr` is the arm that there is
    check_arms(everything)
    usual = [arm.name for arm in everything if arm not in space.more]
    names = [name for glob in globs for name in fnmatch.filter(usual, glob) or [glob]]
    if not globs:
        names = [arm.name for arm in space.arms] if all_splits or all_schemes else list(space.short_list)
        names += [arm.name for arm in trees]
    more = [arm.name for arm in space.more] if all_schemes else []
    return select(everything, [*names, *more, *(arm.name for arm in own), *besides])


def mark_to_keep(trials: Sequence[Trial], globs: Sequence[str]) -> list[Trial]:
    """The trials; those whose arm matches one of the globs, under any of its names, keep their weights. Raises
    UserError."""
    arms = {name for glob in globs for name in match(sorted({trial.arm for trial in trials}), glob)}
    keys = {trial.key for trial in trials if trial.arm in arms and not trial.average}
    return [dataclasses.replace(trial, keep_weights=True) if trial.key in keys else trial for trial in trials]
