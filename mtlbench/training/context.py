"""All that a trial needs, made from its description: data, tasks, backbone, scheme, network, batches."""

from __future__ import annotations

import platform
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtlbench.contracts import Batch, Task
from mtlbench.errors import UserError
from mtlbench.nets import network, pretrained
from mtlbench.nets.network import MultiTaskNet, place_on_device
from mtlbench.plan.data import Prepared, open_prepared
from mtlbench.plan.spaces import forms_of
from mtlbench.plugins import create, find
from mtlbench.spec import Options, Plugin, Trial, is_file
from mtlbench.store.shapes import Model, TaskFacts
from mtlbench.training.batches import training_batch
from mtlbench.training.loader import Resident, make_ahead
from mtlbench.training.named import NamedSubset, rename_task
from mtlbench.training.order import Order, order_of
from mtlbench.training.samples import Scaled, View

State = dict[str, torch.Tensor]
RESIDENT_SHARE = 0.25  # of a GPU's memory that a process may use, for maps of samples (Ours)


@lru_cache(maxsize=2)
def _subsets(data: Prepared, short_side: int, long_side: int) -> dict[str, Scaled]:
    """Kept between the trials of one process: decoding is paid once."""
    dataset = data.dataset
    return {n: Scaled(dataset.subset(n), short_side, long_side) for n in ("train", "val", "test")}


@lru_cache(maxsize=2)
def _order(data: Prepared, tasks: tuple[str, ...], balance: float) -> Order:
    return order_of(data.dataset.subset("train"), tasks, balance)


@lru_cache(maxsize=16)
def _facts(task: str, place: str, data: Prepared) -> Options:
    dataset, train = data.dataset, data.dataset.subset("train")
    if not is_file(place) and place != task:
        train = NamedSubset(train, task, place)
    facts: Options = find("task", place).fit(dataset.categories(task), train)
    return facts


@lru_cache(maxsize=1)
def _resident(
    data: Prepared, short_side: int, long_side: int, scaling: tuple[object, ...], device: torch.device
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


def tasks_of(trial: Trial, known: Mapping[str, TaskFacts]) -> dict[str, Task]:
    """The trial's tasks, from what each knows of the data."""
    made: dict[str, Task] = {}
    for task in trial.tasks:
        its = known[task.name]
        one: Any = create("task", task.source or task.name, categories=its.categories, facts=its.facts, **task.options)
        made[task.name] = rename_task(one, task.name, task.kind) if task.kind else one
    return made


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
        tasks,
        backbone_of(trial),
        scheme_of(trial, outcomes),
        trial.form,
        trial.net_seed,
        trial.recipe.precision,
        trial.recipe.weighting,
        trial.recipe.decoder,
    )


def weighting_of(trial: Trial) -> Any:
    """A fresh weighting of the trial's tasks, None for the plain sum."""
    method = trial.method
    return create("weighting", method.source or method.name, **method.options) if method else None


def view_of(trial: Trial) -> View:
    """How samples become batches."""
    recipe, backbone = trial.recipe, backbone_of(trial)
    return View(
        forms_of(trial.form, {task.name: task.source or task.name for task in trial.tasks}),
        recipe.short_side,
        recipe.long_side,
        recipe.mirror,
        recipe.colour,
        recipe.regions,
        recipe.fill_background,
        recipe.chunk,
        backbone.mean,
        backbone.std,
        backbone.bgr,
    )


