"""Studies of equal arms through the real verdict: how often a sentence says that arms differ, and what intervals cover.

    make simulate                        some 40 kinds of noise: 4000 studies each as numbers, 40 with all sentences
    make simulate ARGS='--studies 400'   more with all sentences: a quarter of a second each

Prints a Markdown table: per kind of noise the share of studies with any sentence that says a difference (the aim: at
most 5 %), and of the intervals of one contrast how often they cover and how wide they are, in standard deviations of a
run, for Splits and for arms that start from one-task's networks against one-task, and cross-stitch against Splits.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

import numpy as np

from mtlbench.analysis.comparison import FAMILY_SHARE, RIVALS
from mtlbench.analysis.inference import CONFIDENCE, OWN_CONFIDENCE, half_width, pooled_error, standard_error
from mtlbench.arm_names import BASELINE
from mtlbench.report.verdict import reach_verdict
from tests.support.equal_arms import KIN, RUN_SD, Noise, equal_studies, roots, runs, study_runs
from tests.support.synthetic_results import ARMS, SPLITS

CONTRASTS = {
    "Splits": [(split, BASELINE) for split in SPLITS],
    "kin": [(arm, BASELINE) for arm in KIN],
    "cross-stitch - Splits": [("cross-stitch", split) for split in SPLITS],
}
INTERVALS = 4000  # tables of runs, for coverage
TASKS = ("detection", "attributes")


def noises() -> list[Noise]:
    """Seeds x kin x noise of one-task x one wild Split, and kin that nobody declares."""
    grid = itertools.product((3, 5, 10), (False, True), (1.0, 2.0, 3.0), (False, True))
    found = [Noise(seeds, kin, baseline, wild) for seeds, kin, baseline, wild in grid]
    return found + [Noise(seeds, kin=True, declared=False) for seeds in (3, 5, 10)]


def contrast_errors(
    table: np.ndarray, noise: Noise, arm: str, other: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`inference.Runs.contrast` of many tables (`studies arms seeds`) at once: standard error, freedom, pooled ones."""
    where = roots(noise)
    alone = [name for name in ARMS if list(where.values()).count(where[name]) == 1]
    kin = where[arm] == where[other]
    others = [] if kin else [name for name in alone if name not in (arm, other)]
    pool = [name for name in alone if name != BASELINE]
    a, b = table[:, ARMS.index(arm)], table[:, ARMS.index(other)]
    error, freedom = standard_error(a, b, table[:, [ARMS.index(name) for name in others]])
    if kin or not {arm, other} & set(pool):
        return error, freedom, error, freedom
    rows = table[:, [ARMS.index(name) for name in pool]]
    return error, freedom, *pooled_error(a, b, rows, arm in pool, other in pool)


def coverage(noise: Noise, pairs: Sequence[tuple[str, str]], tables: int = INTERVALS) -> tuple[float, float, float]:
    """Of the 95 % intervals of these contrasts: mean coverage, the least of a contrast, mean half-width in RUN_SD."""
    table = runs(np.random.default_rng([7, noise.seeds]), noise, tables)
    covered, widths = [], []
    for arm, other in pairs:
        error, freedom, *_ = contrast_errors(table, noise, arm, other)
        half = half_width(error, freedom)
        difference = (table[:, ARMS.index(arm)] - table[:, ARMS.index(other)]).mean(axis=1)
        covered.append((np.abs(difference) <= half).mean())
        widths.append(half.mean() / RUN_SD)
    return float(np.mean(covered)), float(min(covered)), float(np.mean(widths))


def says_difference(noise: Noise, studies: int, start: int = 0) -> np.ndarray:
    """Whether the verdict or claims on each of `studies` studies of equal arms say that something differs."""
    rng = np.random.default_rng([start, noise.seeds])
    return np.array([reach_verdict(study).says_difference for study in equal_studies(rng, noise, studies)])


def would_say_difference(noise: Noise, studies: int, start: int = 0) -> np.ndarray:
    """`says_difference` of the same studies without their frames and sentences, which takes a hundredth of the time.

    The Split with the best mean change on val against one-task, cross-stitch against its rivals and that Split, in both
    tasks and their mean; whether the tasks' choices beat each other."""
    rng = np.random.default_rng([start, noise.seeds])
    vals, tests = (with_pair(subset) for subset in study_runs(rng, noise, studies, len(TASKS)))
    rivals = [name for name in RIVALS if name in ARMS]
    family = 3 * (2 * len(SPLITS) + len(rivals))
    level = 1 - FAMILY_SHARE * (1 - CONFIDENCE) / family
    every = np.arange(studies)
    said = np.zeros(studies, bool)
    choices, beats = [], []
    for place, (val, test) in enumerate(zip(vals, tests, strict=True)):
        best = np.array([val[:, ARMS.index(split)].mean(axis=1) for split in SPLITS]).argmax(axis=0)
        against = np.array([sides(test, noise, split, BASELINE, level) for split in SPLITS])
        stitched = np.array([sides(test, noise, "cross-stitch", split, level) for split in SPLITS])
        said |= (against[best, every] != 0) | (stitched[best, every] != 0)
        for rival in rivals:
            said |= sides(test, noise, "cross-stitch", rival, level) != 0
        choices.append(best)
        table = np.zeros((len(SPLITS), len(SPLITS), studies), int)
        for first, second in itertools.combinations(range(len(SPLITS)), 2) if place else ():
            table[first, second] = sides(test, noise, SPLITS[first], SPLITS[second], level)
            table[second, first] = -table[first, second]
        beats.append(table)
    one = beats[1][choices[1], choices[2], every]
    other = beats[2][choices[2], choices[1], every]
    return said | (choices[1] != choices[2]) & ((one < 0) | (other < 0) | (one > 0) & (other > 0))


def with_pair(tasks: np.ndarray) -> list[np.ndarray]:
    """The mean over tasks, then each task, in % of one-task's mean, of runs in % (`task studies arms seeds`)."""
    changes = [100 * (100 + one) / (100 + one[:, :1].mean(axis=2, keepdims=True)) for one in tasks]
    return [np.mean(changes, axis=0), *changes]


def sides(table: np.ndarray, noise: Noise, arm: str, other: str, level: float) -> np.ndarray:
    """1 where `arm` beats `other`, -1 where it loses to it, else 0."""
    error, freedom, pooled, pooled_freedom = contrast_errors(table, noise, arm, other)
    half = np.maximum(half_width(pooled, pooled_freedom, level), half_width(error, freedom, min(level, OWN_CONFIDENCE)))
    difference = (table[:, ARMS.index(arm)] - table[:, ARMS.index(other)]).mean(axis=1)
    return np.where(np.abs(difference) > half, np.sign(difference), 0).astype(int)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, a row a kind of noise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=40)
    studies = parser.parse_args(arguments).studies
    heads = "".join(f" {name}: coverage (least), half-width |" for name in CONTRASTS)
    print(f"| noise | studies that say a difference | by their sentences |{heads}")
    print("|---" * (3 + len(CONTRASTS)) + "|")
    for noise in noises():
        cells = [f"{100 * would_say_difference(noise, INTERVALS).mean():.1f} %"]
        cells.append(f"{says_difference(noise, studies).sum()} of {studies}" if studies else "-")
        for pairs in CONTRASTS.values():
            mean, least, width = coverage(noise, pairs)
            cells.append(f"{100 * mean:.1f} ({100 * least:.1f}), {width:.2f}")
        print(f"| {noise.label()} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
