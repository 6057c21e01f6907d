"""A trained network read from a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mtlbench.contracts import Batch, Task
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet, place_on_device
from mtlbench.plugins import file_of, find
from mtlbench.spec import Plugin, Trial, is_file
from mtlbench.store import sources
from mtlbench.store.folders import check_file, read_trial
from mtlbench.store.lookup import Finished
from mtlbench.store.sealing import read_result
from mtlbench.store.shapes import Model
from mtlbench.text import Say
from mtlbench.training.context import Context, network_of, tasks_of, view_of
from mtlbench.training.evaluation import average_predictions
from mtlbench.training.loader import to_device
from mtlbench.training.samples import View

OF_NETWORKS = ("backbone", "scheme", "task")  # kinds of plug-ins that a network is made with


@dataclass
class Trained:
    """A finished trial's network, ready for evaluation, without the data that it was trained on.

    Of several `nets` (an ensemble) the predictions are averaged. `model` is what `Context.model` told.
    """

    trial: Trial
    model: Model
    tasks: dict[str, Task]
    nets: list[MultiTaskNet]

    @property
    def view(self) -> View:
        """How images become batches: as in training, those of any size scaled to that of the data set's."""
        return dataclasses.replace(view_of(self.trial), short_side=self.model.short_side)

    def categories(self, task: str) -> tuple[str, ...]:
        """Names of the task's classes or attributes, in label order."""
        return self.model.tasks[task].categories

    @torch.inference_mode()
    def predict(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """{task: what it predicts}, on the CPU."""
        on_device = to_device(batch, next(self.nets[0].parameters()).device)
        outputs = [net(on_device.images, on_device.regions, on_device.sizes) for net in self.nets]
        found = {}
        for name, task in self.tasks.items():
            prediction = average_predictions([task.predict(output[name], on_device) for output in outputs])
            found[name] = {part: value.cpu() for part, value in prediction.items()}
        return found


def open_trained(found: Finished, warn: Say, files: Sequence[str | Path] = ()) -> Trained:
    """The network of a finished trial. `files` are users' plug-in files that it was trained with; no other code is run.
    `warn` takes a line of one that has changed.

    Raises UserError: no weights kept, damaged ones, another version of a plug-in, a user's file that is not given.
    """
    trial = sources.with_files(found.trial, files, sources.command_for(found.trial), OF_NETWORKS)
    check_versions(trial)
    for path in find_changed(trial, found.folder):
        warn(f"{path} has changed since {trial.label} was trained with it: what it predicts now may be something else")
    folders = [found.folder.parent / key for key in trial.parents] if trial.average else [found.folder]
    states = [weights_of(folder) for folder in folders]
    return build(trial, model_of(folders[0], warn, files), states, found.label)


def build(trial: Trial, model: Model, states: Sequence[dict[str, Tensor]], label: str) -> Trained:
    """Networks with these states; `label` is for the error. Raises UserError where they do not fit."""
    tasks = tasks_of(trial, model.tasks)
    nets = [place_on_device(network_of(trial, tasks, model.outcomes).eval(), torch.device("cpu")) for _ in states]
    for net, state in zip(nets, states, strict=True):
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            why = " ".join(str(error).split())[:300]
            raise UserError(f"the weights of {label} do not fit the network that is built now: {why}") from error
    return Trained(trial, model, tasks, nets)


def weights_of(folder: Path) -> dict[str, Tensor]:
    """A finished trial's weights. Raises UserError where it kept none, or where they are not what was written."""
    trial = read_trial(folder)
    if "weights.pt" not in read_result(folder / "result.json").files:
        raise UserError(
            f"{trial.label} ({folder.name}) kept no weights; type mtlbench run ... --keep-weights '{trial.arm}' to"
            " train it again and keep them"
        )
    weights: dict[str, Tensor] = torch.load(check_file(folder, "weights.pt"), map_location="cpu", weights_only=True)
    return weights


def model_of(folder: Path, warn: Say, files: Sequence[str | Path] = ()) -> Model:
    """What `Context.model` told when the trial ended; from its data where that was not yet kept. Raises UserError."""
    result = read_result(folder / "result.json")
    if result.model:
        return result.model
    trial = read_trial(folder)
    warn(f"{trial.label} is of before results told their categories: its data ({trial.dataset.name}) are opened")
    return Context(sources.with_files(trial, files, sources.command_for(trial))).model()


def check_versions(trial: Trial) -> None:
    """Raises UserError where a plug-in of the network is not of the version that the trial was trained with."""
    for kind, plugin in _of_network(trial):
        version = find(kind, plugin.source or plugin.name).version
        if version != plugin.version:
            raise UserError(
                f"{trial.label} was trained with version {plugin.version} of {kind} {plugin.name}, which is now "
                f"{version}: type the mtlbench run of then to train it anew"
            )


def _of_network(trial: Trial) -> list[tuple[str, Plugin]]:
    """The plug-ins that a network is made of, each with its kind."""
    return [("backbone", trial.backbone), ("scheme", trial.scheme), *(("task", task) for task in trial.tasks)]


def find_changed(trial: Trial, folder: Path) -> list[Path]:
    """Users' files that the network is made with and whose text is not the one beside the result."""
    places = {name: plugin.source for name, plugin in trial.plugins.items() if name not in ("dataset", "weighting")}
    try:
        texts = sources.read_texts(folder)
    except UserError:
        return []
    used = {file_of(place): texts[name] for name, place in places.items() if is_file(place) and name in texts}
    return [path for path, text in used.items() if path.read_text() != text]
