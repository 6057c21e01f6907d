"""The one sentence that a report begins with: how much should these tasks share?"""

from __future__ import annotations

from mtlbench.analysis.comparison import BEATS, LOSES, NOISE, PAIR, Difference
from mtlbench.arm_names import BASELINE, name_in_prose
from mtlbench.report.sentences import allowing
from mtlbench.report.verdict import Answer, ChosenSplit
from mtlbench.text import write_percent


def short_answer(found: Answer) -> str:
    """What the Split that val chooses for all tasks, and cross-stitch, are worth against a network for each task."""
    chosen = next((one for one in found.chosen if one.scope == PAIR), None) or next(iter(found.chosen), None)
    stitched = next(
        (
            one.rivals[BASELINE]
            for one in found.comparisons
            if one.scope == (chosen.scope if chosen else PAIR) and BASELINE in one.rivals
        ),
        None,
    )
    if chosen is None or chosen.difference is None:
        said = "These results do not say: no Split was chosen on val and compared with a network for each task."
    else:
        said = " ".join([_say_split(chosen, chosen.difference), *_say_tasks_apart(chosen, chosen.difference, found)])
    return f"{said} {_say_stitched(stitched)}".rstrip()


def _say_tasks_apart(chosen: ChosenSplit, mean: Difference, found: Answer) -> list[str]:
    """A sentence a task whose own best Split is said to be better or worse, where the mean of all is not."""
    words = {BEATS: "better", LOSES: "worse"}
    return [
        f"For {one.scope} by itself, {name_in_prose(one.arm)} is {words[own.relation]} than a network of its own, at"
        f" {write_percent(own.mean, own.low, own.high)}."
        for one in found.chosen
        if one.scope != chosen.scope
        and (own := one.difference)
        and own.relation in words
        and own.relation != mean.relation
    ]


def _say_split(chosen: ChosenSplit, found: Difference) -> str:
    name, change = name_in_prose(chosen.arm), write_percent(found.mean, found.low, found.high)
    which = f"{name}, which val chooses of {chosen.splits} Splits," if chosen.splits > 1 else f"{name}, the only Split,"
    layers = f"all layers before {chosen.arm.removeprefix('split-')}" if chosen.arm.startswith("split-") else "some"
    if found.relation == BEATS:
        return f"Share {layers}: {which} is better than a network for each task, by {change} on test."
    if found.relation == LOSES:
        return f"Share nothing: even {which} is worse than a network for each task, at {change} on test."
    if found.relation == NOISE:
        return (
            f"It makes no difference that these seeds can show{_lacks(found)}: {which} is at {change} on test"
            " against a network for each task."
        )
    return f"Too few seeds to say: {which} is at {change} on test against a network for each task."


def _say_stitched(found: Difference | None) -> str:
    if found is None:
        return ""
    change = write_percent(found.mean, found.low, found.high)
    words = {BEATS: "better", LOSES: "worse", NOISE: f"within noise{_lacks(found)}"}
    return f"Cross-stitch, which learns how much, is at {change}" + (
        f": {words[found.relation]}." if found.relation in words else "."
    )


def _lacks(found: Difference) -> str:
    """What an interval that excludes 0 by itself lacks for a word on it."""
    return f" {allowing(found)}" if found.alone else ""
