"""Running one trial: data, network, parents' weights, training, evaluation, files. All that executors call."""

from __future__ import annotations

import datetime
import json
import math
import platform
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlbench import network, predictions, weights
from mtlbench.batches import (
    Resident,
    Scaled,
    View,
    ahead,
    evaluation_batch,
    loader_workers,
    to_device,
    training_batch,
)
from mtlbench.errors import UserError
from mtlbench.files import replacing, seal, write, write_csv, writing
from mtlbench.folders import checked
from mtlbench.machine import keep_memory
from mtlbench.network import MultiTaskNet, placed
from mtlbench.plugins import Batch, Dataset, Score, Task, create, find
from mtlbench.spec import FORMAT, Options, Plugin, Trial, canonical
from mtlbench.train import Record, ResumeFile, average, evaluate, final_alpha_rows, train

RESIDENT_SHARE = 0.25  # of a GPU's memory that a process may use, for maps of samples (Ours)


def open_dataset(plugin: Plugin, data_root: str) -> Dataset:
    """The data set of a trial. Raises UserError."""
    root = Path(data_root) if data_root else None
    return create("dataset", plugin.source or plugin.name, root=root, **plugin.options)


@lru_cache(maxsize=2)
def _opened(plugin: str, data_root: str) -> tuple[Dataset, str]:
    """A prepared data set and its fingerprint, kept between the trials of one process."""
    dataset = open_dataset(Plugin(**json.loads(plugin)), data_root)
    dataset.prepare(lambda line: None)
    return dataset, dataset.fingerprint()


@lru_cache(maxsize=2)
def _subsets(plugin: str, data_root: str, short_side: int, long_side: int) -> dict[str, Scaled]:
    """Kept too: decoding is paid once."""
    dataset, _ = _opened(plugin, data_root)
    return {n: Scaled(dataset.subset(n), short_side, long_side) for n in ("train", "val", "test")}


@lru_cache(maxsize=16)
def _facts(task: str, place: str, plugin: str, data_root: str) -> Options:
    dataset, _ = _opened(plugin, data_root)
    return find("task", place).fit(dataset.categories(task), dataset.subset("train"))


@lru_cache(maxsize=1)
def _resident(
    plugin: str, data_root: str, short_side: int, long_side: int, scaling: tuple[object, ...], device: torch.device
) -> Resident:
    """What stays on the device between the trials of one process; another data set or scaling takes its place."""
    return Resident(device, resident_bytes(device))


def resident_bytes(device: torch.device) -> int:
    """How much of a GPU's memory maps may take: a share of what this process may use. Nothing on the CPU, where it
    would save little (Ours)."""
    if device.type != "cuda":
        return 0
    total = torch.cuda.get_device_properties(device).total_memory
    return int(RESIDENT_SHARE * total * torch.cuda.get_per_process_memory_fraction(device))


def tasks_of(trial: Trial, known: Mapping[str, Options]) -> dict[str, Task]:
    """The trial's tasks, from {name: its `categories` and `facts`}."""
    return {
        name: create("task", trial.task_files.get(name, name), categories=tuple(known[name]["categories"]),
                     facts=known[name]["facts"], **trial.recipe["task_options"].get(name, {}))
        for name in trial.tasks
    }  # fmt: skip


def backbone_of(trial: Trial) -> Any:
    """A fresh backbone."""
    return create("backbone", trial.backbone.source or trial.backbone.name, form=trial.form, **trial.backbone.options)


def scheme_of(trial: Trial, outcomes: Sequence[Options]) -> Any:
    """A fresh scheme, which knows what its parents have found; before they have, as it is without."""
    scheme = create("scheme", trial.scheme.source or trial.scheme.name, **trial.scheme.options)
    if outcomes:
        scheme.adopt(outcomes)
    return scheme


def network_of(trial: Trial, tasks: dict[str, Task], outcomes: Sequence[Options]) -> MultiTaskNet:
    """A fresh network in its start from scratch."""
    return MultiTaskNet(
        tasks, backbone_of(trial), scheme_of(trial, outcomes), trial.form, trial.net_seed, trial.recipe["precision"],
        trial.recipe.get("weighting", "fixed"),
    )  # fmt: skip


