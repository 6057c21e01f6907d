"""The arms that there are, and which of them a command asks for."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from mtlbench.arm_names import BASELINE, SPLIT_POINTS
from mtlbench.errors import UserError
from mtlbench.plan.tuning import weight_lattice
from mtlbench.plugins import Broken, class_of, file_of, find, make_unknown, parse_call, scheme_class
from mtlbench.spec import Arm, Family, Options, Purpose, is_file, plain_arm

MEMBER = "ensemble-member"
SEARCH = "branching-search"
WEIGHS = ("combine", "weights", "aggregate")  # what a weighting has one of


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
    """Two columns with a common latent layer, trained jointly from the start (Section 6.1); under another name than its
    own a variant."""
    return _vary(Arm(name, "mtl_shared", {"width": width}))


def cross_stitch(per_channel: bool, name: str = "cross-stitch", **options: Any) -> Arm:
    """Cross-stitch units between two finished one-task networks (Sections 3 to 5); `options` of the scheme; under
    another name than its own a variant."""
    return _vary(Arm(name, "cross_stitch", {"per_channel": per_channel, **options}, parents=(BASELINE,)))


def _vary(arm: Arm) -> Arm:
    """The arm of a scheme of the package, as a variant of that scheme's plain arm where it has another name."""
    plain = plain_arm(arm.scheme, arm.options)
    return arm if arm.name == plain else dataclasses.replace(arm, variant_of=plain)


def alternatives() -> tuple[Arm, ...]:
    """Known alternatives to cross-stitch, and controls as wide as all one-task networks together (Ours)."""
    return (
        Arm("nddr", "nddr", parents=(BASELINE,)),
        Arm("sluice", "sluice"),
        Arm("mtan", "mtan"),
        Arm("mmoe", "mmoe"),
        Arm("ple", "ple"),
        Arm("cgc", "ple", {"progressive": False}, variant_of="ple"),
        Arm("dselect-k", "dselect_k"),
        Arm("adapters", "adapters"),
        Arm("soft-sharing", "soft_sharing"),
        Arm("distillation", "distillation", parents=(BASELINE,)),
        Arm("task-arithmetic", "task_arithmetic", parents=(BASELINE,)),
        Arm("ties", "ties", parents=(BASELINE,)),
        Arm(SEARCH, "branching_search"),
        Arm("branching", "branching", parents=(SEARCH,)),
        Arm("one-task-wide", joint=False, start="scratch", wide=True),
        Arm("split-fc8-wide", "split", {"at": "fc8"}, start="scratch", wide=True),
    )


def is_merged(arm: Arm) -> bool:
    """Whether its networks are made of finished ones and never trained."""
    return hasattr(scheme_class(arm.scheme), "merge")


def goes_on(arm: Arm) -> bool:
    """Whether its networks start from its parents' weights, rather than learn from what these have found or see."""
    cls = scheme_class(arm.scheme)
    return bool(arm.parents) and not hasattr(cls, "adopt") and not has_teachers(arm)


def has_teachers(arm: Arm) -> bool:
    """Whether its networks learn beside its parents' networks."""
    return bool(getattr(scheme_class(arm.scheme), "teachers", False))


def make_custom(spec: str) -> Arm:
    """An arm for a scheme `FILE.py:Class`, `FILE.py:Class(rank=4)` or, built in, `name(own=0.5)`; the options are
    literals and come into the arm's name. Raises UserError."""
    place, options = parse_call(spec)
    cls = scheme_class(place)
    if cls is Broken:
        return Arm(_kebab(class_of(place)), f"{file_of(place)}:{class_of(place)}", options)
    missing = [name for name in ("version", "groups", "unit") if not hasattr(cls, name)]
    if missing:
        raise UserError(f"--scheme {spec}: the class has no {' and no '.join(missing)}; type: mtlbench check {place}")
    _check_options(cls, options, f"--scheme {spec}")
    name = _with_options(_kebab(cls.__name__), options)
    scheme = f"{file_of(place)}:{cls.__name__}" if is_file(place) else place
    needs_parents = any(getattr(cls, name, False) for name in ("from_one_task", "teachers"))
    arm = Arm(name, scheme, options, parents=(BASELINE,) if needs_parents else ())
    return arm if is_file(place) else _vary(arm)


def _check_options(cls: Any, options: Options, asked: str) -> None:
    """Raises UserError for an option that the class does not take."""
    known = inspect.signature(cls).parameters
    for option in options:
        if option not in known:
            raise make_unknown(f"option of {cls.__name__} in {asked}", option, known)


def _with_options(name: str, options: Options) -> str:
    """`cagrad-c-0.4`."""
    return re.sub(r"[^\w.+-]+", "_", "-".join([name, *(f"{option}-{value}" for option, value in options.items())]))


