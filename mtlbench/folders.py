"""What the folder of one trial says: its trial, its result, its names, and where it stands."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mtlbench.board import Run, run_of
from mtlbench.errors import STEERING, UserError
from mtlbench.files import UNSOUND, is_regular, seal, text_of
from mtlbench.spec import FORMAT, Options, Trial

RESULT = {"format": int, "files": dict, "scores": list, "metrics": dict, "cost": dict, "backbone": str,
          "architecture": list, "counts": dict, "environment": dict, "finished": str}  # fmt: skip
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
    check_words(trial.backbone.label, trial.data_root, *trial.task_files.values(),
                *(one.source for one in trial.plugins))  # fmt: skip
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


def _sizes(folder: Path | str, below: str = "") -> dict[str, int]:
    """{name: bytes} of the files in a folder, those of its folders too."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # gone by now
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    found |= _sizes(entry.path, f"{below}{entry.name}/")
                else:
                    found[below + entry.name] = entry.stat(follow_symlinks=False).st_size
    return found


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


@dataclass(frozen=True)
class State:
    """Where one trial stands, read off its folder.

    `state`: done, running, waiting, failed, blocked, interrupted or outdated. `reason`: the last line of a failure, the
    label of the failed trial that blocks, the percentage of a running one, what is amiss with a done one.
    """

    folder: Path
    trial: Trial | None  # None: trial.json cannot be read
    state: str
    reason: str
    sizes: dict[str, int]  # bytes of its files

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(self.sizes.values())

    @property
    def label(self) -> str:
        """For people."""
        return self.trial.label if self.trial else self.folder.name


def _state(folder: Path, running: Mapping[str, float]) -> State:
    sizes = _sizes(folder)
    try:
        trial = read_trial(folder)
    except Damaged:
        trial = None
    state, reason = _verdict(folder, trial, set(sizes), running)
    return State(folder, trial, state, reason, sizes)


def _verdict(folder: Path, trial: Trial | None, names: set[str], running: Mapping[str, float]) -> tuple[str, str]:
    """State and reason; "blocked" is for others to see."""
    if "result.json" in names:  # the first thing that a new attempt removes
        try:
            lost = lost_files(folder, read_result(folder / "result.json"))
            lost += [] if trial else ["trial.json"]
            return "done", f"{' and '.join(lost)} damaged: the next run trains it anew" if lost else ""
        except Outdated:
            return "outdated", ""
        except Damaged:
            return "interrupted", "result.json is damaged"
        except UserError as error:  # newer
            return "done", str(error)
    if folder.name in running:
        return "running", f"{100 * running[folder.name]:.0f} %"
    if trial and _key(trial) != folder.name:  # of a format that makes other keys
        return "outdated", ""
    if "error.txt" in names:
        return "failed", failure_of(folder).splitlines()[-1]
    return ("interrupted" if names - {*PLANNED} else "waiting"), ""


def _key(trial: Trial) -> str:
    try:
        return trial.key
    except UNSOUND:
        return ""


def failure_of(folder: Path) -> str:
    """Why a trial failed: its error.txt, never empty."""
    try:
        return text_of(folder / "error.txt", "replace").strip() or "(no message)"
    except OSError:  # begun anew by now, or not ours to read
        return "(error.txt cannot be read)"


def states_of(root: Path) -> list[State]:
    """Where every trial of a results folder stands, now."""
    with without_collector():
        return [state for group in groups(root) for state in states_in(group, run_of(group))]


def states_in(group: Path, run: Run | None) -> list[State]:
    """Where the trials of <root>/<pair>/<dataset> stand, if `run` is working there."""
    running = dict(run.running) if run else {}
    states = [_state(folder, running) for folder in trial_folders(group)]
    by_key = {state.folder.name: state for state in states}
    found = []
    for state in states:
        culprit = _failed_ancestor(state, by_key) if state.state == "waiting" else None
        found.append(dataclasses.replace(state, state="blocked", reason=culprit.label) if culprit else state)
    return found


def _failed_ancestor(state: State, by_key: Mapping[str, State]) -> State | None:
    seen: set[str] = set()
    todo = [state]
    while todo:
        one = todo.pop()
        if one.folder.name in seen:  # a foreign trial may be its own ancestor
            continue
        seen.add(one.folder.name)
        if one.state == "failed":
            return one
        parents = one.trial.parents if one.trial and one.state != "done" else ()
        todo += [by_key[key] for key in reversed(parents) if key in by_key]
    return None
