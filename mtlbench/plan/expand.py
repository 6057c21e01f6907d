"""Arms, and how a search space becomes trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from mtlbench.arm_names import BASELINE
from mtlbench.errors import UserError
from mtlbench.plan.arms import goes_on, has_teachers, is_merged, match
from mtlbench.plan.chosen import start_from
from mtlbench.plan.options import Start
from mtlbench.plan.tuning import Setting
from mtlbench.plugins import defaults_of, find, list_names, make_plugin, make_unknown
from mtlbench.spec import (
    STARTS,
    Arm,
    Options,
    Pair,
    Plugin,
    Recipe,
    Trial,
    as_data,
    derive_seed,
    is_file,
    recipe_of_trial,
    short_hash,
)

NO_FILES: Mapping[str, Pretrained] = {}
Settings = Mapping[tuple[str, str], Setting]  # of (arm, task); of a joint network, which has all tasks, of (arm, "")
NO_SETTINGS: Settings = {}
Cell = tuple[str, int, str]  # arm, seed, task ("" of joint arms)


class DataSource(NamedTuple):
    """The data set of trials: its plug-in, its folder as absolute text ("" = it needs none), and the fingerprint of its
    files."""

    plugin: Plugin
    root: str
    fingerprint: str


def expand(
    pair: Pair,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    data: DataSource,
    backbone: Plugin,
    recipe: Recipe,
    pretrained: Mapping[str, Pretrained] = NO_FILES,
    settings: Settings = NO_SETTINGS,
) -> list[Trial]:
    """All trials of the arms and seeds, parents first, everything resolved.

    `pretrained`: the weights of networks that start from "imagenet" or "pretrained", for `starts_with_weights`.
    `settings`: of arms that are not trained at the recipe's rate and weights of losses. Raises UserError.
    """
    for name in recipe.scheme_options:
        if name not in list_names("scheme") and not is_file(name):
            raise make_unknown(f"scheme (scheme_options of recipe {recipe.name})", name, list_names("scheme"))
    starts = _resolve_starts(backbone, pretrained)
    setting = _hash_setting(data, starts[recipe.init][0], recipe)
    trials: dict[Cell, Trial] = {}
    for seed in seeds:
        for arm in arms:
            scheme = make_plugin("scheme", arm.scheme, _scheme_options(arm, recipe))
            from_parents = goes_on(arm)
            own = _tasks_of(arm, pair)
            for tasks in [own] if arm.joint else [(task,) for task in own]:
                parents = [trials[cell] for cell in _parents_of(arm, seed, tasks, trials)]
                usual, weights_file, licence = starts[arm.start or recipe.init]
                place = "" if arm.joint else tasks[0]
                rate, factors, tuned = _hyperparameters(arm, settings.get((arm.name, place), Setting()))
                trials[arm.name, seed, place] = Trial(
                    pair=pair.name,
                    arm=arm.name,
                    seed=seed,
                    recipe_name=recipe.name,
                    tasks=tuple(_make_task(task, pair, recipe) for task in tasks),
                    form=pair.form,
                    dataset=data.plugin,
                    data_root=data.root,
                    fingerprint=data.fingerprint,
                    backbone=dataclasses.replace(usual, options=usual.options | arm.backbone),
                    scheme=scheme,
                    recipe=recipe_of_trial(recipe, tasks, from_parents, rate, _loss_weights(pair, recipe, factors)),
                    iterations=_iterations(arm, tasks, recipe, from_parents),
                    licence=licence,
                    weights_file="" if from_parents and not is_merged(arm) else weights_file,
                    first=max(p.first + p.iterations for p in parents) if from_parents and not arm.average else 0,
                    net_seed=derive_seed(seed, arm.member) if arm.member else seed,
                    average=arm.average,
                    parents=tuple(p.key for p in parents),
                    setting=setting,
                    family=arm.family.value,
                    variant_of=arm.variant_of,
                    rate=rate,
                    weighting=factors,
                    tuned=tuned,
                    purpose=arm.purpose.value,
                    method=_make_method(arm),
                    sampled=pair.tasks if recipe.balance else (),
                )
    return list(trials.values())


def _parents_of(arm: Arm, seed: int, tasks: Sequence[str], trials: Collection[Cell]) -> list[Cell]:
    """The trials that it starts from: one of a joint arm, one a task of another."""
    joint = {parent: (parent, seed, "") for parent in arm.parents}
    return [
        cell
        for parent in arm.parents
        for cell in ([joint[parent]] if joint[parent] in trials else [(parent, seed, task) for task in tasks])
    ]


def _tasks_of(arm: Arm, pair: Pair) -> tuple[str, ...]:
    """Those that an arm is trained for. Raises UserError for one that the pair lacks."""
    for task in arm.tasks:
        if task not in pair.tasks:
            raise make_unknown(f"task of {pair.name} (arm {arm.name})", task, pair.tasks)
    return arm.tasks or pair.tasks


def _scheme_options(arm: Arm, recipe: Recipe) -> Options:
    """All options of an arm's scheme: the arm's, else the recipe's, else the scheme's own. The package's rates of units
    are for SGD, whose steps are as large as gradients; under Adam, whose steps are as large as the rate, one that
    neither arm nor recipe names is 1 (Ours)."""
    usual = defaults_of("scheme", arm.scheme)
    if recipe.optimiser != "sgd" and "lr" in usual and not is_file(arm.scheme):
        usual["lr"] = 1.0
    return usual | recipe.scheme_options.get(arm.scheme, {}) | arm.options


def _hyperparameters(arm: Arm, setting: Setting) -> tuple[float, dict[str, float], int]:
    """Times the recipe's rate, {task: times its loss's weight}, and of how many settings these were best."""
    return arm.rate * setting.rate, {**arm.loss_weight, **setting.loss_weight}, setting.best_of


def _make_method(arm: Arm) -> Plugin | None:
    """The weighting of an arm's tasks."""
    if not arm.method:
        return None
    return make_plugin("weighting", arm.method, defaults_of("weighting", arm.method) | arm.method_options)


