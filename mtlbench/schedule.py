"""The order in which trials run: ready when all parents are done, blocked when one of them failed."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from mtlbench.spec import Trial
from mtlbench.store import Store


class Answer(Enum):
    """What the queue says when it has no trial to give."""

    WAIT = "a trial that is running must end first"
    FINISHED = "nothing is left"


class Watcher(Protocol):
    """Who is told how the run goes."""

    def started(self, trial: Trial) -> None: ...
    def progressed(self, trial: Trial, fraction: float) -> None: ...
    def ended(self, trial: Trial, error: str) -> None: ...


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
        self.running: set[str] = set()
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
                self._waiting.remove(key)
                self.running.add(key)
                return self.trials[key]
        return Answer.WAIT if self.running else Answer.FINISHED

    def end(self, key: str, error: str = "") -> None:
        """A running trial finished or failed."""
        self.running.discard(key)
        if error:
            self.failed[key] = error
        else:
            self.done.add(key)

    def blocked(self) -> list[Blocked]:
        """Trials behind a failed one, each with the first failed ancestor."""
        found = []
        for key in self._waiting:
            culprit = self._failed_ancestor(key)
            if culprit is not None:
                found.append(Blocked(self.trials[key], self.trials[culprit]))
        return found

    def _failed_ancestor(self, key: str) -> str | None:
        for parent in self.trials[key].parents:
            if parent in self.failed:
                return parent
            if parent in self.trials and (found := self._failed_ancestor(parent)):
                return found
        return None


def attempt(trial: Trial, store: Store, device: Any) -> Iterator[float]:
    """Run a trial in its folder of the store; a failure is kept there and raised again."""
    from mtlbench.trial import run_trial  # torch is slow to import

    folder = store.begin(trial)
    parents = {key: folder.parent / key for key in trial.parents}
    try:
        yield from run_trial(trial, folder, parents, device, seconds_of_parents(parents))
    except Exception:
        store.fail(trial, traceback.format_exc())
        raise


def seconds_of_parents(parents: dict[str, Path]) -> float:
    """What the parents took, with theirs."""
    from mtlbench.store import read_result

    return sum(read_result(folder / "result.json")["cost"]["seconds_with_parents"] for folder in parents.values())


def interrupt_on_term() -> None:
    """Batch systems end a job with SIGTERM: the same as Ctrl-C from here on, also where a shell has Ctrl-C ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        own = signal.getsignal(signal.SIGINT)
        (own if callable(own) else signal.default_int_handler)(number, frame)

    signal.signal(signal.SIGTERM, interrupt)


def run_local(queue: Queue, store: Store, watcher: Watcher) -> None:
    """Run all trials of the queue one after the other in this process, without Ray."""
    import torch

    interrupt_on_term()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    while isinstance(trial := queue.next(), Trial):
        watcher.started(trial)
        error = ""
        try:
            for fraction in attempt(trial, store, device):
                watcher.progressed(trial, fraction)
        except Exception as exception:
            error = f"{type(exception).__name__}: {exception}"
        queue.end(trial.key, error)
        watcher.ended(trial, error)
