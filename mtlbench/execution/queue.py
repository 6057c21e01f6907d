"""The order in which trials run: ready when all parents are done, blocked when one of them failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from mtlbench.spec import Trial


class Answer(Enum):
    """What the queue says when it has no trial to give."""

    WAIT = "a trial that is running must end first"
    FINISHED = "nothing is left"


class Watcher(Protocol):
    """Who is told how the run goes."""

    def note_start(self, trial: Trial) -> None: ...
    def note_progress(self, trial: Trial, fraction: float) -> None: ...
    def note_end(self, trial: Trial, error: str) -> None: ...
    def again(self, trial: Trial, why: str) -> None: ...
    def say(self, line: str) -> None: ...


@dataclass
class Blocked:
    """A trial that cannot run, and the failed trial that is the reason."""

    trial: Trial
    because_of: Trial


class Queue:
    """Hands out trials, those with the longest work behind them first, so that no core idles at the end.

    `trials` may contain finished ones (their keys in `done`). `cost` estimates a trial's work in any unit.
    """

    def __init__(self, trials: Iterable[Trial], done: Iterable[str], cost: Callable[[Trial], float]) -> None:
        self.done = set(done)
        self.trials = {trial.key: trial for trial in trials}
        self.cost = cost
        self.running: set[str] = set()
        self.attempts: dict[str, int] = {}
        self.failed: dict[str, str] = {}
        self._waiting = [key for key in self.trials if key not in self.done]
        self._behind = self._critical_path(cost)
        self._waiting.sort(key=lambda key: -self._behind[key])

    def _critical_path(self, cost: Callable[[Trial], float]) -> dict[str, float]:
        behind = {key: cost(trial) for key, trial in self.trials.items()}
        for key in reversed(list(self.trials)):  # children stand after their parents
            for parent in self.trials[key].parents:
                if parent in behind:
                    behind[parent] = max(behind[parent], cost(self.trials[parent]) + behind[key])
        return behind

    def next(self) -> Trial | Answer:
        """The next ready trial, now counted as running; WAIT while others run; else FINISHED."""
        for key in self._waiting:
            if all(parent in self.done for parent in self.trials[key].parents):
                self.take(key)
                return self.trials[key]
        return Answer.WAIT if self.running else Answer.FINISHED

    def take(self, key: str) -> None:
        """A waiting trial counts as running."""
        self._waiting.remove(key)
        self.running.add(key)
        self.attempts[key] = self.attempts.get(key, 0) + 1

    def end(self, key: str, error: str = "") -> None:
        """A running trial finished or failed."""
        self.running.discard(key)
        if error:
            self.failed[key] = error
        else:
            self.done.add(key)

    def again(self, key: str) -> None:
        """A running trial was lost through no fault of its own, and is the next one to be handed out."""
        self.running.discard(key)
        self._waiting.insert(0, key)

    def list_blocked(self) -> list[Blocked]:
        """Trials behind a failed one, each with the first failed ancestor."""
        found = []
        for key in self._waiting:
            culprit = self._find_failed_ancestor(key)
            if culprit is not None:
                found.append(Blocked(self.trials[key], self.trials[culprit]))
        return found

    def _find_failed_ancestor(self, key: str) -> str | None:
        for parent in self.trials[key].parents:
            if parent in self.failed:
                return parent
            if parent in self.trials and (found := self._find_failed_ancestor(parent)):
                return found
        return None


@dataclass
class Resources:
    """What a trial may take: None = chosen from a measured step where there are GPUs."""

    gpus: float | None = None
    resume_every: float = 600.0  # seconds between two resume files
