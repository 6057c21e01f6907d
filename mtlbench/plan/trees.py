"""Trees: all ways in which tasks branch off over the layers of a backbone, counted, listed, or a sample of them.

A tree is a partition of the tasks at each layer but the last, from one group at the start; groups only split, and at
the last layer, the heads, every task is alone. The tree of which all tasks leave at one layer is a Split.
Tasks of several forms share nothing from one layer on, the space's `parts_at`: a tree has parted them there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations
from math import comb, prod

from mtlbench.arm_names import SPLIT_POINTS
from mtlbench.errors import UserError
from mtlbench.plan.options import RunOptions
from mtlbench.plan.spaces import forms_of, places_of
from mtlbench.spec import FORMS_PART_AT, ONE_FORM, Arm, Family, Recipe, SearchSpace

Group = tuple[str, ...]
Tree = tuple[tuple[Group, ...], ...]  # the groups at each layer but the last
MOST_UNASKED = 40  # trees, without a word on how many
MOST_NAMED = 20_000  # trees among which --arm looks for a name
LEAST_LETTERS = 3  # of a task in a tree's name
SAMPLE_SEED = 0


@cache
def count_trees(tasks: int, layers: int) -> int:
    """How many trees there are of so many tasks over so many layers, the heads among them.

    The first task's group at the first layer has k of the n tasks and goes on in one layer less; the others go on as if
    they were alone: t(n, l) = sum over k of C(n - 1, k - 1) t(k, l - 1) t(n - k, l), t(n, 1) = t(0, l) = 1. For two
    tasks that is l, for three the pentagonal number l (3 l - 1) / 2.

    >>> [count_trees(tasks, 7) for tasks in (1, 2, 3, 4, 5)]
    [1, 7, 70, 910, 14532]
    """
    if tasks == 0 or layers == 1:
        return 1
    return sum(
        comb(tasks - 1, size - 1) * count_trees(size, layers - 1) * count_trees(tasks - size, layers)
        for size in range(1, tasks + 1)
    )


@cache
def _count(forms: Group, layers: int, before: int) -> int:
    """How many trees there are of tasks of these forms, which part after `before` more layers; by the same recurrence,
    over subsets of the tasks, and where the forms have parted the product of those of each form."""
    if before <= 0 or len(set(forms)) < 2:
        return prod(count_trees(forms.count(form), layers) for form in set(forms))
    if layers == 1:
        return 1
    total = 0
    for own, others in _splits_of(len(forms)):
        here = _count(tuple(forms[place] for place in own), layers - 1, before - 1)
        total += here * _count(tuple(forms[place] for place in others), layers, before)
    return total


@cache
def _splits_of(count: int) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """The groups in which the first of so many tasks can be, and the others: places."""
    return tuple(
        ((0, *companions), tuple(place for place in range(1, count) if place not in companions))
        for size in range(count)
        for companions in combinations(range(1, count), size)
    )


def every_tree(
    tasks: Sequence[str],
    layers: Sequence[str] = SPLIT_POINTS,
    forms: Mapping[str, str] = ONE_FORM,
    parts_at: str = FORMS_PART_AT,
) -> tuple[Arm, ...]:
    """Every tree of the tasks ({task: its form} where these differ, which part at a layer), each once, from nearly
    separate to fully shared; Splits are the arms that they are."""
    names, length, before = tuple(tasks), len(layers), _count_before(layers, parts_at)
    trees = [
        nth_tree(names, length, rank, forms, before) for rank in range(_count(_kinds(tasks, forms), length, before))
    ]
    return _make_arms(trees, tasks, layers, forms, before)


def sample_trees(
    tasks: Sequence[str],
    number: int,
    layers: Sequence[str] = SPLIT_POINTS,
    forms: Mapping[str, str] = ONE_FORM,
    parts_at: str = FORMS_PART_AT,
) -> tuple[Arm, ...]:
    """So many trees (two or more), each equally likely but the fully shared and the nearly separate one, which are
    always among them (Ours); the same for the same tasks and layers. Of a larger sample a smaller one is part."""
    names, before, kinds = tuple(tasks), _count_before(layers, parts_at), _kinds(tasks, forms)
    count = _count(kinds, len(layers), before)
    *_, shared = splits = _find_splits(names, tuple(layers), kinds, before)
    ends = [shared, next(iter(splits))]
    rng, found = random.Random(SAMPLE_SEED), dict.fromkeys(ends)
    while len(found) < min(number, count):
        found.setdefault(nth_tree(names, len(layers), rng.randrange(count), forms, before))
    return _make_arms(list(found), tasks, layers, forms, before)


def nth_tree(tasks: Group, layers: int, rank: int, forms: Mapping[str, str] = ONE_FORM, before: int = 0) -> Tree:
    """The tree of a rank 0 .. count - 1, by the recurrence of `count_trees`; tasks of several `forms` part after
    `before` more layers.

    >>> nth_tree(("a", "b"), 3, 1)
    ((('a', 'b'),), (('a',), ('b',)))
    """
    if not tasks or layers == 1:
        return ((),) * (layers - 1)
    kinds = _kinds(tasks, forms)
    if before <= 0 and len(set(kinds)) > 1:
        first = tuple(task for task, kind in zip(tasks, kinds, strict=True) if kind == kinds[0])
        others = tuple(task for task in tasks if task not in first)
        rank, inside = divmod(rank, count_trees(len(first), layers))
        return _join(tasks, nth_tree(first, layers, inside), nth_tree(others, layers, rank, forms, before))
    for own, left in _splits_of(len(tasks)):
        inside = _count(tuple(kinds[place] for place in left), layers, before)
        here = _count(tuple(kinds[place] for place in own), layers - 1, before - 1) * inside
        if rank < here:
            group, alone = tuple(tasks[place] for place in own), tuple(tasks[place] for place in left)
            later = nth_tree(group, layers - 1, rank // inside, forms, before - 1)
            return _join(tasks, ((group,), *later), nth_tree(alone, layers, rank % inside, forms, before))
        rank -= here
    raise IndexError(rank)


def _join(tasks: Group, one: Tree, other: Tree) -> Tree:
    """A tree of some of the tasks and one of the others, as one."""
    return tuple(
        tuple(sorted([*own, *beside], key=lambda group: tasks.index(group[0])))
        for own, beside in zip(one, other, strict=True)
    )


def _count_before(layers: Sequence[str], parts_at: str) -> int:
    """After how many of the layers forms have parted."""
    return layers.index(parts_at) if parts_at in layers else len(layers)


def _kinds(tasks: Sequence[str], forms: Mapping[str, str]) -> Group:
    """The forms of the tasks, in their order."""
    return tuple(forms.get(task, "") for task in tasks)


@cache
def _find_splits(tasks: Group, layers: Group, kinds: Group, before: int) -> dict[Tree, str]:
    """The Splits as trees, {tree: the first layer to split at that gives it}, from the first layer on."""
    alone, found = tuple((task,) for task in tasks), dict[Tree, str]()
    of_kinds = [
        tuple(task for task, own in zip(tasks, kinds, strict=True) if own == kind) for kind in dict.fromkeys(kinds)
    ]
    for place, layer in enumerate(layers):
        tree = tuple(
            alone if number >= place else tuple(of_kinds) if number >= before else (tasks,)
            for number in range(len(layers) - 1)
        )
        found.setdefault(tree, layer)
    return found


def _make_arms(
    trees: Sequence[Tree], tasks: Sequence[str], layers: Sequence[str], forms: Mapping[str, str], before: int
) -> tuple[Arm, ...]:
    """Their arms, the most columns first; of equally many in the order of their names."""
    arms = [(-sum(map(len, tree)), arm_of(tree, tasks, layers, forms, before)) for tree in trees]
    return tuple(arm for _, arm in sorted(arms, key=lambda found: (found[0], found[1].name)))


def arm_of(
    tree: Tree, tasks: Sequence[str], layers: Sequence[str], forms: Mapping[str, str] = ONE_FORM, before: int = 0
) -> Arm:
    """A tree's arm: the Split that it is, else named by what is shared from each layer where tasks leave; tasks of
    several `forms` part after `before` layers.

    >>> arm_of(((("a", "b"), ("c",)), (("a",), ("b",), ("c",))), "abc", ("conv2", "conv3", "fc8")).name
    'tree-conv2:a+b-conv3'
    """
    if at := _find_splits(tuple(tasks), tuple(layers), _kinds(tasks, forms), before).get(tree):
        return Arm(f"split-{at}", "split", {"at": at})
    shared: dict[str, list[list[str]]] = {}
    latest = {tuple(tasks)}
    for layer, groups in zip(layers, (*tree, tuple((task,) for task in tasks)), strict=True):
        if set(groups) != latest:
            shared[layer] = [list(group) for group in groups if len(group) > 1]
            latest = set(groups)
    short = abbreviate(tasks)
    words = [
        layer + (":" + ",".join("+".join(short[task] for task in group) for group in groups) if groups else "")
        for layer, groups in shared.items()
    ]
    return Arm(f"tree-{'-'.join(words)}", "tree", {"shared": shared})


def abbreviate(tasks: Sequence[str]) -> dict[str, str]:
    """{task: its first letters, at least three, as many as tell it from the others}.

    >>> abbreviate(("semseg", "depth", "detection"))
    {'semseg': 'sem', 'depth': 'dep', 'detection': 'det'}
    """
    return {
        task: next(
            (
                task[:length]
                for length in range(LEAST_LETTERS, len(task))
                if not any(other[:length] == task[:length] for other in tasks if other != task)
            ),
            task,
        )
        for task in tasks
    }


def layers_of(space: SearchSpace) -> tuple[str, ...]:
    """The layers at which a space's Splits split, in their order: where tasks may leave."""
    own = (arm for arm in space.arms if arm.family == Family.SPLIT and not arm.variant_of)
    return tuple(str(arm.options["at"]) for arm in own) or SPLIT_POINTS


