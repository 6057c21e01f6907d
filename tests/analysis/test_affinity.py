"""Who helps whom: effects and groupings by hand and by brute force, and what is said of tasks that change nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from mtlbench.analysis.affinity import Affinities, Groups, affinities, list_groupings
from mtlbench.analysis.comparison import AFFINITY_SHARE, BEATS, LOSES
from mtlbench.analysis.selection import Selection, select_newest
from mtlbench.errors import UserError
from tests.support.synthetic_results import fake_results
from tests.support.twos import THREE, Effects, twos, twos_frame

DET, ATT, SEM = THREE
BY_HAND = {(DET, ATT): 4.0, (DET, SEM): -2.0, (ATT, DET): 1.0, (ATT, SEM): 3.0, (SEM, DET): 6.0}
TREES = {
    "split-fc8": 5.0,
    "split-fc6": 1.0,
    "split-conv2": 0.5,
    "tree-conv2:det+att-fc8": 2.0,
    "tree-fc6:det+att-fc8": 2.5,
    "tree-conv2:det+att-fc6": 9.0,
}


def predicted(found: Affinities) -> dict[str, float]:
    return {one.text: one.predicted.mean for one in found.found[0].groupings}


def test_effects_are_changes_in_the_network_of_the_two_against_one_task() -> None:
    (one,) = affinities(twos(BY_HAND)).found
    means = {cell: effect.mean for cell, effect in one.effects.items()}
    assert means == {**dict.fromkeys(itertools.permutations(THREE, 2), pytest.approx(0)), **approx(BY_HAND)}
    assert one.arm == "split-fc8" and {effect.comparisons for effect in one.effects.values()} == {6}
    lower = twos(
        {("normals", "semseg"): 5.0}, tasks=("normals", "semseg", "depth")
    )  # degrees: up is better all the same
    assert affinities(lower).found[0].effects["normals", "semseg"].mean == pytest.approx(5.0)


def approx(effects: Effects) -> dict[tuple[str, str], object]:
    return {cell: pytest.approx(value) for cell, value in effects.items()}


def test_groupings_are_predicted_as_by_hand() -> None:
    """Together: detection (4 - 2) / 2, attributes (1 + 3) / 2, semseg (6 + 0) / 2; in twos what was measured."""
    assert predicted(affinities(twos(BY_HAND))) == {
        "detection + attributes + semseg": pytest.approx((1 + 2 + 3) / 3),
        "detection + attributes | semseg": pytest.approx((4 + 1) / 3),
        "detection + semseg | attributes": pytest.approx((-2 + 6) / 3),
        "detection | attributes + semseg": pytest.approx((3 + 0) / 3),
        "detection | attributes | semseg": 0.0,
    }


def test_layers_are_predicted_as_their_mean_by_hand() -> None:
    """Five layers together, three as detection + attributes | semseg: (5 * 2 + 3 * 5 / 3) / 8; alone nothing."""
    (one,) = affinities(twos(val=BY_HAND)).found  # on test nothing is changed
    together, parted, alone = ((THREE,), (THREE[:2], THREE[2:]), tuple((task,) for task in THREE))
    assert one.predict([together] * 5 + [parted] * 3) == pytest.approx([15 / 8] * 3)  # a number a seed
    assert one.predict([alone] * 8) == pytest.approx([0.0] * 3)


def test_groupings_of_five_tasks_are_those_of_brute_force() -> None:
    tasks = ("a", "b", "c", "d", "e")
    rng = np.random.default_rng(1)
    effects = {cell: float(rng.normal(0, 3)) for cell in itertools.permutations(tasks, 2)}
    found = affinities(twos(effects, tasks=tasks)).found[0].groupings
    assert len(found) == 52  # Bell's number
    for one in found:
        of_task = [
            float(np.mean([effects[task, other] for other in group if other != task])) if len(group) > 1 else 0.0
            for group in one.groups
            for task in group
        ]
        assert one.predicted.mean == pytest.approx(np.mean(of_task))
        assert one.is_measured == (max(map(len, one.groups)) < 3)
    means = [one.predicted.mean for one in found]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize(("tasks", "bell"), [(0, 1), (1, 1), (2, 2), (3, 5), (4, 15), (5, 52), (8, 4140)])
def test_every_grouping_is_there_once(tasks: int, bell: int) -> None:
    names = tuple("abcdefgh"[:tasks])
    found = list(list_groupings(names))
    assert len(found) == len({frozenset(map(frozenset, groups)) for groups in found}) == bell
    assert all(sorted(itertools.chain(*groups)) == list(names) for groups in found)
    assert all(in_order(groups) for groups in found)


def in_order(groups: Groups) -> bool:
    firsts = [group[0] for group in groups]
    return firsts == sorted(firsts) and all(list(group) == sorted(group) for group in groups)


def test_the_grouping_is_chosen_on_val_and_shown_on_test() -> None:
    val = {(DET, SEM): 9.0, (SEM, DET): 9.0, (DET, ATT): -9.0, (ATT, DET): -9.0}
    best = affinities(twos(BY_HAND, val=val)).found[0].suggested
    assert best and best.text == "detection + semseg | attributes"
    assert [best.val, best.predicted.mean] == pytest.approx([6.0, 4 / 3])
    harm = dict.fromkeys(itertools.permutations(THREE, 2), -1.0)
    alone = affinities(twos(BY_HAND, val=harm)).found[0].suggested
    assert alone and alone.is_alone and alone.val == 0
    no_val = twos(BY_HAND)
    no_val.frame = no_val.frame[no_val.frame["subset"] == "test"]
    assert affinities(no_val).found[0].suggested is None


def test_the_bounds_of_a_grouping_are_those_of_its_effects_put_together() -> None:
    (one,) = affinities(twos(BY_HAND, noise=1.0, seeds=range(4))).found
    half = {cell: effect.wide_high - effect.mean for cell, effect in one.effects.items()}
    two = next(own for own in one.groupings if own.text == "detection + semseg | attributes").predicted
    assert two.wide_high - two.mean == pytest.approx((half[DET, SEM] + half[SEM, DET]) / 3)
    assert two.mean - two.wide_low == pytest.approx(two.wide_high - two.mean)
    whole = next(own for own in one.groupings if len(own.groups) == 1).predicted
    assert whole.wide_high - whole.mean == pytest.approx(sum(half.values()) / 2 / 3)


def test_networks_of_all_tasks_stand_with_the_grouping_into_which_they_part_at_once() -> None:
    found = affinities(twos(BY_HAND, networks=TREES)).found[0]
    networks = {one.text: {(own.arm, own.at): own.change for own in one.networks} for one in found.groupings}
    assert {text: own for text, own in networks.items() if own} == {
        "detection + attributes + semseg": {("split-fc8", ""): pytest.approx(5.0)},
        "detection + attributes | semseg": {
            ("tree-conv2:det+att-fc8", "conv2"): pytest.approx(2.0),
            ("tree-fc6:det+att-fc8", "fc6"): pytest.approx(2.5),
        },
        "detection | attributes | semseg": {
            ("split-fc6", "fc6"): pytest.approx(1.0),
            ("split-conv2", "conv2"): pytest.approx(0.5),
        },
    }
    # Predicted 2, 5/3 twice, 0 twice; of the networks 5, 2 and 2.5, 1 and 0.5: concordant but for ties.
    assert found.agreement == pytest.approx(0.9487, abs=1e-4)


def test_an_arm_that_shares_no_stage_has_only_itself_beside_its_groupings() -> None:
    results = twos(BY_HAND, arm="cross-stitch", networks={"cross-stitch": 3.0, "split-conv2": 1.0})
    apart = [{"stage": "conv1", "groups": [[task] for task in THREE], "unit": True}]
    results.architectures["cross-stitch"] = apart
    found = affinities(results).found[0]
    assert {one.text: [own.arm for own in one.networks] for one in found.groupings if one.networks} == {
        "detection + attributes + semseg": ["cross-stitch"]
    }


def test_a_network_that_lacks_leaves_no_groupings_and_the_other_effects() -> None:
    results = twos(BY_HAND)
    results.frame = results.frame[results.frame["arm"] != "split-fc8:att+sem"]
    (one,) = affinities(results).found
    assert set(one.effects) == {cell for cell in itertools.permutations(THREE, 2) if set(cell) != {ATT, SEM}}
    assert one.groupings == () and one.suggested is None and math.isnan(one.agreement)


def test_networks_of_two_tasks_are_no_arms_of_tables_and_figures() -> None:
    rows, _ = select_newest(twos_frame(BY_HAND, networks=TREES))
    assert set(rows["arm"]) == {"one-task", *TREES}


def test_what_is_missing_says_what_to_type() -> None:
    three = twos(BY_HAND, networks=TREES)
    three.frame = three.frame[three.frame["purpose"] == ""]
    with pytest.raises(UserError, match="type: mtlbench run --pair many --affinity split-fc8$"):
        affinities(three)
    with pytest.raises(UserError, match="affinity is about three and more tasks; det_attr has two"):
        affinities(fake_results())
    with pytest.raises(UserError, match="no arm of two tasks called 'split-fc7'. Did you mean 'split-fc8'"):
        affinities(twos(BY_HAND), globs=["split-fc7"])
    with pytest.raises(UserError, match="no recipe with results called 'long'"):
        affinities(twos(BY_HAND), Selection(recipe="long"))
    lone = twos(BY_HAND)
    lone.frame = lone.frame[lone.frame["arm"] != "one-task"]
    with pytest.raises(UserError, match="affinity needs one-task on test"):
        affinities(lone)


def studies(seeds: int, number: int, effects: Effects) -> Iterator[Affinities]:
    rng = np.random.default_rng([7, seeds])
    for _ in range(number):
        yield affinities(twos(effects, seeds=range(seeds), noise=2.0, rng=rng, networks=dict.fromkeys(TREES, 0.0)))


@pytest.mark.slow
def test_of_tasks_that_do_nothing_to_each_other_hardly_anything_is_said() -> None:
    """The share of reports is a tenth of 5 %: of 25 studies, one in eight times."""
    assert AFFINITY_SHARE == 0.1
    assert sum(found.says_difference for found in studies(3, 25, {})) <= 1


@pytest.mark.slow
def test_a_task_that_gains_and_one_that_loses_are_found_with_six_seeds() -> None:
    relations = [
        (one.effects[DET, ATT].relation, one.effects[SEM, ATT].relation)
        for found in studies(6, 5, {(DET, ATT): 12.0, (SEM, ATT): -12.0})
        for one in found.found
    ]
    assert relations.count((BEATS, LOSES)) >= 4
