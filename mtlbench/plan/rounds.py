"""Tuning, round after round: which trials have to be scored next, and which setting of an arm is best.

All of it follows from the scores that there are, so that a tuning that was interrupted goes on, and a larger budget
adds to a smaller one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mtlbench.arm_names import BASELINE
from mtlbench.plan.arms import is_merged, select
from mtlbench.plan.expand import Settings
from mtlbench.plan.tuning import (
    Setting,
    choose_best,
    count_survivors,
    draw_settings,
    first_round_iterations,
    mean_gains,
)
from mtlbench.spec import Arm, Purpose, Recipe, Trial, derive_seed

SEED = derive_seed(0, "tuning")  # of all trials that only choose a setting: none of the study's
Expand = Callable[[Sequence[Arm], Sequence[int], Settings], list[Trial]]
Score = Callable[[Trial], Mapping[str, float] | None]


@dataclass(frozen=True)
class Round:
    """`trials`: what has to be scored next, behind the trials that they start from; none where all arms are tuned.
    `settings`: the best ones of the arms that are. `scored`: all trials that this rests on."""

    trials: tuple[Trial, ...]
    settings: Settings
    scored: tuple[Trial, ...]


def next_round(arms: Sequence[Arm], tasks: Sequence[str], recipe: Recipe, expand: Expand, score: Score) -> Round:
    """The next trials of a study whose arms have `recipe.tune` settings each, and what is known so far.

    `arms` stand behind their parents. `expand` makes trials of arms, seeds and settings; `score` tells a trial's
    headlines on val, {task: more is better}, without those that are no numbers: {} for one that failed, None for one
    that is still to be trained. An arm is tuned from its parents' best settings, once they are known. Averages and
    merged networks have nothing to tune; another member of an ensemble takes the settings of one-task.
    """
    settings: dict[tuple[str, str], Setting] = {}
    needed: dict[str, Trial] = {}
    scored: list[Trial] = []
    by_name = {arm.name: arm for arm in arms}
    for arm in arms:
        own = arm.tasks or tasks
        places = _list_places(arm, own)
        if arm.member:
            settings |= {(arm.name, at): settings[BASELINE, at] for at in places if (BASELINE, at) in settings}
        if arm.member or arm.average or is_merged(arm):
            continue
        if any((parent, at) not in settings for parent in arm.parents for at in _list_places(by_name[parent], tasks)):
            continue
        candidates = draw_settings(own if arm.joint and recipe.weighting == "fixed" else own[:1], recipe.tune)
        variants = [_vary(arm, number) for number in range(len(candidates))]
        of_variants = {
            (one.name, at): setting for one, setting in zip(variants, candidates, strict=True) for at in places
        }
        parents = [
            dataclasses.replace(one, purpose=Purpose.TUNING, variant_of=one.name)
            for one in select(arms, [arm.name])
            if one is not arm
        ]
        tried = expand([*parents, *variants], [SEED], settings | of_variants)
        by_key = {trial.key: trial for trial in tried}
        for at in places:
            best, wanted, known = _tune([_find(tried, one.name, at) for one in variants], score)
            scored += known
            for trial in wanted:
                needed |= {one.key: one for one in _walk_lineage(trial, by_key)}
            if not wanted:
                chosen = Setting() if best is None else candidates[best]
                settings[arm.name, at] = dataclasses.replace(chosen, best_of=len(candidates))
    return Round(tuple(needed.values()), settings, tuple(scored))


def _tune(tried: Sequence[Trial], score: Score) -> tuple[int | None, list[Trial], list[Trial]]:
    """The place of the best of an arm's settings (None where all failed), the trials that have to be scored first, and
    those that are.

    Every setting trains for FIRST_ROUND of the iterations, the best of them for all.
    """
    short = [dataclasses.replace(trial, iterations=first_round_iterations(trial.iterations)) for trial in tried]
    first, wanted = _read_scores(short, score)
    if wanted:
        return None, wanted, []
    ranked = choose_best(mean_gains(first), count_survivors(len(tried)))
    through = [place for place in ranked if first[place]]
    whole = [tried[place] for place in through]
    last, wanted = _read_scores(whole, score)
    if wanted or not any(last):
        return None, wanted, short
    return through[choose_best(mean_gains(last), 1)[0]], [], [*short, *whole]


def _read_scores(trials: Sequence[Trial], score: Score) -> tuple[list[Mapping[str, float]], list[Trial]]:
    """Of each trial its score, {} where it has none; and those that are still to be trained."""
    found = [score(trial) for trial in trials]
    return [one or {} for one in found], [trial for trial, one in zip(trials, found, strict=True) if one is None]


def _list_places(arm: Arm, tasks: Sequence[str]) -> list[str]:
    """Where an arm has settings of its own: "" for a joint network, else each task."""
    return [""] if arm.joint else list(tasks)


def _vary(arm: Arm, number: int) -> Arm:
    """The arm at one of its settings."""
    return dataclasses.replace(arm, name=f"{arm.name}#{number}", variant_of=arm.name, purpose=Purpose.TUNING)


def _find(trials: Sequence[Trial], arm: str, task: str) -> Trial:
    return next(trial for trial in trials if trial.arm == arm and task in ("", *trial.task_names))


def _walk_lineage(trial: Trial, by_key: Mapping[str, Trial]) -> Iterator[Trial]:
    """The trials that one starts from, then itself."""
    for key in trial.parents:
        yield from _walk_lineage(by_key[key], by_key)
    yield trial
