"""What planning, ordering and keeping trials costs, without Ray and without any work in them.

    python benchmarks/queue_store.py [TRIALS]

Runs TRIALS (1000) trials of the arms of det_attr through the executor `local`: the queue, the trial's folder, a
result.json of a real one's size written as a trial writes it, the watcher and the board; `bare` only writes the same
files.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _figures import Figure, tell
from _made_up import result_of, trials_of
from rich.console import Console

import mtlbench.training.trial
from mtlbench.execution.display import Display
from mtlbench.execution.local import run_local
from mtlbench.execution.queue import Queue, Resources
from mtlbench.plan import spaces
from mtlbench.spec import Trial
from mtlbench.store.sealing import write_result
from mtlbench.store.store import Store

LIMIT = 10.0  # seconds for 1000 trials


def main(count: int = 1000) -> None:
    """Run both ways."""
    trials = list({trial.key: trial for trial in trials_of(spaces.load("det_attr"), count)}.values())[:count]
    results = {trial.key: result_of(trial, place, np.random.default_rng(place)) for place, trial in enumerate(trials)}

    def empty_trial(trial: Trial, folder: Path, parents: object, errand: object) -> Iterator[float]:
        write_result(folder, folder.name, results[folder.name])
        yield 1.0

    mtlbench.training.trial.run_trial = empty_trial
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder), create=True)
        queue = time_work(rows, "queue made", lambda: Queue(trials, (), lambda trial: float(trial.iterations)))
        time_work(rows, "trials noted", lambda: store.plan(trials))
        with store.open("det_attr", "rooms") as board, Display(queue, board, Console(quiet=True)) as display:
            time_work(rows, "trials run", lambda: run_local(queue, store, display, Resources()))
        time_work(rows, "seen to be done", lambda: all(store.done(trial) for trial in trials) or sys.exit("not done"))
        assert len(queue.done) == count and not queue.failed
        time_work(rows, "bare: the same two files", lambda: bare(Path(folder) / "bare", trials, results))
    seconds = sum(row["seconds"] for row in rows[:-1])
    processor = sum(row["processor seconds"] for row in rows[:-1])
    tell(
        rows,
        [
            Figure(f"{count} empty trials", round(seconds, 3), "s", at_most=LIMIT * count / 1000),
            Figure("processor time of one", round(1000 * processor / count, 3), "ms"),
            Figure("against bare files", round(processor / rows[-1]["processor seconds"], 2), "x"),
        ],
    )


def time_work(rows: list[dict[str, Any]], what: str, work: Callable[[], Any]) -> Any:
    """What the work returns; adds a row."""
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    made = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    rows.append(
        {"part": what, "seconds": round(time.perf_counter() - wall, 3), "processor seconds": round(processor, 3)}
    )
    return made


def bare(root: Path, trials: list[Trial], results: dict[str, Any]) -> None:
    """A folder a trial, with trial.json and result.json."""
    for place, trial in enumerate(trials):
        folder = root / str(place)
        folder.mkdir(parents=True)
        (folder / "trial.json").write_text(json.dumps(trial.to_json(), indent=1, sort_keys=True))
        (folder / "result.json").write_text(json.dumps(results[trial.key], indent=1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
