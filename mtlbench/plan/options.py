"""`NAME=VALUE` on the command line: values are Python literals or plain words, never executed."""

from __future__ import annotations

import ast
import dataclasses
import fnmatch
import math
from collections.abc import Sequence

from mtlbench.errors import UserError
from mtlbench.plan.arms import check_arms, custom, matching, select
from mtlbench.plugins import class_of, is_file, unknown
from mtlbench.spec import Arm, Options, Recipe, SearchSpace, Trial


def keeping(trials: Sequence[Trial], globs: Sequence[str]) -> list[Trial]:
    """The trials; those whose arm matches one of the globs, under any of its names, keep their weights. Raises
    UserError."""
    arms = {name for glob in globs for name in matching(sorted({trial.arm for trial in trials}), glob)}
    keys = {trial.key for trial in trials if trial.arm in arms and not trial.average}
    return [dataclasses.replace(trial, keep_weights=True) if trial.key in keys else trial for trial in trials]


def chosen_arms(
    space: SearchSpace, all_splits: bool, all_schemes: bool, globs: Sequence[str], schemes: Sequence[str]
) -> tuple[Arm, ...]:
    """The arms that the options ask for, parents included; a glob means arms of `more` where it means no others.

    Raises UserError.
    """
    known, own = (*space.arms, *space.more), tuple(map(custom, schemes))
    everything = (*known, *(arm for arm in own if arm not in known))  # `--scheme nddr` is the arm that there is
    check_arms(everything)
    usual = [arm.name for arm in everything if arm not in space.more]
    names = [name for glob in globs for name in fnmatch.filter(usual, glob) or [glob]]
    if not globs:
        names = [arm.name for arm in space.arms] if all_splits or all_schemes else list(space.short_list)
    more = [arm.name for arm in space.more] if all_schemes else []
    return select(everything, [*names, *more, *(arm.name for arm in own)])


def weighted(recipe: Recipe, space: SearchSpace, texts: Sequence[str]) -> Recipe:
    """The recipe with the weights of losses that the texts ask for: "equal", "uncertainty" or "TASK=W,TASK=W".

    Raises UserError.
    """
    for text in (part.strip() for parts in texts for part in parts.split(",")):
        task, given, number = text.partition("=")
        if text == "uncertainty":
            recipe = dataclasses.replace(recipe, weighting=text)
        elif text == "equal":
            recipe = dataclasses.replace(recipe, loss_weight=dict.fromkeys(space.pair.tasks, 1.0))
        elif not given:
            raise UserError(f"--loss-weight {text!r}: write equal, uncertainty or {space.pair.tasks[0]}=0.5")
        elif task not in space.pair.tasks:
            raise unknown(f"task of {space.pair.name} (--loss-weight TASK=WEIGHT)", task, space.pair.tasks)
        else:
            weight = positive(number, f"--loss-weight {text}")
            recipe = dataclasses.replace(recipe, loss_weight=recipe.loss_weight | {task: weight})
    return recipe


def factors(text: str) -> tuple[float, ...]:
    """`0.3,1,3` as numbers; no text, none. Raises UserError."""
    return tuple(positive(part, f"--lr-grid {text}") for part in text.split(",") if text)


def positive(text: str, where: str) -> float:
    """A number above 0. Raises UserError."""
    try:
        if 0 < (number := float(text)) < math.inf:
            return number
    except ValueError:
        pass
    raise UserError(f"{where}: {text!r} is not a number above 0")


def changed(
    recipe: Recipe,
    space: SearchSpace,
    dataset: str,
    backbone: str,
    precision: str | None,
    data_options: Options,
    task_options: dict[str, Options],
) -> Recipe:
    """The recipe under the options of the command line. Raises UserError."""
    if backbone and backbone != recipe.backbone:
        recipe = dataclasses.replace(recipe, backbone=backbone, backbone_options={})
    for task in task_options:
        if task not in space.pair.tasks:
            raise unknown(f"task of {space.pair.name} (--task-option TASK.NAME=VALUE)", task, space.pair.tasks)
    tasks = {task: recipe.task_options.get(task, {}) | more for task, more in task_options.items()}
    name = name_of(dataset)
    data = recipe.dataset_options.get(name, {}) | data_options
    return dataclasses.replace(
        recipe,
        precision=precision or recipe.precision,
        task_options=recipe.task_options | tasks,
        dataset_options=recipe.dataset_options | ({name: data} if data else {}),
    )


def usual(space: SearchSpace) -> str:
    """The recipe for a data set that the space does not name: short, or the first."""
    names = [recipe.name for recipe in space.recipes]
    return "short" if "short" in names else names[0]


def name_of(dataset: str) -> str:
    """What a data set goes by in recipes: a file by its class, since paths are no part of an identity."""
    return class_of(dataset) if is_file(dataset) else dataset


def data_options_of(texts: Sequence[str], val_fraction: float | None) -> Options:
    """What --data-option and --val-fraction say. Raises UserError."""
    options = parse(texts, "--data-option")
    return options if val_fraction is None else options | {"val_fraction": val_fraction}


def parse(texts: Sequence[str], option: str) -> Options:
    """{name: value} of texts `NAME=VALUE`; True, 3, 0.5 and (1, 2) are read as such, all else is text. Raises
    UserError."""
    found: Options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UserError(f"{option} {text!r}: write NAME=VALUE")
        found[name.strip()] = literal(value.strip())
    return found


def parse_nested(texts: Sequence[str], option: str) -> dict[str, Options]:
    """{first: {second: value}} of texts `FIRST.SECOND=VALUE`. Raises UserError."""
    found: dict[str, Options] = {}
    for name, value in parse(texts, option).items():
        first, dot, second = name.partition(".")
        if not dot or not first or not second:
            raise UserError(f"{option} {name}={value}: write TASK.NAME=VALUE")
        found.setdefault(first, {})[second] = value
    return found


def literal(text: str) -> object:
    """The Python literal that a text is, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
