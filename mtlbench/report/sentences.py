"""Sentences of the verdict and the claims: the only place where outcomes become words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mtlbench.analysis.affinity import Affinities, ArmAffinity
from mtlbench.analysis.comparison import BEATS, LOSES, NOISE, RELATIONS, Case, Difference
from mtlbench.analysis.costs import COMPARED
from mtlbench.analysis.frame import FEWEST_SEEDS
from mtlbench.analysis.trade_offs import LEVELS
from mtlbench.arm_names import BASELINE, name_in_prose
from mtlbench.report.beyond import BeyondSplits
from mtlbench.report.claims import (
    ALPHA,
    RATE,
    ClaimResult,
    ClaimResults,
    Finding,
    Kind,
    Outcome,
    Untested,
)
from mtlbench.report.commands import ABLATIONS, write_command
from mtlbench.report.verdict import (
    POWER,
    Answer,
    ChosenSplit,
    Comparison,
    CostRatio,
    Gaps,
    NoChoice,
    Resolution,
    Verdict,
)
from mtlbench.report.weighed import Weighed
from mtlbench.text import MINUS, count, list_in_words, write_percent


def write_sentences(found: Verdict) -> list[str]:
    """The whole verdict, the answer first."""
    return [
        *answer_sentences(found.answer),
        *resolution_sentences(found.resolution, found.case),
        *(front_sentences(found.beyond, found.case) if found.beyond else ()),
        *weighting_sentences(found.weighed, found.case),
        *(affinity_sentences(found.affinities) if found.affinities else ()),
        *claim_sentences(found.claims, found.case),
        *gap_sentences(found.gaps, found.case),
    ]


# ---------------------------------------------------------------------------------------------------- the answer
def answer_sentences(found: Answer) -> list[str]:
    """The Split that val chooses, cross-stitch against its rivals, its costs."""
    if found.no_choice is NoChoice.NO_BASELINE:
        return [f"Nothing can be said: {BASELINE} has no headline on test that another arm could be compared with."]
    said = [_say_choice(one) for one in found.chosen]
    if found.no_choice:
        why = "is no val to choose on" if found.no_choice is NoChoice.NO_VAL else "are no Splits"
        said.append(f"No Split is chosen: there {why}.")
    said += [_say_comparison(one) for one in found.comparisons]
    return said + [_ratios(one) for one in found.costs]


def _say_choice(one: ChosenSplit) -> str:
    """`For normals, val chooses Split conv4 of 7 Splits (+1.5 % there); on test it beats one-task by ...`."""
    many = f" of {one.splits} Splits" if one.splits > 1 else ", the only Split"
    mean = "" if one.scope else " (mean over its tasks)"
    there = f"{name_in_prose(one.arm)}{many} ({write_percent(one.val_change)} there)"
    start = f"For {in_words(one.scope)}{mean}, val chooses {there}"
    if one.difference is None:
        return f"{start}; it shares no seed with {BASELINE}."
    clause = _clause(one.difference.relation, [say_compared(one.difference, BASELINE)])
    return f"{start}; on test it {clause}."


def _say_comparison(one: Comparison) -> str:
    """`For normals, cross-stitch beats one-task by ... and is within noise of Split conv4 ...`, the wins first."""
    clauses = []
    for relation in (*RELATIONS, ""):
        texts = [
            say_compared(found, name_in_prose(rival))
            for rival, found in one.rivals.items()
            if found.relation == relation
        ]
        clauses += [_clause(relation, texts)] if texts else []
    return f"For {in_words(one.scope)}, {one.arm} {'; '.join(clauses)}."


def _clause(relation: str, texts: list[str]) -> str:
    return f"{relation} {list_in_words(texts)}" if relation else f"stands at {list_in_words(texts)} (no interval)"


def _ratios(one: CostRatio) -> str:
    grouped: dict[str, list[str]] = {}
    for other, ratio in one.ratios.items():
        grouped.setdefault(f"{ratio:.1f}" if ratio >= 0.95 else f"{ratio:.2g}", []).append(name_in_prose(other))
    against = "; ".join(f"{ratio} x {list_in_words(names)}" for ratio, names in grouped.items())
    return f"{COMPARED[one.cost]} of {one.arm} for the pair: {against}."


def say_compared(found: Difference, other: str) -> str:
    """What follows the relation: `one-task by 1.2 % [0.3, 2.1]`, `one-task (+0.4 % [-0.5, +1.3])`, `+0.4 % against
    one-task`."""
    if not found.has_interval:
        return f"{write_percent(found.mean)} against {other}"
    if found.relation == NOISE:
        return f"{other} ({size(found)})"
    sign = 1 if found.mean > 0 else -1
    low, high = sorted((sign * found.low, sign * found.high))
    return f"{other} by {write_percent(abs(found.mean), low, high, signed=False)}"


def size(found: Difference, unit: str = "%", digits: int = 1) -> str:
    """`+1.2 % [-0.3, +2.1]`; where 0 is outside for this contrast alone, also what allows for the others."""
    text = write_percent(found.mean, found.low, found.high, unit=unit, digits=digits)
    if not found.alone:
        return text
    wide = write_percent(found.mean, found.wide_low, found.wide_high, unit=unit, digits=digits)
    return f"{text}; {wide[wide.index('[') :]} {allowing(found)}"


def allowing(found: Difference) -> str:
    """`where 54 contrasts are allowed for`."""
    return f"where {count(found.comparisons, 'contrast')} are allowed for"


# ---------------------------------------------------------------------------------------------------- what seeds show
def resolution_sentences(found: Resolution | None, case: Case) -> list[str]:
    """What the seeds can and cannot show."""
    if found is None:
        return []
    if found.seeds < FEWEST_SEEDS:
        more = write_command(case, case.pair, seeds="0-2")
        return [
            f"With {count(found.seeds, 'seed')} there is no interval (they start at {FEWEST_SEEDS} seeds): none of"
            f" these differences can be told from noise; type: {more}"
        ]
    if not found.least:
        return ["The noise between seeds cannot be estimated from so few arms and seeds."]
    least = [f"{write_percent(size, signed=False)} ({in_words(scope)})" for scope, size in found.least.items()]
    said = [f"{write_percent(size, signed=False)} ({in_words(scope)})" for scope, size in found.least_said.items()]
    half = [str(seeds) for seeds in found.seeds_for_half.values()]
    more = half[0] if len(set(half)) == 1 else list_in_words(half)
    return [
        f"With {count(found.seeds, 'seed')}, differences from {BASELINE} under {list_in_words(least)} cannot be "
        "relied on"
        f" to show in an arm's own interval ({100 * POWER:.0f} % power); {more} seeds would show half of that.",
        f"What is said here allows for {count(found.contrasts, 'contrast')} at once, and needs {list_in_words(said)}.",
    ]


# ---------------------------------------------------------------------------------------------------- the front
def front_sentences(found: BeyondSplits, case: Case) -> list[str]:
    """Whether any arm lies outside the front that the Splits with tuned weights reach."""
    grid = f"--loss-weight-grid {LEVELS}"
    if not found.splits:
        more = write_command(case, f"{case.pair} --arm 'split-*' {grid}")
        return [
            f"No Split was trained at several weightings, so that no arm can be held against their front; type: {more}"
        ]
    front = f"the front that {_splits(found)} with tuned weights"
    if not found.others:
        more = write_command(case, f"{case.pair} --arm cross-stitch {grid}")
        return [f"No other arm was trained at several weightings to be held against {front}; type: {more}"]
    if not found.advantages:
        return [f"Nothing is held against {front}: no arm has a weighting with numbers on val in the Splits' seeds."]
    outside = [say_compared(found.advantages[arm], name_in_prose(arm)) for arm in found.outside]
    others = {name_in_prose(arm): one for arm, one in found.advantages.items() if arm not in found.outside}
    inside = list_in_words([f"{arm} ({size(one)})" for arm, one in others.items() if one.has_interval])
    alone = list_in_words([f"{arm} ({write_percent(one.mean)})" for arm, one in others.items() if not one.has_interval])
    said = []
    if outside:
        lie = "lies" if len(outside) == 1 else "lie"
        said.append(f"Outside {front} {lie} {list_in_words(outside)}{f'; not shown to: {inside}' if inside else ''}.")
    elif inside:
        said.append(f"No arm is shown to lie outside {front}: {inside}.")
    if alone:
        said.append(f"Against {front} without an interval (from {FEWEST_SEEDS} seeds on): {alone}.")
    return said


def _splits(found: BeyondSplits) -> str:
    """`Split conv4 and Split fc8 reach`."""
    number = len(found.splits)
    names = list_in_words(list(map(name_in_prose, found.splits))) if number < 4 else count(number, "Split")
    return f"{names} {'reaches' if number == 1 else 'reach'}"


# ------------------------------------------------------------------------------------------------ weightings of tasks
def weighting_sentences(found: Sequence[Weighed], case: Case) -> list[str]:
    """Of each architecture: whether the weighting that val chooses beats the plain sum and tuned fixed weights, what a
    step costs with it, and whether another architecture is worth more."""
    said = []
    for one in found:
        name, of = name_in_prose(one.arm), f" of {one.tried}" if one.tried > 1 else ", the only one"
        steps = f" (a step costs {one.cost:.1f} times as much CPU time)" if one.cost else ""
        start = f"Of weightings of the tasks under {name}, val chooses {one.weighting}{of}{steps}"
        clauses = [f"on test (mean over tasks) it {_say_against(one.gain, 'the plain sum')}"]
        if one.over_fixed:
            clauses.append(f"it {_say_against(one.over_fixed, f'the best on val of {one.levels} fixed weights')}")
        if one.other:
            best = name_in_prose(one.best)
            clauses.append(f"at the plain sum {best}, which val chooses, {_say_against(one.other, name)}")
        said.append(f"{start}: {'; '.join(clauses)}.")
    if found and not any(one.levels for one in found):
        arms = " ".join(f"--arm {one.arm}" for one in found)
        more = write_command(case, f"{case.pair} {arms} --loss-weight-grid {LEVELS}")
        said.append(f"Whether any is better than tuned fixed weights is not known without a grid of them; type: {more}")
    return said


def _say_against(found: Difference, other: str) -> str:
    return _clause(found.relation, [say_compared(found, other)])


# ---------------------------------------------------------------------------------------------------- who helps whom
def affinity_sentences(found: Affinities) -> list[str]:
    """Of each arm whose networks of two tasks were trained: who helps whom, and the grouping that this suggests."""
    return [
        line
        for one in found.found
        for line in (_say_effects(one, found.arms.label(one.arm)), _say_grouping(one))
        if line
    ]


def _say_effects(one: ArmAffinity, label: str) -> str:
    """`In networks of two tasks (Split fc8), normals gains 2.1 % [0.5, 3.7] by semseg; not shown: 5 of 6 (...).`"""
    start, number = f"In networks of two tasks ({label})", len(one.effects)
    if not number:
        return f"{start}, no task has numbers in the seeds of {BASELINE}."
    said = []
    for verb, relation in (("gains", BEATS), ("loses", LOSES)):
        for (task, partner), effect in one.effects.items():
            if effect.relation == relation:
                sign = 1 if relation == BEATS else -1
                low, high = sorted((sign * effect.low, sign * effect.high))
                said.append(f"{task} {verb} {write_percent(abs(effect.mean), low, high, signed=False)} by {partner}")
    (task, partner), largest = max(
        ((cell, effect) for cell, effect in one.effects.items() if effect.relation not in (BEATS, LOSES)),
        key=lambda item: abs(item[1].mean),
        default=(("", ""), None),
    )
    rest = f"{task} by {partner}, {size(largest)}" if largest else ""
    if not any(effect.has_interval for effect in one.effects.values()):
        return (
            f"{start}, nothing is shown without an interval (from {FEWEST_SEEDS} seeds on); the largest change: {rest}."
        )
    if not said:
        return f"{start}, no task is shown to gain or lose by another; the largest of {number} changes: {rest}."
    others = f"; not shown: {number - len(said)} of {number} (the largest: {rest})" if rest else ""
    return f"{start}, {list_in_words(said)}{others}."


def _say_grouping(one: ArmAffinity) -> str:
    """`Of 5 groupings, val chooses semseg + normals | depth ...; on test it is within noise of one-task (...).`"""
    if (best := one.suggested) is None:
        return ""
    start = f"Of {len(one.groupings)} groupings of the tasks, val chooses"
    if best.is_alone:
        return f"{start} that every task stays alone."
    how = "measured in these networks" if best.is_measured else "predicted from these networks"
    clause = _clause(best.predicted.relation, [say_compared(best.predicted, BASELINE)])
    return f"{start} {best.text} ({write_percent(best.val)} there, mean over all tasks, {how}); on test it {clause}."


# ---------------------------------------------------------------------------------------------------- the claims
def claim_sentences(found: ClaimResults, case: Case) -> list[str]:
    """One sentence for each claim tested; then the claims that were not, and how to."""
    said = [_claim(one) for one in found.tested]
    if found.tested:
        others = f", those that only the claims make for {found.claims_family}" if found.claims_family else ""
        said.append(f"Outcomes allow for {count(found.answer_family, 'contrast')} that the answer makes{others}.")
    lacking: dict[str, list[Untested]] = {}
    for one in found.untested:
        lacking.setdefault(one.space, []).append(one)
    for space, claims in lacking.items():
        typed = space.format(pair=case.pair, ablations=ABLATIONS.get(case.pair, case.pair))
        texts = [f"{one.text} ({', '.join(one.lacks)})" for one in claims]
        said.append(f"Not tested: {'; '.join(texts)}. Type: {write_command(case, typed)}")
    return said


def _claim(one: ClaimResult) -> str:
    """`TEXT (SOURCE): holds for normals (+1.2 % [+0.3, +2.1]); is open for semseg (...).`"""
    start = f"{one.text} ({one.source}): "
    if one.same:
        return f"{start}not seen here, val chooses {name_in_prose(one.same)} for both."
    if one.kind is Kind.DIVERGES:
        return f"{start}{'; '.join(f'{part.outcome}: {_say_diverged(part)}' for part in one.findings)}."
    if one.kind is Kind.SPLITS_DIFFER:
        return f"{start}{one.outcome}: {list_in_words([_of_splits(part) for part in one.findings])}."
    worded = [(part.outcome, WORDED[one.kind](part)) for part in one.findings]
    order = (Outcome.HOLDS, Outcome.FAILS, Outcome.OPEN)
    grouped = [(word, [what for outcome, what in worded if outcome is word]) for word in order]
    return f"{start}{'; '.join(f'{word} for {list_in_words(what)}' for word, what in grouped if what)}."


def _size(found: Finding, unit: str = "%", digits: int = 1) -> str:
    if found.difference is None:
        return "no number"
    seeds = "" if found.difference.has_interval else f", {count(found.seeds, 'seed')}, no interval"
    return size(found.difference, unit, digits) + seeds


def _of_arms(found: Finding) -> str:
    return f"{in_words(found.scope)} ({_size(found)})"


def _of_best_split(found: Finding) -> str:
    return f"{in_words(found.scope)} ({name_in_prose(found.other)}: {_size(found)})"


def _of_splits(found: Finding) -> str:
    return f"on {found.scope} {name_in_prose(found.arm)} against {name_in_prose(found.other)}: {_size(found)}"


def _of_starts(found: Finding) -> str:
    start = found.arm.removeprefix(ALPHA).replace("-", ", ")
    return (
        f"{found.scope} (farthest: ({start}), {_size(found)} against (0.9, 0.1); the paper's own spread is"
        f" {write_percent(found.margin, signed=False)})"
    )


def _of_categories(found: Finding) -> str:
    group = found.group.replace(MINUS, "minus")
    return f"{found.scope} ({group} labelled categories: {_size(found, 'points')})"


def _of_alphas(found: Finding) -> str:
    return f"{found.scope} (alpha_s - alpha_d differs by {_size(found, '', 2)})"


def _say_diverged(found: Finding) -> str:
    text = f"x {found.arm.removeprefix(RATE)} diverged in {found.diverged} of {count(found.seeds, 'seed')}"
    return "; ".join([text, *(f"{one.scope} {_size(one)} against x 1000" for one in found.beside)])


WORDED: dict[Kind, Callable[[Finding], str]] = {
    Kind.ARMS: _of_arms,
    Kind.BEST_SPLIT: _of_best_split,
    Kind.ROBUST: _of_starts,
    Kind.STARVED: _of_categories,
    Kind.ALPHAS: _of_alphas,
}


# ---------------------------------------------------------------------------------------------------- what lacks
def gap_sentences(found: Gaps, case: Case) -> list[str]:
    """What was not compared."""
    said = []
    if found.missing:
        said.append(
            f"Not compared, since not trained: {list_in_words(list(map(name_in_prose, found.missing)))}; type:"
            f" {write_command(case, case.pair + ' --all-splits')}"
        )
    for one in found.failed:
        seeds = f"seed{'s' * (len(one.seeds) > 1)} {list_in_words(one.seeds)}"
        which = f"{one.arm}{', ' + one.task if one.task else ''}, {seeds}"
        said.append(f"Not compared: {which}: {one.status}{': ' + one.reason if one.reason else ''}")
    if found.fewer:
        fewer = [f"{case.kinds.label(arm)} {n}" for arm, n in found.fewer.items()]
        said.append(f"Fewer than the {count(found.seeds, 'seed')} of {BASELINE}: {list_in_words(fewer)}.")
    return said


def in_words(scope: str) -> str:
    """`normals`, `the pair`."""
    return scope or "the pair"
