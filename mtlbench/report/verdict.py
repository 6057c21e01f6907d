"""The verdict in words: sentences made from the statistics, each with its numbers, the answer first."""

from __future__ import annotations

import math
from typing import Any

from mtlbench.analysis.comparison import CROSS_STITCH, RELATIONS, RIVALS, Case, Difference, case_of
from mtlbench.analysis.frame import FEWEST_SEEDS, records
from mtlbench.analysis.inference import detectable, familywise, intervals, seeds_for
from mtlbench.analysis.selection import reason_of
from mtlbench.arm_names import BASELINE, HIDDEN_ARMS, is_split, named
from mtlbench.plan.arms import standard_arms
from mtlbench.report.claims import claims
from mtlbench.report.words import command, compared, in_words
from mtlbench.text import count, listed, percent

POWER = 0.8
COSTS = {  # of `stats.compute_matched`
    "parameters": "Parameters",
    "training_flops_with_parents": "Training FLOPs with parents",
}


def verdict(
    results: Any,
    pair: str | None = None,
    dataset: str | None = None,
    recipe: str | None = None,
    backbone: str | None = None,
) -> list[str]:
    """What the results say: the answer, what the seeds can show, the paper's claims here, what was not compared.

    Takes the newest results or those asked for (`stats.newest`). Raises UserError where there are none.
    """
    case = case_of(results, pair, dataset, recipe, backbone)
    return [*answer(case), *resolution(case), *claims(case, results), *gaps(case)]


def answer(case: Case) -> list[str]:
    """The Split that val chooses, and cross-stitch against its rivals, for the pair and each task."""
    if case.changes.empty:
        return [f"Nothing can be said: {BASELINE} has no headline on test that another arm could be compared with."]
    said = [_best_split(case, scope) for scope in case.scopes if scope in case.choice]
    if not said:
        splits = any(map(is_split, case.arms))
        said = [f"No Split is chosen: there {'is no val to choose on' if splits else 'are no Splits'}."]
    if arm := case.arm(*CROSS_STITCH):
        lines = [line for scope in case.scopes if (line := _cross_stitch(case, scope, arm))]
        said += [
            *lines,
            *(
                ["P is the probability that cross-stitch is the better one."]
                if "(P" in " ".join(lines) or ", P" in " ".join(lines)
                else []
            ),
            *_costs(case, arm),
        ]
    return said


def _best_split(case: Case, scope: str) -> str:
    """`For normals, val chooses Split conv4 of 7 Splits (+1.5 % there); on test it beats one-task by ...`."""
    row = case.choice[scope]
    splits = sum(map(is_split, case.arms))
    many = f" of {splits} Splits" if splits > 1 else ", the only Split"
    mean = "" if scope else " (mean over its tasks)"
    start = f"For {in_words(scope)}{mean}, val chooses {named(row['arm'])}{many} ({percent(row['val_change'])} there)"
    changes = case.changes[case.changes["task"] == scope]
    plain, wide = (
        next((found for found in records(table) if found["arm"] == row["arm"]), None)
        for table in (intervals(changes), familywise(changes))
    )
    if plain is None or wide is None:
        return f"{start}; it shares no seed with {BASELINE}."
    found = Difference(
        plain["mean"],
        plain["shown_low"],
        plain["shown_high"],
        wide["low"],
        wide["high"],
        math.nan,
        int(plain["n"]),
        int(wide["comparisons"]),
    )
    return f"{start}; on test it {_clause(found.relation, [compared(found, BASELINE, likely=False)])}."


def _cross_stitch(case: Case, scope: str, arm: str) -> str:
    """`For normals, cross-stitch beats one-task by ... and is within noise of Split conv4 ...`, the wins first."""
    rivals = [rival for rival in RIVALS if rival in case.arms]
    if scope in case.choice:
        rivals.append(case.choice[scope]["arm"])
    found = {rival: case.difference(scope, arm, rival, len(rivals)) for rival in rivals}
    clauses = []
    for relation in (*RELATIONS, ""):
        texts = [compared(one, named(rival)) for rival, one in found.items() if one and one.relation == relation]
        clauses += [_clause(relation, texts)] if texts else []
    return f"For {in_words(scope)}, {arm} {'; '.join(clauses)}." if clauses else ""