def _make_task(name: str, pair: Pair, recipe: Recipe) -> Plugin:
    """A task of the pair under the recipe's options."""
    file = pair.files.get(name, "")
    return Plugin(name, recipe.task_options.get(name, {}), find("task", file or name).version, file)


def _loss_weights(pair: Pair, recipe: Recipe, factors: Mapping[str, float]) -> dict[str, float]:
    """{task: the weight of its loss} of tasks whose own is multiplied by something else than 1. Raises UserError."""
    weights = {}
    for name, factor in factors.items():
        if factor != 1:
            usual = recipe.loss_weight.get(name, getattr(find("task", pair.files.get(name, name)), "weight", None))
            if usual is None:
                raise UserError(f"task {name}: its class has no weight for its loss to be multiplied")
            weights[name] = float(f"{usual * factor:.6g}")
    return weights


def _resolve_starts(backbone: Plugin, pretrained: Mapping[str, Pretrained]) -> dict[str, tuple[Plugin, str, str]]:
    """{start: the backbone with the options of that start, its file of weights, and their licence}; "" without one."""
    starts = {"scratch": (backbone, "", "")}
    for start, weights in pretrained.items():
        options = backbone.options | weights.options | {"weights": weights.digest}
        starts[start] = dataclasses.replace(backbone, options=options), weights.file, weights.licence
    return starts


def _hash_setting(data: DataSource, usual: Plugin, recipe: Recipe) -> str:
    """Hash of the data, the backbone that networks usually start from, and the whole recipe."""
    plugin = data.plugin
    return short_hash(
        [plugin.label, plugin.version, data.fingerprint, usual.name, usual.options, usual.version, as_data(recipe)]
    )


def _iterations(arm: Arm, tasks: tuple[str, ...], recipe: Recipe, from_parents: bool) -> int:
    if arm.average or is_merged(arm):
        return 0
    longest = max(recipe.iterations[task] for task in tasks)
    if arm.matched:
        return longest + recipe.extra_iterations
    return recipe.extra_iterations if from_parents else longest


class Pretrained(NamedTuple):
    """A file of weights, as absolute text, the digest of its content, options of the backbone that go with it, and the
    licence of published ones."""

    file: str
    digest: str
    options: Options = {}
    licence: str = ""


def starts_with_weights(arms: Iterable[Arm], recipe: Recipe) -> set[str]:
    """Those of STARTS that need a file and that a network has: the recipe's own, even where all arms have others,
    since all are compared in its setting."""
    return {recipe.init, *(arm.start for arm in arms if not arm.average)} - {"scratch", ""}


def apply_init(arms: Sequence[Arm], recipe: Recipe, starts: Sequence[Start]) -> tuple[tuple[Arm, ...], Recipe]:
    """The arms and the recipe under `--init [ARM=]START`.

    START alone is where networks without parents start, one of STARTS; "one-task" is how those that can have parents
    start anyway. `ARM=START` takes a joint arm off its parents, for as many iterations as theirs and its own (Table 3),
    and names it `ARM-from-START`. Raises UserError.
    """
    chosen = list(arms)
    for start, name in starts:
        if not name:
            recipe = start_from(recipe, start) if start != BASELINE else recipe
            continue
        for hit in match([arm.name for arm in chosen], name):
            place = next(i for i, arm in enumerate(chosen) if arm.name == hit)
            arm = chosen[place]
            if start == BASELINE and arm.parents:
                continue
            if not arm.joint or start == BASELINE or is_merged(arm) or has_teachers(arm):
                raise UserError(
                    f"--init {name}={start}: {hit} cannot start from {start}; joint arms take {' or '.join(STARTS)}, "
                    "all networks without parents --init with one of these alone"
                )
            name_of_start, matched = f"{hit}-from-{start}", bool(arm.parents)
            chosen[place] = dataclasses.replace(
                arm, name=name_of_start, parents=(), start=start, matched=matched, variant_of=hit
            )
    return tuple(chosen), recipe
