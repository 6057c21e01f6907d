"""Trees: all ways in which tasks branch off over the layers of a backbone, counted, listed, or a sample of them.

A tree is a partition of the tasks at each layer but the last, from one group at the start; groups only split, and at
the last layer, the heads, every task is alone. The tree of which all tasks leave at one layer is a Split.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from math import comb

from mtlbench.arm_names import SPLIT_POINTS
from mtlbench.errors import UserError
from mtlbench.plan.options import RunOptions
from mtlbench.spec import Arm, Family, Recipe, SearchSpace

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


def every_tree(tasks: Sequence[str], layers: Sequence[str] = SPLIT_POINTS) -> tuple[Arm, ...]:
    """Every tree of the tasks, each once, from nearly separate to fully shared; Splits are the arms that they are."""
    return _arms([nth_tree(tuple(tasks), len(layers), rank) for rank in range(_count(tasks, layers))], tasks, layers)


def sample_trees(tasks: Sequence[str], number: int, layers: Sequence[str] = SPLIT_POINTS) -> tuple[Arm, ...]:
    """So many trees (two or more), each equally likely but the fully shared and the nearly separate one, which are
    always among them (Ours); the same for the same tasks and layers. Of a larger sample a smaller one is part."""
    ends = [((tuple(tasks),),) * (len(layers) - 1), (tuple((task,) for task in tasks),) * (len(layers) - 1)]
    rng, count, found = random.Random(SAMPLE_SEED), _count(tasks, layers), dict.fromkeys(ends)
    while len(found) < min(number, count):
        found.setdefault(nth_tree(tuple(tasks), len(layers), rng.randrange(count)))
    return _arms(list(found), tasks, layers)


def nth_tree(tasks: Group, layers: int, rank: int) -> Tree:
    """The tree of a rank 0 .. count - 1, by the recurrence of `count_trees`.

    >>> nth_tree(("a", "b"), 3, 1)
    ((('a', 'b'),), (('a',), ('b',)))
    """
    if not tasks or layers == 1:
        return ((),) * (layers - 1)
    for size in range(1, len(tasks) + 1):
        for others in combinations(tasks[1:], size - 1):
            here, inside = count_trees(size, layers - 1), count_trees(len(tasks) - size, layers)
            if rank < here * inside:
                group = (tasks[0], *others)
                rest = nth_tree(tuple(task for task in tasks if task not in group), layers, rank % inside)
                later = nth_tree(group, layers - 1, rank // inside)
                return tuple(
                    tuple(sorted([*own, *beside], key=lambda one: tasks.index(one[0])))
                    for own, beside in zip(((group,), *later), rest, strict=True)
                )
            rank -= here * inside
    raise IndexError(rank)


def _count(tasks: Sequence[str], layers: Sequence[str]) -> int:
    return count_trees(len(tasks), len(layers))


def _arms(trees: Sequence[Tree], tasks: Sequence[str], layers: Sequence[str]) -> tuple[Arm, ...]:
    """Their arms, the most columns first; of equally many in the order of their names."""
    arms = [(-sum(map(len, tree)), arm_of(tree, tasks, layers)) for tree in trees]
    return tuple(arm for _, arm in sorted(arms, key=lambda found: (found[0], found[1].name)))


def arm_of(tree: Tree, tasks: Sequence[str], layers: Sequence[str]) -> Arm:
    """A tree's arm: the Split that it is, else named by what is shared from each layer where tasks leave.

    >>> arm_of(((("a", "b"), ("c",)), (("a",), ("b",), ("c",))), "abc", ("conv2", "conv3", "fc8")).name
    'tree-conv2:a+b-conv3'
    """
    shared: dict[str, list[list[str]]] = {}
    before = {tuple(tasks)}
    for layer, groups in zip(layers, (*tree, tuple((task,) for task in tasks)), strict=True):
        if set(groups) != before:
            shared[layer] = [list(group) for group in groups if len(group) > 1]
            before = set(groups)
    if len(shared) < 2:  # one task never parts, and is alone at once
        at = next(iter(shared), layers[0])
        return Arm(f"split-{at}", "split", {"at": at})
    short = abbreviated(tasks)
    words = [
        layer + (":" + ",".join("+".join(short[task] for task in group) for group in groups) if groups else "")
        for layer, groups in shared.items()
    ]
    return Arm(f"tree-{'-'.join(words)}", "tree", {"shared": shared})


def abbreviated(tasks: Sequence[str]) -> dict[str, str]:
    """{task: its first letters, at least three, as many as tell it from the others}.

    >>> abbreviated(("semseg", "depth", "detection"))
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
    tasks, layers = space.pair.tasks, layers_of(space)
    count = _count(tasks, layers)
    if not options.all_trees:
        named = any(glob.startswith("tree-") for glob in options.arms) and count <= MOST_NAMED
        return every_tree(tasks, layers) if named else (), []
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
        return every_tree(tasks, layers), [f"{what}: {cost(count)} to train on"]
    line = f"{number} of {what}, drawn at random with the two ends: {cost(number)} to train on"
    return sample_trees(tasks, number, layers), [line]
