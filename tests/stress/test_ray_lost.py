"""Ray's own processes die, freeze, or leave what nobody removed; `make torture` does it at random moments."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtlbench.cli.clean import find_scratch, remove
from mtlbench.errors import UserError
from mtlbench.system.files import StoreBroken
from mtlbench.system.scratch import dead_scratch, make_scratch, remove_dead
from mtlbench.training.process import Ended
from tests.stress.torture import RAY, STOP_SECONDS, Note, Run, find, freeze, send, workers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]
STUDY = ("run", "--pair", "det_attr", "--recipe", "smoke", "--seeds", "0", "--arm", "one-task")
HOLDER = """
import subprocess, sys
from mtlbench.system.scratch import make_scratch
folder = make_scratch(sys.argv[1])
code = f"import time; f = open('{folder}/log', 'w'); print('open', flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(folder, child.pid, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def run() -> Iterator[Run]:
    folder = Path(tempfile.mkdtemp(prefix="mt"))  # short: Ray's socket paths
    run = Run(folder, STUDY)
    yield run
    run.sweep()
    shutil.rmtree(folder)


def wait_for_workers(run: Run) -> None:
    while not workers(run.mark):
        assert run.until(time.monotonic() - run.start + 0.02), run.said.read_text()


def test_a_run_whose_raylet_was_killed_says_so_in_one_line_and_completes(run: Run) -> None:
    wait_for_workers(run)
    send(find(run.mark, RAY["raylet"]), signal.SIGKILL)
    run.end()
    said = run.said.read_text()
    assert run.driver.returncode == 0 and len(run.list_finished()) == 2, said
    assert [line for line in said.splitlines() if "Ray" in line or "again" in line] == [
        "Ray died (raylet); finished trials are kept, and it is started again"
    ]
    assert "Traceback" not in said and run.count_left() == 0 and run.list_scratch() == []


def test_a_run_whose_ray_hangs_ends_at_once_when_asked(run: Run) -> None:
    wait_for_workers(run)
    note = Note()
    assert freeze(run, note) == [], run.said.read_text()
    assert float(str(note["stop s"])) < STOP_SECONDS


@pytest.mark.parametrize("how", ["run", "clean"])
def test_scratch_of_a_killed_process_is_removed_with_what_still_runs_there(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "mtl-1-notes").write_text("no folder")
    own = make_scratch(tmp_path)
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdin and holder.stdout
    left, child = holder.stdout.readline().split()
    try:
        mine = lambda: [path for path in dead_scratch() if path.parent == tmp_path]  # noqa: E731
        assert mine() == []
        holder.kill()
        holder.wait()
        assert mine() == [Path(left)]
        gone = remove_dead() if how == "run" else [item.path for item in remove(tmp_path / "none", find_scratch())]
        assert Path(left) in gone and not Path(left).exists() and own.is_dir()
        with pytest.raises(ProcessLookupError):
            for _ in range(100):
                os.kill(int(child), 0)
                time.sleep(0.02)
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize("kind", [UserError, StoreBroken, Ended])
def test_what_ends_a_run_comes_through_the_pipe_as_it_is(kind: type[UserError]) -> None:
    error = pickle.loads(pickle.dumps(kind("no such place; type --results")))
    assert type(error) is kind and str(error) == "no such place; type --results"
