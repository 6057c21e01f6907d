"""What the folder of one trial says: its trial, its result, its names, and where it stands."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.spec import FORMAT, Options, Trial
from mtlbench.system.files import UNSOUND, is_regular, seal, text_of
from mtlbench.text import STEERING

RESULT = {
    "format": int,
    "files": dict,
    "scores": list,
    "metrics": dict,
    "cost": dict,
    "backbone": str,
    "architecture": list,
    "counts": dict,
    "environment": dict,
    "finished": str,
}
# Names stand in commands to copy, in paths and in cells of spreadsheets: nothing in them may mean anything there.
NAME = re.compile(rf"(?![=+@-])(?:(?!{STEERING.pattern})[^\n\t/\\'\"`$;&|<>!])*")
KEY = re.compile("[0-9a-f]{12}")  # of a trial, and the name of its folder
PLANNED = ("trial.json", "names.json", "sources.json")  # all that a trial's folder holds before its first attempt
MADE = ("curve.csv", "alphas.csv", "predictions.npz", "weights.pt", "error.txt", "resume.pt", "result.json")  # by one


class Damaged(UserError):
    """A file of the store that cannot be understood; training the trial anew replaces it."""


class Outdated(UserError):
    """A result of an older format."""


def read_result(path: Path | str) -> Options:
    """A parsed result.json. Raises Damaged for one that cannot be read, Outdated for an older one, UserError for a
    newer one."""
    try:
        result = json.loads(text_of(path))
        format_ = result["format"]
        current = format_ == FORMAT
        if not isinstance(format_, int) or current and not all(isinstance(result[k], t) for k, t in RESULT.items()):
            raise TypeError
        if current and not all(_is_seal(name, pair) for name, pair in result["files"].items()):
            raise TypeError
    except (OSError, *UNSOUND) as error:
        raise damaged(path) from error
    if format_ < FORMAT:
        raise Outdated(
            f"{path} was written in format {format_}; this mtlbench trains it anew; mtlbench clean removes it"
        )
    if not current:
        raise UserError(f"{path} was written in format {format_}: upgrade mtlbench")
    return result


def damaged(path: Path | str) -> Damaged:
    """The error for a result that makes no sense."""
    return Damaged(f"{path} is damaged; run the same command again to train it anew")


def _is_seal(name: str, pair: object) -> bool:
    return name in MADE and isinstance(pair, list) and list(map(type, pair)) == [int, str]


def lost_files(folder: Path, result: Options) -> list[str]:
    """Names of the files that children need and that are missing or have another size."""
    return [name for name, (size, _) in result["files"].items() if _size(folder / name) != size]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size if is_regular(path) else -1
    except OSError:
        return -1


def checked(folder: Path, name: str) -> Path:
    """The path of a finished trial's file that another trial needs. Raises Damaged where its content has changed."""
    path = folder / name
    result = read_result(folder / "result.json")
    with contextlib.suppress(OSError):
        if name not in lost_files(folder, result) and seal(path) == result["files"].get(name):
            return path
    arm = names_of(folder)[0]["arm"]
    raise Damaged(f"{path} is damaged; type mtlbench run ... --force {arm} to train it anew")


def read_trial(folder: Path) -> Trial:
    """The trial that a folder belongs to. Raises Damaged."""
    try:
        trial = Trial.from_json(json.loads(text_of(os.path.join(folder, "trial.json"))))
        check_trial(trial)
        return trial
    except (OSError, *UNSOUND) as error:
        raise Damaged(f"{folder} has no readable trial.json; run the same command again") from error


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


def names_of(folder: Path) -> list[Options]:
    """The names that a trial goes by: its own first. Raises Damaged."""
    return names_in(folder, read_trial(folder))


def names_in(folder: Path, trial: Trial) -> list[Options]:
    """The names that the trial of a folder goes by: its own first."""
    own = {"arm": trial.arm, "seed": trial.seed, "recipe": trial.recipe_name, "setting": trial.setting}
    names = [own]
    with contextlib.suppress(OSError, *UNSOUND):
        for name in json.loads(text_of(os.path.join(folder, "names.json"))):
            check_names(name["arm"], name["recipe"], name["setting"])
            if name.keys() == own.keys() and name != own and isinstance(name["seed"], int):
                names.append(name)
    return names


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
