"""Arms, and how a search space becomes trials."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from mtlbench.errors import UserError
from mtlbench.plugins import BrokenFile, class_of, file_of, find, is_file, unknown
from mtlbench.spec import STARTS, Arm, Pair, Plugin, Recipe, Trial, as_data, derive_seed, identity_of, short_hash

BASELINE = "one-task"
MEMBER = "ensemble-member"  # trained for the ensemble only, hidden from tables and figures
SEARCH = "branching-search"  # trained for the tree only, hidden too
SPLIT_POINTS = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")  # Section 1.1, Figure 2


def one_task() -> Arm:
    """One network a task: the baseline and the parent of cross-stitch (Section 6.1)."""
    return Arm(BASELINE, joint=False)


def one_task_longer() -> Arm:
    """The one-task network trained on for the iterations that cross-stitch spends after its parents (Ours): the
    control that shows whether a gain is mere extra training."""
    return Arm("one-task-longer", joint=False, parents=(BASELINE,))


def ensemble() -> tuple[Arm, Arm]:
    """Two one-task networks of the same task, outputs averaged (Section 6.1), and its second member."""
    member = Arm(MEMBER, joint=False, member="ensemble")
    return member, Arm("ensemble", joint=False, parents=(BASELINE, MEMBER), average=True)


def every_split(points: Sequence[str] = SPLIT_POINTS) -> tuple[Arm, ...]:
    """Every Split architecture, from nearly separate to fully shared (Figure 2)."""
    return tuple(Arm(f"split-{point}", "split", {"at": point}) for point in points)


def mtl_shared(width: float = 0.25, name: str = "mtl-shared") -> Arm:
    """Two columns with a common latent layer, trained jointly from the start (Section 6.1)."""
    return Arm(name, "mtl_shared", {"width": width})


def cross_stitch(per_channel: bool, name: str = "cross-stitch", **options: Any) -> Arm:
    """Cross-stitch units between two finished one-task networks (Sections 3 to 5); `options` of the scheme."""
    return Arm(name, "cross_stitch", {"per_channel": per_channel, **options}, parents=(BASELINE,))


def alternatives() -> tuple[Arm, ...]:
    """Known alternatives to cross-stitch, and controls as wide as all one-task networks together (Ours)."""
    return (
        Arm("nddr", "nddr", parents=(BASELINE,)),
        Arm("sluice", "sluice"),
        Arm("mtan", "mtan"),
        Arm("soft-sharing", "soft_sharing"),
        Arm(SEARCH, "branching_search"),
        Arm("branching", "branching", parents=(SEARCH,)),
        Arm("one-task-wide", joint=False, start="scratch", wide=True),
        Arm("split-fc8-wide", "split", {"at": "fc8"}, start="scratch", wide=True),
    )


def custom(spec: str) -> Arm:
    """An arm for a scheme `FILE.py:Class`, `FILE.py:Class(rank=4)` or, built in, `name(own=0.5)`; the options are
    literals and come into the arm's name. Raises UserError."""
    place, options = called(spec)
    cls = scheme_class(place)
    if cls is Broken:
        return Arm(_kebab(class_of(place)), f"{file_of(place)}:{class_of(place)}", options)
    missing = [name for name in ("version", "groups", "unit") if not hasattr(cls, name)]
    if missing:
        raise UserError(f"--scheme {spec}: the class has no {' and no '.join(missing)}; type: mtlbench check {place}")
    known = inspect.signature(cls).parameters
    for option in options:
        if option not in known:
            raise unknown(f"option of {cls.__name__} in --scheme {spec}", option, known)
    words = [_kebab(cls.__name__), *(f"{option}-{value}" for option, value in options.items())]
    name = re.sub(r"[^\w.+-]+", "_", "-".join(words))
    scheme = f"{file_of(place)}:{cls.__name__}" if is_file(place) else place
    return Arm(name, scheme, options, parents=(BASELINE,) if getattr(cls, "from_one_task", False) else ())


def _kebab(name: str) -> str:
    return "".join(("-" + c.lower()) if c.isupper() else c for c in name).strip("-")


class Broken:
    """Stands for a user's scheme that cannot be imported: its trials are planned, and fail with the reason."""

    version = 0


def scheme_class(name: str) -> Any:
    """The class of a scheme, or Broken for a user's file that is there and cannot be imported. Raises UserError."""
    try:
        return find("scheme", name)
    except BrokenFile:
        return Broken


