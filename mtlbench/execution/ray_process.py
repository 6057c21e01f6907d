"""Ray in a process of its own: where Ray dies, it ends the process that drives it; where it hangs, that one hangs.

The run's own process, here, has no Ray: it hands over the trials, hears how they go, ends what does not end by itself,
and starts a private Ray again that died. What is finished is in the store; all else of that Ray is thrown away.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Collection
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import psutil

from mtlbench.errors import UserError
from mtlbench.execution.interrupts import interrupts
from mtlbench.execution.queue import Queue, Resources, Watcher
from mtlbench.spec import Trial
from mtlbench.store.store import Store
from mtlbench.system.scratch import mark, remove_dead, scratch_folder

RESTARTS = 2  # of a private Ray without a trial that finished in between (Ours)
LOOK_SECONDS = 0.1  # between two looks at Ray's processes
LEAVING_SECONDS = 3.0  # for leaving a cluster
LOG = "driver.txt"  # below the scratch folder: what Ray writes to standard error
PROGRAM = "from mtlbench.execution.ray_process import main; main()"


@dataclass(frozen=True)
class Work:
    """What the process with Ray is told: trials that have not failed, and how to run them."""

    trials: list[Trial]
    done: set[str]
    costs: dict[str, float]
    fresh: set[str]
    root: Path  # of the store
    resources: Resources
    address: str
    scratch: Path
    path: list[str]  # where the run looks for modules


def run_apart(
    queue: Queue, store: Store, watcher: Watcher, resources: Resources, address: str, fresh: Collection[str] = ()
) -> None:
    """Run all trials of the queue with Ray, those of `fresh` from the start; where Ray is lost for good, that is told
    and the queue keeps what is left.

    Raises UserError where Ray does not start or the machines can never meet the request, StoreBroken where the store
    cannot be written.
    """
    for left in remove_dead():
        watcher.say(f"removed what a killed run had left in {left}")
    losses = 0
    while True:
        before = len(queue.done)
        with scratch_folder() as scratch:
            work = Work(
                [trial for key, trial in queue.trials.items() if key not in queue.failed],
                queue.done,
                {key: queue.cost(trial) for key, trial in queue.trials.items()},
                {key for key in fresh if key not in queue.attempts},
                store.root,
                resources,
                address,
                scratch,
                sys.path,
            )
            lost = _drive(work, queue, watcher)
        if not lost:
            return
        _take_back(queue, store, watcher)
        losses = 1 if len(queue.done) > before else losses + 1
        if address:
            watcher.say(f"Ray at {address} is lost ({lost}); finished trials are kept, the same command goes on")
            return
        if losses > RESTARTS:
            watcher.say(
                f"Ray died {losses} times and no trial finished in between (the last time: {lost}); finished trials "
                "are kept; type the same command again, or --executor local"
            )
            return
        watcher.say(f"Ray died ({lost}); finished trials are kept, and it is started again")


def _take_back(queue: Queue, store: Store, watcher: Watcher) -> None:
    """What ran on a lost Ray is done, where the store has it, or waits again."""
    for key in sorted(queue.running):
        trial = queue.trials[key]
        if store.done(trial):
            queue.end(key)
            watcher.note_end(trial, "")
        else:
            queue.again(key)
            watcher.again(trial, "")


def _drive(work: Work, queue: Queue, watcher: Watcher) -> str:
    """Have the work done in a process with Ray, and tell queue and watcher how it goes; what died, or nothing."""
    ours, theirs = Pipe()
    with open(work.scratch / LOG, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(theirs.fileno())],
            cwd=Path(__file__).parents[2],  # where no folder of a stranger is in the way
            env=mark(work.scratch),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,  # Ctrl-C is for us alone
        )
    theirs.close()
    try:
        with contextlib.suppress(OSError):  # it ended at once
            ours.send(work)
        return _listen(ours, process, queue, watcher)
    finally:
        ours.close()
        if work.address:  # a private Ray ends with its scratch folder
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LEAVING_SECONDS)
        process.kill()
        process.wait()


def _listen(pipe: Any, process: subprocess.Popen[bytes], queue: Queue, watcher: Watcher) -> str:
    """What died, or nothing at the end. Raises KeyboardInterrupt, and what the process with Ray has raised."""
    needed: dict[str, int] = {}
    while True:
        if interrupts.asked:
            raise KeyboardInterrupt
        if not pipe.poll(LOOK_SECONDS):
            if dead := _name_dead(needed):
                return dead
            continue
        try:
            what, *about = pipe.recv()
        except (EOFError, OSError):
            return _name_dead(needed) or f"the process that drives it, status {process.wait()}"
        if what == "over":
            return ""
        if what == "lost":
            return str(about[0])
        if what == "refused":
            raise about[0]
        if what == "failed":
            if dead := _name_dead(needed):
                return dead
            raise RuntimeError(f"in the process that drives Ray:\n{about[0]}")
        if what == "processes":
            needed = about[0]
        else:
            _pass_on(what, about, queue, watcher)


def _pass_on(what: str, about: list[Any], queue: Queue, watcher: Watcher) -> None:
    """What the other process told its watcher, to ours."""
    if what == "say":
        watcher.say(*about)
        return
    trial, more = queue.trials[about[0]], about[1:]
    if what == "started":
        queue.take(trial.key)
        watcher.note_start(trial)
    elif what == "progressed":
        watcher.note_progress(trial, *more)
    elif what == "ended":
        queue.end(trial.key, *more)
        watcher.note_end(trial, *more)
    else:
        queue.again(trial.key)
        watcher.again(trial, *more)


def _name_dead(needed: dict[str, int]) -> str:
    """Which of Ray's processes are gone."""
    return " and ".join(name for name, process in needed.items() if not _is_alive(process))


