"""What was run: data, arms, seeds, machines, the recipe's fields, and the commands that do it again."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mtlbench._version import __version__
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
from mtlbench.report.sentences import ABLATIONS
from mtlbench.spec import ADDED, Family, Pair, Plugin, Recipe, SearchSpace
from mtlbench.text import list_in_words

MOST_LEVELS = 15  # of a lattice of weightings that is looked for


def seeds_of(case: Case) -> list[str]:
    """Seeds of the visible arms, in order."""
    found = without_parents(case.frame)["seed"].unique()
    return [f"{seed:g}" for seed in sorted(found)]


def facts_of(case: Case, trials: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(term, what it was) of the run; several values are all listed. `trials`: `Results.provenance_of`."""

    def distinct(value: Callable[[Mapping[str, Any]], Any]) -> str:
        return "; ".join(dict.fromkeys(text for trial in trials if (text := str(value(trial)))))

    arms = arm_order(without_parents(case.frame)["arm"].unique())
    aliases = [f"{arm} = {case.names[arm]}" for arm in arms if case.names.get(arm, arm) != arm]
    arms = [arm for arm in arms if case.names.get(arm, arm) == arm]
    finished = sorted(str(trial["finished"])[:16].replace("T", " ") for trial in trials)
    hours = sum(float(trial["seconds"]) for trial in trials) / 3600
    facts = [
        ("Pair", f"{case.pair}: {list_in_words([task for task in case.scopes if task])}"),
        ("Data set", distinct(lambda trial: trial["dataset"])),
        ("Fingerprint of the data", distinct(lambda trial: trial["fingerprint"])),
        ("Folder of the data", distinct(lambda trial: trial["data_root"])),
        ("Backbone", distinct(lambda trial: trial["backbone"])),
        ("Recipe", case.pick["recipe"]),
        ("Seeds", ", ".join(seeds_of(case))),
        (f"Arms ({len(arms)})", ", ".join(map(case.kinds.label, arms))),
        ("Other names of these", ", ".join(aliases)),
        ("Trials", f"{len(trials)}, {hours:.1f} hours of training and evaluation" if trials else ""),
        ("Finished", f"{finished[0]} to {finished[-1]} UTC" if finished else ""),
        ("Trained with", distinct(lambda trial: _machine(trial["environment"]))),
        ("Reported with", f"mtlbench {__version__}, Python {platform.python_version()}"),
    ]
    return [(term, what) for term, what in facts if what]


def _machine(environment: Mapping[str, Any]) -> str:
    python, torch, *rest = (str(environment.get(name, "?")) for name in ("python", "torch", "device", "processor"))
    return f"Python {python}, torch {torch}, on {' of '.join(rest)}"