def called(spec: str) -> tuple[str, dict[str, Any]]:
    """`x.py:C(rank=4)` -> ("x.py:C", {"rank": 4}); only literals, nothing is evaluated. Raises UserError."""
    place, bracket, inside = spec.partition("(")
    if not bracket:
        return spec, {}
    try:
        call = ast.parse(f"f({inside}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError
        if not all(keyword.arg for keyword in call.keywords):  # **{...}
            raise ValueError
        return place.strip(), {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise UserError(f"--scheme {spec!r}: write FILE.py:Class(name=value, ...) with plain values") from error


def at_rates(arms: Sequence[Arm], factors: Sequence[float]) -> tuple[Arm, ...]:
    """The arms, and each trained one again at these times the recipe's learning rate, called `ARM@FACTOR`; all start
    from the parents at factor 1 (Ours)."""
    more = [
        dataclasses.replace(arm, name=f"{arm.name}@{factor:g}", rate=factor)
        for factor in factors if factor != 1 for arm in arms if not arm.average and arm.name not in (MEMBER, SEARCH)
    ]  # fmt: skip
    return (*arms, *more)


def standard_arms(per_channel: bool) -> tuple[Arm, ...]:
    """All arms that every pair is compared on."""
    return (one_task(), *ensemble(), one_task_longer(), mtl_shared(), *every_split(), cross_stitch(per_channel))


def select(arms: Iterable[Arm], globs: Sequence[str]) -> tuple[Arm, ...]:
    """The arms that match any of the globs, with their parents before them. Raises UserError where none matches."""
    by_name = {arm.name: arm for arm in arms}
    chosen: dict[str, Arm] = {}

    def take(name: str) -> None:
        for parent in by_name[name].parents:
            take(parent)
        chosen.setdefault(name, by_name[name])

    for glob in globs:
        for name in matching(by_name, glob):
            take(name)
    return tuple(chosen.values())


def matching(names: Iterable[str], glob: str) -> list[str]:
    """The names of arms that match. Raises UserError where none does."""
    names = list(names)
    hits = [name for name in names if fnmatchcase(name, glob)]
    if not hits:
        raise unknown("arm", glob, [name for name in names if name != MEMBER])
    return hits


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0-2`, `0,3,5` or `0-2,7`. Raises UserError."""
    seeds: list[int] = []
    try:
        for part in text.split(","):
            low, dash, high = part.partition("-")
            seeds += range(int(low), int(high) + 1) if dash else [int(low)]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) != len(seeds):
        raise UserError(f"--seeds {text!r} is not a list of different seeds; write for example 0-2 or 0,3,7")
    return tuple(seeds)


def plugin(kind: str, name: str, options: dict[str, Any]) -> Plugin:
    """A plug-in with the version that its class states now; a user's file is named by its class."""
    version = (scheme_class(name) if kind == "scheme" else find(kind, name)).version
    if is_file(name):
        return Plugin(class_of(name), options, version, f"{file_of(name)}:{class_of(name)}")
    return Plugin(name, options, version)


def defaults_of(kind: str, name: str) -> dict[str, Any]:
    """A plug-in's options and their defaults: resolved, the same network has one key however it was asked for."""
    cls = scheme_class(name) if kind == "scheme" else find(kind, name)
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def expand(
    pair: Pair, arms: Sequence[Arm], seeds: Sequence[int], dataset: Plugin, data_root: str, fingerprint: str,
    backbone: Plugin, recipe: Recipe, pretrained: Pretrained | None = None,
) -> list[Trial]:  # fmt: skip
    """All trials of the arms and seeds, parents first, everything resolved.

    `pretrained`: the weights of networks that start from ImageNet; needed where `needs_weights`.
    """
    starts = {"scratch": (backbone, "")}
    if pretrained:
        options = backbone.options | {"weights": pretrained.digest}
        starts["imagenet"] = dataclasses.replace(backbone, options=options), pretrained.file
    usual = starts[recipe.init][0]
    setting = short_hash([dataset.label, dataset.version, fingerprint, usual.name, usual.options, usual.version,
                          as_data(recipe)])  # fmt: skip
    trials: dict[tuple[str, int, str], Trial] = {}  # by arm, seed and task ("" for joint arms)
    for seed in seeds:
        for arm in arms:
            scheme = plugin("scheme", arm.scheme, defaults_of("scheme", arm.scheme) | arm.options)
            goes_on = bool(arm.parents) and not hasattr(scheme_class(arm.scheme), "adopt")
            for tasks in [pair.tasks] if arm.joint else [(task,) for task in pair.tasks]:
                parents = [trials[parent, seed, task] for parent in arm.parents
                           for task in (("",) if (parent, seed, "") in trials else tasks)]  # fmt: skip
                own, weights_file = starts[arm.start or recipe.init]
                own = dataclasses.replace(own, options=own.options | arm.backbone)
                trials[arm.name, seed, "" if arm.joint else tasks[0]] = Trial(
                    pair=pair.name, arm=arm.name, seed=seed, recipe_name=recipe.name, tasks=tasks, form=pair.form,
                    task_versions={task: find("task", pair.files.get(task, task)).version for task in tasks},
                    task_files={task: file for task, file in pair.files.items() if task in tasks},
                    dataset=dataset, data_root=data_root, fingerprint=fingerprint, backbone=own, scheme=scheme,
                    recipe=identity_of(recipe, tasks, goes_on, arm.rate),
                    iterations=_iterations(arm, tasks, recipe, goes_on), weights_file="" if goes_on else weights_file,
                    first=max(p.first + p.iterations for p in parents) if goes_on and not arm.average else 0,
                    net_seed=derive_seed(seed, arm.member) if arm.member else seed, average=arm.average,
                    parents=tuple(p.key for p in parents), setting=setting,
                )  # fmt: skip
    return list(trials.values())


def _iterations(arm: Arm, tasks: tuple[str, ...], recipe: Recipe, goes_on: bool) -> int:
    if arm.average:
        return 0
    longest = max(recipe.iterations[task] for task in tasks)
    if arm.matched:
        return longest + recipe.extra_iterations
    return recipe.extra_iterations if goes_on else longest


class Pretrained(NamedTuple):
    """A file of weights, as absolute text, and the digest of its content."""

    file: str
    digest: str


def needs_weights(arms: Iterable[Arm], recipe: Recipe) -> bool:
    """Whether a network starts from ImageNet."""
    return any((arm.start or recipe.init) == "imagenet" for arm in arms if not arm.average)


def started(arms: Sequence[Arm], recipe: Recipe, starts: Sequence[str]) -> tuple[tuple[Arm, ...], Recipe]:
    """The arms and the recipe under `--init [ARM=]START`.

    START alone is where networks without parents start: "scratch" or "imagenet"; "one-task" is how those that can have
    parents start anyway. `ARM=scratch` or `ARM=imagenet` takes a joint arm off its parents, for as many iterations as
    theirs and its own (Table 3), and names it `ARM-from-START`. Raises UserError.
    """
    chosen = list(arms)
    for text in starts:
        name, has_arm, start = text.rpartition("=")
        if start not in (*STARTS, BASELINE):
            raise unknown("start", start, (*STARTS, BASELINE))
        if not has_arm:
            recipe = dataclasses.replace(recipe, init=start) if start != BASELINE else recipe
            continue
        for hit in matching([arm.name for arm in chosen], name):
            place = next(i for i, arm in enumerate(chosen) if arm.name == hit)
            arm = chosen[place]
            if start == BASELINE and arm.parents:
                continue
            if not arm.joint or start == BASELINE:
                raise UserError(f"--init {text}: {hit} cannot start from {start}; joint arms take scratch or imagenet, "
                                "all networks without parents --init scratch or --init imagenet")  # fmt: skip
            chosen[place] = dataclasses.replace(
                arm, name=f"{hit}-from-{start}", parents=(), start=start, matched=bool(arm.parents)
            )
    return tuple(chosen), recipe


def check_arms(arms: Sequence[Arm]) -> None:
    """Every name once, every parent before its child; a network starts from per-task arms, and adopts what a joint arm
    has found. Raises UserError."""
    seen: dict[str, Arm] = {}
    for arm in arms:
        if arm.name in seen:
            raise UserError(f"two arms are called {arm.name!r}; give one of them another name")
        for parent in arm.parents:
            adopts = hasattr(scheme_class(arm.scheme), "adopt")
            if parent not in seen or seen[parent].joint != adopts:
                what = "a joint arm" if adopts else "a per-task arm"
                raise UserError(f"arm {arm.name}: its parent {parent!r} is not {what} that stands before it")
        seen[arm.name] = arm


