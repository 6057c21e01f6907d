"""Ray Tune behind the Queue; the only file that imports ray."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

# Read by Ray when it is imported. Ours: no result files of its own, no usage report, no exporter that warns.
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_DISABLE_AUTO_CALLBACK_SYNCER": "1",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000", "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_enable_metrics_collection": "0", "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_local_fs_capacity_threshold": "0.999", "RAY_DEDUP_LOGS": "0",
}  # fmt: skip
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from mtlbench.errors import UserError  # noqa: E402
from mtlbench.schedule import Answer, Queue, Watcher, attempt, interrupt_on_term  # noqa: E402
from mtlbench.spec import Trial  # noqa: E402
from mtlbench.store import Store  # noqa: E402

SLICE_SECONDS = 1.0  # between two reports of progress
OBJECT_STORE_BYTES = 200 << 20


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """Runs trials one after the other in one process: importing torch and opening the data are paid once."""

    def setup(self, config: dict[str, Any]) -> None:
        """Start the first trial."""
        import torch

        os.chdir(config["cwd"])
        # The device is the one that Ray assigned, not the one that torch would find (a CPU trial sees all GPUs).
        gpus = ray.get_gpu_ids()
        self.device = torch.device("cuda" if gpus else "cpu")
        if gpus and 0 < config["gpus"] < 1:
            torch.cuda.set_per_process_memory_fraction(config["gpus"])
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in this process."""
        trial = Trial.from_json(new_config["trial"])
        self.work = attempt(trial, Store(Path(new_config["store"])), self.device)
        return True

    def step(self) -> dict[str, Any]:
        """Work for about a second and report; a failure is a result too, so that the process lives on."""
        until = time.perf_counter() + SLICE_SECONDS
        try:
            for fraction in self.work:
                if time.perf_counter() > until:
                    return {"fraction": fraction, "done": False}
        except Exception as exception:
            return {"fraction": 1.0, "done": True, "error": f"{type(exception).__name__}: {exception}"}
        return {"fraction": 1.0, "done": True, "error": ""}


class QueueSearcher(Searcher):  # type: ignore[misc]
    """Tune asks the Queue what to run; trials are known to Tune by ids of its own."""

    def __init__(self, queue: Queue, store: Store, watcher: Watcher, common: dict[str, Any]) -> None:
        super().__init__()
        self.queue, self.store, self.watcher = queue, store, watcher
        self.common = {"store": str(store.root), **common}
        self.running: dict[str, Trial] = {}

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next ready trial, None to wait, FINISHED at the end."""
        trial = self.queue.next()
        if trial is Answer.FINISHED:
            return Searcher.FINISHED
        if not isinstance(trial, Trial):
            return None
        self.running[trial_id] = trial
        self.watcher.started(trial)
        return {"trial": trial.to_json(), **self.common}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Progress."""
        self.watcher.progressed(self.running[trial_id], result["fraction"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The end of a trial; without a result its process died."""
        trial = self.running.pop(trial_id)
        reason = "the worker process died" if error or result is None else result["error"]
        if reason and self.store.done(trial):  # the store is the truth
            reason = ""
        self.queue.end(trial.key, reason)
        self.watcher.ended(trial, reason)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: the store is the truth, Ray's own state is scratch."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


def run_ray(queue: Queue, store: Store, watcher: Watcher, gpus_per_trial: float, address: str) -> None:
    """Run all trials of the queue in one Tune run, children as soon as their parents are done.

    Raises UserError for a request that this machine can never meet.
    """
    scratch = tempfile.mkdtemp(prefix="mtl")
    try:
        _start(address, scratch)
        interrupt_on_term()  # Ray has set a handler of its own, which aborts
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are told by the watcher, once
        slots = _slots(gpus_per_trial)
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
        common = {"gpus": gpus_per_trial, "cwd": os.getcwd()}
        tuner = tune.Tuner(
            tune.with_resources(TrialActor, {"cpu": 1, "gpu": gpus_per_trial}),
            tune_config=tune.TuneConfig(
                search_alg=QueueSearcher(queue, store, watcher, common), num_samples=-1, reuse_actors=True,
                max_concurrent_trials=slots,
            ),
            run_config=tune.RunConfig(
                name="run", storage_path=scratch, verbose=0, failure_config=tune.FailureConfig(fail_fast=False),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )  # fmt: skip
        tuner.fit()
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _start(address: str, scratch: str) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError) as error:
            raise UserError(f"--address {address}: no Ray cluster answers there ({error}); write HOST:PORT") from error
        ray.init(address=address, **quiet)
    else:
        ray.init(
            address="local", include_dashboard=False, _temp_dir=scratch, object_store_memory=OBJECT_STORE_BYTES, **quiet
        )


def _slots(gpus_per_trial: float) -> int:
    """How many trials fit at once."""
    have = ray.cluster_resources()
    cpus, gpus = int(have.get("CPU", 0)), have.get("GPU", 0.0)
    if gpus_per_trial > 1 or gpus_per_trial > gpus:
        raise UserError(f"--gpus-per-trial {gpus_per_trial:g}: there are {gpus:g} GPUs here; a trial takes at most 1")
    slots = cpus if not gpus_per_trial else min(cpus, int(gpus * int(1 / gpus_per_trial + 1e-6)))
    if not slots:
        raise UserError("Ray offers no CPU here; start it with at least one")
    return slots