def choose_trees(space: SearchSpace, recipe: Recipe, options: RunOptions) -> tuple[tuple[Arm, ...], list[str]]:
    """The trees that the options ask for, or among which an asked name may be, and lines on their number and cost.

    Raises UserError for more trees than the options allow.
    """
    tasks, layers, forms = space.pair.tasks, layers_of(space), forms_of(space.pair.form, places_of(space.pair))
    count = _count(_kinds(tasks, forms), len(layers), _count_before(layers, space.parts_at))
    if not options.all_trees:
        named = any(glob.startswith("tree-") for glob in options.arms) and count <= MOST_NAMED
        return every_tree(tasks, layers, forms, space.parts_at) if named else (), []
    number = min(count, options.max_arms or MOST_UNASKED)
    what = f"{count} trees of {len(tasks)} tasks over {layers[0]} .. {layers[-1]}"

    def cost(trees: int) -> str:
        visits = trees * len(options.seeds) * max(recipe.iterations.values()) * recipe.images
        return f"{trees * len(options.seeds)} networks, {visits:,} images"

    if count > number and not options.max_arms:
        raise UserError(
            f"--all-trees: {what} ({cost(count)} to train on); add --max-arms {MOST_UNASKED} for a sample "
            f"({cost(MOST_UNASKED)}), --max-arms {count} for all"
        )
    if count <= number:
        return every_tree(tasks, layers, forms, space.parts_at), [f"{what}: {cost(count)} to train on"]
    line = f"{number} of {what}, drawn at random with the two ends: {cost(number)} to train on"
    return sample_trees(tasks, number, layers, forms, space.parts_at), [line]
