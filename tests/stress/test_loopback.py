"""What a run on one machine opens to others: nothing; and whose code its processes run in any folder: ours."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.processes import process_ids

pytestmark = pytest.mark.slow

LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
DASHBOARD = 8265  # Ray's
DECOY = "open({trap!r}, 'w').close()\nraise ImportError('a stranger wrote this')\n"


def find_listening(processes: set[int]) -> Iterator[tuple[str, tuple[str, int]]]:
    """Name, and address and port, of the servers of these processes."""
    for one in psutil.net_connections("inet"):  # all at once: to ask process by process reads the same lists each time
        if one.pid in processes and (one.status == psutil.CONN_LISTEN or one.type == 2):
            with contextlib.suppress(psutil.Error):
                yield psutil.Process(one.pid).name(), (one.laddr.ip, one.laddr.port)


@pytest.fixture
def decoys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder has files that are called like modules; what any of them makes when it is run."""
    trap = tmp_path / "run"
    for name in ("torch.py", "numpy.py", "json.py", "multiprocessing.py", "mtlbench/__init__.py"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text(DECOY.format(trap=str(trap)))
    monkeypatch.chdir(tmp_path / "here")
    return trap


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_run_listens_on_loopback_alone_and_runs_no_file_of_the_folder_it_was_typed_in(
    tmp_path: Path, mark: str, decoys: Path
) -> None:
    """Ray's own choice is every interface, and the current folder at the front of its workers' search path."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "mtlbench",
        "run",
        "--pair",
        "semseg_sn",
        "--recipe",
        "smoke",
        "--arm",
        "one-task",
        "--seeds",
        "0",
        "--results",
        str(tmp_path / "results"),
    ]
    driver = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, mark: "1"},
        start_new_session=True,
    )
    servers: dict[str, set[tuple[str, int]]] = {}
    while driver.poll() is None:
        for name, place in find_listening({driver.pid, *process_ids(mark, driver.pid)}):
            servers.setdefault(name, set()).add(place)
        time.sleep(0.3)
    out, err = driver.communicate()
    assert driver.returncode == 0 and "2 of 2 trials done" in out, err
    assert not decoys.exists()
    assert {"gcs_server", "raylet"} <= set(servers) and any(name.startswith("ray::") for name in servers), servers
    open_to_others = {name: own for name, own in servers.items() if any(host not in LOOPBACK for host, _ in own)}
    assert open_to_others == {}
    assert DASHBOARD not in {port for own in servers.values() for _, port in own}
    assert not any("ashboard" in name for name in servers), servers


PREPARE = """
import shutil, sys
from pathlib import Path
from mtlbench.datasets import rooms
from mtlbench.system import parallel
parallel.FEW = 0
rooms.cores = lambda: 2
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    parallel.make_missing({"a": __file__, "b": __file__}, folder / "made", shutil.copyfile, "copies", print)
    rooms.Rooms(size=16, train=9 * rooms.CHUNK, val=1, test=1, proposals=4).prepare(print)
"""


def test_processes_that_prepare_data_import_nothing_from_the_folder_either(
    tmp_path: Path, decoys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -c`, which multiprocessing uses, too, looks there first."""
    monkeypatch.setenv("MTLBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "prepare.py").write_text(PREPARE)
    done = subprocess.run([sys.executable, tmp_path / "prepare.py", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not decoys.exists() and sorted(os.listdir(tmp_path / "made")) == ["a", "b", "lock"]


def test_a_matplotlibrc_of_the_folder_is_not_obeyed(tmp_path: Path, decoys: Path) -> None:
    """It can have LaTeX run."""
    (tmp_path / "here" / "matplotlibrc").write_text("text.usetex: True\nfigure.dpi: 7\n")
    code = (
        "from click.testing import CliRunner; from mtlbench.cli.main import main; import matplotlib;"
        "CliRunner().invoke(main, ['list', 'figures']); print(matplotlib.rcParams['text.usetex'])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
