"""What the options of a run make of a space: schemes, weights of losses, rates, widths; files that have changed."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from mtlbench.arm_names import SPLIT_POINTS
from mtlbench.errors import UserError
from mtlbench.execution.wide_arms import find_widths
from mtlbench.plan import spaces
from mtlbench.plan.arms import (
    at_methods,
    at_rates,
    at_weightings,
    check_arms,
    every_split,
    make_custom,
    one_task,
    standard_arms,
)
from mtlbench.plan.chosen import choose_arms, choose_recipe, start_from, with_loss_weights
from mtlbench.plan.data import open_options
from mtlbench.plan.expand import DataSource, apply_init, expand
from mtlbench.plan.options import (
    LossWeights,
    RunOptions,
    Start,
    merge_loss_weights,
    parse_factors,
    parse_loss_weights,
)
from mtlbench.plugins import Broken, find, make_plugin
from mtlbench.spec import Arm, Family, Plugin, Recipe, SearchSpace, Trial, as_data, recipe_of_trial
from mtlbench.store.folders import PLANNED, write_trial
from mtlbench.store.sources import FILE, changes, keep_sources, read_texts

SPACE = spaces.load("det_attr")
QUICK = start_from(spaces.recipe_of(SPACE, "quick"), "scratch")
SCHEME = "class Gated:\n    version = {version}\n    def __init__(self, rank=4): pass\n    groups = unit = None\n"


def plan(arms: Any, recipe: Any = QUICK, seeds: tuple[int, ...] = (0,)) -> list[Trial]:
    backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
    return expand(SPACE.pair, arms, seeds, DataSource(Plugin("rooms"), "", "abc"), backbone, recipe)


# ------------------------------------------------------------------------------------------------ schemes
def test_options_of_a_scheme_are_literals_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(SCHEME.format(version=1))
    arm = make_custom(f"{tmp_path}/my.py:Gated(rank=8)")
    assert (arm.name, arm.options, arm.scheme) == ("gated-rank-8", {"rank": 8}, f"{tmp_path}/my.py:Gated")
    assert make_custom("cross_stitch(own=0.5, per_channel=False)").name == "cross-stitch-own-0.5-per_channel-False"
    # The same network whether its default is said or not.
    plain = plan([make_custom(f"{tmp_path}/my.py:Gated")])[0]
    assert plain.key == plan([make_custom(f"{tmp_path}/my.py:Gated(rank=4)")])[0].key != plan([arm])[0].key


@pytest.mark.parametrize("inside", ["8", "rank=open('x')", "**{'rank': 1}", "rank=", "rank=1", "rank=x)("])
def test_nothing_in_the_options_is_evaluated(tmp_path: Path, inside: str) -> None:
    (tmp_path / "my.py").write_text(SCHEME.format(version=1))
    bracket = "" if inside == "rank=1" else ")"
    with pytest.raises(UserError, match=r"write FILE\.py:Class\(name=value, \.\.\.\) with plain values"):
        make_custom(f"{tmp_path}/my.py:Gated({inside}{bracket}")


@pytest.mark.parametrize(
    ("spec", "name", "variant_of"),
    [
        ("nddr", "nddr", ""),
        ("cross_stitch(own=0.5)", "cross-stitch-own-0.5", "cross-stitch"),
        ("split(at='fc6')", "split-at-fc6", "split-fc6"),
    ],
)
def test_a_scheme_of_ours_with_options_is_a_variant_of_its_plain_arm(spec: str, name: str, variant_of: str) -> None:
    made = make_custom(spec)
    assert (made.name, made.variant_of) == (name, variant_of) and made.family != Family.OWN


def test_arms_tell_their_family_and_whose_variant_they_are() -> None:
    arms = {arm.name: arm for name in ("semseg_sn", "ablations") for arm in spaces.load(name).arms}
    arms |= {arm.name: arm for arm in spaces.load("det_attr").more}
    families = {name: arm.family for name, arm in arms.items() if not arm.variant_of}
    assert families == {
        "one-task": "baseline",
        "ensemble-member": "parent",
        "ensemble": "ensemble",
        "one-task-longer": "longer",
        "mtl-shared": "shared",
        **{f"split-{point}": "split" for point in SPLIT_POINTS},
        "cross-stitch": "cross-stitch",
        **dict.fromkeys(
            (
                "nddr",
                "sluice",
                "mtan",
                "mmoe",
                "ple",
                "dselect-k",
                "adapters",
                "soft-sharing",
                "distillation",
                "task-arithmetic",
                "ties",
                "branching",
            ),
            "other",
        ),
        "branching-search": "parent",
        "one-task-wide": "wide",
        "split-fc8-wide": "wide",
    }
    variants = {name: arm.variant_of for name, arm in arms.items() if arm.variant_of}
    assert set(variants.values()) == {"cross-stitch", "mtl-shared", "ple"} and len(variants) == 18
    assert at_rates([arms["nddr"]], [3.0])[1].variant_of == "nddr"
    started_arms, _ = apply_init([arms["split-fc6"]], QUICK, [Start("imagenet", "split-fc6")])
    assert (started_arms[0].name, started_arms[0].variant_of) == ("split-fc6-from-imagenet", "split-fc6")


def test_a_wrong_option_names_the_right_ones(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(SCHEME.format(version=1))
    with pytest.raises(UserError, match="no option of Gated .* called 'rnk'. Did you mean 'rank'"):
        make_custom(f"{tmp_path}/my.py:Gated(rnk=4)")


def test_a_file_that_cannot_be_imported_is_an_arm_whose_trials_fail(tmp_path: Path) -> None:
    (tmp_path / "bad_one.py").write_text("import nothing_like_this")
    arm = make_custom(f"{tmp_path}/bad_one.py")
    assert (arm.name, arm.scheme) == ("bad-one", f"{tmp_path}/bad_one.py:BadOne")
    assert [trial.scheme.version for trial in plan([arm])] == [Broken.version]
    with pytest.raises(UserError, match="no such file"):
        make_custom(f"{tmp_path}/nowhere.py")


def test_alternatives_run_when_they_are_asked_for() -> None:
    more = {arm.name for arm in SPACE.more}
    standard = {arm.name for arm in SPACE.arms}
    assert {arm.name for arm in choose_arms(SPACE, True, False, (), ())} == standard
    assert {arm.name for arm in choose_arms(SPACE, False, True, (), ())} == standard | more
    for asked in ((("nddr",), ()), (("one-task",), ("nddr",))):
        assert [arm.name for arm in choose_arms(SPACE, False, False, *asked)] == ["one-task", "nddr"]


def test_two_arms_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(SCHEME.format(version=1))
    with pytest.raises(UserError, match="two arms are called 'gated'"):
        choose_arms(SPACE, True, False, (), (f"{tmp_path}/one.py:Gated", f"{tmp_path}/two.py:Gated"))
    (tmp_path / "ensemble.py").write_text(SCHEME.replace("Gated", "Ensemble").format(version=1))
    with pytest.raises(UserError, match=r"two arms are called 'ensemble'; give one of them \(or its class\) another"):
        choose_arms(SPACE, True, False, (), (f"{tmp_path}/ensemble.py",))


# ------------------------------------------------------------------------------------------------ searches
def test_what_adopts_a_search_starts_afresh_on_the_same_batches() -> None:
    """The tree is retrained: full iterations, the first batches, the full rate; the search stays in its identity."""
    recipe = dataclasses.replace(QUICK, extra_lr=0.123)
    search, tree = plan([arm for arm in SPACE.more if arm.name.startswith("branching")], recipe)
    split = plan(every_split(("fc6",)), recipe)[0]
    assert tree.parents == (search.key,)
    assert (tree.iterations, tree.first, tree.recipe) == (split.iterations, 0, split.recipe)


def test_a_tree_needs_a_joint_parent_and_cross_stitch_a_per_task_one() -> None:
    search = Arm("s", "branching_search")
    check_arms([search, Arm("t", "branching", parents=("s",))])
    with pytest.raises(UserError, match="its parent 'one-task' is not a joint arm"):
        check_arms([one_task(), Arm("t", "branching", parents=("one-task",))])
    with pytest.raises(UserError, match="its parent 's' is not a per-task arm"):
        check_arms([search, Arm("t", "cross_stitch", parents=("s",))])


# ------------------------------------------------------------------------------------------------ weights of losses
def weigh(*texts: str) -> Recipe:
    return with_loss_weights(QUICK, SPACE, merge_loss_weights([parse_loss_weights(text) for text in texts]))


def test_weights_of_losses() -> None:
    assert weigh("detection=1,attributes=0.5").loss_weight == {"detection": 1.0, "attributes": 0.5}
    assert weigh("equal", "attributes=2").loss_weight == {"detection": 1.0, "attributes": 2.0}
    assert weigh("uncertainty").weighting == "uncertainty"
    assert weigh() == with_loss_weights(QUICK, SPACE, LossWeights()) == QUICK
    for text, said in (
        ("det=1", "no task of det_attr"),
        ("detection=0", "not a number above 0"),
        ("detection=inf", "not a number above 0"),
        ("more", "write equal, uncertainty"),
    ):
        with pytest.raises(UserError, match=said):
            weigh(text)


def test_a_task_alone_is_the_same_network_under_learned_weights() -> None:
    learned = dataclasses.replace(QUICK, weighting="uncertainty")
    assert recipe_of_trial(QUICK, ("detection",)) == recipe_of_trial(learned, ("detection",))
    both = ("detection", "attributes")
    assert recipe_of_trial(QUICK, both) != recipe_of_trial(learned, both)


def test_younger_fields_leave_older_keys_as_they_were() -> None:
    """A key that was computed without `weighting`, `rate` and `widen` (the code of then, today's recipe)."""
    assert "weighting" not in as_data(QUICK)
    trial = plan([one_task()])[0]
    assert (trial.key, trial.setting) == ("018887b13119", "dec623947255")


# ------------------------------------------------------------------------------------------------ rates and widths
def test_a_grid_trains_each_arm_at_each_rate_from_the_usual_parents() -> None:
    arms = at_rates(
        choose_arms(SPACE, False, False, ("one-task", "ensemble", "cross-stitch"), ()), parse_factors("0.5,1,2")
    )
    trials = {(t.arm, t.task_names[0]): t for t in plan(arms) if t.seed == 0}
    assert {name for name, _ in trials} == {
        "one-task",
        "ensemble-member",
        "ensemble",
        "cross-stitch",
        "one-task@0.5",
        "one-task@2",
        "cross-stitch@0.5",
        "cross-stitch@2",
    }
    assert trials["one-task@2", "detection"].recipe.lr == 2 * QUICK.lr
    stitched = [trials[name, "detection"] for name in ("cross-stitch@0.5", "cross-stitch")]
    assert stitched[0].recipe.lr == 0.5 * QUICK.extra_lr == 0.5 * stitched[1].recipe.lr
    assert stitched[0].parents == stitched[1].parents and len({t.setting for t in trials.values()}) == 1
    assert len({t.key for t in trials.values()}) == len(trials)
    with pytest.raises(UserError, match="^'a' is not a number above 0"):
        parse_factors("1,a")


def test_a_grid_of_weightings_trains_each_joint_arm_that_is_compared_at_each_from_the_usual_parents() -> None:
    globs = ("one-task", "ensemble", "cross-stitch", "split-fc8", "branching")
    arms = at_weightings(choose_arms(SPACE, False, False, globs, ()), ("detection", "attributes"), 3)
    trials = {(t.arm, t.task_names[0]): t for t in plan(arms)}
    usual = {"one-task", "ensemble-member", "ensemble", "branching-search"}
    varied = {"cross-stitch", "split-fc8", "branching"}
    points = ("0.333:1.67", "1.67:0.333")
    assert {name for name, _ in trials} == usual | varied | {f"{arm}~{point}" for arm in varied for point in points}
    first, plain = (trials[name, "detection"] for name in ("cross-stitch~0.333:1.67", "cross-stitch"))
    assert first.parents == plain.parents and first.key != plain.key and first.setting == plain.setting
    assert (first.purpose, first.variant_of, plain.purpose) == ("weightings", "cross-stitch", "")
    weights = {task: QUICK.loss_weight.get(task, 1.0) for task in first.task_names}
    assert first.weighting == {"detection": pytest.approx(1 / 3), "attributes": pytest.approx(5 / 3)}
    assert first.recipe.loss_weight["detection"] == pytest.approx(weights["detection"] / 3, rel=1e-5)
    assert trials["branching~0.333:1.67", "detection"].parents == (trials["branching-search", "detection"].key,)
    assert len({t.key for t in trials.values()}) == len(trials)


def test_a_grid_says_nothing_where_weights_are_learned_or_tuned() -> None:
    learned = RunOptions("det_attr", loss_weight_grid=3, loss_weights=parse_loss_weights("uncertainty"))
    tuned = RunOptions("det_attr", loss_weight_grid=3, recipe="quick-tune6")
    for options, why in ((learned, "where networks learn theirs"), (tuned, "and tuned ones")):
        with pytest.raises(UserError, match=f"{why}.*; leave one of them out"):
            choose_recipe(SPACE, "rooms", options)


class Counted:
    """Parameters that grow as a x width^2 + b x width."""

    def of(self, trial: Trial) -> tuple[int, int]:
        width = trial.backbone.options.get("widen", 1.0)
        return round(len(trial.task_names) * 300_000 * width**2 + 60_000 * width), 0


def test_wide_arms_have_the_parameters_of_all_one_task_networks() -> None:
    arms = find_widths(SPACE.more, plan, Counted())
    wide = plan([arm for arm in arms if arm.wide])
    assert {trial.arm for trial in wide} == {"one-task-wide", "split-fc8-wide"}
    for trial in wide:
        assert math.isclose(Counted().of(trial)[0], 2 * 360_000, rel_tol=0.01)
    assert len({trial.setting for trial in (*wide, *plan([one_task()]))}) == 1
    assert {trial.backbone.label for trial in wide} == {plan([one_task()])[0].backbone.label}


def test_what_a_users_data_set_raises_is_one_line_that_says_where(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("class Mine:\n    version = 1\n    def __init__(self, root=None):\n        {}['x']\n")
    for place in (str(file), f"{file}:Mine"):
        with pytest.raises(UserError, match=rf"mine\.py:4: KeyError: 'x'; type: mtlbench check {place}$"):
            open_options(place, {}, None)


# ------------------------------------------------------------------------------------------------ sources
def test_a_changed_file_of_one_version_is_never_mixed_with_its_results(tmp_path: Path) -> None:
    file, group = tmp_path / "my.py", tmp_path / "results"
    file.write_text(SCHEME.format(version=1))
    split, (done, missing) = plan(every_split(("fc6",)))[0], plan([make_custom(f"{file}:Gated")], seeds=(0, 1))
    group = group / done.pair / done.dataset.name
    folder = group / done.key
    folder.mkdir(parents=True)
    write_trial(folder, done)
    keep_sources(done, folder)
    (folder / "result.json").write_text("{}")
    assert read_texts(folder) == {"scheme": file.read_text()} and FILE in PLANNED
    assert changes([split, missing], group, ()) == []
    file.write_text(SCHEME.format(version=1) + "# changed\n")
    (change,) = changes([split, missing], group, ())
    assert change.held == (missing,) and change.kept == 1
    assert change.line.startswith(f"{file} has changed since 1 finished trial, but its version is still 1")
    assert changes([done, missing], group, {done.key}) == []  # trained again: nothing of the older text stays
    file.write_text(SCHEME.format(version=2))
    assert changes(plan([make_custom(f"{file}:Gated")], seeds=(0, 1)), group, ()) == []


def test_a_file_changed_within_a_second_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would take the bytecode of the older one: both have one length and one second of change."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file, versions = tmp_path / "my.py", []
    for version in (1, 2):
        file.write_text(SCHEME.format(version=version))
        os.utime(file, (1_000_000_000, 1_000_000_000))
        versions.append(find("scheme", f"{file}:Gated").version)
    assert versions == [1, 2] and list(tmp_path.iterdir()) == [file]


def test_a_space_file_needs_no_list_of_more_arms() -> None:
    assert "more" in {field.name for field in dataclasses.fields(SearchSpace)}
    assert SearchSpace(SPACE.pair, {}, (), (), ()).more == ()


# ------------------------------------------------------------------------------------------------- weightings
def test_every_joint_arm_is_trained_with_a_weighting_too() -> None:
    arms = at_methods(standard_arms(True), ["rlw", "cagrad(c=0.2)"])
    more = {arm.name: arm for arm in arms if arm.method}
    joint = [arm.name for arm in standard_arms(True) if arm.joint]
    assert list(more) == [f"{arm}@{name}" for name in ("rlw", "cagrad-c-0.2") for arm in joint]
    one = more["cross-stitch@cagrad-c-0.2"]
    assert (one.variant_of, one.parents, one.method_options) == ("cross-stitch", ("one-task",), {"c": 0.2})
    assert (one.purpose, one.family) == ("", Family.CROSS_STITCH)


def test_weightings_go_together_with_other_rates_and_without_the_grid_of_loss_weights() -> None:
    arms = at_rates(at_methods(every_split(("fc8",)), ["rlw"]), (1.0, 3.0))
    assert [(arm.name, arm.variant_of) for arm in arms] == [
        ("split-fc8", ""),
        ("split-fc8@rlw", "split-fc8"),
        ("split-fc8@3", "split-fc8"),
        ("split-fc8@rlw@3", "split-fc8@rlw"),
    ]
    arms = at_weightings(at_methods(every_split(("fc8",)), ["rlw"]), ("a", "b"), 2)
    assert [arm.name for arm in arms if "~" in arm.name and "@" in arm.name] == []


@pytest.mark.parametrize(
    ("weighting", "answer"),
    [
        ("upgrat", "no weighting called 'upgrat'. Did you mean 'upgrad'"),
        ("cagrad(d=1)", "no option of Cagrad in --weighting cagrad.d=1. called 'd'"),
        ("cagrad(c=", "--weighting 'cagrad.c=': write FILE.py:Class"),
        ("rlw", "two arms are called 'split-fc8@rlw'"),
        ("/nowhere.py", "no such file: /nowhere.py"),
    ],
)
def test_wrong_weightings_are_answered_in_one_line(weighting: str, answer: str) -> None:
    with pytest.raises(UserError, match=answer):
        at_methods(every_split(("fc8",)), ["rlw", weighting])
    with pytest.raises(UserError, match="none is chosen"):
        at_methods((one_task(),), ["rlw"])
