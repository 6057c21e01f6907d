"""What the folder of one trial says: its trial, its result, its names, and where it stands."""

from __future__ import annotations

import contextlib
import gc
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mtlbench.spec import Family, Purpose, Trial
from mtlbench.store.sealing import (
    FAILURE,
    KEY,
    TRACEBACK,
    Damaged,
    is_as_sealed,
    make_foreign,
    read_own,
    read_result,
    write_own,
)
from mtlbench.store.shapes import SEALED, NameOfTrial, Names, is_name
from mtlbench.system.files import is_regular
from mtlbench.system.schema import as_plain

NAMES = "names.json"  # further ones that a finished trial goes by
PLANNED = ("trial.json", NAMES, "sources.json")  # all that a trial's folder holds before its first attempt
MADE = (*SEALED, TRACEBACK, FAILURE, "resume.pt", "result.json")  # by one


def check_file(folder: Path, name: str) -> Path:
    """The path of a finished trial's file, for who needs it as it was written. Raises Damaged where it is not."""
    path = folder / name
    if is_as_sealed(folder, name, read_result(folder / "result.json")):
        return path
    arm = "ARM"
    with contextlib.suppress(Damaged):  # on another machine there is only what a child needs
        arm = names_of(folder)[0].arm
    raise Damaged(
        path,
        "is damaged" if is_regular(path) else "is missing",
        f"type mtlbench run ... --force {arm} to train it anew",
    )


def write_trial(folder: Path, trial: Trial) -> None:
    """Write trial.json."""
    write_own(folder / "trial.json", trial.key, trial.to_json())


def read_trial(folder: Path) -> Trial:
    """The trial that a folder belongs to. Raises Damaged, also for the trial of another folder; Outdated; UserError for
    a newer format."""
    path, mend = os.path.join(folder, "trial.json"), "run the same command again"
    trial = read_own(path, Trial, mend)
    try:
        check_trial(trial)
    except ValueError as error:
        raise Damaged(path, "is damaged", mend) from error
    if not str(folder).endswith(os.path.join("", trial.pair, trial.dataset.name, os.path.basename(folder))):
        raise make_foreign(path)
    return trial


def check_trial(trial: Trial) -> None:
    """Raises ValueError for a trial that cannot have been planned: others may have written it. What its plug-ins and
    tasks are called is never a file, what its parents are called never a path, and its texts can be written."""
    plugins = trial.plugins.values()
    "".join((trial.backbone.label, trial.data_root, *(one.source for one in plugins))).encode()
    check_names(trial.pair, trial.arm, trial.recipe_name, trial.setting, trial.variant_of)
    if trial.family not in ("", *Family) or trial.purpose not in [*Purpose]:
        raise ValueError("no such family or purpose")
    if not trial.tasks or len({*trial.task_names}) < len(trial.tasks):
        raise ValueError("no tasks, or one twice")
    if not all(one.name.isidentifier() for one in plugins):
        raise ValueError("a plug-in's name is no identifier")
    if not all(KEY.fullmatch(key) for key in trial.parents):
        raise ValueError("a parent is no key")
    if not -(2**63) <= trial.seed < 2**63:
        raise ValueError("no such seed")
    check_weighting(trial.weighting)


def check_weighting(weighting: Mapping[str, float]) -> None:
    """Raises ValueError unless these are factors above 0 by names of tasks."""
    if not all(task.isidentifier() and 0 < factor < math.inf for task, factor in weighting.items()):
        raise ValueError("no such weights of losses")


def check_names(*names: str) -> None:
    """Raises ValueError for what is no name of a pair, recipe or arm, or of the setting."""
    for name in names:
        if not is_name(name):
            raise ValueError(f"{name!r} is no name")


def own_name(trial: Trial) -> NameOfTrial:
    """What a trial is called, and what it is under that name."""
    return NameOfTrial(
        trial.arm,
        trial.seed,
        trial.recipe_name,
        trial.setting,
        trial.variant_of,
        trial.rate,
        trial.weighting,
        trial.tuned,
        Purpose(trial.purpose),
    )


def names_of(folder: Path) -> list[NameOfTrial]:
    """The names that a trial goes by: its own first; those that can be read. Raises Damaged."""
    trial = read_trial(folder)
    try:
        return names_in(folder, trial)
    except Damaged:
        return [own_name(trial)]


def names_in(folder: Path, trial: Trial) -> list[NameOfTrial]:
    """The names that the trial of a folder goes by: its own first. Raises Damaged where names.json is."""
    own = own_name(trial)
    path = os.path.join(folder, NAMES)
    if not os.path.lexists(path):
        return [own]
    mend = f"run the same commands again to name {trial.label} anew"
    found = read_own(path, Names, mend)
    try:
        for name in found.names:
            check_weighting(name.weighting)
    except ValueError as error:
        raise Damaged(path, "is damaged", mend) from error
    return [own, *(name for name in found.names if name != own)]


def write_names(folder: Path, trial: Trial, names: list[NameOfTrial]) -> None:
    """Write names.json."""
    write_own(folder / NAMES, trial.key, as_plain(Names(names)))


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
