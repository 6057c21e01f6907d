"""Running one trial: data, network, parents' weights, training, evaluation, files. All that executors call."""

from __future__ import annotations

import datetime
import math
import platform
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtlbench.contracts import Meter
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet, place_on_device
from mtlbench.plugins import find
from mtlbench.spec import Options, Trial
from mtlbench.store import predictions
from mtlbench.store.folders import check_file
from mtlbench.store.sealing import read_result, write_result
from mtlbench.store.shapes import Measure, Model, Result, ScoreRow, StageGroups
from mtlbench.system.files import blame_disk, replace_file, write_csv
from mtlbench.system.machine import keep_memory
from mtlbench.training.batches import evaluation_batch
from mtlbench.training.context import Context, weighting_of
from mtlbench.training.evaluation import average_predictions, evaluate, finish
from mtlbench.training.loader import loader_workers, to_device
from mtlbench.training.loop import Training
from mtlbench.training.process import guard_process
from mtlbench.training.record import Record, ResumeFile, alphas_by_channel

TRAINING_SHARE = 0.9  # of a trial's progress; the rest is evaluation


@dataclass(frozen=True)
class Errand:
    """How a trial is to be run where it runs: nothing here may change its numbers."""

    device: torch.device
    cores: int = 1  # of the processor, for this trial
    seconds_of_parents: float = 0.0  # what they took, with theirs
    resume_every: float = 600.0  # seconds between two resume files