def _clause(relation: str, texts: list[str]) -> str:
    return f"{relation} {listed(texts)}" if relation else f"stands at {listed(texts)} (no interval)"


def _costs(case: Case, arm: str) -> list[str]:
    """How large cross-stitch is beside the others, and how much training went into it, parents included."""
    costs = case.costs
    if arm not in costs.index:
        return []
    others = [
        other
        for other in dict.fromkeys([*(row["arm"] for row in case.choice.values()), *RIVALS])
        if other in costs.index and other != arm
    ]
    said = []
    for column, what in COSTS.items():
        ratios: dict[str, list[str]] = {}
        for other in others:
            if (ratio := costs.loc[arm, column] / costs.loc[other, column]) > 0:
                ratios.setdefault(_ratio(ratio), []).append(named(other))
        if ratios:
            against = "; ".join(f"{ratio} x {listed(names)}" for ratio, names in ratios.items())
            said.append(f"{what} of {arm} for the pair: {against}.")
    return said


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value >= 0.95 else f"{value:.2g}"


def resolution(case: Case) -> list[str]:
    """What the seeds can and cannot show, and what half of that would take."""
    if case.changes.empty:
        return []
    if case.seeds < FEWEST_SEEDS:
        more = command(case, f"{case.pair} --seeds 0-2")
        return [
            f"With {count(case.seeds, 'seed')} there is no interval (they start at {FEWEST_SEEDS} seeds): none of"
            f" these differences can be told from noise; type: {more}"
        ]
    least, half = [], []
    for scope in case.scopes:
        row = next(row for row in records(intervals(case.changes[case.changes["task"] == scope])))
        smallest = detectable(row["noise"], row["freedom"], case.seeds, POWER)
        if smallest > 0:  # NaN where noise cannot be estimated
            least.append(f"{percent(smallest, signed=False)} ({in_words(scope)})")
            pooled = 1 + round(row["freedom"] / (case.seeds - 1))  # arms; those whose own noise is larger are not in it
            half.append(str(seeds_for(smallest / 2, row["noise"], arms=pooled, power=POWER)))
    if not least:
        return ["The noise between seeds cannot be estimated from so few arms and seeds."]
    more = half[0] if len(set(half)) == 1 else listed(half)
    return [
        f"With {count(case.seeds, 'seed')}, differences between two arms under {listed(least)} cannot be relied on"
        f" to show ({100 * POWER:.0f} % power); {more} seeds would show half of that."
    ]


def gaps(case: Case) -> list[str]:
    """What was not compared: arms that are missing, have fewer seeds, failed or were blocked."""
    expected = [arm.name for arm in standard_arms(per_channel=True) if arm.name not in HIDDEN_ARMS]
    failed = list(dict.fromkeys(str(failure["arm"]) for failure in case.failures))
    missing = [arm for arm in expected if not case.arm(arm) and arm not in failed]
    said = []
    if missing:
        said.append(
            f"Not compared, since not trained: {listed(list(map(named, missing)))}; type:"
            f" {command(case, case.pair + ' --all-splits')}"
        )
    seeds_of: dict[tuple[str, ...], list[str]] = {}
    for failure in case.failures:
        what = *(str(failure[name]) for name in ("arm", "task", "status")), reason_of(failure)
        seeds_of.setdefault(what, []).append(str(failure["seed"]))
    for (arm, task, status, reason), seeds in seeds_of.items():
        which = f"{arm}{', ' + task if task else ''}, seed{'s' * (len(seeds) > 1)} {listed(seeds)}"
        said.append(f"Not compared: {which}: {status}{': ' + reason if reason else ''}")
    counts = case.changes.groupby("arm", sort=False)["seed"].nunique(dropna=False)
    fewer = [f"{named(str(arm))} {n}" for arm, n in counts.items() if n < case.seeds]
    if fewer:
        said.append(f"Fewer than the {count(case.seeds, 'seed')} of {BASELINE}: {listed(fewer)}.")
    return said