class Context:
    """A trial's data, tasks and networks, opened; `outcomes` are what its parents' searches have found.

    Raises UserError where the data are not those of the plan.
    """

    def __init__(self, trial: Trial, outcomes: Sequence[Options] = ()) -> None:
        self.trial, self.outcomes = trial, outcomes
        recipe = trial.recipe
        data = open_prepared(trial.dataset, trial.data_root)
        self.dataset = data.dataset
        if data.fingerprint != trial.fingerprint:
            raise UserError(
                f"the data of {trial.dataset.name} on {platform.node()} ({trial.data_root or 'made there'}) are not "
                f"those that the trial was planned with: {data.fingerprint}, not {trial.fingerprint}; copy them there, "
                "or give their folder with --data-root"
            )
        self._seen = (data, recipe.short_side, recipe.long_side)
        self.subsets = _subsets(*self._seen)
        self.view = view_of(trial)
        for subset in self.subsets.values():
            subset.need(self.view.forms)
        self.known = {
            task.name: TaskFacts(
                tuple(self.dataset.categories(task.name)),
                _facts(task.name, task.source or task.name, data),
            )
            for task in trial.tasks
        }
        self.tasks = tasks_of(trial, self.known)

    def network(self) -> MultiTaskNet:
        """A fresh network in its start from scratch."""
        return network_of(self.trial, self.tasks, self.outcomes)

    def teachers(self, device: torch.device, states: Sequence[State] = ()) -> dict[str, MultiTaskNet]:
        """{task: its one-task network}, for evaluation on the device, with the states of the tasks in their order; none
        for a scheme without `teachers`. Without states they are at their start."""
        if not getattr(find("scheme", self.trial.scheme.source or self.trial.scheme.name), "teachers", False):
            return {}
        nets = {}
        for place, task in enumerate(self.trial.tasks):
            alone = replace(self.trial, tasks=(task,), scheme=Plugin("separate"))
            net = network_of(alone, {task.name: self.tasks[task.name]}, ())
            if states:
                net.load_state_dict(states[place])
            nets[task.name] = place_on_device(net.eval().requires_grad_(False), device)
        return nets

    def model(self) -> Model:
        """What besides trial.json and weights.pt a network is used with."""
        train = self.subsets["train"]
        first = [train[number] for number in range(min(2, len(train)))]
        shares = [s.proposals / np.tile(s.image.shape[1::-1], 2) for s in first if s.proposals is not None]
        same = "roi" in self.view.forms.values() and len(shares) == 2 and np.array_equal(*shares)
        return Model(
            tasks=self.known,
            short_side=self.view.short_side or min(first[0].image.shape[:2]),
            outcomes=list(self.outcomes),
            windows=shares[0].tolist() if same else None,
        )

    def start_pretrained(self, net: MultiTaskNet) -> None:
        """Start a network from the trial's file of weights. Raises UserError where that is not the planned one. Wider
        networks start from those of the usual width."""
        trial = self.trial
        path = Path(trial.weights_file)
        if not path.is_file() or pretrained.digest(path) != trial.backbone.options["weights"]:
            raise UserError(f"{path} on {platform.node()} is not the file of weights that the run was planned with")
        usual = {name: value for name, value in trial.backbone.options.items() if name != "widen"}
        narrow = replace(trial, backbone=replace(trial.backbone, options=usual))
        net.load_pretrained(backbone_of(narrow), pretrained.read(path))

    def batches(self, start: int, stop: int, device: torch.device, workers: int) -> Generator[Batch]:
        """The training batches of data indices start .. stop - 1 on the device, made ahead by `workers` threads."""
        resident, order = self.resident(device), _order(self._seen[0], self.trial.sampled, self.trial.recipe.balance)
        return make_ahead(
            lambda i: training_batch(
                self.subsets["train"],
                self.tasks,
                self.view,
                self.trial.net_seed,
                i,
                self.trial.recipe.images,
                resident,
                order,
            ),
            start,
            stop,
            workers,
        )

    def resident(self, device: torch.device) -> Resident:
        """The maps of train that stay on the device."""
        return _resident(*self._seen, (self.view.mean, self.view.std, self.view.bgr), device)

    def cost(self) -> tuple[int, int]:
        """Parameters, and FLOPs of one training-size image forward; of both members for an ensemble."""
        size = self.subsets["train"][0].image.shape[:2]
        parameters, flops = network.count_cost(
            self.tasks,
            backbone_of(self.trial),
            scheme_of(self.trial, self.outcomes),
            self.trial.form,
            size,
            self.trial.recipe.regions,
            self.trial.recipe.decoder,
        )
        members = len(self.trial.parents) if self.trial.average else 1
        return parameters * members, flops * members