def view_of(trial: Trial) -> View:
    """How samples become batches."""
    recipe, backbone = trial.recipe, backbone_of(trial)
    return View(trial.form, trial.tasks, recipe["short_side"], recipe["long_side"], recipe["mirror"],
                recipe["colour"], recipe["regions"], recipe["fill_background"], recipe["chunk"],
                backbone.mean, backbone.std, backbone.bgr)  # fmt: skip


class Context:
    """A trial's data, tasks and networks, opened; `outcomes` are what its parents' searches have found.

    Raises UserError where the data are not those of the plan.
    """

    def __init__(self, trial: Trial, outcomes: Sequence[Options] = ()) -> None:
        self.trial, self.outcomes = trial, outcomes
        data = canonical({"name": trial.dataset.name, "options": trial.dataset.options,
                          "version": trial.dataset.version, "source": trial.dataset.source})  # fmt: skip
        recipe = trial.recipe
        self.dataset, fingerprint = _opened(data, trial.data_root)
        if fingerprint != trial.fingerprint:
            raise UserError(
                f"the data of {trial.dataset.name} on {platform.node()} ({trial.data_root or 'made there'}) are not "
                f"those that the trial was planned with: {fingerprint}, not {trial.fingerprint}; copy them there, or "
                "give their folder with --data-root"
            )
        self._seen = (data, trial.data_root, recipe["short_side"], recipe["long_side"])
        self.subsets = _subsets(*self._seen)
        self.known: dict[str, Options] = {
            name: {"categories": self.dataset.categories(name),
                   "facts": _facts(name, trial.task_files.get(name, name), data, trial.data_root)}
            for name in trial.tasks
        }  # fmt: skip
        self.tasks = tasks_of(trial, self.known)
        self.view = view_of(trial)

    def network(self) -> MultiTaskNet:
        """A fresh network in its start from scratch."""
        return network_of(self.trial, self.tasks, self.outcomes)

    def model(self) -> Options:
        """What besides trial.json and weights.pt a network is used with, as JSON data: `tasks` (categories and facts),
        `outcomes`, `short_side` of images in pixels, and `windows` `P 4` (as shares of width and height) where all
        images have the same proposals."""
        train = self.subsets["train"]
        first = [train[number] for number in range(min(2, len(train)))]
        shares = [s.proposals / np.tile(s.image.shape[1::-1], 2) for s in first if s.proposals is not None]
        same = self.trial.form == "roi" and len(shares) == 2 and np.array_equal(*shares)
        return {
            "tasks": self.known, "outcomes": list(self.outcomes),
            "short_side": self.view.short_side or min(first[0].image.shape[:2]),
            "windows": shares[0].tolist() if same else None,
        }  # fmt: skip

    def pretrained(self) -> dict[str, dict[str, Tensor]]:
        """{stage: its state} from the file of weights that the trial starts from. Raises UserError where that is not
        the planned one."""
        trial = self.trial
        path = Path(trial.weights_file)
        if not path.is_file() or weights.digest(path) != trial.backbone.options["weights"]:
            raise UserError(f"{path} on {platform.node()} is not the file of weights that the run was planned with")
        return backbone_of(trial).adapted(weights.read(path))

    def batches(self, start: int, stop: int, device: torch.device, workers: int) -> Generator[Batch]:
        """The training batches of data indices start .. stop - 1 on the device, made ahead by `workers` threads."""
        resident = self.resident(device)
        return ahead(
            lambda i: training_batch(self.subsets["train"], self.tasks, self.view, self.trial.net_seed, i,
                                     self.trial.recipe["images"], resident), start, stop, workers,
        )  # fmt: skip

    def resident(self, device: torch.device) -> Resident:
        """The maps of train that stay on the device."""
        return _resident(*self._seen, (self.view.mean, self.view.std, self.view.bgr), device)

    def cost(self) -> tuple[int, int]:
        """Parameters, and FLOPs of one training-size image forward; of both members for an ensemble."""
        size = self.subsets["train"][0].image.shape[:2]
        parameters, flops = network.cost(
            self.tasks, backbone_of(self.trial), scheme_of(self.trial, self.outcomes), self.trial.form, size,
            self.trial.recipe["regions"],
        )
        members = len(self.trial.parents) if self.trial.average else 1
        return parameters * members, flops * members