def _kebab(name: str) -> str:
    """`CrossStitch` -> `cross-stitch`, `MTAN` -> `mtan`, `MTANPlus` -> `mtan-plus`, `Split2` -> `split2`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[-_]+", "-", words).strip("-").lower()


def at_methods(arms: Sequence[Arm], methods: Sequence[str]) -> tuple[Arm, ...]:
    """The arms, and each joint one that is compared again with each of these weightings of its tasks (`upgrad`,
    `cagrad(c=0.2)`, `FILE.py:Class`), called `ARM@WEIGHTING`; all start from the plain arms' parents (Ours). Raises
    UserError."""
    more = []
    for spec in methods:
        place, options = parse_call(spec, "--weighting")
        cls = find("weighting", place)
        if not hasattr(cls, "version") or not any(hasattr(cls, name) for name in WEIGHS):
            needs = "version, and combine, weights or aggregate"
            raise UserError(f"--weighting {spec}: {cls.__name__} lacks some of {needs} (mtlbench/contracts.py)")
        _check_options(cls, options, f"--weighting {spec}")
        name = _with_options(_kebab(cls.__name__) if is_file(place) else place.replace("_", "-"), options)
        method = f"{file_of(place)}:{cls.__name__}" if is_file(place) else place
        more += [
            dataclasses.replace(
                arm, name=f"{arm.name}@{name}", method=method, method_options=options, variant_of=arm.name
            )
            for arm in _joint_ones(arms)
        ]
    if methods and not more:
        raise UserError("--weighting weighs the tasks of joint arms, and none is chosen; add --arm split-fc8, say")
    check_arms(everything := (*arms, *more))
    return everything


def at_rates(arms: Sequence[Arm], factors: Sequence[float]) -> tuple[Arm, ...]:
    """The arms, and each trained one again at these times the recipe's learning rate, called `ARM@FACTOR`; all start
    from the parents at factor 1 (Ours)."""
    more = [
        dataclasses.replace(arm, name=f"{arm.name}@{factor:g}", rate=factor, variant_of=arm.name, purpose=Purpose.RATES)
        for factor in factors
        if factor != 1
        for arm in arms
        if arm.family not in (Family.ENSEMBLE, Family.PARENT) and not is_merged(arm)
    ]
    return (*arms, *more)


def at_weightings(arms: Sequence[Arm], tasks: Sequence[str], levels: int) -> tuple[Arm, ...]:
    """The arms, and each joint one that is compared again at the weightings of `tuning.weight_lattice` but (1, 1 ..),
    called `ARM~0.2:1.8` (the tasks' factors in their order); all start from the parents at the recipe's own (Ours)."""
    points = [point for point in weight_lattice(tasks, levels) if set(point.values()) != {1.0}]
    more = [
        dataclasses.replace(
            arm,
            name=f"{arm.name}~{':'.join(f'{factor:.3g}' for factor in point.values())}",
            loss_weight={**point},
            variant_of=arm.name,
            purpose=Purpose.WEIGHTINGS,
        )
        for point in points
        for arm in _joint_ones(arms)
        if not arm.method  # the grid is of fixed weights
    ]
    return (*arms, *more)


def _joint_ones(arms: Sequence[Arm]) -> list[Arm]:
    """The networks of all tasks that are trained and compared: those whose tasks can be weighed against each other."""
    joint = [arm for arm in arms if arm.joint and arm.purpose == Purpose.COMPARED and not is_merged(arm)]
    return [arm for arm in joint if arm.family not in (Family.ENSEMBLE, Family.PARENT)]


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
        for name in match(by_name, glob):
            take(name)
    return tuple(chosen.values())


def match(names: Iterable[str], glob: str) -> list[str]:
    """The names of arms that match. Raises UserError where none does."""
    names = list(names)
    hits = [name for name in names if fnmatchcase(name, glob)]
    if not hits:
        raise make_unknown("arm", glob, [name for name in names if name != MEMBER])
    return hits


def check_arms(arms: Sequence[Arm]) -> None:
    """Every name once, every parent before its child; a network starts from per-task arms, and adopts what a joint arm
    has found. Raises UserError."""
    seen: dict[str, Arm] = {}
    for arm in arms:
        if arm.name in seen:
            raise UserError(f"two arms are called {arm.name!r}; give one of them (or its class) another name")
        for parent in arm.parents:
            adopts = hasattr(scheme_class(arm.scheme), "adopt")
            if parent not in seen or seen[parent].joint != adopts:
                what = "a joint arm" if adopts else "a per-task arm"
                raise UserError(f"arm {arm.name}: its parent {parent!r} is not {what} that stands before it")
        seen[arm.name] = arm
