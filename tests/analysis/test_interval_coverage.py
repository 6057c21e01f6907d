"""Simulations: intervals cover as often as they say, power is the noncentral t's, choosing on test flatters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from mtlbench.analysis import choice, inference

pytestmark = pytest.mark.slow

ARMS, TABLES = 12, 4000
SEEDS = [3, 5, 10]


@dataclass
class Simulation:
    """Many tables of changes (table, arm, seed) whose true means are 0, and what they show of the arms after the first.

    `single`, `shown`, `family` are half-widths (table, arm).
    """

    changes: np.ndarray
    means: np.ndarray
    single: np.ndarray
    shown: np.ndarray
    family: np.ndarray
    noisy: np.ndarray

    def covered(self, half: np.ndarray) -> np.ndarray:
        return np.abs(self.means) <= half


def simulate(seeds: int, sd: dict[int, float] | None = None, arms: int = ARMS, start: int = 0) -> Simulation:
    """Runs of sd 2 % (times what `sd` gives for an arm) around one value, with seed effects, as relative changes."""
    rng = np.random.default_rng([start, seeds, arms])
    scale = np.array([2.0 * (sd or {}).get(arm, 1.0) for arm in range(arms)])[:, None]
    runs = 100 + rng.normal(0, 2, (TABLES, 1, seeds)) + scale * rng.normal(size=(TABLES, arms, seeds))
    changes = 100 * (runs / runs[:, :1] - 1)
    cells = np.repeat(np.arange(arms), seeds), np.tile(np.arange(seeds), arms)
    noise, freedom, noisy = inference.pool(*cells, changes.reshape(TABLES, -1).T)
    own = changes[:, 1:].std(axis=2, ddof=1) / np.sqrt(seeds)
    flagged = (noisy[1:] | noisy[:1]).T
    error = (noise * np.sqrt(2 / seeds))[:, None]
    limits = {value: inference.critical(arms - 1, int(value), 0.96) for value in set(freedom)}
    single = scipy.stats.t.ppf(0.975, seeds - 1) * own
    pooled = scipy.stats.t.ppf(0.975, freedom)[:, None] * error
    lone = scipy.stats.t.ppf((1 + 0.96 ** (1 / (arms - 1))) / 2, seeds - 1) * own
    dunnett = np.array([limits[value] for value in freedom])[:, None] * error
    return Simulation(
        changes,
        changes[:, 1:].mean(axis=2),
        single,
        np.where(flagged, single, pooled),
        np.where(flagged, lone, dunnett),
        noisy,
    )


@pytest.mark.parametrize("sd", [None, {5: 30.0}], ids=["equal", "one diverges"])
def test_what_is_simulated_is_what_the_functions_give(sd: dict[int, float] | None) -> None:
    found = simulate(3, sd)
    for table in [*range(5), *np.flatnonzero(found.noisy.any(axis=0))[:5]]:
        rows = [
            ("t", "m", f"arm{arm}", seed, found.changes[table, arm, seed]) for arm in range(ARMS) for seed in range(3)
        ]
        frame = pd.DataFrame(rows, columns=["task", "metric", "arm", "seed", "change"])
        plain, family = inference.intervals(frame).iloc[1:], inference.familywise(frame).iloc[1:]
        assert (plain["high_single"] - plain["mean"]).tolist() == pytest.approx(found.single[table].tolist())
        assert (plain["shown_high"] - plain["mean"]).tolist() == pytest.approx(found.shown[table].tolist())
        assert (family["high"] - family["mean"]).tolist() == pytest.approx(found.family[table].tolist())


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("arms", [4, ARMS])
def test_intervals_of_equal_arms_cover_as_they_say(seeds: int, arms: int) -> None:
    found = simulate(seeds, arms=arms)
    assert 0.94 < found.covered(found.shown).mean() < 0.96
    assert 0.94 < found.covered(found.single).mean() < 0.96
    assert 0.95 <= found.covered(found.family).all(axis=1).mean() < 0.975
    assert found.noisy.any(axis=0).mean() < 0.015  # false alarms of the check


def test_pooling_halves_the_intervals_at_three_seeds() -> None:
    found = simulate(3)
    assert 0.45 < found.shown.mean() / found.single.mean() < 0.6


@pytest.mark.parametrize("seeds", SEEDS)
def test_single_intervals_cover_whatever_the_variances(seeds: int) -> None:
    found = simulate(seeds, {0: 2.0, 1: 3.0, 2: 0.3, 3: 0.1, 4: 1.5})
    by_arm = found.covered(found.single).mean(axis=0)
    assert 0.94 < by_arm.mean() < 0.96 and by_arm.min() > 0.935 and by_arm.max() < 0.965


@pytest.mark.parametrize("seeds", SEEDS)
def test_beside_a_diverging_arm_the_others_are_covered_as_they_say(seeds: int) -> None:
    """Without the check they would be covered always, by intervals that show nothing."""
    found = simulate(seeds, {1: 20.0})
    covered = found.covered(found.shown).mean(axis=0)
    assert 0.93 < covered[0] < 0.96 and 0.94 < covered[1:].mean() < 0.96
    assert found.noisy[1].mean() > 0.96


@pytest.mark.parametrize(("seeds", "share"), [(3, 0.3), (5, 0.6), (10, 0.9)])
def test_how_often_the_check_finds_three_times_the_noise(seeds: int, share: float) -> None:
    """The docstring of `intervals` says so: at 3 seeds mostly not, and then only the single interval covers."""
    found = simulate(seeds, {1: 3.0})
    assert found.noisy[1].mean() == pytest.approx(share, abs=0.05)
    assert found.covered(found.shown)[:, 0].mean() < found.covered(found.single)[:, 0].mean() + 0.005


@pytest.mark.parametrize(("seeds", "coverage"), [(3, 0.80), (5, 0.87), (10, 0.94)])
def test_a_baseline_of_three_times_the_noise_spoils_every_interval_of_few_seeds(seeds: int, coverage: float) -> None:
    """The report says so: the check finds it as seldom as any arm, and paired intervals alone cover."""
    found = simulate(seeds, {0: 3.0})
    assert found.covered(found.shown).mean() == pytest.approx(coverage, abs=0.01)
    assert 0.94 < found.covered(found.single).mean() < 0.96
    if seeds == 3:
        assert found.noisy[0].mean() == pytest.approx(0.31, abs=0.02)


@pytest.mark.parametrize(("seeds", "expected"), [(3, 0.22), (5, 0.34), (10, 0.43)])
def test_power_of_two_standard_errors_is_the_noncentral_ts(seeds: int, expected: float) -> None:
    rng = np.random.default_rng(seeds)
    shift = 2 * np.sqrt(2 / seeds)  # two arms, noise 1
    differences = shift + rng.normal(size=(20_000, seeds)) - rng.normal(size=(20_000, seeds))
    half = scipy.stats.t.ppf(0.975, seeds - 1) * differences.std(axis=1, ddof=1) / np.sqrt(seeds)
    seen = (np.abs(differences.mean(axis=1)) > half).mean()
    said = inference.power_of(shift, 1.0, seeds - 1, seeds)
    assert said == pytest.approx(expected, abs=0.005) and seen == pytest.approx(said, abs=0.015)


@pytest.mark.parametrize("seeds", SEEDS)
def test_power_with_the_pooled_noise(seeds: int) -> None:
    found = simulate(seeds)
    shift = inference.detectable(2.0, (ARMS - 1) * (seeds - 1), seeds)
    seen = (np.abs(found.means + shift) > found.shown).mean()
    assert seen == pytest.approx(0.8, abs=0.02)


def worthless(common: float) -> pd.DataFrame:
    """800 tasks on which 7 Splits are all worth nothing; noise of sd 2, a share `common` of its variance on val and
    test alike (of training), the rest each subset's own (of images)."""
    rng = np.random.default_rng(0)
    tasks, seeds, names = 800, 3, ["one-task", *(f"split-conv{place}" for place in range(2, 9))]
    index = pd.MultiIndex.from_product(
        [["val", "test"], [f"t{task:03}" for task in range(tasks)], names, range(seeds)],
        names=["subset", "task", "arm", "seed"],
    )
    frame = index.to_frame(index=False).assign(metric="m", unit="%", headline=True, higher_is_better=True, category="")
    own, shared = rng.normal(size=len(frame)), np.tile(rng.normal(size=len(frame) // 2), 2)
    noise = 2 * (np.sqrt(1 - common) * own + np.sqrt(common) * shared)
    return frame.assign(value=100 + noise, key=frame["arm"] + frame["seed"].astype(str))


def test_choosing_on_test_flatters_and_choosing_on_val_does_not_where_their_noise_is_apart() -> None:
    """The best of 7 is expected 1.35 sd of a mean too high."""
    frame, error = worthless(0.0), 2 * np.sqrt(2 / 3 / 800)
    found = choice.optimism(frame).query("scope == 'task'")
    assert len(found) == 800
    assert abs(found["test_of_val"].mean()) < 3 * error
    assert found["test_of_test"].mean() == pytest.approx(1.352 * 2 / np.sqrt(3), abs=3 * error)
    best = choice.best_split(frame).query("scope == 'task'")
    assert best["test_change"].tolist() == pytest.approx(found["test_of_val"].tolist())
    assert best["val_change"].mean() > 5 * error  # on val itself the choice flatters too


def test_choosing_on_val_still_flatters_by_the_noise_that_val_and_test_have_in_common() -> None:
    """Half of the variance is training's: E[test of the best on val] = half of what choosing on test claims."""
    found = choice.optimism(worthless(0.5)).query("scope == 'task'")
    error = 2 * np.sqrt(2 / 3 / 800)
    assert found["test_of_val"].mean() == pytest.approx(0.5 * 1.352 * 2 / np.sqrt(3), abs=3 * error)
    assert found["test_of_test"].mean() == pytest.approx(1.352 * 2 / np.sqrt(3), abs=3 * error)
