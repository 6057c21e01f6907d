"""Trained networks as files: a trial's network back from the store, one file for use elsewhere, and back from that."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mtlbench
from mtlbench import sources
from mtlbench.batches import View, to_device
from mtlbench.errors import UserError
from mtlbench.files import UNSOUND, replacing, text_of
from mtlbench.folders import check_trial, checked, read_result, read_trial
from mtlbench.network import MultiTaskNet, placed
from mtlbench.plugins import Batch, Task, class_of, file_of, find, is_file
from mtlbench.show import Finished, find_trials
from mtlbench.spec import Options, Plugin, Trial
from mtlbench.train import average
from mtlbench.trial import Context, network_of, tasks_of, view_of

FORMAT = 1  # of exported files
OF_NETWORKS = ("backbone", "scheme", "task")  # kinds of plug-ins that a network is made with
SUFFIXES = (".pt", ".pth", ".safetensors")
Say = Callable[[str], None]


@dataclass
class Trained:
    """A finished trial's network, ready for evaluation, without the data that it was trained on.

    Of several `nets` (an ensemble) the predictions are averaged. `model` is what `Context.model` tells.
    """

    trial: Trial
    model: Options
    tasks: dict[str, Task]
    nets: list[MultiTaskNet]

    @property
    def view(self) -> View:
        """How images become batches: as in training, those of any size scaled to that of the data set's."""
        return dataclasses.replace(view_of(self.trial), short_side=self.model["short_side"])

    def categories(self, task: str) -> tuple[str, ...]:
        """Names of the task's classes or attributes, in label order."""
        return tuple(self.model["tasks"][task]["categories"])

    @torch.inference_mode()
    def predict(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """{task: what it predicts}, on the CPU."""
        on_device = to_device(batch, next(self.nets[0].parameters()).device)
        outputs = [net(on_device.images, on_device.regions) for net in self.nets]
        found = {}
        for name, task in self.tasks.items():
            prediction = average([task.predict(output[name], on_device) for output in outputs])
            found[name] = {part: value.cpu() for part, value in prediction.items()}
        return found


# ---------------------------------------------------------------------------------------------------- from the store
def opened(found: Finished, warn: Say, files: Sequence[str | Path] = ()) -> Trained:
    """The network of a finished trial. `files` are users' plug-in files that it was trained with; no other code is run.
    `warn` takes a line of one that has changed.

    Raises UserError: no weights kept, damaged ones, another version of a plug-in, a user's file that is not given.
    """
    trial = sources.with_files(found.trial, files, sources.command_for(found.trial), OF_NETWORKS)
    check_versions(trial)
    for path in changed_files(trial, found.folder):
        warn(f"{path} has changed since {trial.label} was trained with it: what it predicts now may be something else")
    folders = [found.folder.parent / key for key in trial.parents] if trial.average else [found.folder]
    states = [weights_of(folder) for folder in folders]
    return built(trial, model_of(folders[0], warn, files), states, found.label)


def built(trial: Trial, model: Options, states: Sequence[dict[str, Tensor]], label: str) -> Trained:
    """Networks with these states; `label` is for the error. Raises UserError where they do not fit."""
    tasks = tasks_of(trial, model["tasks"])
    nets = [placed(network_of(trial, tasks, model["outcomes"]).eval(), torch.device("cpu")) for _ in states]
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
    if "weights.pt" not in read_result(folder / "result.json")["files"]:
        raise UserError(
            f"{trial.label} ({folder.name}) kept no weights; type mtlbench run ... --keep-weights '{trial.arm}' to"
            " train it again and keep them"
        )
    return torch.load(checked(folder, "weights.pt"), map_location="cpu", weights_only=True)


def model_of(folder: Path, warn: Say, files: Sequence[str | Path] = ()) -> Options:
    """What `Context.model` told when the trial ended; from its data where that was not yet kept. Raises UserError."""
    result = read_result(folder / "result.json")
    if "model" in result:
        return result["model"]
    trial = read_trial(folder)
    warn(f"{trial.label} is of before results told their categories: its data ({trial.dataset.name}) are opened")
    return Context(sources.with_files(trial, files, sources.command_for(trial))).model()


def check_versions(trial: Trial) -> None:
    """Raises UserError where a plug-in of the network is not of the version that the trial was trained with."""
    plugins = [("backbone", trial.backbone), ("scheme", trial.scheme)]
    tasks = [("task", Plugin(name, version=trial.task_versions[name], source=trial.task_files.get(name, "")))
             for name in trial.tasks]  # fmt: skip
    for kind, plugin in [*plugins, *tasks]:
        version = find(kind, plugin.source or plugin.name).version
        if version != plugin.version:
            raise UserError(
                f"{trial.label} was trained with version {plugin.version} of {kind} {plugin.name}, which is now "
                f"{version}: type the mtlbench run of then to train it anew"
            )


def changed_files(trial: Trial, folder: Path) -> list[Path]:
    """Users' files that the network is made with and whose text is not the one beside the result."""
    places = {"backbone": trial.backbone.source, "scheme": trial.scheme.source}
    places |= {f"task {name}": place for name, place in trial.task_files.items()}
    try:
        texts = dict(json.loads(text_of(folder / sources.FILE)))
    except (OSError, *UNSOUND):
        return []
    used = {file_of(place): texts[name] for name, place in places.items() if is_file(place) and name in texts}
    return [path for path, text in used.items() if path.read_text() != text]


# ---------------------------------------------------------------------------------------------------- one file
def export(
    results: Path, text: str, pair: str, file: Path, force: bool, warn: Say, files: Sequence[str | Path] = ()
) -> Path:
    """Write the network of the trial that `text` means (in `find_trials`, with `pair`) as one file; its path.

    The networks of an arm that has one a task become one network over all tasks. The file holds `state` (plain
    tensors; names `trunk.<stage>.<tasks>.*`, `units.<stage>.*`, `heads.<task>.*`), `trial`, `model`, `input` (mean,
    std, channels, sides) and `keys`; a safetensors file has all but the tensors as JSON text in its metadata.
    `files` are as `opened` takes them. Raises UserError.
    """
    if file.suffix not in SUFFIXES:
        raise UserError(f"{file}: give a FILE that ends in {' or '.join(SUFFIXES)}")
    if file.exists() and not force:
        raise UserError(f"{file} exists; type --force to overwrite it, or another FILE")
    found = find_trials(results, text, pair)
    averaged = [one for one in found if one.trial.average]
    if averaged:
        members = sorted({key for one in averaged for key in one.trial.parents})
        raise UserError(f"{text} averages networks and is none itself; export its members: {', '.join(members)}")
    trained = merged([opened(one, warn, files) for one in found], text)
    state = {name: value.contiguous() for name, value in trained.nets[0].state_dict().items()}
    about = {**description(trained), "keys": [one.folder.name for one in found]}
    try:
        with replacing(file) as temporary:
            if file.suffix == ".safetensors":
                _safetensors().torch.save_file(state, temporary, {"mtlbench": json.dumps(about)})
            else:
                with open(temporary, "wb") as opened_file:
                    torch.save({**about, "state": state}, opened_file)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot write {file}: {error}") from error
    return file


def merged(parts: Sequence[Trained], text: str) -> Trained:
    """One network over the tasks of several that share nothing. Raises UserError for others."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0].trial
    if any(part.trial.scheme != first.scheme or part.trial.backbone != first.backbone for part in parts) or (
        first.scheme.name != "separate"
    ):
        keys = ", ".join(part.trial.key for part in parts)
        raise UserError(f"{text} is {len(parts)} networks that cannot be one; export each by its key: {keys}")
    recipe = dict(first.recipe)
    for by_task in ("loss_weight", "task_options"):
        recipe[by_task] = {name: value for part in parts for name, value in part.trial.recipe[by_task].items()}
    trial = dataclasses.replace(
        first, recipe=recipe, parents=(), tasks=tuple(name for part in parts for name in part.trial.tasks),
        task_versions={name: value for part in parts for name, value in part.trial.task_versions.items()},
        task_files={name: value for part in parts for name, value in part.trial.task_files.items()},
    )  # fmt: skip
    tasks = {name: value for part in parts for name, value in part.model["tasks"].items()}
    state = {name: value for part in parts for name, value in part.nets[0].state_dict().items()}
    return built(trial, {**parts[0].model, "tasks": tasks}, [state], text)


def description(trained: Trained) -> Options:
    """All that an exported file says besides the tensors, as JSON data; no folder of this machine is in it."""
    trial, view = trained.trial, trained.view
    dataset, backbone, scheme = (dataclasses.replace(plugin, source=_name(plugin.source)) for plugin in trial.plugins)
    files = {name: _name(place) for name, place in trial.task_files.items()}
    trial = dataclasses.replace(
        trial, data_root="", weights_file="", task_files=files, dataset=dataset, backbone=backbone, scheme=scheme
    )
    about = {
        "mtlbench": FORMAT, "version": mtlbench.__version__, "trial": trial.to_json(), "model": trained.model,
        "input": {"channels": "BGR" if view.bgr else "RGB", "range": [0, 255], "mean": list(view.mean),
                  "std": list(view.std), "short_side": view.short_side, "long_side": view.long_side},
    }  # fmt: skip
    return json.loads(json.dumps(about))  # no tuples: they would differ between the two kinds of files


def _name(source: str) -> str:
    """`/here/my.py:Gated` -> `my.py:Gated`; of a built-in plug-in nothing."""
    return f"{file_of(source).name}:{class_of(source)}" if is_file(source) else ""


def _safetensors() -> Any:
    try:
        importlib.import_module("safetensors.torch")
        return importlib.import_module("safetensors")
    except ImportError as error:
        raise UserError("safetensors is not installed: type pip install safetensors, or give a FILE.pt") from error


# ---------------------------------------------------------------------------------------------------- and back
def load_network(file: str | Path, files: Sequence[str | Path] = ()) -> MultiTaskNet:
    """The network of a file that `mtlbench export-weights` wrote, ready for evaluation on the CPU.

    It takes `B 3 H W` float32 scaled as the file's `input` says (and `R 5` regions in form `roi`: image index, x1 y1
    x2 y2 in pixels) and gives {task: scores}. `files` are users' plug-in files that it was trained with; no other code
    is run. Raises UserError.
    """
    return load(Path(file), files).nets[0]


def load(file: Path, files: Sequence[str | Path] = ()) -> Trained:
    """The same with its tasks, which turn scores into predictions. Raises UserError."""
    try:
        about, state = _content(file)
        newer = about["mtlbench"] > FORMAT
        trial = Trial.from_json(about["trial"]) if not newer else None
        if trial:
            check_trial(trial)
    except UserError:
        raise
    except Exception as error:  # a file that is cut off or foreign trips its reader up in any way
        what = "is cut off, or not written by mtlbench export-weights" if file.is_file() else "is no file"
        raise UserError(f"{file} {what}") from error
    if trial is None:
        raise UserError(f"{file} was written by mtlbench {about.get('version')}: upgrade mtlbench")

    def ask(source: str) -> str:
        name = file_of(source).name
        call = f"load_network({file.name!r}, files=[{name!r}])"
        return f"{file} needs {name}, a plug-in file that it was trained with: {call}"

    trial = sources.with_files(trial, files, ask, OF_NETWORKS)
    check_versions(trial)
    try:
        return built(trial, about["model"], [state], str(file))
    except UNSOUND as error:
        raise UserError(f"{file} is not what mtlbench export-weights wrote: {error}") from error


def _content(file: Path) -> tuple[Options, dict[str, Tensor]]:
    if file.suffix == ".safetensors":
        with _safetensors().safe_open(file, "pt") as tensors:
            state = {name: tensors.get_tensor(name) for name in tensors.keys()}
            return json.loads(tensors.metadata()["mtlbench"]), state
    content = torch.load(file, map_location="cpu", weights_only=True)
    return {name: value for name, value in content.items() if name != "state"}, content["state"]
