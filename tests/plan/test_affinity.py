"""Arms of every two tasks: which networks they are, whose numbers they have, and what cannot be asked."""

from __future__ import annotations

import dataclasses

import pytest

from mtlbench.errors import UserError
from mtlbench.plan import spaces
from mtlbench.plan.affinity import at_every_two
from mtlbench.plan.arms import at_weightings
from mtlbench.plan.chosen import choose_arms
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plan.rounds import next_round
from mtlbench.plugins import make_plugin
from mtlbench.spec import Arm, Plugin, Purpose, SearchSpace, Trial
from mtlbench.store.shapes import is_name

THREE, TWO = spaces.load("dense3"), spaces.load("semseg_sn")
TASKS = THREE.pair.tasks


def planned(arms: tuple[Arm, ...], space: SearchSpace = THREE, tune: int = 0) -> list[Trial]:
    recipe = dataclasses.replace(spaces.recipe_of(space, "smoke"), tune=tune)
    data, backbone = (
        DataSource(Plugin("rooms"), "", "abc"),
        make_plugin("backbone", "caffenet", recipe.backbone_options),
    )
    if not tune:
        return expand(space.pair, arms, (0,), data, backbone, recipe)

    def of(some: object, seeds: object, settings: object) -> list[Trial]:
        return expand(space.pair, some, seeds, data, backbone, recipe, {}, settings)

    return list(next_round(arms, space.pair.tasks, recipe, of, lambda trial: None).trials)


def chosen(*globs: str) -> tuple[Arm, ...]:
    return choose_arms(THREE, False, False, ("one-task",), (), (), globs)


def test_every_two_tasks_have_a_network_beside_that_of_all_from_the_same_parents() -> None:
    trials = {
        t.arm: t for t in planned(at_every_two(chosen("split-fc8", "cross-stitch"), ["split-fc8", "cross-*"], TASKS))
    }
    pairs = [("semseg", "normals"), ("semseg", "depth"), ("normals", "depth")]
    assert [t.task_names for t in trials.values() if t.purpose == Purpose.AFFINITY] == pairs * 2
    assert [name for name in trials if ":" not in name] == ["one-task", "split-fc8", "cross-stitch"]
    assert all(is_name(name) for name in trials)
    pair, whole = trials["cross-stitch:nor+dep"], trials["cross-stitch"]
    assert pair.parents == whole.parents[1:] and (pair.variant_of, whole.variant_of) == ("cross-stitch", "")
    assert {t.setting for t in trials.values()} == {whole.setting} and pair.family == whole.family


def test_a_network_of_two_of_three_tasks_is_that_of_a_space_of_the_two() -> None:
    """Its key, so its numbers: nothing of the third task gets into it."""
    of_three = planned(at_every_two(chosen("split-fc8", "cross-stitch"), ["*"], TASKS))
    keys = {t.arm: t.key for t in planned(choose_arms(TWO, False, False, ("split-fc8", "cross-stitch"), ()), TWO)}
    found = {t.variant_of: t.key for t in of_three if t.arm.endswith(":sem+nor")}
    assert found == {arm: keys[arm] for arm in ("split-fc8", "cross-stitch")}


def test_arms_that_are_no_networks_of_two_are_passed_over_and_none_at_all_is_refused() -> None:
    many = choose_arms(THREE, True, True, (), ())
    found = {arm.variant_of for arm in at_every_two(many, ["*"], TASKS) if arm.purpose == Purpose.AFFINITY}
    splits = {arm.name for arm in many if arm.name.startswith("split-")} - {"split-fc8-wide"}
    assert splits | {"mtl-shared", "cross-stitch", "nddr", "mtan"} <= found
    assert not {"one-task", "ensemble", "branching", "branching-search", "split-fc8-wide"} & found
    for glob in ("one-task*", "branching*", "*-wide"):
        with pytest.raises(UserError, match="no joint network that can be of two tasks; try --affinity split-fc8$"):
            at_every_two(many, [glob], TASKS)
    with pytest.raises(UserError, match="no arm called 'spit-fc8'. Did you mean 'split-fc8'"):
        at_every_two(many, ["spit-fc8"], TASKS)
    assert at_every_two(many, [], TASKS) == many


def test_other_weightings_of_an_arm_are_none_of_two_tasks() -> None:
    arms = at_every_two(at_weightings(chosen("split-fc8"), TASKS, 2), ["split-fc8*"], TASKS)
    assert [arm.name for arm in arms if arm.tasks] == [f"split-fc8:{two}" for two in ("sem+nor", "sem+dep", "nor+dep")]


def test_settings_that_are_tried_weigh_the_two_tasks_alone() -> None:
    trials = planned(at_every_two(chosen("split-fc8"), ["split-fc8"], TASKS), tune=3)
    weighed = {t.task_names: set(t.weighting) for t in trials if t.arm.startswith("split-fc8") and t.weighting}
    assert weighed == {tasks: set(tasks) for tasks in weighed} and len(weighed) == 4


def test_an_arm_of_a_task_that_the_pair_lacks_is_refused() -> None:
    with pytest.raises(UserError, match=r"no task of dense3 \(arm mine\) called 'edges'"):
        planned((Arm("mine", "split", {"at": "fc8"}, tasks=("semseg", "edges")),))
