"""Ray Tune's schedulers and searchers, asked without Ray: they are told of trials whose numbers stand in a table.

Theirs: which trial goes on, pauses and stops, and what is proposed. Ours: one trial at a time; an arm that is proposed
again is told at once and costs nothing; a proposal that no arm has stands for the nearest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, HyperBandForBOHB, HyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from mtlbench.errors import UserError
from mtlbench.tabular.replay import Ledger, shuffle

METRIC = "change"
REDUCTION = 2  # of trials from rung to rung: with 8 points of training rungs at 1, 2, 4 and 8 (Ours)
FIRST = 3  # proposals of TPE that are random; its own 10 would be all there are of a pair (Ours)
IN_VAIN = 10  # proposals in a row of what is known, after which a search is over (Ours)


class _Trial:
    """What Tune's schedulers ask of a trial."""

    def __init__(self, name: str, arm: str) -> None:
        self.trial_id, self.arm = name, arm
        self.status, self.is_saving = TuneTrial.PENDING, False
        self.result: dict[str, Any] = {}


class _Proposals:
    """Arms one after the other, and who is told how they went: nobody."""

    def __init__(self, arms: Iterable[str]) -> None:
        self.arms = iter(arms)

    def next(self) -> _Trial | None:
        """A trial of an arm that was not proposed before, None at the end."""
        arm = next(self.arms, None)
        return None if arm is None else _Trial(arm, arm)

    def note(self, trial: _Trial) -> None:
        """A number during training."""

    def close(self, trial: _Trial, finished: bool) -> None:
        """A trial ended, fully trained or stopped."""

    def on_pause(self, name: str) -> None:
        """What HyperBandForBOHB calls of its searcher."""

    def on_unpause(self, name: str) -> None:
        """The same."""


class _Tpe(_Proposals):
    """What OptunaSearch proposes."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        distributions: dict[str, Any] = {
            name: optuna.distributions.IntDistribution(*bounds) for name, bounds in ledger.space.bounds().items()
        }
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=FIRST)
        self.search = OptunaSearch(distributions, metric=METRIC, mode="max", sampler=sampler)
        self.space = ledger.space
        self.ended: dict[str, dict[str, Any] | None] = {}  # arm: its last result, None of one that was stopped
        self.begun: set[str] = set()
        super().__init__(())

    def next(self) -> _Trial | None:
        for _ in range(IN_VAIN if len(self.begun) < len(self.space.depths) else 0):
            name = f"t{len(self.search._ot_trials)}"
            trial = _Trial(name, self.space.nearest(self.search.suggest(name) or {}))
            if trial.arm not in self.begun:
                self.begun.add(trial.arm)
                return trial
            self.search.on_trial_complete(name, self.ended.get(trial.arm))
        return None

    def note(self, trial: _Trial) -> None:
        self.search.on_trial_result(trial.trial_id, trial.result)

    def close(self, trial: _Trial, finished: bool) -> None:
        self.ended[trial.arm] = trial.result if finished else None
        self.search.on_trial_complete(trial.trial_id, self.ended[trial.arm])


class _Controller:
    """What Tune's schedulers ask of who runs the trials."""

    def __init__(self, scheduler: Any, proposals: _Proposals, points: int) -> None:
        self.scheduler, self.proposals, self.points = scheduler, proposals, points
        self.trials: list[_Trial] = []
        self.search_alg = self  # HyperBandForBOHB wants search_alg.searcher
        self.searcher = proposals

    def get_trials(self) -> list[_Trial]:
        """All of them."""
        return self.trials

    def stop_trial(self, trial: _Trial) -> None:
        """A scheduler stops a trial that is not running."""
        if trial.status != TuneTrial.TERMINATED:
            trial.status = TuneTrial.TERMINATED
            self.scheduler.on_trial_remove(self, trial)
            self._close(trial)

    def add(self) -> bool:
        """Take in the next proposal; whether there was one."""
        trial = self.proposals.next()
        if trial is None:
            return False
        self.trials.append(trial)
        self.scheduler.on_trial_add(self, trial)
        return True

    def run(self, ledger: Ledger, all_at_once: bool) -> None:
        """Run trials, one at a time, until nothing is left. Raises Spent."""
        more = self.add()
        while all_at_once and more:
            more = self.add()
        while True:
            if more and not any(trial.status == TuneTrial.PENDING for trial in self.trials):
                more = self.add()
            trial = self.scheduler.choose_trial_to_run(self)
            if trial is None and not more:
                return
            if trial is not None:
                self._go_on(trial, ledger)

    def _go_on(self, trial: _Trial, ledger: Ledger) -> None:
        """Train a trial until the scheduler pauses or stops it, or it ends."""
        trial.status = TuneTrial.RUNNING
        for point in self._points_left(trial):
            trial.result = {"training_iteration": point, METRIC: ledger.train(trial.arm)}
            self.proposals.note(trial)
            action = self.scheduler.on_trial_result(self, trial, trial.result)
            if action == TrialScheduler.PAUSE:
                trial.status = TuneTrial.PAUSED
                return
            if action == TrialScheduler.STOP:
                break
        trial.status = TuneTrial.TERMINATED
        self._close(trial)

    def _points_left(self, trial: _Trial) -> Iterator[int]:
        return iter(range(trial.result.get("training_iteration", 0) + 1, self.points + 1))

    def _close(self, trial: _Trial) -> None:
        self.proposals.close(trial, trial.result.get("training_iteration") == self.points)


def search_by_asha(ledger: Ledger, seed: int) -> None:
    """Successive halving without waiting (Li et al. 2020): a network goes on where it is in the better half of those
    that came as far."""
    np.random.seed(seed)  # Tune chooses a bracket with it, of one
    points = ledger.space.points
    scheduler = AsyncHyperBandScheduler(metric=METRIC, mode="max", max_t=points, reduction_factor=REDUCTION)
    _Controller(scheduler, _Proposals(shuffle(ledger.space, seed)), points).run(ledger, all_at_once=False)


def search_by_hyperband(ledger: Ledger, seed: int) -> None:
    """Brackets of successive halving (Li et al. 2018)."""
    points = ledger.space.points
    scheduler = HyperBandScheduler(metric=METRIC, mode="max", max_t=points, reduction_factor=REDUCTION)
    _Controller(scheduler, _Proposals(shuffle(ledger.space, seed)), points).run(ledger, all_at_once=True)


def search_by_tpe(ledger: Ledger, seed: int) -> None:
    """The tree-structured Parzen estimator (Bergstra et al. 2011) over how deep every two tasks share."""
    proposals = _Tpe(ledger, seed)
    while (trial := proposals.next()) is not None:
        trial.result = {"training_iteration": ledger.space.points, METRIC: ledger.train_fully(trial.arm)}
        proposals.close(trial, finished=True)


def search_by_bohb(ledger: Ledger, seed: int) -> None:
    """Hyperband whose networks a Parzen estimator proposes (Falkner et al. 2018). Tune's own TuneBOHB wants hpbandster,
    which no longer works with today's ConfigSpace."""
    points = ledger.space.points
    scheduler = HyperBandForBOHB(metric=METRIC, mode="max", max_t=points, reduction_factor=REDUCTION)
    _Controller(scheduler, _Tpe(ledger, seed), points).run(ledger, all_at_once=False)


def need_optuna() -> None:
    """Raises UserError where optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UserError("tpe and bohb need optuna: type pip install 'mtlbench[search]'") from error
