"""Ray Tune behind the Queue; the only file that imports ray, in a process of its own (`ray_process`)."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

# Read by Ray when it is imported. Ours: no result files of its own, no usage report, no exporter that warns.
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_SYNCER": "1",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_local_fs_capacity_threshold": "0.999",
    "RAY_py_gcs_connect_timeout_s": "5",
}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
# Whoever talks to a Ray of ours needs its token; one of our own does not have to be kept in the user's home.
if "RAY_AUTH_MODE" not in os.environ:
    os.environ["RAY_AUTH_MODE"] = "token"
    kept = Path("~/.ray/auth_token").expanduser()
    if not (kept.exists() or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

import ray
from ray import tune
from ray._private import ray_constants
from ray.job_config import JobConfig
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import mtlbench
from mtlbench.errors import UserError
from mtlbench.execution.courier import Courier, run_away, user_sources, with_sources
from mtlbench.execution.interrupts import interrupts
from mtlbench.execution.local import seconds_of_parents
from mtlbench.execution.queue import Answer, Queue, Resources, Watcher
from mtlbench.spec import Options, Trial
from mtlbench.store.shapes import Failure, FailureKind
from mtlbench.store.store import Store
from mtlbench.system.files import StoreBroken
from mtlbench.system.scratch import MARK, make_scratch

SLICE_SECONDS = 1.0  # between two reports of progress
OBJECT_STORE_BYTES = 200 << 20
ATTEMPTS = 3  # at a trial whose process dies
CAUSES = "killed, out of memory, or ended by a crash or an exit in its code"  # of a process that is gone
MOST_CPUS = 8  # for a trial on a GPU


class RayLost(Exception):
    """A process of Ray's that no run can do without is gone; the message names it."""


class Outcome(Enum):
    """How a trial is, as its process tells."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    OUT_OF_MEMORY = "out of memory"
    STORE_BROKEN = "the store cannot be written"
    RAY_LOST = "a process of Ray's is gone"


@dataclass(frozen=True)
class Report:
    """What a trial's process tells about once a second."""

    outcome: Outcome
    error: str = ""  # one line
    fraction: float = 1.0  # finished
    host: str = ""
    device: str = "cpu"


class TrialActor(tune.Trainable):
    """Runs trials one after the other in one process: importing torch and opening the data are paid once.

    It may be on any machine: all that it is told is in the configuration, and files come and go by the courier.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What Ray sets aside for a trial."""
        return tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}])

    def setup(self, config: dict[str, Any]) -> None:
        """Start the first trial."""
        self.device: Any = ""
        self.base: Path | None = None
        self.reset_config(config)

    def cleanup(self) -> None:
        """The process ends."""
        if self.base:
            shutil.rmtree(self.base, ignore_errors=True)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in this process."""
        self.work = self.run_trial(new_config)
        return True

    def run_trial(self, config: dict[str, Any]) -> Iterator[float]:
        """The trial of a configuration, running."""
        from mtlbench.training.trial import Errand, run_trial

        if config["version"] != mtlbench.__version__:
            raise UserError(
                f"{socket.gethostname()} has mtlbench {mtlbench.__version__}, the driver {config['version']}: "
                "install the same version on every machine"
            )
        if self.base is None:  # below the scratch folder of a private Ray; on a cluster there is none
            self.device = get_device(config["gpus"])
            self.base = make_scratch(os.environ.get(MARK) or tempfile.gettempdir())
        errand = Errand(self.device, config["cpus"], config["seconds_of_parents"], config["resume_every"])
        try:
            remote = RayCourier(ray.get_actor(config["courier"], namespace=config["courier"]))
        except ValueError as error:
            raise RayLost("courier") from error
        yield from run_away(Trial.from_json(config["trial"]), self.base, remote, partial(run_trial, errand=errand))

    def step(self) -> dict[str, Any]:
        """Work for about a second and report; a failure is a result too, so that the process lives on."""
        until = time.perf_counter() + SLICE_SECONDS
        try:
            for fraction in self.work:
                if time.perf_counter() > until:
                    return self._make_report(Outcome.RUNNING, fraction=fraction)
        except StoreBroken as error:
            return self._make_report(Outcome.STORE_BROKEN, str(error))
        except RayLost as error:
            return self._make_report(Outcome.RAY_LOST, str(error))
        except Exception as error:
            from mtlbench.training.failures import failure_of

            failure = failure_of(error)
            memory = failure.kind is FailureKind.OUT_OF_MEMORY
            return self._make_report(Outcome.OUT_OF_MEMORY if memory else Outcome.FAILED, str(failure))
        return self._make_report(Outcome.DONE)

    def _make_report(self, outcome: Outcome, error: str = "", fraction: float = 1.0) -> dict[str, Any]:
        report = Report(outcome, error, fraction, socket.gethostname(), str(self.device))
        return {"report": report, "done": outcome is not Outcome.RUNNING}


def get_device(gpus: float) -> Any:
    """The device that Ray assigned, not the one that torch would find: a CPU trial sees all GPUs of its machine."""
    import torch

    if not (ray.get_gpu_ids() and torch.cuda.is_available()):
        return torch.device("cpu")
    from mtlbench.execution.gpu_sharing import memory_share

    if gpus < 1:
        capacity = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_share(gpus, capacity))
    return torch.device("cuda")


class RayCourier:
    """The Courier's methods, from another process; all raise RayLost where the Courier is gone."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def source(self, path: str) -> str:
        """The text of a user's file."""
        text: str = _answer(self.actor.source.remote(path))
        return text

    def weights(self, file: str, start: int) -> bytes:
        """A piece of a file of pretrained weights."""
        piece: bytes = _answer(self.actor.weights.remote(file, start))
        return piece

    def read(self, trial: Options, key: str, name: str, start: int) -> bytes | None:
        """A piece of a file of a trial, or of its parent `key`."""
        piece: bytes | None = _answer(self.actor.read.remote(trial, key, name, start))
        return piece

    def write(self, trial: Options, name: str, start: int, data: bytes) -> None:
        """Hand over a piece."""
        _answer(self.actor.write.remote(trial, name, start, data))

    def accept(self, trial: Options, names: list[str]) -> None:
        """All pieces of these files were handed over."""
        _answer(self.actor.accept.remote(trial, names))