def run_trial(trial: Trial, folder: Path, parents: Mapping[str, Path], errand: Errand) -> Iterator[float]:
    """Run to the end, yielding the finished fraction often; result.json is renamed into `folder` last.

    `parents` maps keys to folders with weights.pt. Training continues from a resume.pt in `folder`, which is removed
    at the end. Raises StoreBroken where `folder` cannot be written, and whatever else goes wrong. The process lives on,
    and is to later trials as it was.
    """
    start = time.perf_counter()
    keep_memory()
    torch.set_num_threads(trial.recipe.threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    with guard_process():
        yield from _run(trial, folder, parents, errand, start)


def _run(trial: Trial, folder: Path, parents: Mapping[str, Path], errand: Errand, start: float) -> Iterator[float]:
    """run_trial, begun at `start`."""
    if hasattr(find("scheme", trial.scheme.source or trial.scheme.name), "adopt"):
        context, states = Context(trial, [outcome_of(parents[key]) for key in trial.parents]), []
    else:
        context, states = Context(trial, []), [_load_weights(parents[key]) for key in trial.parents]
    nets = _start_networks(context, states, errand.device)
    record = Record()
    if not trial.average:
        resume = ResumeFile(folder / "resume.pt", errand.resume_every, trial.key)
        weighting = weighting_of(trial)
        training = Training(nets[0], context.tasks, trial.recipe, trial.iterations, resume, weighting)
        workers = loader_workers(errand.cores, trial.recipe.threads)
        for fraction in training.run(
            lambda i: context.batches(i, trial.first + trial.iterations, errand.device, workers),
            trial.first,
            lambda: _score_headlines(context, nets),
        ):
            yield TRAINING_SHARE * fraction
        record = training.record
        if trial.keep_weights or (len(trial.task_names) == 1 and not trial.parents):  # asked for, or a possible parent
            with blame_disk(folder), replace_file(folder / "weights.pt") as path, open(path, "wb") as file:
                torch.save({k: v.cpu() for k, v in nets[0].state_dict().items()}, file)
    scores = yield from _scores(context, nets, record)
    with blame_disk(folder):
        write_csv(folder / "curve.csv", record.curve)
        write_csv(folder / "alphas.csv", record.alphas + alphas_by_channel(nets[0], trial.iterations))
        write_csv(folder / "conflicts.csv", record.conflicts)
        predictions.write(folder / predictions.FILE, _keep(context, nets))
        seconds = time.perf_counter() - start + record.earlier_seconds
        model = context.model() if (folder / "weights.pt").exists() else None
        result = _result(context, nets[0], record, scores, (seconds, seconds + errand.seconds_of_parents), model)
        write_result(folder, trial.key, result)
        (folder / "resume.pt").unlink(missing_ok=True)
    yield 1.0


def _load_weights(parent: Path) -> dict[str, Tensor]:
    """What a finished parent has learned. Raises UserError where its file is not what the parent wrote."""
    state: dict[str, Tensor] = torch.load(check_file(parent, "weights.pt"), map_location="cpu", weights_only=True)
    return state


def _start_networks(context: Context, states: list[dict[str, Tensor]], device: torch.device) -> list[MultiTaskNet]:
    """The network before training, on the device; those with the given weights for an ensemble."""
    if context.trial.average:
        nets = [context.network() for _ in states]
        for net, state in zip(nets, states, strict=True):
            net.load_state_dict(state)
    else:
        nets = [context.network()]
        if context.trial.weights_file:
            context.start_pretrained(nets[0])
        nets[0].teachers = context.teachers(device, states)
        if states and not nets[0].teachers:
            nets[0].load_columns(states)
    for net in nets:
        place_on_device(net, device)
    return nets


def _scores(context: Context, nets: list[MultiTaskNet], record: Record) -> Generator[float, None, list[ScoreRow]]:
    """Every score on val and test, and on test what a prediction that knows nothing gets, of a one-task network;
    yields the finished fraction after every batch."""
    trial = context.trial
    is_baseline = len(trial.task_names) == 1 and not trial.parents
    rows: list[ScoreRow] = []
    for subset in ("val", "test"):
        samples = context.subsets[subset]
        if not len(samples):
            continue
        steps = evaluate(nets, context.tasks, samples, context.view, len(samples))
        while True:
            with record.evaluation_clock():
                try:
                    next(steps)
                except StopIteration as end:
                    rows += _rows(subset, end.value, is_baseline and subset == "test")
                    break
            yield TRAINING_SHARE
    return rows


def _rows(subset: str, meters: dict[str, Meter], chance: bool) -> list[ScoreRow]:
    rows = [ScoreRow(name, subset, *score) for name, meter in meters.items() for score in meter.scores()]
    if chance:
        rows += [ScoreRow(name, "chance", *score) for name, meter in meters.items() for score in meter.chance()]
    return rows


def outcome_of(folder: Path) -> Options:
    """What the finished search in `folder` has found. Raises UserError where it was none, or is damaged."""
    result = read_result(folder / "result.json")
    if result.outcome is None:
        raise UserError(f"{folder.name} has found nothing to start from: its scheme has no `outcome`")
    return result.outcome


def _result(
    context: Context,
    net: MultiTaskNet,
    record: Record,
    scores: list[ScoreRow],
    seconds: tuple[float, float],
    model: Model | None,
) -> Result:
    """What result.json tells of training and evaluation; `seconds` without and with those of parents."""
    trial = context.trial
    parameters, flops = context.cost()
    learnt = {name: math.exp(-float(s.detach())) for name, s in net.log_variances.items()}
    return Result(
        backbone=trial.backbone.label,
        architecture=[StageGroups(**stage) for stage in net.architecture()],
        scores=[row for row in scores if np.isfinite(row.value)],
        metrics={
            name: {
                m: Measure(about.unit, about.higher_is_better, m == task.headline) for m, about in task.metrics.items()
            }
            for name, task in context.tasks.items()
        },
        counts={
            name: dict(zip(context.dataset.categories(name), map(int, context.dataset.counts(name)), strict=True))
            for name in trial.task_names
        },
        cost={
            "parameters": parameters,
            "flops": flops,
            "seconds": seconds[0],
            "seconds_with_parents": seconds[1],
            "image_visits": trial.iterations * trial.recipe.images,
            "iterations": trial.iterations,
            "step_seconds": record.step_seconds,
            "evaluation_seconds": record.evaluation_seconds,
            "training_seconds": record.training_seconds,
            "wait_seconds": record.wait_seconds,
        },
        environment={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": str(next(net.parameters()).device),
            "processor": platform.processor() or platform.machine(),
            **({"licence_of_weights": trial.licence} if trial.licence else {}),
        },
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        outcome=net.scheme.outcome(dict(net.units.items())) if hasattr(net.scheme, "outcome") else None,
        loss_weights=learnt or None,
        model=model,
    )


def _score_headlines(context: Context, nets: list[MultiTaskNet]) -> dict[str, float]:
    """Each task's headline on the first images of val, for the curve."""
    samples = context.subsets["val"]
    count = min(len(samples), context.trial.recipe.curve_images)
    if not count:
        return dict.fromkeys(context.tasks, float("nan"))
    meters = finish(evaluate(nets, context.tasks, samples, context.view, count))
    return {
        name: next(s.value for s in meters[name].scores() if s.metric == task.headline and not s.category)
        for name, task in context.tasks.items()
    }


@torch.inference_mode()
def _keep(context: Context, nets: list[MultiTaskNet]) -> dict[str, list[np.ndarray]]:
    """What every task that has `keep` keeps of its predictions on the first test images."""
    test, device = context.subsets["test"], next(nets[0].parameters()).device
    kept: dict[str, list[np.ndarray]] = {name: [] for name, task in context.tasks.items() if hasattr(task, "keep")}
    for number in range(min(predictions.SHOWN, len(test))):
        batch = evaluation_batch([test[number]], context.view)
        on_device = to_device(batch, device)
        outputs = [net.eval()(on_device.images, on_device.regions, on_device.sizes) for net in nets]
        for name, arrays in kept.items():
            task = context.tasks[name]
            prediction = average_predictions([task.predict(output[name], on_device) for output in outputs])
            arrays.append(task.keep({k: v.cpu() for k, v in prediction.items()}, batch))
    return kept
