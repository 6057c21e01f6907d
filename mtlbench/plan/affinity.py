"""Joint arms of three and more tasks, trained again for every two of them, to see who helps whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations

from mtlbench.errors import UserError
from mtlbench.plan.arms import check_arms, match
from mtlbench.plan.trees import abbreviate
from mtlbench.spec import Arm, Family, Purpose

NOT_OF_TWO = (Family.BASELINE, Family.LONGER, Family.ENSEMBLE, Family.TREE, Family.WIDE, Family.PARENT)


def at_every_two(arms: Sequence[Arm], globs: Sequence[str], tasks: Sequence[str]) -> tuple[Arm, ...]:
    """The arms, and each joint one that matches a glob for every two of the tasks, called `ARM:sem+nor`; all start from
    the parents that the arm of all tasks starts from.

    The two-task networks of Standley et al. 2020, who have one architecture; here it is the arm's. Trees name
    tasks, a width is that of all tasks and a search is one of all: none of these is trained for two. Raises UserError
    for fewer than three tasks and where no arm is left.
    """
    if not globs:
        return tuple(arms)
    if len(tasks) < 3:
        raise UserError(
            "--affinity is about three and more tasks; of two every joint arm is the network that it would train"
        )
    joint = {arm.name for arm in arms if arm.joint}
    names = {name for glob in globs for name in match([arm.name for arm in arms], glob)}
    chosen = [
        arm
        for arm in arms
        if arm.name in names
        and arm.joint
        and arm.purpose == Purpose.COMPARED
        and arm.family not in NOT_OF_TWO
        and not joint & set(arm.parents)
    ]
    if not chosen:
        asked = " or ".join(globs)
        raise UserError(f"--affinity {asked}: no joint network that can be of two tasks; try --affinity split-fc8")
    short = abbreviate(tasks)
    pairs = [
        dataclasses.replace(
            arm,
            name=f"{arm.name}:{short[one]}+{short[other]}",
            tasks=(one, other),
            variant_of=arm.name,
            purpose=Purpose.AFFINITY,
        )
        for arm in chosen
        for one, other in combinations(tasks, 2)
    ]
    check_arms(everything := (*arms, *pairs))
    return everything
