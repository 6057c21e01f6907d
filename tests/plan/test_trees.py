"""Trees: every one once, counted; against brute force over all partitions, and as Splits where there are two tasks."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mtlbench.arm_names import SPLIT_POINTS
from mtlbench.contracts import join
from mtlbench.errors import UserError
from mtlbench.nets.network import plan
from mtlbench.plan import spaces
from mtlbench.plan.arms import every_split, match
from mtlbench.plan.chosen import choose_arms
from mtlbench.plan.options import RunOptions
from mtlbench.plan.spaces import without_twins
from mtlbench.plan.trees import choose_trees, count_trees, every_tree, layers_of, sample_trees
from mtlbench.plugins import create, find, list_names
from mtlbench.schemes.split import Split
from mtlbench.schemes.tree import Tree
from mtlbench.spec import FORMS_PART_AT, Arm, Family, Pair, SearchSpace
from mtlbench.store.shapes import is_name
from tests.support.networks import gradients_of, recipe, small_net
from tests.support.samples import dense_tasks

STAGES = join(find("backbone", "caffenet")("fcn", small=True, width=0.1, fc=24).stages)
MIXED_STAGES = join(find("backbone", "caffenet")("mixed", small=True, width=0.1, fc=24).stages)
DENSE3 = spaces.load("dense3")
Partition = frozenset[frozenset[str]]


def partitions(tasks: tuple[str, ...]) -> set[Partition]:
    """All of them, from all ways to give each task a number."""
    found = set()
    for numbers in itertools.product(range(len(tasks)), repeat=len(tasks)):
        groups = {n: frozenset(t for t, own in zip(tasks, numbers, strict=True) if own == n) for n in numbers}
        found.add(frozenset(groups.values()))
    return found


def chains(tasks: tuple[str, ...], length: int) -> Iterator[tuple[Partition, ...]]:
    """All sequences of so many partitions in which groups only split."""
    every = partitions(tasks)

    def finer(one: Partition, other: Partition) -> bool:
        return all(any(group <= old for old in other) for group in one)

    def grown(begun: tuple[Partition, ...]) -> Iterator[tuple[Partition, ...]]:
        if len(begun) == length:
            yield begun
            return
        for one in every:
            if not begun or finer(one, begun[-1]):
                yield from grown((*begun, one))

    return grown(())


def list_shared(arm: Arm, tasks: tuple[str, ...]) -> tuple[tuple[str, frozenset[frozenset[str]]], ...]:
    """What shares what at each stage, as the network is built."""
    found = plan(create("scheme", arm.scheme, **arm.options), STAGES, tasks)
    return tuple((stage, frozenset(map(frozenset, groups))) for stage, groups in found.items())


@pytest.mark.parametrize(
    ("tasks", "layers"),
    [("a", 5), ("ab", 1), ("ab", 7), ("abc", 2), ("abc", 5), ("abcd", 4), ("abcde", 2), ("abcde", 3)],
)
def test_the_trees_are_those_of_brute_force_each_once(tasks: str, layers: int) -> None:
    names, last = tuple(tasks), SPLIT_POINTS[-layers:]
    searched = set(chains(names, layers - 1))
    arms = every_tree(names, last)
    assert len(arms) == len({arm.name for arm in arms}) == len(searched) == count_trees(len(names), layers)
    free = [stage for stage, _ in list_shared(arms[0], names) if stage in last]
    assert {tuple(dict(list_shared(arm, names))[stage] for stage in free) for arm in arms} == searched
    assert all(is_name(arm.name) for arm in arms)
    root = {dict(list_shared(arm, names))["conv1"] for arm in arms}
    assert root == {frozenset([frozenset(names)])}


def test_counts_over_the_layers_of_caffenet() -> None:
    assert [count_trees(tasks, len(SPLIT_POINTS)) for tasks in range(1, 6)] == [1, 7, 70, 910, 14532]
    assert [count_trees(3, layers) for layers in range(1, 8)] == [n * (3 * n - 1) // 2 for n in range(1, 8)]
    assert [count_trees(tasks, 2) for tasks in range(1, 6)] == [1, 2, 5, 15, 52]  # Bell numbers: one layer to share


def test_trees_of_two_tasks_are_the_splits_and_all_or_none_trees_of_more_too() -> None:
    assert every_tree(("detection", "attributes")) == every_split()
    of_three = every_tree(("a", "b", "c"))
    assert all(split in of_three for split in every_split())
    assert [arm.family for arm in of_three].count(Family.SPLIT) == 7
    assert (of_three[0].name, of_three[-1].name) == ("split-conv2", "split-fc8")


def test_a_tree_that_is_a_split_has_its_numbers() -> None:
    """The scheme `tree` itself, not only the arm: the same groups, start and gradients bit for bit."""
    tasks = dense_tasks()
    trees: tuple[tuple[dict[str, Any], str], ...] = (
        ({"conv3": []}, "conv3"),
        ({}, "fc8"),
        ({"conv2": [["semseg", "normals"]], "fc6": []}, "fc6"),
    )
    for tree, at in trees:
        nets = [small_net(tasks, scheme) for scheme in (Tree(tree), Split(at))]
        one, other = (gradients_of(net, recipe()) for net in nets)
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("forms", "layers"), [("rf", 5), ("rfi", 4), ("rrf", 4), ("rrf", 7), ("rffr", 4), ("rfrfi", 3), ("ff", 4)]
)
def test_tasks_of_several_forms_have_the_trees_that_part_them_in_time(forms: str, layers: int) -> None:
    """Brute force: all chains of partitions that no group of two forms outlives, from FORMS_PART_AT on."""
    names, last = tuple("abcde"[: len(forms)]), SPLIT_POINTS[-layers:]
    of_task = {task: {"r": "roi", "f": "fcn", "i": "image"}[form] for task, form in zip(names, forms, strict=True)}

    def parted(chain: tuple[Partition, ...]) -> bool:
        late = [partition for layer, partition in zip(last, chain, strict=False) if layer in ("fc6", "fc7", "fc8")]
        return all(len({of_task[task] for task in group}) == 1 for partition in late for group in partition)

    searched = {chain for chain in chains(names, layers - 1) if parted(chain)}
    arms = every_tree(names, last, of_task)
    assert len(arms) == len({arm.name for arm in arms}) == len(searched)

    def groups_of(arm: Arm) -> tuple[Partition, ...]:
        scheme = create("scheme", arm.scheme, **arm.options)
        found = plan(scheme, MIXED_STAGES, names, of_task)
        return tuple(frozenset(map(frozenset, found[stage])) for stage in last if stage in found)

    assert {groups_of(arm) for arm in arms} == searched
    assert {arm.name for arm in sample_trees(names, 5, last, of_task)} <= {arm.name for arm in arms}


@pytest.mark.parametrize("name", list_names("backbone"))
def test_forms_part_where_plans_take_them_to(name: str) -> None:
    if "mixed" not in find("backbone", name).forms or hasattr(find("backbone", name), "pinned"):
        pytest.skip("no form mixed, or stages of each network's own (test_backbones.py)")
    stages = find("backbone", name)("mixed").stages
    assert next(s.name for s in stages if s.by_form and s.has_parameters) == FORMS_PART_AT


def test_splits_that_change_nothing_are_left_out() -> None:
    """Where no two tasks have one form all have parted at fc6, and fc7 and fc8 name the same network."""
    one_each = dataclasses.replace(DENSE3, pair=Pair("p", ("semseg", "detection"), "mixed"))
    assert [a.name for a in without_twins(one_each).arms if a.family == Family.SPLIT][-1] == "split-fc6"
    assert "split-fc6" in without_twins(dataclasses.replace(one_each, short_list=("split-fc8",))).short_list
    two_of_one = dataclasses.replace(DENSE3, pair=Pair("p", ("semseg", "depth", "detection"), "mixed"))
    assert without_twins(two_of_one) == two_of_one and without_twins(DENSE3) == DENSE3


def test_names_say_what_is_shared() -> None:
    names = {arm.name: arm for arm in every_tree(("semseg", "normals", "depth"))}
    assert len(names) == 70
    arm = names["tree-conv3:sem+nor-fc7"]
    assert arm.options == {"shared": {"conv3": [["semseg", "normals"]], "fc7": []}} and arm.family == Family.TREE
    stages = list_shared(arm, ("semseg", "normals", "depth"))
    groups = {stage: {"+".join(sorted(group)) for group in own} for stage, own in stages}
    assert groups["pool2"] == {"depth+normals+semseg"} and groups["fc7"] == {"depth", "normals", "semseg"}
    assert groups["conv3"] == groups["fc6"] == {"depth", "normals+semseg"}
    four = [arm.name for arm in every_tree(("depth", "detection", "edges", "parts"), ("conv2", "fc7", "fc8"))]
    assert "tree-conv2:dep+det,edg+par-fc8" in four and "tree-conv2:dep+det,edg+par-fc7:edg+par-fc8" in four


def test_a_sample_has_both_ends_is_the_same_again_and_part_of_a_larger_one() -> None:
    tasks = ("a", "b", "c", "d", "e", "f", "g")
    few, more = sample_trees(tasks, 12), sample_trees(tasks, 20)
    assert few == sample_trees(tasks, 12) and len(few) == len({arm.name for arm in few}) == 12
    assert {"split-conv2", "split-fc8"} <= {arm.name for arm in few} <= {arm.name for arm in more}
    assert sample_trees(("a", "b"), 40) == every_split()


def test_every_tree_is_as_likely_as_another_in_a_sample() -> None:
    """Ranks are even; the trees of all ranks are all trees, which the first test says."""
    from mtlbench.plan.trees import nth_tree

    assert len({nth_tree(("a", "b", "c"), 7, rank) for rank in range(70)}) == 70
    with pytest.raises(IndexError):
        nth_tree(("a", "b", "c"), 7, 70)


def test_a_tree_of_other_layers_or_tasks_is_refused() -> None:
    for shared, message in (
        ({"conv9": []}, "layer to branch at called 'conv9'"),
        ({"conv3": [["a", "x"]]}, "task of the tree called 'x'"),
        ({"conv3": [["a", "b"], ["a", "c"]]}, "not a partition"),
        ({"conv3": [["a", "b"]], "fc7": [["a", "c"]]}, "merges columns again"),
    ):
        with pytest.raises(UserError, match=message):
            plan(Tree(shared), STAGES, ("a", "b", "c"))


# -------------------------------------------------------------------------------------- what a run makes of it
def space_of(*tasks: str) -> SearchSpace:
    base = spaces.load("semseg_sn")
    recipes = tuple(dataclasses.replace(one, iterations=dict.fromkeys(tasks, 100)) for one in base.recipes)
    return dataclasses.replace(base, pair=Pair("several", tasks, "fcn"), recipes=recipes)


def choose(space: SearchSpace, **options: Any) -> tuple[list[str], list[str]]:
    """Names of the arms, and lines."""
    asked = RunOptions(space.pair.name, **options)
    trees, lines = choose_trees(space, space.recipes[0], asked)
    arms = choose_arms(space, asked.all_splits, asked.all_schemes, asked.arms, asked.schemes, trees)
    return [arm.name for arm in arms], lines


def test_many_trees_are_asked_for_by_number() -> None:
    space = space_of("a", "b", "c")
    assert layers_of(space) == SPLIT_POINTS
    with pytest.raises(UserError) as caught:
        choose(space, all_trees=True)
    said = str(caught.value)
    assert "70 trees of 3 tasks over conv2 .. fc8 (210 networks, 84,000 images" in said and "\n" not in said
    assert "--max-arms 40 " in said and "--max-arms 70 for all" in said
    names, lines = choose(space, all_trees=True, max_arms=12)
    assert len([name for name in names if name.startswith(("tree-", "split-"))]) >= 12 and "one-task" in names
    assert lines == [
        "12 of 70 trees of 3 tasks over conv2 .. fc8, drawn at random with the two ends: 36 networks, 14,400 images to"
        " train on"
    ]
    names, _ = choose(space, all_trees=True, max_arms=100)
    assert len(match(names, "tree-*")) == 63 and len(match(names, "split-*")) == 7


def test_few_trees_need_no_number() -> None:
    names, lines = choose(space_of("a", "b"), all_trees=True)
    assert set(match(names, "split-*")) == {arm.name for arm in every_split()}
    assert lines == ["7 trees of 2 tasks over conv2 .. fc8: 21 networks, 8,400 images to train on"]
    wrongs: tuple[dict[str, Any], ...] = ({"max_arms": 5}, {"max_arms": 1, "all_trees": True})
    for wrong in wrongs:
        with pytest.raises(UserError, match="from 2 on, together with all_trees"):
            RunOptions("pair", **wrong)


def test_a_tree_may_be_asked_for_by_its_name() -> None:
    names, lines = choose(space_of("semseg", "normals", "depth"), arms=("tree-conv3:sem+nor-fc7", "one-task"))
    assert names == ["tree-conv3:sem+nor-fc7", "one-task"] and lines == []
    assert len(choose(space_of("semseg", "normals", "depth"), arms=("tree-conv5:*",))[0]) == 9
