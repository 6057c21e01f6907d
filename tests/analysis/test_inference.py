"""Intervals, families, power and choices: hand-worked cases, scipy and slow loops as references."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from mtlbench.analysis import choice, inference
from mtlbench.analysis.frame import relative_change
from tests.support.synthetic_results import results_frame, table_of


def changes_of(cells: dict[str, list[float]]) -> pd.DataFrame:
    """Changes of one task from {arm: change per seed}, NaN = missing."""
    rows = [("t", "m", arm, seed, change) for arm, values in cells.items() for seed, change in enumerate(values)]
    return pd.DataFrame(rows, columns=["task", "metric", "arm", "seed", "change"]).dropna()


def test_pooled_residual_of_a_complete_table_is_the_textbook_one() -> None:
    changes = relative_change(results_frame(seeds=range(4))).query("task == 'detection'")
    table = changes.pivot(index="arm", columns="seed", values="change").to_numpy()
    centred = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    noise, freedom, _ = inference.pooled_residual(changes)
    assert freedom == (12 - 1) * (4 - 1)
    assert noise == pytest.approx(np.sqrt((centred**2).sum() / freedom))


def test_the_baselines_noise_falls_out_of_the_residual() -> None:
    """Differences to the baseline are values shifted per seed: their residual is that of the values themselves."""
    rng = np.random.default_rng(0)
    raw = pd.DataFrame(
        [(arm, seed, rng.normal()) for arm in "abcd" for seed in range(5)], columns=["arm", "seed", "change"]
    )
    base = raw[raw["arm"] == "a"].set_index("seed")["change"]
    against = raw.assign(change=raw["change"] - raw["seed"].map(base))
    assert inference.pooled_residual(against)[:2] == pytest.approx(inference.pooled_residual(raw)[:2])


def test_missing_cells_lower_the_degrees_of_freedom_one_each() -> None:
    changes = relative_change(results_frame()).query("task == 'detection'")
    fewer = changes[~((changes["arm"] == "split-fc6") & (changes["seed"] == 2))]
    assert inference.pooled_residual(fewer)[1] == inference.pooled_residual(changes)[1] - 1
    found = inference.intervals(fewer).set_index("arm")
    assert found.loc["split-fc6", "n"] == 2 and np.isnan(found.loc["split-fc6", "low"])
    assert np.isfinite(found.loc["split-fc7", "low"])


def test_single_interval_is_the_paired_t_interval() -> None:
    base, arm = [100.0, 100.0, 100.0, 100.0], [101.0, 103.0, 102.0, 107.0]
    found = inference.intervals(relative_change(table_of({"one-task": base, "a": arm}))).set_index("arm").loc["a"]
    reference = scipy.stats.ttest_rel(arm, base).confidence_interval(0.95)
    assert (found["low_single"], found["high_single"]) == pytest.approx((reference.low, reference.high))


def test_with_two_arms_pooled_and_single_intervals_agree() -> None:
    """Two arms, n seeds: the residual has n - 1 degrees of freedom and variance var(differences) / 2."""
    table = table_of({"one-task": [100.0, 100.0, 100.0], "a": [101.0, 103.0, 99.0]})
    found = inference.intervals(relative_change(table)).set_index("arm").loc["a"]
    assert found["freedom"] == 2
    assert (found["low"], found["high"]) == pytest.approx((found["low_single"], found["high_single"]))


def test_no_interval_below_three_seeds_or_for_the_baseline() -> None:
    few = inference.intervals(relative_change(results_frame(seeds=(0, 1))))
    assert few[["low", "high", "low_single", "high_single"]].isna().all(axis=None)
    many = inference.intervals(relative_change(results_frame()))
    assert many.loc[many["low"].isna(), "arm"].unique().tolist() == ["one-task"]


def random_changes(arms: int, seeds: int, sd: dict[int, float], start: int = 0) -> pd.DataFrame:
    """Changes against arm 0 with noise of sd 1, or what `sd` gives for an arm."""
    runs = np.random.default_rng(start).normal(size=(arms, seeds)) * [[sd.get(arm, 1.0)] for arm in range(arms)]
    return changes_of({f"arm{arm}": list(runs[arm] - runs[0]) for arm in range(arms)})


def test_the_check_is_the_f_test_of_the_residual_with_and_without_the_arm() -> None:
    """Against dummy regressions by hand, with a cell missing."""
    table = random_changes(5, 4, {3: 6.0}).drop(index=6)

    def residual(rows: pd.DataFrame) -> tuple[float, int]:
        design = pd.get_dummies(rows[["arm", "seed"]].astype(str)).to_numpy(float)
        _, rss, rank, _ = np.linalg.lstsq(design, rows["change"].to_numpy(), rcond=None)
        fitted = design @ np.linalg.pinv(design) @ rows["change"].to_numpy()
        return float(((rows["change"] - fitted) ** 2).sum()), len(rows) - int(rank)

    chances = {}
    for arm in sorted(set(table["arm"])):
        (whole, freedom), (rest, rest_freedom) = residual(table), residual(table[table["arm"] != arm])
        ratio = (whole - rest) / (freedom - rest_freedom) / (rest / rest_freedom)
        chances[arm] = scipy.stats.f.sf(ratio, freedom - rest_freedom, rest_freedom)
    assert min(chances, key=lambda arm: chances[arm]) == "arm3"
    for check, noisy in ((5.01 * chances["arm3"], {"arm3"}), (4.99 * chances["arm3"], set())):
        found = inference.pooled_residual(table, check)
        left = residual(table[~table["arm"].isin(noisy)])
        assert found.noisy == noisy and found.freedom == left[1]
        assert found.noise == pytest.approx(np.sqrt(left[0] / left[1]))


def test_a_diverging_arm_gets_its_own_interval_and_spoils_no_others() -> None:
    calm = random_changes(12, 3, {})
    wild = random_changes(12, 3, {5: 30.0})
    found = inference.intervals(wild).set_index("arm")
    assert found.index[found["flagged"]].tolist() == ["arm5"]
    assert found["shown_low"]["arm5"] == found["low_single"]["arm5"] < found["low"]["arm5"]
    assert found["shown_low"]["arm4"] == found["low"]["arm4"] != found["low_single"]["arm4"]
    without = inference.intervals(calm[calm["arm"] != "arm5"]).set_index("arm")
    for arm in without.index[1:]:
        assert found.loc[arm, ["low", "high"]].tolist() == pytest.approx(without.loc[arm, ["low", "high"]].tolist())
    assert inference.pooled_residual(wild, check=0).noise > 2 * found["noise"].iloc[0]


def test_a_noisy_baseline_flags_every_arm() -> None:
    found = inference.intervals(random_changes(12, 3, {0: 30.0}))
    assert found["flagged"].all()
    compared = found[found["arm"] != "arm0"]
    assert (compared["shown_high"] == compared["high_single"]).all()


def test_an_arm_that_is_calm_by_chance_keeps_the_pooled_interval() -> None:
    found = inference.intervals(random_changes(12, 3, {4: 0.01})).set_index("arm")
    assert not found["flagged"].any()


def test_arms_without_any_noise_flag_nobody() -> None:
    found = inference.intervals(relative_change(results_frame(noise=0.0)))
    assert not found["flagged"].any() and found["noise"].max() < 1e-12


def test_a_network_with_two_names_counts_once() -> None:
    table = random_changes(6, 3, {})
    twin = table[table["arm"] == "arm2"].assign(arm="other-name")
    both = pd.concat([table, twin, twin.head(2).assign(arm="other-name-2-seeds")])
    assert inference.pooled_residual(both) == inference.pooled_residual(table)
    assert set(inference.familywise(both)["comparisons"]) == {5}
    wild = random_changes(12, 3, {5: 30.0})
    named = pd.concat([wild, wild[wild["arm"] == "arm5"].assign(arm="other-name")])
    assert inference.pooled_residual(named).noisy == {"arm5", "other-name"}


def test_equal_numbers_of_different_trials_are_no_twins_and_different_ones_of_one_trial_cannot_be() -> None:
    """Two collapsed networks have the same score; keys tell them apart."""
    table = random_changes(6, 3, {})
    collapsed = table[table["arm"] == "arm2"].assign(arm="other")
    both = pd.concat([table, collapsed])
    keyed = both.assign(key=both["arm"] + both["seed"].astype(str))
    assert set(inference.familywise(both)["comparisons"]) == {5}
    assert set(inference.familywise(keyed)["comparisons"]) == {6}
    twins = keyed.assign(key=keyed["key"].str.replace("other", "arm2"))
    assert inference.pooled_residual(twins) == inference.pooled_residual(table)
    changes = relative_change(results_frame())
    assert changes["key"].nunique() == len(changes[["arm", "seed", "key"]].drop_duplicates())


def test_half_width_is_scipys_t_interval() -> None:
    low, high = scipy.stats.t.interval(0.9, 4, 0.0, 1.7)
    assert inference.half_width(1.7, 4, 0.9) == pytest.approx(high) == pytest.approx(-low)


@pytest.mark.parametrize(
    ("comparisons", "freedom", "value"),
    [(1, 5, 2.57), (2, 5, 3.03), (3, 10, 2.76), (2, 20, 2.38), (9, 20, 2.95), (5, 60, 2.58)],
)
def test_critical_values_are_dunnetts_table(comparisons: int, freedom: int, value: float) -> None:
    """Two-sided, 95 %, Dunnett 1964 Table II."""
    assert inference.critical(comparisons, freedom) == pytest.approx(value, abs=0.006)


def test_critical_values_are_those_of_scipys_dunnett_and_of_the_studentised_maximum() -> None:
    rng = np.random.default_rng(0)
    groups = rng.normal(size=(5, 4))
    found = scipy.stats.dunnett(*groups[1:], control=groups[0], rng=np.random.default_rng(1))
    interval = found.confidence_interval(0.9)
    spread = np.sqrt(groups.var(axis=1, ddof=1).mean() * 2 / 4)
    reference = float((interval.high - interval.low)[0]) / 2 / spread
    assert inference.critical(4, 15, 0.9) == pytest.approx(reference, rel=3e-3)
    assert inference.critical(1, 7, 0.95, 0.0) == pytest.approx(scipy.stats.t.ppf(0.975, 7), abs=1e-4)
    assert inference.critical(6, 12, correlation=0.0) > inference.critical(6, 12, correlation=0.5)


def test_familywise_intervals_are_dunnetts_on_the_pooled_noise() -> None:
    """A fifth of the 5 % is for the check, 4 % for the intervals."""
    table = random_changes(12, 3, {})
    noise, freedom, _ = inference.pooled_residual(table)
    found = inference.familywise(table).set_index("arm")
    half = inference.critical(11, freedom, 0.96) * noise * np.sqrt(2 / 3)
    assert (found["high"] - found["mean"]).iloc[1:].tolist() == pytest.approx([half] * 11)
    assert np.isnan(found["low"]["arm0"]) and not found["significant"]["arm0"]
    shifted = table.assign(change=table["change"] + (table["arm"] == "arm3") * (1.01 * half - found["mean"]["arm3"]))
    again = inference.familywise(shifted).set_index("arm")
    assert again.index[again["significant"]].tolist() == ["arm3"]


def test_familywise_is_wider_where_cells_are_missing_and_for_flagged_arms() -> None:
    table = random_changes(12, 4, {})
    fewer = table[~((table["arm"] == "arm3") & (table["seed"] == 1))]
    noise, freedom, _ = inference.pooled_residual(fewer)
    found = inference.familywise(fewer).set_index("arm")
    limit = inference.critical(11, freedom, 0.96, 0.0)
    assert found["high"]["arm3"] - found["mean"]["arm3"] == pytest.approx(limit * noise * np.sqrt(2 / 3))
    wild = random_changes(12, 4, {5: 30.0})
    row = inference.familywise(wild).set_index("arm").loc["arm5"]
    sd = wild.loc[wild["arm"] == "arm5", "change"].std()
    limit = scipy.stats.t.ppf((1 + 0.96 ** (1 / 11)) / 2, 3)
    assert row["flagged"] and row["high"] - row["mean"] == pytest.approx(limit * sd / 2)


def test_beats_is_the_paired_difference_with_the_pooled_noise() -> None:
    table = random_changes(12, 3, {})
    noise, freedom, _ = inference.pooled_residual(table)
    row = inference.beats(table, "arm3", "arm7").iloc[0]
    cells = table.pivot(index="seed", columns="arm", values="change")
    assert row["mean"] == pytest.approx((cells["arm3"] - cells["arm7"]).mean())
    posterior = scipy.stats.t(freedom, row["mean"], noise * np.sqrt(2 / 3))
    assert row["probability"] == pytest.approx(posterior.sf(0))
    assert (row["low"], row["high"]) == pytest.approx(posterior.interval(0.95))
    back = inference.beats(table, "arm7", "arm3").iloc[0]
    assert back["probability"] == pytest.approx(1 - row["probability"]) and back["low"] == pytest.approx(-row["high"])
    plain, against = inference.intervals(table).set_index("arm"), inference.beats(table, "arm3", "arm0").iloc[0]
    assert against[["mean", "low", "high"]].tolist() == pytest.approx(
        plain.loc["arm3", ["mean", "low", "high"]].tolist()
    )


def test_beats_takes_the_two_arms_own_noise_where_one_is_flagged() -> None:
    wild = random_changes(12, 4, {5: 30.0})
    row = inference.beats(wild, "arm5", "arm7").iloc[0]
    cells = wild.pivot(index="seed", columns="arm", values="change")
    reference = scipy.stats.ttest_rel(cells["arm5"], cells["arm7"])
    assert (row["low"], row["high"]) == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert row["probability"] == pytest.approx(1 - reference.pvalue / 2 if row["mean"] > 0 else reference.pvalue / 2)


def test_beats_pairs_by_seed_and_needs_three() -> None:
    table = changes_of(
        {
            "base": [0.0, 0.0, 0.0, 0.0],
            "a": [1.0, 2.0, 3.0, np.nan],
            "b": [np.nan, 1.0, 1.0, 7.0],
            "c": [np.nan, np.nan, np.nan, 1.0],
        }
    )
    row = inference.beats(table, "a", "b").iloc[0]
    assert (row["mean"], row["n"]) == (1.5, 2) and np.isnan(row["probability"]) and np.isnan(row["low"])
    assert inference.beats(table, "a", "c").empty and inference.beats(table, "a", "nobody").empty


def test_detectable_is_scipys_power_and_seeds_for_turns_it_round() -> None:
    noise, n = 1.3, 3
    least = inference.detectable(noise, 22, n)
    shift, limit = least / (noise * np.sqrt(2 / n)), scipy.stats.t.ppf(0.975, 22)
    reference = scipy.stats.nct.sf(limit, 22, shift) + scipy.stats.nct.cdf(-limit, 22, shift)
    assert reference == pytest.approx(0.8, abs=1e-6)
    assert inference.seeds_for(least, noise, arms=12) == 3
    assert inference.seeds_for(0.99 * least, noise, arms=12) == 4
    for arms in (2, 12):
        enough = inference.seeds_for(0.8, noise, arms)
        powers = [inference.power_of(0.8, noise, (arms - 1) * (n - 1), n) for n in (enough - 1, enough)]
        assert powers[0] < 0.8 <= powers[1]
    assert inference.seeds_for(1e-6, noise) == 10_000 and inference.seeds_for(1.0, 0.0) == 3
    assert np.isnan(inference.detectable(noise, 22, 2)) and np.isnan(inference.detectable(float("nan"), 22, 3))
    with pytest.raises(ValueError, match="difference of 0"):
        inference.seeds_for(0.0, noise)


def test_optimism_is_what_choosing_on_test_adds() -> None:
    test = table_of({"one-task": [10.0] * 3, "split-conv2": [11.0, 11.2, 11.4], "split-fc8": [10.1, 10.5, 10.3]})
    val = table_of({"one-task": [10.0] * 3, "split-conv2": [10.0] * 3, "split-fc8": [10.8] * 3}, subset="val")
    found = choice.optimism(pd.concat([test, val], ignore_index=True))
    assert found["scope"].tolist() == ["task", "pair"]
    row = found.iloc[0]
    assert (row["arm_val"], row["arm_test"]) == ("split-fc8", "split-conv2")
    assert (row["test_of_val"], row["test_of_test"], row["optimism"]) == pytest.approx((3.0, 12.0, 9.0))
    assert row["error"] == pytest.approx(np.std([9.0, 7.0, 11.0], ddof=1) / np.sqrt(3))
    same = choice.optimism(pd.concat([test, test.assign(subset="val")], ignore_index=True)).iloc[0]
    assert same["optimism"] == 0 and np.isnan(same["error"])
    assert choice.optimism(test).empty


def test_noise_band_is_the_t_interval_of_the_baselines_mean() -> None:
    values = [40.0, 42.0, 41.0]
    band = inference.noise_band(table_of({"one-task": values, "a": [1.0, 2.0, 3.0]})).iloc[0]
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert band["half_width"] == pytest.approx(100 * (high - low) / 2 / np.mean(values))
    assert band["sd"] == pytest.approx(100 / 41)
    assert np.isnan(inference.noise_band(table_of({"one-task": values[:2]}))["half_width"].iloc[0])


def test_the_split_is_chosen_on_val_and_reported_on_test() -> None:
    test = table_of({"one-task": [10.0], "split-conv2": [12.0], "split-fc8": [11.0], "tree": [13.0]})
    val = table_of({"one-task": [10.0], "split-conv2": [10.5], "split-fc8": [10.8], "tree": [13.0]}, subset="val")
    best = choice.best_split(pd.concat([test, val], ignore_index=True))
    assert best["scope"].tolist() == ["task", "pair"] and best["arm"].tolist() == ["split-fc8"] * 2
    assert best["val_change"].tolist() == pytest.approx([8.0] * 2)
    assert best["test_change"].tolist() == pytest.approx([10.0] * 2)
    assert choice.best_split(test).empty


def test_a_users_arm_that_is_called_like_a_split_is_never_the_best_split() -> None:
    values = {"one-task": [10.0], "split-conv2": [12.0], "split-tree": [13.0]}
    frame = pd.concat([table_of(values), table_of(values, subset="val")], ignore_index=True)
    assert choice.best_split(frame)["arm"].tolist() == ["split-tree"] * 2  # as one of ours
    frame.loc[frame["arm"] == "split-tree", ["scheme", "family"]] = ["SplitTree", "own"]
    assert choice.best_split(frame)["arm"].tolist() == ["split-conv2"] * 2


def test_the_pairs_split_has_the_best_mean_over_tasks() -> None:
    frame = results_frame(noise=0.0)
    best = choice.best_split(frame).set_index("task")["arm"]
    assert best.to_dict() == {"detection": "split-fc8", "attributes": "split-conv4", "": "split-conv4"}


def test_rank_correlation_is_spearmans() -> None:
    frame = results_frame(seeds=range(6))
    halves = frame[frame["seed"] < 3], frame[frame["seed"] >= 3]
    found = choice.rank_correlation(*halves).set_index("task")
    for task in ("detection", "attributes"):
        changes = [relative_change(half) for half in halves]
        means = [c[c["task"] == task].groupby("arm")["change"].mean() for c in changes]
        assert found.loc[task, "correlation"] == pytest.approx(scipy.stats.spearmanr(*means).statistic)
    assert found["arms"].tolist() == [12, 12]


def test_without_splits_nothing_is_chosen() -> None:
    frame = results_frame(arms=("one-task", "cross-stitch"))
    assert choice.best_split(frame).empty and choice.optimism(frame).empty
    assert choice.best_split(results_frame(arms=("split-conv2", "split-fc8"))).empty  # no baseline


def test_the_pairs_choice_needs_all_tasks() -> None:
    frame = results_frame(noise=0.0)
    frame = frame[~((frame["arm"] == "split-conv4") & (frame["task"] == "detection") & (frame["subset"] == "val"))]
    assert choice.best_split(frame).set_index("scope").loc["pair", "arm"] == "split-conv3"
    frame = frame[(frame["arm"] != "split-fc8") | (frame["subset"] != "test")]
    row = choice.best_split(frame).set_index("task").loc["detection"]
    assert row["arm"] == "split-fc8" and np.isnan(row["test_change"])
    assert choice.optimism(frame)["task"].tolist() == ["attributes", ""]


def test_two_diverging_arms_are_both_found() -> None:
    assert inference.pooled_residual(random_changes(12, 4, {2: 30.0, 7: 200.0})).noisy == {"arm2", "arm7"}


def test_a_metric_that_never_changes_has_no_noise() -> None:
    found = inference.familywise(changes_of({"base": [0.0] * 3, "a": [0.0] * 3, "b": [0.0] * 3}))
    assert not found["significant"].any() and set(found["mean"]) == {0.0}


def test_power_of_no_difference_is_the_share_of_false_alarms() -> None:
    assert inference.power_of(0.0, 1.0, 22, 3) == pytest.approx(0.05)
