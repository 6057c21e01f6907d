"""Trials one after the other, in this process."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, TypeVar

from mtlbench.execution.interrupts import interrupts
from mtlbench.execution.queue import Queue, Resources, Watcher
from mtlbench.spec import Trial
from mtlbench.store.sealing import read_result
from mtlbench.store.store import Store
from mtlbench.system.files import StoreBroken
from mtlbench.system.machine import cores

if TYPE_CHECKING:
    from mtlbench.training.trial import Errand

T = TypeVar("T")


def attempt(trial: Trial, store: Store, errand: Errand, fresh: bool = False) -> Iterator[float]:
    """Run a trial in its folder of the store; a failure is kept there and raised again.

    With `fresh` resume files are ignored: training starts at step 0. Raises StoreBroken where the run cannot
    go on at all.
    """
    from mtlbench.training.failures import failure_of
    from mtlbench.training.trial import run_trial

    folder = store.begin(trial, fresh)
    try:
        yield from run_trial(trial, folder, {key: folder.parent / key for key in trial.parents}, errand)
    except StoreBroken:
        raise
    except Exception as error:
        store.fail(trial, failure_of(error), traceback.format_exc())
        raise


def seconds_of_parents(trial: Trial, store: Store) -> float:
    """What the parents took, with theirs."""
    folder = store.folder(trial).parent
    return sum(read_result(folder / key / "result.json").cost["seconds_with_parents"] for key in trial.parents)


def run_local(queue: Queue, store: Store, watcher: Watcher, resources: Resources, fresh: Collection[str] = ()) -> None:
    """Run all trials of the queue one after the other in this process, without Ray; those of `fresh` from the start.

    Raises StoreBroken.
    """
    import torch

    from mtlbench.training.failures import failure_of
    from mtlbench.training.trial import Errand

    device = torch.device("cuda" if torch.cuda.is_available() and resources.gpus != 0 else "cpu")
    while isinstance(trial := queue.next(), Trial):
        watcher.note_start(trial)
        error = ""
        try:
            errand = Errand(device, cores(), seconds_of_parents(trial, store), resources.resume_every)
            for fraction in silence(attempt(trial, store, errand, trial.key in fresh)):
                watcher.note_progress(trial, fraction)
                if interrupts.asked:
                    raise KeyboardInterrupt
        except StoreBroken:
            raise
        except Exception as exception:
            error = str(failure_of(exception))
        queue.end(trial.key, error)
        watcher.note_end(trial, error)


def silence(work: Iterator[T]) -> Iterator[T]:
    """The same; what is printed on the way is dropped, as on Ray: it would stand between the lines of a run."""
    with open(os.devnull, "w") as nowhere:
        while True:
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                try:
                    item = next(work)
                except StopIteration:
                    return
            yield item
