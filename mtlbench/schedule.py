"""The order in which trials run: ready when all parents are done, blocked when one of them failed."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from mtlbench.files import StoreBroken
from mtlbench.folders import read_result
from mtlbench.machine import cores
from mtlbench.spec import Trial
from mtlbench.store import Store

if TYPE_CHECKING:
    from mtlbench.trial import Errand


INTERRUPTED = "interrupted; finished trials are kept, the same command goes on"
PATIENCE = 7.0  # seconds for a run to end after an interrupt


class Answer(Enum):
    """What the queue says when it has no trial to give."""

    WAIT = "a trial that is running must end first"
    FINISHED = "nothing is left"


class Watcher(Protocol):
    """Who is told how the run goes."""

    def started(self, trial: Trial) -> None: ...
    def progressed(self, trial: Trial, fraction: float) -> None: ...
    def ended(self, trial: Trial, error: str) -> None: ...
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
                self._waiting.remove(key)
                self.running.add(key)
                self.attempts[key] = self.attempts.get(key, 0) + 1
                return self.trials[key]
        return Answer.WAIT if self.running else Answer.FINISHED

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


def attempt(trial: Trial, store: Store, errand: Errand, fresh: bool = False) -> Iterator[float]:
    """Run a trial in its folder of the store; a failure is kept there and raised again.

    With `fresh` a resume file is not gone on from. Raises StoreBroken where the run cannot go on at all.
    """
    from mtlbench.trial import run_trial  # torch is slow to import

    folder = store.begin(trial, fresh)
    try:
        yield from run_trial(trial, folder, {key: folder.parent / key for key in trial.parents}, errand)
    except StoreBroken:
        raise
    except Exception:
        store.fail(trial, traceback.format_exc())
        raise


def seconds_of_parents(trial: Trial, store: Store) -> float:
    """What the parents took, with theirs."""
    folder = store.folder(trial).parent
    return sum(read_result(folder / key / "result.json")["cost"]["seconds_with_parents"] for key in trial.parents)


class Interrupts:
    """Ctrl-C, SIGTERM (batch systems end a job with it) and SIGUSR1 (they announce the end with it) end a run alike.

    A KeyboardInterrupt may get lost where others call back into Python, so that `asked` is looked at as well, and a run
    that has not ended after PATIENCE is cut off: whatever is in the store is whole.
    """

    def __init__(self) -> None:
        self.asked = False
        self._cut: threading.Timer | None = None

    def begin(self) -> None:
        """A run begins."""
        self.asked = False
        self.listen()

    def end(self) -> None:
        """The run has ended."""
        if self._cut:
            self._cut.cancel()

    def listen(self) -> None:
        """Put our handlers in place, again where others put theirs. A Ctrl-C that the shell has ignored stays so."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        signal.alarm(0)  # a failure handler of Ray's may have set one that aborts
        if not self.asked:
            self.asked = True
            self._cut = threading.Timer(PATIENCE, self._cut_off)
            self._cut.daemon = True
            self._cut.start()
        raise KeyboardInterrupt

    @staticmethod
    def _cut_off() -> None:
        os.write(2, f"mtlbench: {INTERRUPTED}\n".encode())
        os._exit(130)


interrupts = Interrupts()


@dataclass
class Resources:
    """What a trial may take: None = chosen from a measured step where there are GPUs."""

    gpus: float | None = None
    resume_every: float = 600.0  # seconds between two resume files


def run_local(queue: Queue, store: Store, watcher: Watcher, resources: Resources, fresh: Collection[str] = ()) -> None:
    """Run all trials of the queue one after the other in this process, without Ray; those of `fresh` from the start.

    Raises StoreBroken.
    """
    import torch

    from mtlbench.trial import Errand

    device = torch.device("cuda" if torch.cuda.is_available() and resources.gpus != 0 else "cpu")
    while isinstance(trial := queue.next(), Trial):
        watcher.started(trial)
        error = ""
        try:
            errand = Errand(device, cores(), seconds_of_parents(trial, store), resources.resume_every)
            for fraction in attempt(trial, store, errand, trial.key in fresh):
                watcher.progressed(trial, fraction)
                if interrupts.asked:
                    raise KeyboardInterrupt
        except StoreBroken:
            raise
        except Exception as exception:
            error = f"{type(exception).__name__}: {exception}"
        queue.end(trial.key, error)
        watcher.ended(trial, error)
