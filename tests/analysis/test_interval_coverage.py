"""Simulations: intervals cover as often as they say, power is the noncentral t's, choosing on test flatters."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from mtlbench.analysis import choice, inference
from tests.stress.simulate import CONTRASTS, contrast_errors, coverage
from tests.support.equal_arms import KIN, Noise, equal_studies, runs
from tests.support.synthetic_results import ARMS

pytestmark = pytest.mark.slow

SEEDS = [3, 5, 10]
CELLS = [Noise(*cell) for cell in itertools.product(SEEDS, (False, True), (1.0, 2.0, 3.0), (False, True))]


@pytest.mark.parametrize("noise", CELLS, ids=[noise.label() for noise in CELLS])
def test_intervals_cover_as_they_say_whoever_is_noisy_and_whoever_moves_together(noise: Noise) -> None:
    for pairs in CONTRASTS.values():
        mean, least, _ = coverage(noise, pairs)
        assert 0.93 < mean < 0.97 and least > 0.92


def test_intervals_are_narrower_than_paired_ones_and_far_narrower_among_kin() -> None:
    noise = Noise(3, kin=True)
    table = runs(np.random.default_rng(0), noise, 2000)
    paired = scipy.stats.t.ppf(0.975, 2) * (table[:, 1] - table[:, 0]).std(axis=1, ddof=1) / np.sqrt(3)
    error, freedom, *_ = contrast_errors(table, noise, ARMS[1], "one-task")
    ours = inference.half_width(error, freedom)
    assert 0.75 < ours.mean() / paired.mean() < 0.87
    (_, _, kin), (_, _, others) = (coverage(noise, CONTRASTS[name]) for name in ("kin", "Splits"))
    assert kin < 0.35 * others


def test_what_is_simulated_is_what_the_frame_gives() -> None:
    noise = Noise(3, kin=True, baseline=2.0)
    (study,) = equal_studies(np.random.default_rng(0), noise, 1)
    tested = study.frame[(study.frame["subset"] == "test") & (study.frame["task"] == "detection")]
    table = inference.Runs(inference_changes(tested))
    values = tested.set_index(["arm", "seed"])["value"].unstack().loc[list(ARMS)].to_numpy()
    values = 100 * values / values[0].mean()
    for arm, other in (("split-fc8", "one-task"), ("cross-stitch", "split-fc6"), ("ensemble", KIN[0]), ARMS[2:4]):
        found = table.contrast(arm, other)
        assert found is not None
        expected = np.concatenate(contrast_errors(values[None], noise, arm, other))
        assert (found.error, found.freedom, found.pooled_error, found.pooled_freedom) == pytest.approx(tuple(expected))


def inference_changes(frame: pd.DataFrame) -> pd.DataFrame:
    """`relative_change` by hand."""
    base = frame[frame["arm"] == "one-task"].set_index("seed")["value"]
    return frame.assign(change=100 * (frame["value"] - frame["seed"].map(base)) / base.mean(), metric="m")


@pytest.mark.parametrize(("seeds", "expected"), [(3, 0.22), (5, 0.34), (10, 0.43)])
def test_power_of_two_standard_errors_is_the_noncentral_ts(seeds: int, expected: float) -> None:
    rng = np.random.default_rng(seeds)
    shift = 2 * np.sqrt(2 / seeds)  # two arms, noise 1
    differences = shift + rng.normal(size=(20_000, seeds)) - rng.normal(size=(20_000, seeds))
    half = scipy.stats.t.ppf(0.975, seeds - 1) * differences.std(axis=1, ddof=1) / np.sqrt(seeds)
    seen = (np.abs(differences.mean(axis=1)) > half).mean()
    said = inference.power_of(shift, 1.0, seeds - 1, seeds)
    assert said == pytest.approx(expected, abs=0.005) and seen == pytest.approx(said, abs=0.015)


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
    split = frame["arm"] != "one-task"
    kinds = {"scheme": np.where(split, "split", "separate"), "family": np.where(split, "split", "baseline")}
    key = frame["arm"] + frame["seed"].astype(str)
    return frame.assign(value=100 + noise, key=key, variant_of="", roots=key, **kinds)


def test_choosing_on_test_flatters_and_choosing_on_val_does_not_where_their_noise_is_apart() -> None:
    """The best of 7 is expected 1.35 sd of a mean too high."""
    frame, error = worthless(0.0), 2 * np.sqrt(2 / 3 / 800)
    found = choice.measure_optimism(frame).query("scope == 'task'")
    assert len(found) == 800
    assert abs(found["test_of_val"].mean()) < 3 * error
    assert found["test_of_test"].mean() == pytest.approx(1.352 * 2 / np.sqrt(3), abs=3 * error)
    best = choice.best_split(frame).query("scope == 'task'")
    assert best["test_change"].tolist() == pytest.approx(found["test_of_val"].tolist())
    assert best["val_change"].mean() > 5 * error  # on val itself the choice flatters too


def test_choosing_on_val_still_flatters_by_the_noise_that_val_and_test_have_in_common() -> None:
    """Half of the variance is training's: E[test of the best on val] = half of what choosing on test claims."""
    found = choice.measure_optimism(worthless(0.5)).query("scope == 'task'")
    error = 2 * np.sqrt(2 / 3 / 800)
    assert found["test_of_val"].mean() == pytest.approx(0.5 * 1.352 * 2 / np.sqrt(3), abs=3 * error)
    assert found["test_of_test"].mean() == pytest.approx(1.352 * 2 / np.sqrt(3), abs=3 * error)
