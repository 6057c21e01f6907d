"""`mtlbench clean`: what may go goes, what was earned stays."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from mtlbench.cli.clean import find_removable, remove
from mtlbench.cli.main import main
from mtlbench.spec import Plugin
from mtlbench.store import board as board_module
from mtlbench.store.store import Store
from tests.support.stores import CHILD, RED, TRIAL, finish, other


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(board_module, "LOCK_SECONDS", 0.1)
    return Store(tmp_path / "results", create=True)


NOTED = ("trial.json", "error.txt", "failure.json")  # of a failed trial


def clean(store: Store, *options: str, answer: str = "") -> str:
    said = CliRunner().invoke(main, ["clean", "--results", str(store.root), *options], input=answer)
    assert said.exit_code == 0, said.output
    return said.stdout


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def fill(store: Store) -> set[str]:
    """A store with one of everything; what must stay."""
    done, interrupted = finish(store, other(0)), store.begin(other(1))
    for name in ("resume.pt", ".weights.pt.ab3_xy9z"):
        (done / name).write_text("12345")
    for name in ("resume.pt", "curve.csv"):
        (interrupted / name).write_text("12345")
    failed = store.begin(other(2))
    (failed / "resume.pt").write_text("12345")
    store.fail(other(2), RED, "Traceback")
    store.plan([other(4), dataclasses.replace(CHILD, parents=(other(2).key,))])
    finish(store, other(5), format=1)
    (done.parent / ".running.json").write_text("{}")
    stay = {done / "trial.json", done / "result.json", *(failed / name for name in NOTED)}
    return {str(path.relative_to(store.root)) for path in stay} | {"format.json"}


def test_everything_that_may_go_is_listed_and_goes_and_nothing_else(store: Store) -> None:
    stay = fill(store)
    said = clean(store, answer="y\n")
    assert dict(re.findall(r"^(\w[\w ]+?)  +(\d+)  ", said, re.MULTILINE)) == {
        "resume files of finished trials": "1",
        "resume files of unfinished trials": "2",
        "interrupted attempts": "1",
        "trials that were only planned": "2",
        "trials of an older format": "1",
        "temporary files": "2",
    }
    assert "costs the progress of 2 unfinished trials" in said
    assert "removed 9 of 9" in said
    assert tree(store.root) == stay
    assert len(list(store.root.glob("p/d/*/"))) == 2
    assert "nothing to clean in" in clean(store)


@pytest.mark.parametrize("answer", ["\n", "n\n"])
def test_without_a_yes_nothing_goes(store: Store, answer: str) -> None:
    fill(store)
    before = tree(store.root)
    assert "nothing was removed" in clean(store, answer=answer)
    assert tree(store.root) == before


def test_yes_does_not_ask(store: Store) -> None:
    stay = fill(store)
    assert "Remove all" not in clean(store, "--yes")
    assert tree(store.root) == stay


def test_what_a_living_run_holds_is_left_alone(store: Store) -> None:
    fill(store)
    elsewhere = dataclasses.replace(TRIAL, dataset=Plugin("e"))
    store.plan([elsewhere])
    before = {name for name in tree(store.root) if name.startswith("p/d/")}
    with store.open("p", "d") as board:
        board.note({}, None)
        said = clean(store, "--yes")
    assert f"left alone: {store.root / 'p' / 'd'}" in said and f"process {os.getpid()}" in said
    assert {name for name in tree(store.root) if name.startswith("p/d/")} == before - {"p/d/.running.json"}
    assert not store.folder(elsewhere).exists()
    assert "trials that were only planned  " in said and "interrupted attempts" not in said  # nor are they listed


def test_what_became_a_result_since_it_was_listed_stays(store: Store) -> None:
    (store.begin(TRIAL) / "resume.pt").write_text("12345")
    store.begin(other(1))
    listed = find_removable(store.root)
    finish(store, TRIAL)
    assert [item.path for item in remove(store.root, listed)] == [store.folder(other(1))]
    assert store.done(TRIAL)
    with store.open("p", "d"):
        assert remove(store.root, listed) == []


def test_files_of_others_and_unreadable_results_stay(store: Store, tmp_path: Path) -> None:
    thesis = store.root / "p" / "d" / "0123456789ab" / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years")
    damaged = finish(store)
    (damaged / "result.json").write_text("{")  # may be a fault of the disk
    before = tree(store.root)
    assert "nothing to clean" in clean(store, "--yes")
    assert tree(store.root) == before


def test_links_are_never_followed(store: Store, tmp_path: Path) -> None:
    outside = Store(tmp_path / "outside", create=True)
    (outside.begin(other(9)) / "curve.csv").write_text("1")
    begun = store.begin(TRIAL)
    (begun / "curve.csv").symlink_to(outside.root / "format.json")
    (begun.parent / "aaaaaaaaaaaa").symlink_to(outside.folder(other(9)))
    (store.root / "q").symlink_to(outside.root / "p")
    before = tree(outside.root)
    clean(store, "--yes")
    assert tree(outside.root) == before
    assert not begun.exists() and (begun.parent / "aaaaaaaaaaaa").is_symlink()


def test_scratch_of_dead_runs_goes_and_that_of_living_ones_stays(store: Store, tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, alive, foreign = (
        tmp_path / "temporary" / f"mtl-{name}" for name in (f"{ended.pid}-x1", f"{os.getpid()}-x2", "notes-x3")
    )
    for folder in (dead, alive, foreign):
        folder.mkdir()
        (folder / "log").write_text("12345")
    link = tmp_path / "temporary" / f"mtl-{ended.pid}-link"
    link.symlink_to(foreign)
    assert "scratch folders of dead runs" in clean(store, "--yes")
    assert not dead.exists() and link.is_symlink() and (alive / "log").exists() and (foreign / "log").exists()


def test_a_stale_board_of_a_killed_run_does_not_protect_its_attempts(store: Store) -> None:
    with store.open("p", "d") as board:
        (store.begin(TRIAL) / "curve.csv").write_text("half")
        board.note({TRIAL.key: 0.5}, None)
        stale = board.path.read_text()
    board.path.write_text(stale)
    clean(store, "--yes")
    assert not store.folder(TRIAL).exists() and not board.path.exists()