@dataclass(frozen=True)
class Errand:
    """How a trial is to be run where it runs: nothing here may change its numbers."""

    device: torch.device
    cores: int = 1  # of the processor, for this trial
    seconds_of_parents: float = 0.0  # what they took, with theirs
    resume_every: float = 600.0  # seconds between two resume files


def run_trial(trial: Trial, folder: Path, parents: Mapping[str, Path], errand: Errand) -> Iterator[float]:
    """Run to the end, yielding the finished fraction often; result.json is renamed into `folder` last.

    `parents` maps keys to folders with weights.pt. A resume.pt in `folder` is gone on from, and removed at the end.
    Raises StoreBroken where `folder` cannot be written, and whatever else goes wrong.
    """
    start = time.perf_counter()
    keep_memory()
    torch.set_num_threads(trial.recipe["threads"])
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    adopts = hasattr(find("scheme", trial.scheme.source or trial.scheme.name), "adopt")
    outcomes = [outcome_of(parents[key]) for key in trial.parents] if adopts else []
    context, record = Context(trial, outcomes), Record()
    states = [
        torch.load(checked(parents[key], "weights.pt"), map_location="cpu", weights_only=True)
        for key in trial.parents if not adopts
    ]  # fmt: skip
    files: dict[str, list[int | str]] = {}
    if trial.average:
        nets = [context.network() for _ in states]
        for net, state in zip(nets, states, strict=True):
            net.load_state_dict(state)
            placed(net, errand.device)
    else:
        nets = [context.network()]
        if states:
            nets[0].load_columns(states)
        elif trial.weights_file:
            nets[0].load_pretrained(context.pretrained())
        placed(nets[0], errand.device)
        workers = loader_workers(errand.cores, trial.recipe["threads"])
        for fraction in train(
            nets[0], context.tasks,
            lambda i: context.batches(i, trial.first + trial.iterations, errand.device, workers),
            trial.recipe, trial.iterations, trial.first, record, lambda: _headlines(context, nets),
            ResumeFile(folder / "resume.pt", errand.resume_every),
        ):  # fmt: skip
            yield 0.9 * fraction
        if trial.keep_weights or len(trial.tasks) == 1 and not trial.parents:  # asked for, or a possible parent
            with writing(folder), replacing(folder / "weights.pt") as path:
                with open(path, "wb") as file:
                    torch.save({k: v.cpu() for k, v in nets[0].state_dict().items()}, file)
            files["weights.pt"] = seal(folder / "weights.pt")
    scores: list[tuple[str, str, str, str, float]] = []
    is_baseline = len(trial.tasks) == 1 and not trial.parents
    for subset in ("val", "test"):
        samples = context.subsets[subset]
        found: dict[str, list[Score]] | None = {}
        steps = evaluate(nets, context.tasks, samples, context.view, len(samples), is_baseline and subset == "test")
        while len(samples):
            with record.clock("evaluation_seconds"):
                found = next(steps)
            if found is not None:
                break
            yield 0.9
        for name, values in (found or {}).items():
            label = "chance" if name.startswith("chance ") else subset
            scores += [(name.removeprefix("chance "), label, *score) for score in values]
    with writing(folder):
        write_csv(folder / "curve.csv", record.curve)
        write_csv(folder / "alphas.csv", record.alphas + final_alpha_rows(nets[0], trial.iterations))
        predictions.write(folder / predictions.FILE, _kept(context, nets))
        seconds = time.perf_counter() - start + record.earlier_seconds
        result = _result(context, nets[0], record, scores, files, seconds, errand.seconds_of_parents)
        write(folder / "result.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
        (folder / "resume.pt").unlink(missing_ok=True)
    yield 1.0


def outcome_of(folder: Path) -> Options:
    """What the finished search in `folder` has found. Raises UserError where it was none."""
    result = json.loads((folder / "result.json").read_text())
    if "outcome" not in result:
        raise UserError(f"{folder.name} has found nothing to start from: its scheme has no `outcome`")
    return result["outcome"]


def _result(
    context: Context, net: MultiTaskNet, record: Record, scores: list[tuple[str, str, str, str, float]],
    files: dict[str, list[int | str]], seconds: float, seconds_of_parents: float,
) -> Options:  # fmt: skip
    """What result.json holds; `files` are those that the trial's children need, with their seals."""
    trial = context.trial
    parameters, flops = context.cost()
    found: Options = {"model": context.model()} if files else {}
    if hasattr(net.scheme, "outcome"):
        found["outcome"] = net.scheme.outcome(dict(net.units.items()))
    if len(net.log_variances):
        found["loss_weights"] = {name: math.exp(-float(s.detach())) for name, s in net.log_variances.items()}
    return found | {
        "format": FORMAT, "key": trial.key, "backbone": trial.backbone.label, "files": files,
        "architecture": net.architecture(),
        "scores": [s for s in scores if np.isfinite(s[-1])],
        "metrics": {
            name: {m: {"unit": about.unit, "higher_is_better": about.higher_is_better, "headline": m == task.headline}
                   for m, about in task.metrics.items()}
            for name, task in context.tasks.items()
        },
        "counts": {
            name: dict(zip(context.dataset.categories(name), map(int, context.dataset.counts(name)), strict=True))
            for name in trial.tasks
        },
        "cost": {
            "parameters": parameters, "flops": flops, "seconds": seconds,
            "seconds_with_parents": seconds + seconds_of_parents,
            "image_visits": trial.iterations * trial.recipe["images"], "iterations": trial.iterations,
            "step_seconds": record.step_seconds, "evaluation_seconds": record.evaluation_seconds,
            "training_seconds": record.training_seconds, "wait_seconds": record.wait_seconds,
        },
        "environment": {
            "python": platform.python_version(), "torch": torch.__version__,
            "device": str(next(net.parameters()).device), "processor": platform.processor() or platform.machine(),
        },
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
    }  # fmt: skip


def _headlines(context: Context, nets: list[MultiTaskNet]) -> dict[str, float]:
    """Each task's headline on the first images of val, for the curve."""
    samples = context.subsets["val"]
    count = min(len(samples), context.trial.recipe["curve_images"])
    if not count:
        return dict.fromkeys(context.tasks, float("nan"))
    scores = last(evaluate(nets, context.tasks, samples, context.view, count))
    assert scores is not None
    return {
        name: next(s.value for s in scores[name] if s.metric == task.headline and not s.category)
        for name, task in context.tasks.items()
    }


def last(items: Iterator[Any]) -> Any:
    """The last item."""
    item = None
    for item in items:  # noqa: B007
        pass
    return item


@torch.inference_mode()
def _kept(context: Context, nets: list[MultiTaskNet]) -> dict[str, list[np.ndarray]]:
    """What every task that has `keep` keeps of its predictions on the first test images."""
    test, device = context.subsets["test"], next(nets[0].parameters()).device
    kept: dict[str, list[np.ndarray]] = {name: [] for name, task in context.tasks.items() if hasattr(task, "keep")}
    for number in range(min(predictions.SHOWN, len(test))):
        batch = evaluation_batch([test[number]], context.view)
        on_device = to_device(batch, device)
        outputs = [net.eval()(on_device.images, on_device.regions) for net in nets]
        for name, arrays in kept.items():
            task = context.tasks[name]
            prediction = average([task.predict(output[name], on_device) for output in outputs])
            arrays.append(task.keep({k: v.cpu() for k, v in prediction.items()}, batch))
    return kept
