"""Commands that train these trials again, or what a sentence says is missing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mtlbench.analysis.affinity import Affinities
from mtlbench.analysis.arms import without_parents
from mtlbench.analysis.comparison import Case
from mtlbench.analysis.trade_offs import TradeOffs, weights_text
from mtlbench.arm_names import BASELINE, arm_order
from mtlbench.plan import spaces
from mtlbench.plan.backbones import words_of
from mtlbench.plan.chosen import parse_tuned
from mtlbench.plan.tables import DATASET, space_for
from mtlbench.plan.tuning import weight_lattice
from mtlbench.plugins import list_names
from mtlbench.report.claims import IMAGENET
from mtlbench.spec import ADDED, Family, Pair, Plugin, Recipe, SearchSpace

ABLATIONS = {"semseg_sn": "ablations", "det_attr": "ablations_det_attr"}  # pair -> the space with its other arms
MOST_LEVELS = 15  # of a lattice of weightings that is looked for


def seeds_of(case: Case) -> list[str]:
    """Seeds of the visible arms, in order."""
    found = without_parents(case.frame)["seed"].unique()
    return [f"{seed:g}" for seed in sorted(found)]


def commands_of(case: Case) -> list[str]:
    """What trains these trials and makes this report; the rest of the options comes from the recipe."""
    arms = {str(arm) for arm in case.frame["arm"].unique()} | {str(failure["arm"]) for failure in case.failures}
    written: list[str] = []
    left = set(arms)
    for name in [case.pair, *([ABLATIONS[case.pair]] if case.pair in ABLATIONS else [])]:
        space = _space(case, name)
        if space is None:
            continue
        own = {arm.name for arm in space.arms}
        if case.pick["backbone"].startswith("timm("):  # Splits are at its stages
            splits = case.kinds.splits() if name == case.pair else []
            own = {arm.name for arm in space.arms if arm.family != Family.SPLIT} | {*splits}
        along = _find_parents(space, arms) | {arm.name for arm in space.arms if arm.family == Family.PARENT}
        if wanted := left & own if written else arms & own:
            chosen = "--all-splits" if own <= arms else " ".join(f"--arm {arm}" for arm in arm_order(wanted - along))
            written.append(write_command(case, f"{name} {chosen}"))
            left -= own
    if "cross-stitch-from-imagenet" in left:
        written.append(write_command(case, IMAGENET.format(pair=case.pair)))
        left.remove("cross-stitch-from-imagenet")
    if trees := [arm for arm in arm_order(left) if case.kinds.is_tree(arm)]:
        chosen = " ".join(f"--arm {arm}" for arm in trees)
        written.append(write_command(case, f"{case.pair} {chosen}"))
        left -= set(trees)
    weighed, with_weightings = _weighting_commands(case)
    written += with_weightings
    left -= weighed
    if left:
        own_arms = f"--scheme FILE.py:Class  # arms of your own: {', '.join(sorted(left))}"
        written.append(write_command(case, f"{case.pair} {own_arms}"))
    picked = " ".join(f"--{name} {shlex.quote(case.pick[name])}" for name in ("pair", "dataset", "recipe"))
    return [*written, f"mtlbench report {picked}"]


def _find_parents(space: SearchSpace, arms: set[str]) -> set[str]:
    """The arms of a space that come along with others of these, since they start from them."""
    parents = {parent for arm in space.arms if arm.name in arms for parent in arm.parents}
    return parents | (_find_parents(space, parents) if parents else set())


def _weighting_commands(case: Case) -> tuple[set[str], list[str]]:
    """The arms with a weighting of their tasks, and what trains them: a command for all that have the same ones."""
    rows = case.frame[case.frame["method"] != ""].drop_duplicates("arm")
    groups: dict[tuple[str, ...], list[str]] = {}
    for base, own in rows.groupby("variant_of"):
        groups.setdefault(tuple(sorted(own["method"].unique())), []).append(str(base))
    ours = list_names("weighting")
    written = []
    for methods, bases in groups.items():
        arms = " ".join(f"--arm {arm}" for arm in arm_order(bases))
        given = " ".join(f"--weighting {name if name in ours else 'FILE.py:' + name}" for name in methods)
        written.append(write_command(case, f"{case.pair} {arms} {given}"))
    return set(rows["arm"]), written


def grid_commands(case: Case, found: TradeOffs) -> list[str]:
    """What trains the arms at several weightings: a command a lattice whose points all have numbers."""
    there = set(found.points["weights"])
    lattices: dict[int, set[str]] = {}
    for levels in range(MOST_LEVELS, 1, -1):
        lattice = {weights_text(tuple(point.values())) for point in weight_lattice(found.tasks, levels)}
        if lattice <= there and not any(lattice <= larger for larger in lattices.values()):
            lattices[levels] = lattice
    own = any(map(found.arms.is_own, found.varied))
    arms = " ".join(f"--arm {arm}" for arm in found.varied) + (" --scheme FILE.py:Class" if own else "")
    return [write_command(case, f"{case.pair} {arms} --loss-weight-grid {levels}") for levels in sorted(lattices)]


def affinity_command(case: Case, found: Affinities) -> str:
    """What trains the networks of every two tasks."""
    arms = " ".join(f"--arm {one.arm} --affinity {one.arm}" for one in found.found)
    return write_command(case, f"{case.pair} {arms}")


def write_command(case: Case, space: str, seeds: str = "") -> str:
    """What trains a search space, given with the options that follow it, on the data, with the recipe and the seeds
    (or these) that are judged."""
    name, _, options = space.partition(" ")
    return f"mtlbench run --pair {name} {_describe_setting(case, seeds)} {_network(case, name)}{options}".rstrip()


def _describe_setting(case: Case, seeds: str) -> str:
    """The options that say on which data, by which recipe and with which seeds."""
    roots = dict.fromkeys(str(trial["data_root"]) for trial in case.trials if trial["data_root"])
    if case.pick["dataset"] == DATASET:
        roots = {}  # a run finds the table by the results that there are
    seeds = seeds or ",".join(seeds_of(case))
    setting = f"--dataset {case.pick['dataset']} --recipe {case.pick['recipe']} --seeds {seeds}"
    return setting + "".join(f" --data-root {shlex.quote(root)}" for root in roots)


def _network(case: Case, space: str) -> str:
    """`--backbone NAME --decoder NAME --precision NAME --init START `, each where it is not the recipe's."""
    wanted, _ = parse_tuned(case.pick["recipe"])
    found = _space(case, space)
    if found is None:
        return ""
    recipe = next((recipe for recipe in found.recipes if recipe.name == wanted), None)
    name = words_of(case.pick["backbone"])
    given = {} if recipe and _is_of_recipe(name, recipe) else {"backbone": name}
    if recipe is not None:
        given |= _differing_fields(recipe, case.trials)
        start = _find_start(recipe, case.trials, "backbone" in given)
        given |= {"init": start} if start else {}
    return "".join(f"--{option} {value} " for option, value in given.items())


