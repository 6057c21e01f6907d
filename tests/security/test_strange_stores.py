"""A stranger's results folder: whatever lies in it, it runs no code, leads nowhere else and steers no terminal."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mtlbench.errors import UserError
from mtlbench.execution.local import attempt
from mtlbench.spec import Plugin, Trial
from mtlbench.store import predictions
from mtlbench.store.folders import MADE
from mtlbench.store.results import load_results
from mtlbench.store.shapes import Failure, FailureKind
from mtlbench.store.sources import changes
from mtlbench.store.store import Store
from mtlbench.system.files import seal
from mtlbench.training.record import ResumeFile
from mtlbench.training.trial import Errand
from mtlbench.use.trained import find_changed
from tests.support.commands import cli
from tests.support.stores import JOINT, TRIAL, finish
from tests.support.strangers import COMMANDS, Code, rewrite


def get_refusal(*words: object) -> str:
    """The one line of a command that stops there."""
    result = cli(*words)
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    (line,) = result.stderr.splitlines()
    return line


# ---------------------------------------------------------------------------------------------------- code
def plant(folder: Path, change: Callable[[Any, str], Any]) -> tuple[Path, Path]:
    """Make a trial name a Python file that lies beside it; that file, and what it makes when it is run."""
    trap = folder.parent / "run"
    file = folder / "evil.py"
    file.write_text(
        f"import os\nos.mkdir({str(trap)!r})\nfrom mtlbench.schemes.split import Split as Evil\n"
        "from mtlbench.datasets.rooms import Rooms\nfrom mtlbench.tasks.semseg import Semseg\n"
    )
    rewrite(folder / "trial.json", lambda trial: change(trial, str(file)))
    return file, trap


SOURCES = {
    "scheme": lambda trial, file: trial["scheme"].update(source=f"{file}:Evil"),
    "backbone": lambda trial, file: trial["backbone"].update(source=f"{file}:Evil"),
    "task": lambda trial, file: trial["tasks"][0].update(source=f"{file}:Semseg"),
    "dataset": lambda trial, file: trial["dataset"].update(source=f"{file}:Rooms"),
}
USES = (("show",), ("predict", "x.png"), ("export-weights", "out.pt"))


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("use", USES, ids=lambda use: use[0])
def test_a_file_is_run_only_when_the_user_names_it(kind: str, use: tuple[str, ...], theirs: Path) -> None:
    file, trap = plant(theirs, SOURCES[kind])
    image = str(theirs.parents[4] / "x.png")
    Image.new("RGB", (64, 64)).save(image)
    command = [use[0], theirs, *(str(theirs.parents[4] / name) for name in use[1:])]
    if kind == "dataset" and use[0] != "show":  # needs no data
        assert cli(*command, "--results", theirs.parents[2]).exit_code == 0 and not trap.exists()
        return
    for given in ((), ("--plugin", "other.py")):
        line = get_refusal(*command, *given, "--results", theirs.parents[2])
        assert "which is code: if you know whose it is" in line and line.endswith(f"--plugin {shlex.quote(str(file))}")
    assert not trap.exists()
    cli(*command, "--plugin", file, "--results", theirs.parents[2])
    assert trap.exists()


NAMES = {
    "scheme": lambda trial, file: trial["scheme"].update(name=f"{file}:Evil"),
    "backbone": lambda trial, file: trial["backbone"].update(name=f"{file}:Evil"),
    "dataset": lambda trial, file: trial["dataset"].update(name=f"{file}:Rooms"),
    "task": lambda trial, file: trial["tasks"][0].update(name=f"{file}:Semseg"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_is_never_a_file(kind: str, theirs: Path) -> None:
    _, trap = plant(theirs, NAMES[kind])
    for command in (("show", theirs), ("predict", theirs, __file__), ("export-weights", theirs, theirs / "o.pt")):
        assert "trial.json is damaged" in get_refusal(*command, "--results", theirs.parents[2])
    assert not trap.exists()


def test_a_class_that_is_no_plug_in_is_not_called(theirs: Path) -> None:
    """A stranger names the class too, and its options: Popen of a file that imports it."""
    file, trap = plant(
        theirs,
        lambda trial, file: trial["dataset"].update(
            name="Popen", source="mine.py:Popen", options={"args": ["touch", str(theirs / "called")]}
        ),
    )
    mine = theirs.parents[4] / "mine.py"
    mine.write_text("from subprocess import Popen\n")
    theirs = theirs.parent.rename(theirs.parents[1] / "Popen") / theirs.name
    assert "no dataset in" in get_refusal("show", theirs, "--plugin", mine, "--results", theirs.parents[2])
    assert not (theirs / "called").exists()


def test_pickles_are_never_loaded(theirs: Path, tmp_path: Path) -> None:
    trap = tmp_path / "run"
    torch.save({"a": Code(trap)}, theirs / "weights.pt")
    rewrite(
        theirs / "result.json", lambda result: result["files"].update({"weights.pt": list(seal(theirs / "weights.pt"))})
    )
    for command in (("predict", theirs, __file__), ("export-weights", theirs, tmp_path / "o.pt")):
        assert cli(*command, "--results", theirs.parents[2]).exit_code
    np.savez(theirs / "predictions.npz", **{"semseg.0": np.array([Code(trap)], dtype=object)})
    assert "predictions.npz is damaged" in get_refusal("show", theirs, "--results", theirs.parents[2])
    (theirs / "resume.pt").write_bytes(pickle.dumps(Code(trap)))
    assert ResumeFile(theirs / "resume.pt", 0).load() is None
    torch.save(Code(trap), theirs / "resume.pt")
    assert ResumeFile(theirs / "resume.pt", 0).load() is None
    (theirs / "sources.json").write_text(json.dumps({"scheme": f"import os; os.mkdir({str(trap)!r})"}))
    for command in COMMANDS:
        cli(*command, "--results", theirs.parents[2])
    assert not trap.exists()


def test_a_run_goes_on_from_no_code(trained: tuple[Store, list[Trial]], tmp_path: Path) -> None:
    (trial,), trap = trained[1], tmp_path / "run"
    store = Store(tmp_path / "results", create=True)
    folder = store.begin(trial)
    torch.save({"done": 1, "state": Code(trap)}, folder / "resume.pt")
    (folder / "sources.json").write_text(json.dumps({"scheme": f"import os; os.mkdir({str(trap)!r})"}))
    list(attempt(trial, store, Errand(torch.device("cpu"))))
    assert store.done(trial) and not trap.exists()


def test_unpacked_predictions_have_a_bound(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "MOST_BYTES", 100_000)
    np.savez_compressed(theirs / "predictions.npz", **{"semseg.0": np.zeros((400, 400), np.uint8)})
    assert (theirs / "predictions.npz").stat().st_size < 1000
    with pytest.raises(UserError, match="predictions.npz is damaged"):
        predictions.read(theirs / "predictions.npz")


def test_a_plug_in_of_the_data_set_is_made_with_what_is_in_the_trial_alone() -> None:
    """Nothing of a trial is looked up on the search path: a built-in name is the file in the package, or refused."""
    from mtlbench.plan.data import open_dataset

    for name in ("os", "subprocess", "..spaces", "rooms.py/../../os", "_prepared"):
        with pytest.raises(UserError, match="no dataset called|no such file"):
            open_dataset(Plugin(name), "")


@pytest.mark.parametrize("text", ["[]", "3", '{"scheme": 3}', "{", "null"])
def test_texts_of_sources_may_be_anything(text: str, trained: tuple[Store, list[Trial]], theirs: Path) -> None:
    (theirs / "sources.json").write_text(text)
    mine = dataclasses.replace(trained[1][0], scheme=Plugin("Mine", {}, 1, "nowhere/mine.py:Mine"))
    assert text.startswith('{"') or find_changed(mine, theirs) == []
    assert changes([mine], theirs.parent, ()) == []


# ---------------------------------------------------------------------------------------------------- paths
@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file of the user's that nobody may touch."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mine.txt").write_text("mine")
    return tmp_path / "home" / "mine.txt"


def test_files_of_a_trial_that_are_links_are_neither_read_nor_written(store: Store, outside: Path) -> None:
    folder = finish(store)
    outside.write_text("secret\n")
    for name in {*MADE, "names.json", "sources.json"} - {"result.json"}:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(outside)
    failed = store.begin(JOINT)
    store.fail(JOINT, Failure(FailureKind.ERROR, "", "no reason"), "Traceback")
    (failed / "error.txt").unlink()
    (failed / "error.txt").symlink_to(outside)
    for command in COMMANDS[:-1]:
        assert "secret" not in cli(*command, "--results", store.root).output
    assert load_results(store.root).curves.empty and "secret" not in (store.root / "report.html").read_text()
    assert not any(path.is_symlink() for path in store.begin(TRIAL).iterdir())
    assert cli("clean", "--yes", "--results", store.root).exit_code == 0
    assert outside.read_text() == "secret\n"


@pytest.mark.parametrize("name", ["trial.json", "result.json"])
def test_a_trial_whose_own_text_is_a_link_is_no_trial(name: str, store: Store, tmp_path: Path) -> None:
    folder = finish(store)
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    assert load_results(store.root).frame.empty and (name == "trial.json") == store.done(TRIAL)
    assert cli("show", folder, "--results", store.root).exit_code == 2


def test_nothing_is_written_through_linked_folders(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other", create=True)
    kept = finish(other)
    before = sorted(path.name for path in kept.iterdir())
    (store.root / "p" / "d").mkdir(parents=True)
    linked = store.root / "p" / "d" / TRIAL.key
    linked.symlink_to(kept)
    assert not store.done(TRIAL)
    store.plan([TRIAL])
    assert not linked.is_symlink() and sorted(path.name for path in kept.iterdir()) == before
    shutil.rmtree(store.root / "p")
    (store.root / "p").symlink_to(other.root / "p")
    for use in (store.done, store.begin, store.name, lambda trial: store.plan([trial])):
        with pytest.raises(UserError, match="is a symbolic link"):
            use(dataclasses.replace(TRIAL, arm="another"))
    assert sorted(path.name for path in kept.iterdir()) == before


def test_the_lock_is_no_way_out(store: Store, outside: Path) -> None:
    """It is opened and emptied by each run."""
    folder = store.root / "p" / "d"
    finish(store)
    for name in (".lock", ".running.json"):
        (folder / name).symlink_to(outside)
    assert cli("status", "--results", store.root).exit_code == cli("clean", "--yes", "--results", store.root).exit_code
    with store.open("p", "d") as board:
        board.note({TRIAL.key: 0.5}, None)
    assert outside.read_text() == "mine" and not (folder / ".lock").is_symlink()
    (folder / ".lock").unlink()
    os.mkfifo(folder / ".lock")  # would be waited for
    assert cli("status", "--results", store.root).exit_code == 0


@pytest.mark.slow
def test_reports_and_figures_replace_links(theirs: Path, outside: Path) -> None:
    root = theirs.parents[2]
    written = ["report.html", *(f"{name}{ending}" for name in ("curves", "cost") for ending in (".png", ".svg"))]
    for name in written:
        (root / name).symlink_to(outside)
    assert cli("report", "--results", root).exit_code == 0
    cli("plot", "all", "--results", root)
    key = theirs.name
    for name in (f"show-split-fc8-{key}.png", f"predict-split-fc8-{key}"):
        (root / name).symlink_to(outside.parent)
    assert cli("show", key, "--results", root).exit_code == 0
    assert cli("predict", key, outside, "--results", root).exit_code == 1  # no image
    assert outside.read_text() == "mine" and os.listdir(outside.parent) == ["mine.txt"]
    assert not (root / "report.html").is_symlink()


@pytest.mark.parametrize("arm", ["x/../../../home/evil", "../../home/evil", "..", "/tmp/evil"])
def test_names_are_no_paths(arm: str, theirs: Path, outside: Path) -> None:
    root = theirs.parents[2]
    before = set(root.parent.rglob("*"))
    rewrite(theirs / "trial.json", lambda trial: trial.update(arm=arm))
    assert ("trial.json is damaged" in cli("predict", theirs, outside, "--results", root).output) == ("/" in arm)
    assert {path.parent for path in set(root.parent.rglob("*")) - before} <= {root}


@pytest.mark.parametrize("parent", ["../../../../other/p/d/aaaaaaaaaaaa", "/etc", "..", "aaaaaaaaaaaa/../x"])
def test_parents_are_keys(parent: str, store: Store) -> None:
    folder = finish(store)
    rewrite(folder / "trial.json", lambda trial: trial.update(parents=[parent], average=True))
    assert "trial.json is damaged" in get_refusal("predict", folder, __file__, "--results", store.root)


@pytest.mark.parametrize("name", ["../x", "/etc/hostname", "..", "a/b"])
def test_files_that_a_result_names_lie_beside_it(name: str, store: Store) -> None:
    finish(store, files={name: [1, "x"]})
    assert not store.done(TRIAL) and load_results(store.root).frame.empty
