"""How many trials share a GPU: measured on a few steps of one of them, in memory and in the GPU's time."""

from __future__ import annotations

import itertools
import math
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import psutil
import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from mtlbench.nets.network import MultiTaskNet, place_on_device
from mtlbench.spec import Trial
from mtlbench.system.machine import keep_memory
from mtlbench.training.context import Context, weighting_of
from mtlbench.training.evaluation import EVALUATION_IMAGES, evaluate
from mtlbench.training.loader import LOADERS
from mtlbench.training.loop import Training
from mtlbench.training.samples import maps_of

WARM_STEPS, TIMED_STEPS, PROFILED_STEPS = 3, 10, 5
LONG = 1000  # iterations: so long a training has neither curve nor alphas among the measured steps
CONTEXT_BYTES = 600 << 20  # of a process on a GPU, beside what torch allocates: kernels, handles (Ours)
MEMORY_MARGIN = 0.9  # of a GPU's memory may be planned for (Ours)
WORTH_A_TRIAL = 0.25  # of a trial's speed must at least be gained by one more (Ours)
MOST_TRIALS = 8  # on a GPU: each costs a process, a CUDA context and the data (Ours)


@dataclass
class Measured:
    """What a trial takes of its device; `memory` and `capacity` in bytes, `busy` = the share 0 to 1 of a step's wall
    time in which the device computes. Out of memory: `memory` = `capacity`, `busy` 1, `step_seconds` 0."""

    memory: int
    capacity: int
    busy: float
    step_seconds: float


def find_costliest(trials: Iterable[Trial], cost: Callable[[Trial], float]) -> Trial | None:
    """The trial with the most work in one step, of those that train: what fits for it fits for all (Ours).

    `cost` is of the whole trial, in any unit. None where nothing trains.
    """
    return max((t for t in trials if t.iterations), key=lambda t: cost(t) / t.iterations, default=None)


def trials_per_gpu(measured: Measured, cpus_per_gpu: float) -> int:
    """How many trials one GPU carries at a time: 1 to 8.

    Memory: all of them in 90 % of it. Processor: a core each. Time: processes take turns on a GPU, so n trials fill it
    once n x busy reaches 1; one more must gain at least a quarter of a trial's speed, since it takes memory and slows
    the others, on which children may wait (Ours).
    """
    by_memory = math.floor(MEMORY_MARGIN * measured.capacity / max(measured.memory, 1))
    by_time = math.ceil(1 / max(measured.busy, 1 / MOST_TRIALS) - WORTH_A_TRIAL)
    return max(1, min(by_memory, int(cpus_per_gpu + 1e-6), by_time, MOST_TRIALS))


def memory_share(gpus: float, capacity: int) -> float:
    """The fraction of a GPU's memory (`capacity` bytes) that torch may use in a process that has `gpus` of a GPU.

    For torch.cuda.set_per_process_memory_fraction, which does not count the process's CUDA context.
    """
    own = min(gpus, 1.0) * capacity
    return max(own - CONTEXT_BYTES, own / 2) / capacity


def measure(trial: Trial, device: torch.device) -> Measured:
    """Train a fresh network of the trial for some steps and evaluate a batch; raises what these raise.

    On the CPU `memory` is the peak of this process, `capacity` the machine's, `busy` 1.
    """
    keep_memory()
    torch.set_num_threads(trial.recipe.threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    context = Context(trial)
    try:
        net = place_on_device(context.network(), device)
        net.teachers = context.teachers(device)
        steps = _train_endlessly(context, net, device)
        _run(steps, WARM_STEPS, device)
        step_seconds = _run(steps, TIMED_STEPS, device) / TIMED_STEPS
        busy = min(1.0, _kernel_seconds(steps, device) / step_seconds) if device.type == "cuda" else 1.0
        subset = next(subset for name in ("val", "test", "train") if len(subset := context.subsets[name]))
        first = [subset[number] for number in range(min(len(subset), EVALUATION_IMAGES))]
        largest = [max(first, key=lambda sample: sample.image.size)] * len(first)  # of one size: the largest batch
        for _ in evaluate([net], context.tasks, largest, context.view, len(largest)):
            pass
    except torch.cuda.OutOfMemoryError:
        capacity = torch.cuda.get_device_properties(device).total_memory
        return Measured(capacity, capacity, 1.0, 0.0)
    if device.type != "cuda":
        return Measured(peak_of_process(), psutil.virtual_memory().total, busy, step_seconds)
    free, capacity = torch.cuda.mem_get_info(device)
    beside = capacity - free - torch.cuda.memory_reserved(device)  # the CUDA context, and other people's processes
    peak = torch.cuda.max_memory_reserved(device) + max(beside, CONTEXT_BYTES) + resident_to_come(context, device)
    return Measured(min(peak, capacity), capacity, busy or 1.0, step_seconds)  # 0: kernels cannot be traced here


def _train_endlessly(context: Context, net: MultiTaskNet, device: torch.device) -> Iterator[float]:
    """Endless training on as many batches as a trial holds ahead: reading files is not measured."""
    trial = context.trial
    batches = list(context.batches(trial.first, trial.first + 2 * LOADERS, device, 0))
    training = Training(net, context.tasks, trial.recipe, max(LONG, trial.iterations), weighting=weighting_of(trial))
    return training.run(
        lambda i: (batch for batch in itertools.cycle(batches)), trial.first, lambda: dict.fromkeys(context.tasks, 0.0)
    )


def _run(steps: Iterator[float], count: int, device: torch.device) -> float:
    """The seconds that `count` steps take."""
    start = time.perf_counter()
    for _ in itertools.islice(steps, count):
        pass
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # the steps were only asked for
    return time.perf_counter() - start


def _kernel_seconds(steps: Iterator[float], device: torch.device) -> float:
    """The seconds a step in which the GPU runs kernels or copies."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        _run(steps, PROFILED_STEPS, device)
    on_gpu = [
        event
        for event in profiler.key_averages()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    ]
    return float(sum(event.self_device_time_total for event in on_gpu)) / 1e6 / PROFILED_STEPS


def resident_to_come(context: Context, device: torch.device) -> int:
    """Bytes that maps of train will still take on the device."""
    resident, train_subset, view = context.resident(device), context.subsets["train"], context.view
    if view.colour:
        return 0
    one = sum(each.nbytes for each in maps_of(train_subset[0], view).values())
    return max(0, min(resident.budget, one * len(train_subset) * (2 if view.mirror else 1)) - resident.bytes)


def peak_of_process() -> int:
    """The most memory that this process ever held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