def _is_of_recipe(name: str, recipe: Recipe) -> bool:
    """Whether a run with the recipe alone has the backbone of that name; `--backbone` says all options of timm's."""
    own = Plugin(recipe.backbone, recipe.backbone_options)
    return name == (words_of(own.label) if own.name == "timm" else own.name)


def _differing_fields(recipe: Recipe, trials: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """{option: value} of the recipe's fields that have an option of their own and are others in these trials."""
    found: dict[str, str] = {}
    for name in ("decoder", "precision"):
        usual: str = getattr(recipe, name)
        values = {trial["recipe"].get(name, ADDED.get(name, usual)) for trial in trials} - {usual}
        if values:
            found[name] = min(values)
    return found


def _find_start(recipe: Recipe, trials: Sequence[Mapping[str, Any]], other_backbone: bool) -> str:
    """What `--init` says of the networks without parents, "" where a run starts them there anyway. A trunk fits no
    other backbone, and so other weights are "imagenet" ones."""
    usual = "scratch" if other_backbone and recipe.init == "pretrained" else recipe.init
    first = next((trial for trial in trials if trial["arm"] == BASELINE), None)
    if first is None or first["has_weights"] == (usual != "scratch"):
        return ""
    return "imagenet" if first["has_weights"] else "scratch"


def _space(case: Case, name: str) -> SearchSpace | None:
    """A built-in space, or that of a table of photos; None for one of a user's file, which is not run."""
    if name in spaces.list_names():
        return spaces.load(name)
    tasks = tuple(task for task in case.scopes if task)
    return space_for(Pair(name, tasks, "image"), {}) if case.pick["dataset"] == DATASET else None
