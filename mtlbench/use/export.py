"""Trained networks as files: a trial's network back from the store, one file for use elsewhere, and back from that."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

import mtlbench
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet
from mtlbench.plugins import class_of, file_of
from mtlbench.spec import Options, is_file
from mtlbench.store import sources
from mtlbench.store.folders import check_trial
from mtlbench.store.lookup import find_trials
from mtlbench.store.shapes import Exported, ExportHeader, Input
from mtlbench.system.files import UNSOUND, replace_file
from mtlbench.system.schema import Misshapen, convert, encode
from mtlbench.text import Say
from mtlbench.use.trained import OF_NETWORKS, Trained, build, check_versions, open_trained

FORMAT = 1  # of exported files
SUFFIXES = (".pt", ".pth", ".safetensors")


def export(
    results: Path, text: str, pair: str, file: Path, force: bool, warn: Say, files: Sequence[str | Path] = ()
) -> Path:
    """Write the network of the trial that `text` means (in `find_trials`, with `pair`) as one file; its path.

    The networks of an arm that has one a task become one network over all tasks. The file holds `state` (plain
    tensors; names `trunk.<stage>.<tasks>.*`, `units.<stage>.*`, `heads.<task>.*`), `trial`, `model`, `input` (mean,
    std, channels, sides) and `keys`; a safetensors file has all but the tensors as JSON text in its metadata.
    `files` are as `open_trained` takes them. Raises UserError.
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
    trained = merge([open_trained(one, warn, files) for one in found], text)
    state = {name: value.contiguous() for name, value in trained.nets[0].state_dict().items()}
    about = describe(trained, [one.folder.name for one in found])
    try:
        with replace_file(file) as temporary:
            if file.suffix == ".safetensors":
                _safetensors().torch.save_file(state, temporary, {"mtlbench": json.dumps(about)})
            else:
                with open(temporary, "wb") as opened_file:
                    torch.save({**about, "state": state}, opened_file)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot write {file}: {error}") from error
    return file


def merge(parts: Sequence[Trained], text: str) -> Trained:
    """One network over the tasks of several that share nothing. Raises UserError for others."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0].trial
    if any(part.trial.scheme != first.scheme or part.trial.backbone != first.backbone for part in parts) or (
        first.scheme.name != "separate"
    ):
        keys = ", ".join(part.trial.key for part in parts)
        raise UserError(f"{text} is {len(parts)} networks that cannot be one; export each by its key: {keys}")
    weights = {name: value for part in parts for name, value in part.trial.recipe.loss_weight.items()}
    trial = dataclasses.replace(
        first,
        recipe=dataclasses.replace(first.recipe, loss_weight=weights),
        parents=(),
        tasks=tuple(task for part in parts for task in part.trial.tasks),
    )
    tasks = {name: value for part in parts for name, value in part.model.tasks.items()}
    state = {name: value for part in parts for name, value in part.nets[0].state_dict().items()}
    return build(trial, msgspec.structs.replace(parts[0].model, tasks=tasks), [state], text)


def describe(trained: Trained, keys: Sequence[str]) -> Options:
    """All that the exported file of the trials `keys` says besides the tensors, as JSON data; no folder of this machine
    is in it."""
    trial, view = trained.trial, trained.view
    trial = dataclasses.replace(trial, data_root="", weights_file="").map_plugins(
        lambda kind, plugin: dataclasses.replace(plugin, source=_name(plugin.source))
    )
    seen = Input(
        "BGR" if view.bgr else "RGB", (0, 255), tuple(view.mean), tuple(view.std), view.short_side, view.long_side
    )
    about = Exported(FORMAT, mtlbench.__version__, trial, trained.model, seen, list(keys))
    plain: Options = json.loads(encode(about))  # no tuples: they would differ between the two kinds of files
    return plain


def _name(source: str) -> str:
    """`/here/my.py:Gated` -> `my.py:Gated`; of a built-in plug-in what it is."""
    return f"{file_of(source).name}:{class_of(source)}" if is_file(source) else source


def _safetensors() -> Any:
    try:
        importlib.import_module("safetensors.torch")
        return importlib.import_module("safetensors")
    except ImportError as error:
        raise UserError("safetensors is not installed: type pip install safetensors, or give a FILE.pt") from error


def load_network(file: str | Path, files: Sequence[str | Path] = ()) -> MultiTaskNet:
    """The network of a file that `mtlbench export-weights` wrote, ready for evaluation on the CPU.

    It takes `B 3 H W` float32 scaled as the file's `input` says (and `R 5` regions in form `roi`: image index, x1 y1
    x2 y2 in pixels) and gives {task: scores}. `files` are users' plug-in files that it was trained with; no other code
    is run. Raises UserError.
    """
    return load(Path(file), files).nets[0]


def load(file: Path, files: Sequence[str | Path] = ()) -> Trained:
    """The same with its tasks, which turn scores into predictions. Raises UserError."""
    foreign = UserError(f"{file} is cut off, or not written by mtlbench export-weights")
    if not file.is_file():
        raise UserError(f"{file} is no file")
    try:
        content, state = _content(file)
    except UserError:
        raise
    except Exception as error:  # a file that is cut off or foreign trips its reader up in any way
        raise foreign from error
    try:
        header = convert(content, ExportHeader)
        about = convert(content, Exported) if header.mtlbench <= FORMAT else None
        if about:
            check_trial(about.trial)
    except (ValueError, Misshapen) as error:
        raise foreign from error
    if about is None:
        raise UserError(f"{file} was written by mtlbench {header.version}: upgrade mtlbench")

    def ask(source: str) -> str:
        name = file_of(source).name
        call = f"load_network({file.name!r}, files=[{name!r}])"
        return f"{file} needs {name}, a plug-in file that it was trained with: {call}"

    trial = sources.with_files(about.trial, files, ask, OF_NETWORKS)
    check_versions(trial)
    try:
        return build(trial, about.model, [state], str(file))
    except UNSOUND as error:  # options and facts of plug-ins, which have shapes of their own
        raise UserError(f"{file} is not what mtlbench export-weights wrote: {error}") from error


def _content(file: Path) -> tuple[Options, dict[str, Tensor]]:
    if file.suffix == ".safetensors":
        with _safetensors().safe_open(file, "pt") as tensors:
            state = {name: tensors.get_tensor(name) for name in tensors.keys()}
            return json.loads(tensors.metadata()["mtlbench"]), state
    content = torch.load(file, map_location="cpu", weights_only=True)
    return {name: value for name, value in content.items() if name != "state"}, content["state"]
