"""What the folder of one trial says: its trial, its result, its names, and where it stands."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.spec import Options, Trial
from mtlbench.store.sealing import (
    KEY,
    Damaged,
    Outdated,
    foreign,
    is_as_sealed,
    outdated,
    read_own,
    read_result,
    write_own,
)
from mtlbench.system.files import UNSOUND, is_regular, text_of
from mtlbench.text import STEERING

# Names stand in commands to copy, in paths and in cells of spreadsheets: nothing in them may mean anything there.
NAME = re.compile(rf"(?![=+@-])(?:(?!{STEERING.pattern})[^\n\t/\\'\"`$;&|<>!])*")
FIELDS = {one.name for one in dataclasses.fields(Trial)}
NAMES = "names.json"  # further ones that a finished trial goes by
PLANNED = ("trial.json", NAMES, "sources.json")  # all that a trial's folder holds before its first attempt
MADE = ("curve.csv", "alphas.csv", "predictions.npz", "weights.pt", "error.txt", "resume.pt", "result.json")  # by one


def checked(folder: Path, name: str) -> Path:
    """The path of a finished trial's file, for who needs it as it was written. Raises Damaged where it is not."""
    path = folder / name
    if is_as_sealed(folder, name, read_result(folder / "result.json")):
        return path
    arm = "ARM"
    with contextlib.suppress(Damaged):  # on another machine there is only what a child needs
        arm = names_of(folder)[0]["arm"]
    what = "damaged" if is_regular(path) else "missing"
    raise Damaged(f"{path} is {what}; type mtlbench run ... --force {arm} to train it anew")


def write_trial(folder: Path, trial: Trial) -> None:
    """Write trial.json."""
    write_own(folder / "trial.json", trial.key, trial.to_json())


def read_trial(folder: Path) -> Trial:
    """The trial that a folder belongs to. Raises Damaged, also for the trial of another folder; Outdated."""
    path = os.path.join(folder, "trial.json")
    try:
        data = read_own(path)
        if data.keys() != FIELDS:
            raise KeyError
        trial = Trial.from_json(data)
        check_trial(trial)
    except Damaged:
        raise
    except (OSError, UserError, *UNSOUND) as error:
        if _is_older(path):
            raise outdated(path, "3 or before") from error
        raise Damaged(f"{folder} has no readable trial.json; run the same command again") from error
    if not str(folder).endswith(os.path.join("", trial.pair, trial.dataset.name, os.path.basename(folder))):
        raise foreign(path)
    return trial


def _is_older(path: str) -> bool:
    """Whether a trial.json is of before it told its format."""
    with contextlib.suppress(OSError, *UNSOUND):
        check_trial(Trial.from_json(json.loads(text_of(path))))
        return True
    return False


def check_trial(trial: Trial) -> None:
    """Raises one of UNSOUND for a trial that cannot have been planned: others may have written it. What its plug-ins
    and tasks are called is never a file, and what its parents are called never a path."""
    check_words(
        trial.backbone.label, trial.data_root, *trial.task_files.values(), *(one.source for one in trial.plugins)
    )
    check_names(trial.pair, trial.arm, trial.recipe_name, trial.setting)
    if not trial.tasks or not isinstance(trial.seed, int):
        raise TypeError
    if not trial.task_files.keys() <= trial.task_versions.keys():
        raise KeyError
    if not all(name.isidentifier() for name in (*trial.tasks, *(one.name for one in trial.plugins))):
        raise ValueError
    if not all(KEY.fullmatch(key) for key in trial.parents):
        raise ValueError


def check_names(*names: str) -> None:
    """Raises one of UNSOUND for what is no name of a pair, recipe or arm, or of the setting."""
    if not all(NAME.fullmatch(name) for name in names):
        raise ValueError


def check_words(*words: str) -> None:
    """Raises one of UNSOUND for what is no text, or text that cannot be written."""
    "".join(words).encode()


def own_name(trial: Trial) -> Options:
    """What a trial is called."""
    return {"arm": trial.arm, "seed": trial.seed, "recipe": trial.recipe_name, "setting": trial.setting}


def names_of(folder: Path) -> list[Options]:
    """The names that a trial goes by: its own first; those that can be read. Raises Damaged."""
    trial = read_trial(folder)
    try:
        return names_in(folder, trial)
    except Damaged:
        return [own_name(trial)]


def names_in(folder: Path, trial: Trial) -> list[Options]:
    """The names that the trial of a folder goes by: its own first. Raises Damaged where names.json is."""
    own = own_name(trial)
    path = os.path.join(folder, NAMES)
    try:
        names = read_own(path)["names"]
        for name in names:
            check_names(name["arm"], name["recipe"], name["setting"])
            if name.keys() != own.keys() or not isinstance(name["seed"], int):
                raise ValueError
        return [own, *(name for name in names if name != own)]
    except FileNotFoundError:
        return [own]
    except (OSError, Outdated, *UNSOUND) as error:
        raise Damaged(f"{path} is damaged; run the same commands again to name {trial.label} anew") from error


def write_names(folder: Path, trial: Trial, names: list[Options]) -> None:
    """Write names.json."""
    write_own(folder / NAMES, trial.key, {"names": names})


def groups(root: Path) -> list[Path]:
    """<root>/<pair>/<dataset>, sorted; nothing that is a symbolic link."""
    return [dataset for pair in _folders(root) for dataset in _folders(pair)]


def trial_folders(group: Path) -> list[Path]:
    """<root>/<pair>/<dataset>/<key>, sorted; nothing that is a symbolic link or whose name is no key."""
    return [folder for folder in _folders(group) if KEY.fullmatch(folder.name)]


def all_folders(root: Path) -> Iterator[Path]:
    """Those of all trials of a results folder."""
    return (folder for group in groups(root) for folder in trial_folders(group))


def _folders(parent: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        found = sorted(e.path for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
        return [Path(path) for path in found]
    return []


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """While much JSON is read: nothing there refers back, and to look for what does took two thirds of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()  # what was read is now of the oldest generation, unvisited
        if enabled:
            gc.enable()


def _said(folder: Path, error: Damaged) -> str:
    """What is wrong, without where and what to do."""
    return str(error).removeprefix(f"{folder}").lstrip("/ ").partition(";")[0]