def _answer(call: Any) -> Any:
    """What a call of the courier returns, its exceptions as they are. Raises RayLost where the courier is gone."""
    try:
        return ray.get(call)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayActorError as error:
        raise RayLost("courier") from error


class QueueSearcher(Searcher):
    """Tune asks the Queue what to run; trials are known to Tune by ids of its own."""

    def __init__(
        self, queue: Queue, store: Store, watcher: Watcher, common: dict[str, Any], fresh: Collection[str]
    ) -> None:
        super().__init__()
        self.queue, self.store, self.watcher, self.common, self.fresh = queue, store, watcher, common, fresh
        self.running: dict[str, Trial] = {}
        self.broken: StoreBroken | RayLost | None = None
        self.gpus = dict.fromkeys(queue.trials, common["gpus"])
        self._without_gpu: set[str] = set()  # machines that were told of

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next ready trial, None to wait, FINISHED at the end."""
        interrupts.listen()  # Tune has taken SIGUSR1
        trial = Answer.FINISHED if self.is_stopped() else self.queue.next()
        if trial is Answer.FINISHED:
            return Searcher.FINISHED
        if not isinstance(trial, Trial):
            return None
        self.running[trial_id] = trial
        self.watcher.note_start(trial)
        try:
            self.store.begin(trial, trial.key in self.fresh and self.queue.attempts[trial.key] == 1)
        except StoreBroken as error:
            self.broken = error
            return Searcher.FINISHED
        return {
            **self.common,
            "trial": trial.to_json(),
            "gpus": self.gpus[trial.key],
            "seconds_of_parents": seconds_of_parents(trial, self.store),
        }

    def is_stopped(self) -> bool:
        """Whether nothing more is to be run: the store cannot be written, the courier is gone, or the user asked."""
        return self.broken is not None or interrupts.asked

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Progress."""
        trial, report = self.running[trial_id], result["report"]
        self.watcher.note_progress(trial, report.fraction)
        self._heed(trial, report)

    def _heed(self, trial: Trial, report: Report) -> None:
        """What any result may tell of its machine and of the store."""
        if self.gpus[trial.key] and report.device == "cpu" and report.host not in self._without_gpu:
            self._without_gpu.add(report.host)
            self.watcher.say(f"Ray offers a GPU on {report.host} that torch cannot use: trials run on its CPU")
        if report.outcome is Outcome.STORE_BROKEN:
            self.broken = StoreBroken(report.error)
        if report.outcome is Outcome.RAY_LOST:
            self.broken = RayLost(report.error)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The end of a trial; without a result its process died."""
        trial = self.running.pop(trial_id, None)
        report: Report | None = result["report"] if result else None
        if trial and report:  # Tune tells of a last result only here
            self._heed(trial, report)
        if trial is None or (self.is_stopped() and not self.store.done(trial)):
            return
        done = self.store.done(trial)  # the store is the truth
        lost = not done and (error or report is None)
        reason = report.error if report and not done else ""
        memory = report is not None and report.outcome is Outcome.OUT_OF_MEMORY
        if lost and self.queue.attempts[trial.key] < ATTEMPTS:
            self._again(trial, f"its process ended ({CAUSES}, or a machine was lost)")
        elif memory and reason and 0 < self.gpus[trial.key] < 1:
            share = min(1.0, 2 * self.gpus[trial.key])
            self.gpus = {key: max(share, gpus) for key, gpus in self.gpus.items()}
            self._again(trial, f"out of the GPU's memory; trials take {share:g} of a GPU from here on")
        else:
            if lost:
                reason = f"its process ended {ATTEMPTS} times ({CAUSES})"
                self.store.fail(trial, Failure(FailureKind.LOST, "", reason))
            self.queue.end(trial.key, reason)
            self.watcher.note_end(trial, reason)

    def _again(self, trial: Trial, why: str) -> None:
        self.queue.again(trial.key)
        self.watcher.again(trial, why)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: the store is the truth, Ray's own state is scratch."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class StopEarly(tune.Stopper):
    """Ends the run where nothing more is to be run."""

    def __init__(self, searcher: QueueSearcher) -> None:
        self.searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never for one trial."""
        return False

    def stop_all(self) -> bool:
        """Whether to end the run."""
        return self.searcher.is_stopped()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing."""
        return {}


def run_ray(
    queue: Queue,
    store: Store,
    watcher: Watcher,
    resources: Resources,
    fresh: Collection[str],
    scratch: Path,
    actor: type[TrialActor] = TrialActor,
) -> None:
    """Run all trials of the queue in one Tune run on the Ray that was started, children as soon as their parents are
    done; those of `fresh` from the start.

    Raises UserError for a request that the machines can never meet, StoreBroken where the store cannot be written,
    RayLost where a process of Ray's is gone.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are told by the watcher, once
    name = f"mtlbench-{uuid.uuid4().hex}"
    try:
        courier = _start_courier(name, queue, store)  # gone when nobody holds it
        common: dict[str, Any] = {
            **_request(queue, watcher, resources),
            "courier": name,
            "resume_every": resources.resume_every,
            "version": mtlbench.__version__,
        }
        slots = _count_slots(common["cpus"], common["gpus"])
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
        searcher = QueueSearcher(queue, store, watcher, common, fresh)
        tune.Tuner(
            actor,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                reuse_actors=True,
                max_concurrent_trials=slots,
            ),
            run_config=tune.RunConfig(
                name="run",
                storage_path=str(scratch),
                verbose=0,
                stop=StopEarly(searcher),
                failure_config=tune.FailureConfig(fail_fast=False),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        ).fit()
        del courier
    except ray.exceptions.RayTaskError:  # an error of ours
        raise
    except ray.exceptions.RayError as error:
        raise RayLost(str(error).partition("\n")[0]) from error
    if searcher.broken:
        raise searcher.broken