def _is_alive(process: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    return False


# ---------------------------------------------------------------------------------------------------- with Ray
class Teller:
    """A Watcher that tells another process."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def note_start(self, trial: Trial) -> None:
        """A trial was handed to a worker."""
        self.pipe.send(("started", trial.key))

    def note_progress(self, trial: Trial, fraction: float) -> None:
        """A trial went on."""
        self.pipe.send(("progressed", trial.key, fraction))

    def note_end(self, trial: Trial, error: str) -> None:
        """A trial finished or failed."""
        self.pipe.send(("ended", trial.key, error))

    def again(self, trial: Trial, why: str) -> None:
        """A trial was lost and is tried again."""
        self.pipe.send(("again", trial.key, why))

    def say(self, line: str) -> None:
        """A line to print."""
        self.pipe.send(("say", line))


def main() -> None:
    """Do the work that comes through the pipe whose number is the first argument, and tell there how it goes."""
    pipe: Any = Connection(int(sys.argv[1]))
    os.set_inheritable(pipe.fileno(), False)
    work = pipe.recv()
    sys.path[:] = [os.path.abspath(path) for path in work.path]
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    interrupts.begin()
    from mtlbench.execution import ray_executor

    try:
        pipe.send(("processes", ray_executor.start(work.address, work.scratch)))
        interrupts.listen()  # Ray has put handlers in place that abort
        queue = Queue(work.trials, work.done, lambda trial: work.costs[trial.key])
        ray_executor.run_ray(queue, Store(work.root), Teller(pipe), work.resources, work.fresh, work.scratch)
        pipe.send(("over",))
    except ray_executor.RayLost as error:
        pipe.send(("lost", str(error)))
    except UserError as error:
        pipe.send(("refused", error))
    except Exception:
        pipe.send(("failed", traceback.format_exc()))
    ray_executor.stop()


def _end_with(pipe: Any) -> None:
    """End this process, and with it Ray, when the other end of the pipe is closed."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    if not interrupts.asked:  # else it is leaving the cluster
        os._exit(1)
