"""Searches replayed on a table: what they pay, what they would give, regret, and what cross-stitch saves."""

from __future__ import annotations

import pytest

from mtlbench.errors import UserError
from mtlbench.tabular.benchmark import Benchmark
from mtlbench.tabular.candidates import Space, make_space
from mtlbench.tabular.regret import describe_saving, find_regrets
from mtlbench.tabular.replay import METHODS, Ledger, Spent, Step, replay
from tests.support.benchmarks import GAINS, make_content

WORK = 3 * 1000 * 2  # of a Split's training, in FLOPs; one-task's is three times that
BRUTE = 6 * WORK  # three Splits and one-task


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    return Benchmark.of(make_content())


@pytest.fixture(scope="module")
def space(benchmark: Benchmark) -> Space:
    return make_space(benchmark)


def test_the_space_is_one_task_and_splits_by_how_much_they_share(space: Space) -> None:
    assert list(space.depths) == ["one-task", "split-conv2", "split-fc", "split-fc8"]
    assert [depths["a+b"] for depths in space.depths.values()] == [0, 1, 2, 3]  # pooling is no place to part
    assert space.brute_force == BRUTE and space.works["one-task"] == 3 * WORK
    assert space.truths["split-fc"] == pytest.approx(6 / 1.01 / 1, rel=0.02)
    assert space.nearest({"a+b": 2}) == "split-fc" and dict(space.bounds()) == {"a+b": (0, 3)}
    with pytest.raises(UserError, match="a search needs 3 or more"):
        make_space(Benchmark.of(make_content(gains={"one-task": 0.0, "split-fc": 1.0})))


def test_a_step_costs_what_training_up_to_it_costs(space: Space) -> None:
    ledger = Ledger(space, 0, budget=(WORK + WORK / 4) / BRUTE)
    assert ledger.train("split-fc8") < 0
    assert ledger.spent == pytest.approx(WORK / 8 / BRUTE)  # 10 of 80 iterations
    ledger.train_fully("split-fc8")
    assert ledger.spent == pytest.approx(WORK / BRUTE)
    ledger.train("split-fc")
    assert ledger.trace == [Step(pytest.approx(WORK / 8 / BRUTE), "split-fc8")]  # split-fc is not as far
    ledger.train("split-fc")
    with pytest.raises(Spent):
        ledger.train("split-fc")


def test_the_brute_force_ends_with_the_best_at_the_cost_of_all(space: Space) -> None:
    traces = replay(space, METHODS["grid"], 1.0, (0, 1), repeats=9)
    for (trace,) in traces.values():  # nothing in it is random
        assert [step.arm for step in trace] == ["one-task", "split-conv2", "split-fc"]
        # The first of one-task's points; then the last ones of the second and the third arm.
        assert [step.cost * 6 for step in trace] == pytest.approx([3 / 8, 4.0, 5.0])


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if not one.extra])
def test_every_method_finds_the_best_and_the_same_again(space: Space, method: str) -> None:
    first = replay(space, METHODS[method], 1.0, (0, 2), repeats=3)
    assert first == replay(space, METHODS[method], 1.0, (0, 2), repeats=3)
    ends = [trace[-1] for traces in first.values() for trace in traces]
    assert all(end.arm == "split-fc" and end.cost < 1.0 + 1e-9 for end in ends) and len(ends) in (2, 6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["tpe", "bohb"])
def test_methods_of_optuna_find_the_best_and_the_same_again(space: Space, method: str) -> None:
    pytest.importorskip("optuna")
    first = replay(space, METHODS[method], 1.0, (0,), repeats=3)
    assert first == replay(space, METHODS[method], 1.0, (0,), repeats=3)
    assert [trace[-1].arm for trace in first[0]] == ["split-fc"] * 3


@pytest.mark.slow
def test_halving_pays_less_than_the_brute_force_and_trains_few_fully(space: Space) -> None:
    from mtlbench.tabular.tune_methods import search_by_asha

    ledger = Ledger(space, 0, budget=1.0)
    search_by_asha(ledger, seed=1)
    assert set(ledger.seen) == set(space.depths) and ledger.spent < 0.9
    assert ledger.seen["split-fc"] == 4 and min(ledger.seen.values()) < 4


def test_regret_is_the_distance_from_the_best_on_test(benchmark: Benchmark) -> None:
    found = find_regrets(benchmark, ["grid"], budget=1.0)
    truth = found.space.truths
    assert found.best == "split-fc" and found.regret_of("one-task") == truth["split-fc"]
    curve = found.curve("grid", [0.001, 0.5, 4 / 6, 1.0])  # before the first point there is nothing to give
    assert list(curve["cost"]) == [0.5, 4 / 6, 1.0]
    assert list(curve["mean"]) == pytest.approx([truth["split-fc"], truth["split-fc"] - truth["split-conv2"], 0.0])
    assert list(curve["low"]) == list(curve["high"]) == pytest.approx(list(curve["mean"]))


def test_what_early_numbers_hide_is_regretted() -> None:
    """Early on split-fc8 looks best; with what halving leaves it never gets far enough to be found out."""
    early = {**GAINS, "split-fc8": 9.0}
    found = find_regrets(Benchmark.of(make_content(early=early)), ["random"], budget=1 / 48, repeats=8)
    seen = found.at("random", 1 / 48)
    assert set(seen["arm"]) <= {"split-fc8", "split-fc", "split-conv2", ""}  # a point of one-task costs more
    regretted = seen[seen["arm"] == "split-fc8"]["regret"]
    assert len(regretted) and regretted.iloc[0] == pytest.approx(found.regret_of("split-fc8"))


def test_cross_stitch_is_priced_with_its_parents_and_compared_with_what_val_chooses(benchmark: Benchmark) -> None:
    one_task, stitched = find_regrets(benchmark, ["grid"]).fixed
    assert (one_task.arm, one_task.cost) == ("one-task", 0.5)
    assert stitched.cost == pytest.approx((3 + 3) / 6)  # its own and one-task's
    differences = [benchmark.query("cross-stitch", seed=s) - benchmark.query("split-fc", seed=s) for s in range(3)]
    assert stitched.difference == pytest.approx(sum(differences) / 3) and stitched.low < -0.9 < stitched.high + 0.5
    sentences = describe_saving(find_regrets(benchmark, ["grid"]))
    assert sentences[1].startswith("cross-stitch, with the networks that it starts from, costs 100 % of training all 4")


def test_what_cannot_be_searched_is_said(benchmark: Benchmark) -> None:
    for methods, budget, words in (
        (["annealing"], 1.0, "no method called 'annealing'"),
        (["grid"], 0.0, "needs a budget above 0"),
    ):
        with pytest.raises(UserError, match=words):
            find_regrets(benchmark, methods, budget)