def start(address: str, scratch: Path) -> dict[str, int]:
    """Start a private Ray in the folder, or join the cluster at the address; {name: process} of what the private one
    cannot do without. Raises UserError."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        try:
            with _on_loopback():
                ray.init(
                    address="local",
                    include_dashboard=False,
                    _temp_dir=str(scratch),
                    job_config=_SamePath(),
                    object_store_memory=OBJECT_STORE_BYTES,
                    **quiet,
                )
        except Exception as error:  # Ray raises what it likes, its bare Exception too
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"Ray did not start ({reason}); try again, or type --executor local") from error
        processes: Any = ray._private.worker._global_node.all_processes  # type: ignore[attr-defined]
        needed = (ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER)
        return {name: processes[name][0].process.pid for name in needed}
    if address.startswith("ray://"):
        raise UserError(f"--address {address}: type the command on a machine of the cluster, with --address HOST:PORT")
    try:
        if address != "auto":
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
        ray.init(address=address, **quiet)
    except (OSError, ValueError, ray.exceptions.RayError) as error:  # ConnectionError is an OSError
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({reason}); write HOST:PORT, "
            "and where the cluster has a token, set RAY_AUTH_TOKEN"
        ) from error
    return {}


def stop() -> None:
    """End the private Ray, or leave the cluster."""
    ray.shutdown()


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """A Ray that starts inside is a node at 127.0.0.1, and all its servers listen there alone; else they listen on
    every interface, and even `_node_ip_address="127.0.0.1"` becomes the address that others see."""
    before = ray_constants.ENABLE_RAY_CLUSTER  # no such name in another Ray: better no run than an open one
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


class _SamePath(JobConfig):
    """Workers look for modules where this process does; Ray would have them look first into the folder that the
    command was typed in, which may be a stranger's."""

    def __init__(self) -> None:
        folders = [os.path.abspath(path) for path in sys.path if not path or os.path.isabs(path)]
        super().__init__(_py_driver_sys_path=folders[::-1])  # each is put before the others

    def _runtime_env_has_working_dir(self) -> bool:
        """Keeps Ray from adding folders of its own choice."""
        return True


