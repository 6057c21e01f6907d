"""What made-up arms are: those of the built-in spaces as they are there, any other one a user's own."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd

from mtlbench.analysis.arms import Arms
from mtlbench.plan import spaces
from mtlbench.spec import Arm, Family

FACTS = ("scheme", "method", "family", "variant_of", "rate", "weighting", "tuned", "purpose")
Facts = tuple[str, str, str, str, float, str, int, str]
PLAIN = (1.0, "", 0, "")


@cache
def list_built_in() -> dict[str, Arm]:
    found: dict[str, Arm] = {}
    for name in spaces.list_names():
        space = spaces.load(name)
        found |= {arm.name: arm for arm in (*space.arms, *space.more)}
    return found


@cache
def facts_of(arm: str) -> Facts:
    """FACTS of an arm of a built-in space, or of one that follows their names."""
    base, at, rate = arm.rpartition("@")
    if at:
        scheme, _, family, *_ = facts_of(base)
        if rate[:1].isalpha():  # a weighting's name
            return scheme, rate, family, base, *PLAIN
        return scheme, "", family, base, float(rate), "", 0, "rates"
    base, tilde, weighting = arm.rpartition("~")
    if tilde:
        scheme, _, family, *_ = facts_of(base)
        return scheme, "", family, base, 1.0, weighting, 0, "weightings"
    base, colon, _ = arm.rpartition(":")
    if colon and not arm.startswith("tree-"):  # of two tasks
        scheme, _, family, *_ = facts_of(base)
        return scheme, "", family, base, 1.0, "", 0, "affinity"
    if arm in list_built_in():
        known = list_built_in()[arm]
        return known.scheme, "", known.family, known.variant_of, *PLAIN
    for scheme, name in (("cross_stitch", "cross-stitch"), ("mtl_shared", "mtl-shared")):
        if arm.startswith(f"{name}-"):
            return scheme, "", list_built_in()[name].family, name, *PLAIN
    if arm.startswith("tree-"):
        return "tree", "", Family.TREE, "", *PLAIN
    return ("split", "", Family.SPLIT, "", *PLAIN) if arm.startswith("split-") else ("Mine", "", Family.OWN, "", *PLAIN)


def with_facts(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the columns that say what its arms are."""
    arms = frame["arm"].unique()
    facts = pd.DataFrame([facts_of(arm) for arm in arms], columns=list(FACTS), index=arms).loc[frame["arm"]]
    return frame.assign(**{name: facts[name].to_numpy() for name in FACTS})


def arms_of(names: list[str] | tuple[str, ...]) -> Arms:
    """What arms of these names are."""
    return Arms.of(with_facts(pd.DataFrame({"arm": list(names)})))


def make_failure(arm: str, **more: Any) -> dict[str, Any]:
    """A failure of the arm as `Results.failures` tells it."""
    scheme, _, family, variant_of, *_, purpose = facts_of(arm)
    facts = {"arm": arm, "scheme": scheme, "family": family, "variant_of": variant_of, "purpose": purpose}
    return {**facts, **more}