def fields_of(trials: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The recipe's fields; where arms or tasks differ, every value. `trials`: `Results.provenance_of`."""
    fields: dict[str, dict[str, None]] = {}
    for trial in trials:
        for name, value in trial["recipe"].items():
            fields.setdefault(name, {})[str(value)] = None
    return [(name, " or ".join(values)) for name, values in sorted(fields.items())]


def commands_of(case: Case, trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """What trains these trials and makes this report; the rest of the options comes from the recipe."""
    arms = {str(arm) for arm in case.frame["arm"]} | {str(failure["arm"]) for failure in case.failures}
    setting = _describe_setting(case, trials)
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
            written.append(f"{_begin_command(case, trials, name)}{chosen}".rstrip())
            left -= own
    if "cross-stitch-from-imagenet" in left:
        network = _network(case, trials, case.pair)
        written.append(f"mtlbench run --pair {IMAGENET.format(pair=case.pair)} {setting} {network}".rstrip())
        left.remove("cross-stitch-from-imagenet")
    if trees := [arm for arm in arm_order(left) if case.kinds.is_tree(arm)]:
        chosen = " ".join(f"--arm {arm}" for arm in trees)
        written.append(f"{_begin_command(case, trials, case.pair)}{chosen}")
        left -= set(trees)
    weighed, with_weightings = _weighting_commands(case, trials)
    written += with_weightings
    left -= weighed
    if left:
        written.append(
            f"{_begin_command(case, trials, case.pair)}--scheme FILE.py:Class  # arms of your own:"
            f" {', '.join(sorted(left))}"
        )
    picked = " ".join(f"--{name} {shlex.quote(case.pick[name])}" for name in ("pair", "dataset", "recipe"))
    return [*written, f"mtlbench report {picked}"]


def _find_parents(space: SearchSpace, arms: set[str]) -> set[str]:
    """The arms of a space that come along with others of these, since they start from them."""
    parents = {parent for arm in space.arms if arm.name in arms for parent in arm.parents}
    return parents | (_find_parents(space, parents) if parents else set())


def _weighting_commands(case: Case, trials: Sequence[Mapping[str, Any]]) -> tuple[set[str], list[str]]:
    """The arms with a weighting of their tasks, and what trains them: a command for all that have the same ones."""
    rows = case.frame[case.frame["method"] != ""].drop_duplicates("arm")
    groups: dict[tuple[str, ...], list[str]] = {}
    for base, own in rows.groupby("variant_of"):
        groups.setdefault(tuple(sorted(own["method"].unique())), []).append(str(base))
    start = _begin_command(case, trials, case.pair)
    ours = list_names("weighting")
    written = []
    for methods, bases in groups.items():
        arms = " ".join(f"--arm {arm}" for arm in arm_order(bases))
        given = " ".join(f"--weighting {name if name in ours else 'FILE.py:' + name}" for name in methods)
        written.append(f"{start}{arms} {given}")
    return set(rows["arm"]), written


def grid_commands(case: Case, trials: Sequence[Mapping[str, Any]], found: TradeOffs) -> list[str]:
    """What trains the arms at several weightings: a command a lattice whose points all have numbers."""
    there = set(found.points["weights"])
    lattices: dict[int, set[str]] = {}
    for levels in range(MOST_LEVELS, 1, -1):
        lattice = {weights_text(tuple(point.values())) for point in weight_lattice(found.tasks, levels)}
        if lattice <= there and not any(lattice <= larger for larger in lattices.values()):
            lattices[levels] = lattice
    own = any(map(found.arms.is_own, found.varied))
    arms = " ".join(f"--arm {arm}" for arm in found.varied) + (" --scheme FILE.py:Class" if own else "")
    start = f"{_begin_command(case, trials, case.pair)}{arms}"
    return [f"{start} --loss-weight-grid {levels}" for levels in sorted(lattices)]


def affinity_command(case: Case, trials: Sequence[Mapping[str, Any]], found: Affinities) -> str:
    """What trains the networks of every two tasks."""
    arms = " ".join(f"--arm {one.arm} --affinity {one.arm}" for one in found.found)
    return f"{_begin_command(case, trials, case.pair)}{arms}"


def _begin_command(case: Case, trials: Sequence[Mapping[str, Any]], space: str) -> str:
    """`mtlbench run` with all options but those that say which arms."""
    return f"mtlbench run --pair {space} {_describe_setting(case, trials)} {_network(case, trials, space)}"


def _describe_setting(case: Case, trials: Sequence[Mapping[str, Any]]) -> str:
    """The options that say on which data, by which recipe and with which seeds."""
    roots = dict.fromkeys(str(trial["data_root"]) for trial in trials if trial["data_root"])
    if case.pick["dataset"] == DATASET:
        roots = {}  # a run finds the table by the results that there are
    setting = f"--dataset {case.pick['dataset']} --recipe {case.pick['recipe']} --seeds {','.join(seeds_of(case))}"
    return setting + "".join(f" --data-root {shlex.quote(root)}" for root in roots)


def _network(case: Case, trials: Sequence[Mapping[str, Any]], space: str) -> str:
    """`--backbone NAME --decoder NAME --precision NAME --init START `, each where it is not the recipe's."""
    wanted, _ = parse_tuned(case.pick["recipe"])
    found = _space(case, space)
    if found is None:
        return ""
    recipe = next((recipe for recipe in found.recipes if recipe.name == wanted), None)
    name = words_of(case.pick["backbone"])
    given = {} if recipe and _is_of_recipe(name, recipe) else {"backbone": name}
    if recipe is not None:
        given |= _differing_fields(recipe, trials)
        start = _find_start(recipe, trials, "backbone" in given)
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