def _start_courier(name: str, queue: Queue, store: Store) -> Any:
    """Start the courier on this machine, to be found by its name."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Courier).options(name=name, namespace=name, num_cpus=0, scheduling_strategy=here)
    trials = queue.trials.values()
    files = sorted({trial.weights_file for trial in trials if trial.weights_file})
    return actor.remote(str(store.root), user_sources(trials), files)


def _request(queue: Queue, watcher: Watcher, resources: Resources) -> dict[str, float]:
    """CPUs and GPUs of a trial."""
    threads = max(trial.recipe.threads for trial in queue.trials.values())
    machines = _list_machines()
    with_gpu = [(cpus / gpus) for cpus, gpus in machines if gpus]
    gpus = resources.gpus
    if gpus is None:
        gpus = _measure_share(queue, watcher, min(with_gpu)) if with_gpu else 0.0
    cpus = min(MOST_CPUS, int(min(with_gpu) * gpus)) if gpus and with_gpu else 0
    return {"cpus": max(threads, cpus), "gpus": gpus}


def _measure_share(queue: Queue, watcher: Watcher, cpus_per_gpu: float) -> float:
    """The part of a GPU that the costliest trial needs, by a measured step on one of the GPUs."""
    from mtlbench.execution.gpu_sharing import find_costliest, trials_per_gpu

    trial = find_costliest((trial for key, trial in queue.trials.items() if key not in queue.done), queue.cost)
    if trial is None:
        return 1.0
    measuring = ray.remote(num_cpus=1, num_gpus=1, max_calls=1)(_measure)
    try:
        measured = ray.get(measuring.remote(trial.to_json(), user_sources([trial])))
    except ray.exceptions.RayError as error:
        watcher.say(f"one trial a GPU: no step of {trial.arm} could be measured ({type(error).__name__})")
        return 1.0
    number = trials_per_gpu(measured, cpus_per_gpu)
    found = "does not fit beside another"
    if measured.memory < measured.capacity:
        found = (
            f"takes {measured.step_seconds * 1000:.0f} ms and {measured.memory / 2**30:.1f} of "
            f"{measured.capacity / 2**30:.0f} GiB, and keeps the GPU {measured.busy:.0%} busy"
        )
    watcher.say(f"{number} trials a GPU: a step of {trial.arm} {found} (--gpus-per-trial overrides)")
    return 1 / number


def _measure(trial: dict[str, Any], sources: dict[str, str]) -> Any:
    """In a process of its own that has a whole GPU."""
    from mtlbench.execution.gpu_sharing import measure

    base = make_scratch(os.environ.get(MARK) or tempfile.gettempdir())
    try:
        at_hand = with_sources(Trial.from_json(trial), base, sources.__getitem__)
        return measure(at_hand, get_device(1.0))
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _list_machines() -> list[tuple[float, float]]:
    """CPUs and GPUs of every machine that is up."""
    up = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(found.get("CPU", 0.0), found.get("GPU", 0.0)) for found in up]


def _count_slots(cpus: float, gpus: float) -> int:
    """How many trials fit at once. Raises UserError where none ever does: Ray would wait for ever."""
    machines = _list_machines()
    if gpus > 1 or gpus > max(found for _, found in machines):
        total = sum(found for _, found in machines)
        raise UserError(f"--gpus-per-trial {gpus:g}: there are {total:g} GPUs here; a trial takes at most 1")
    by_cpu = [int(found // cpus) for found, _ in machines]
    by_gpu = [
        int(found) * int(1 / gpus + 1e-6) if gpus else limit for limit, (_, found) in zip(by_cpu, machines, strict=True)
    ]
    slots = sum(map(min, by_cpu, by_gpu))
    if not slots:
        raise UserError(f"a trial takes {cpus:g} CPUs, and Ray offers no machine with as many; start it with more")
    return slots
