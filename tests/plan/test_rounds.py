"""Tuning against scores that are known: the best setting is found, every arm has as many, nothing is trained twice."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import pytest

from mtlbench.plan.arms import cross_stitch, ensemble, every_split, one_task
from mtlbench.plan.expand import DataSource, Settings, expand
from mtlbench.plan.rounds import SEED, Round, next_round
from mtlbench.plan.spaces import load, recipe_of
from mtlbench.plan.tuning import draw_settings, first_round_iterations
from mtlbench.plugins import make_plugin
from mtlbench.spec import Arm, Purpose, Trial

SPACE = load("det_attr")
TASKS = SPACE.pair.tasks
ARMS = (one_task(), *ensemble(), *every_split(("conv4", "fc8")), cross_stitch(per_channel=True))
TUNED = ("one-task", "split-conv4", "split-fc8", "cross-stitch")
RECIPE = recipe_of(SPACE, "quick")


class Tuner:
    """Rounds of a study whose scores come from a function of the trial; everything asked for is counted."""

    def __init__(self, budget: int, arms: Sequence[Arm] = ARMS, done: dict[str, Trial] | None = None) -> None:
        self.recipe, self.arms = dataclasses.replace(RECIPE, tune=budget), arms
        self.done = {} if done is None else done  # by key
        self.rounds: list[Round] = []

    def expand(self, arms: Sequence[Arm], seeds: Sequence[int], settings: Settings) -> list[Trial]:
        data = DataSource(make_plugin("dataset", "rooms", {}), "", "abc")
        backbone = make_plugin("backbone", "caffenet", {})
        recipe = dataclasses.replace(self.recipe, init="scratch")
        return expand(SPACE.pair, arms, seeds, data, backbone, recipe, settings=settings)

    def score(self, trial: Trial) -> dict[str, float] | None:
        return worth(trial) if trial.key in self.done else None

    def run(self) -> Settings:
        """To the end: the settings."""
        while True:
            found = next_round(self.arms, TASKS, self.recipe, self.expand, self.score)
            if not found.trials:
                return found.settings
            self.rounds.append(found)
            for trial in found.trials:
                assert all(parent in self.done for parent in trial.parents), "a parent stands before its children"
                self.done[trial.key] = trial


def worth(trial: Trial) -> dict[str, float]:
    """Each arm likes another rate; at a rate above 3 everything diverges."""
    liked = {"one-task": 1.776, "split-fc8": 0.4441, "cross-stitch": 1.256}.get(trial.variant_of, 1.0)
    if trial.rate > 3:
        return {}
    return {task: 30.0 - abs(trial.rate - liked) for task in trial.task_names}


def test_every_arm_gets_the_setting_that_is_best_and_the_same_budget() -> None:
    tuner = Tuner(6)
    settings = tuner.run()
    assert settings["one-task", "detection"].rate == settings["one-task", "attributes"].rate == 1.776
    assert settings["ensemble-member", "detection"] == settings["one-task", "detection"]
    assert settings["split-fc8", ""].rate == 0.4441 and settings["split-conv4", ""].rate == 1.0
    assert settings["cross-stitch", ""].rate == 1.256 and settings["cross-stitch", ""].best_of == 6
    assert ("ensemble", "detection") not in settings
    counts = Counter((one.variant_of, one.task_names) for one in tuner.done.values())
    assert set(counts.values()) == {6 + 2} and len(counts) == len(TUNED) + 1  # one-task has two networks
    assert {one.seed for one in tuner.done.values()} == {SEED}
    assert {one.purpose for one in tuner.done.values()} == {Purpose.TUNING}


def test_a_round_trains_a_third_then_the_best_third_whole_and_children_wait_for_their_parents_setting() -> None:
    tuner = Tuner(6)
    tuner.run()
    first, second, third, fourth = tuner.rounds
    whole = max(RECIPE.iterations.values())
    assert {one.iterations for one in first.trials} == {
        *(first_round_iterations(RECIPE.iterations[task]) for task in TASKS),
        first_round_iterations(whole),
    }
    assert {one.iterations for one in second.trials} == {*RECIPE.iterations.values(), whole}
    assert not any("cross-stitch" in one.arm for one in (*first.trials, *second.trials))
    children = [one for one in (*third.trials, *fourth.trials) if "cross-stitch" in one.arm]
    parents = {tuner.done[key].rate for one in children for key in one.parents}
    assert parents == {1.776} and {one.first for one in children} == {whole}


def test_a_larger_budget_trains_only_what_it_adds() -> None:
    small = Tuner(4)
    small.run()
    known = set(small.done)
    large = Tuner(8, done=small.done)
    settings = large.run()
    short = [key for key, one in large.done.items() if key not in known and one.iterations < 700 and not one.parents]
    assert len(short) == 4 * 4 and settings["split-fc8", ""].best_of == 8


def test_settings_that_cannot_be_trained_are_never_chosen_and_an_arm_without_any_keeps_the_recipes() -> None:
    class Hopeless(Tuner):
        def score(self, trial: Trial) -> dict[str, float] | None:
            return super().score(trial) and ({} if trial.variant_of == "split-fc8" else worth(trial))

    settings = Hopeless(6).run()
    assert settings["split-fc8", ""].rate == 1.0 and not settings["split-fc8", ""].loss_weight
    assert all(setting.rate <= 3 for setting in settings.values())


def test_a_network_of_all_tasks_has_weights_and_one_that_learns_them_has_rates_only() -> None:
    tuner = Tuner(6)
    tuner.run()
    fc8 = [one for one in tuner.done.values() if one.variant_of == "split-fc8" and one.weighting]
    assert fc8 and all(set(one.weighting) == set(TASKS) for one in fc8)
    one = next(one for one in fc8 if one.weighting["attributes"] > 1.5)
    assert one.recipe.loss_weight["attributes"] == pytest.approx(3 * one.weighting["attributes"])
    assert not any(one.weighting for one in tuner.done.values() if one.variant_of == "one-task")
    learned = Tuner(6)
    learned.recipe = dataclasses.replace(learned.recipe, weighting="uncertainty")
    learned.run()
    assert not any(one.weighting for one in learned.done.values())


def test_a_study_trains_at_its_settings_and_says_so() -> None:
    tuner = Tuner(6)
    settings = tuner.run()
    trials = tuner.expand(ARMS, [0, 1], settings)
    rates = {(one.arm, one.seed): one.rate for one in trials}
    assert rates["one-task", 1] == 1.776 and rates["split-fc8", 0] == 0.4441 and rates["ensemble-member", 0] == 1.776
    assert {one.tuned for one in trials if not one.average} == {6} and {one.purpose for one in trials} == {""}
    lr = {one.arm: one.recipe.lr for one in trials}
    assert lr["split-fc8"] == pytest.approx(0.4441 * RECIPE.lr) and lr["one-task"] == pytest.approx(1.776 * RECIPE.lr)
    assert lr["cross-stitch"] == pytest.approx(1.256 * (RECIPE.extra_lr or RECIPE.lr))
    assert [one.recipe.tune for one in trials] == [0] * len(trials)  # no part of a key


def test_the_settings_of_a_budget_are_the_ones_that_are_tried() -> None:
    tuner = Tuner(6)
    tuner.run()
    tried = {one.rate for one in tuner.rounds[0].trials if one.variant_of == "split-fc8"}
    assert tried == {setting.rate for setting in draw_settings(TASKS, 6)}
