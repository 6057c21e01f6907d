"""What an empty trial costs: through mtlbench's Ray path, its store included, and through stock Ray Tune.

    python benchmarks/tune_overhead.py [TRIALS]

Each side runs in a process of its own, start and end of Ray included; TRIALS is 100 unless given.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _figures import Figure, tell


class Watcher:
    """Sees only failures."""

    def note_start(self, trial: Any) -> None: ...
    def note_progress(self, trial: Any, fraction: float) -> None: ...
    def say(self, line: str) -> None: ...

    def note_end(self, trial: Any, error: str) -> None:
        assert not error, error

    def again(self, trial: Any, why: str) -> None:
        raise AssertionError(why)


def ours(count: int) -> float:
    """Seconds for `count` trials that do nothing but bring an empty result to the store."""
    from mtlbench.execution.queue import Queue, Resources
    from mtlbench.execution.ray_executor import TrialActor, ray, run_ray
    from mtlbench.execution.ray_executor import start as start_ray
    from mtlbench.spec import Plugin, Recipe, Trial
    from mtlbench.store.store import Store
    from mtlbench.system.scratch import scratch_folder

    class EmptyActor(TrialActor):
        def run_trial(self, config: dict[str, Any]) -> Iterator[float]:
            courier = ray.get_actor(config["courier"], namespace=config["courier"])
            ray.get(courier.write.remote(config["trial"], "result.json", 0, b"{}"))
            ray.get(courier.accept.remote(config["trial"], ["result.json"]))
            yield 1.0

    nothing = Plugin("nothing")
    trials = [
        Trial(
            "pair",
            "arm",
            seed,
            "recipe",
            (Plugin("task"),),
            "fcn",
            nothing,
            "",
            "",
            nothing,
            nothing,
            Recipe("", {}, 0, images=4, lr=0.1),
            1,
            0,
            seed,
            False,
            (),
        )
        for seed in range(count)
    ]
    with tempfile.TemporaryDirectory() as folder:
        queue = Queue(trials, (), lambda trial: 1.0)
        start = time.perf_counter()
        with scratch_folder() as scratch:
            start_ray("", scratch)
            run_ray(queue, Store(Path(folder), create=True), Watcher(), Resources(), (), scratch, EmptyActor)
            ray.shutdown()
        seconds = time.perf_counter() - start
        assert len(list(Path(folder).glob("*/*/*/result.json"))) == count
    return seconds


def stock(count: int) -> float:
    """Seconds for `count` function trials of stock Tune that report one number, its settings as they come."""
    import ray
    from ray import tune

    start = time.perf_counter()
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            lambda config: tune.report({"number": 1}),
            param_space={"i": tune.grid_search(list(range(count)))},
            run_config=tune.RunConfig(verbose=0, storage_path=folder),
        ).fit()
        assert len(results) == count and not results.errors
    ray.shutdown()
    return time.perf_counter() - start


def main() -> None:
    """Run both sides."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    if len(sys.argv) > 2:
        print({"ours": ours, "stock": stock}[sys.argv[2]](count))
        return
    seconds = {}
    for side in ("ours", "stock"):
        done = subprocess.run([sys.executable, __file__, str(count), side], check=True, capture_output=True, text=True)
        seconds[side] = float(done.stdout.split()[-1])
    tell(
        [{"side": side, "trials": count, "seconds": round(taken, 2)} for side, taken in seconds.items()],
        [
            Figure(f"{count} empty trials through Ray", round(seconds["ours"], 2), "s"),
            Figure("against stock Ray Tune", round(seconds["ours"] / seconds["stock"], 3), "x", at_most=1.0),
        ],
    )


if __name__ == "__main__":
    main()
