"""A cluster of three machines, simulated: two have a (fake) GPU each and no path to the store, one has the driver.

Where the system allows it (root on Linux) the nodes live in a mount namespace of their own, in which the folder of the
store and of the user's scheme is empty. One node is killed in the middle of the run.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.commands import LOCAL, SMOKE, numbers, start
from tests.support.processes import process_ids

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

NODES = int(os.environ.get("MTLBENCH_TEST_NODES", "2"))  # beside the driver's
RAY = Path(sys.executable).parent / "ray"
SCHEME = """
class Own:
    version = 1
    def groups(self, stage, tasks):
        return [tasks]
    def unit(self, stage, tasks):
        return None
"""
ARMS = (
    "--arm",
    "one-task",
    "--arm",
    "ensemble",
    "--arm",
    "split-conv2",
    "--arm",
    "split-fc[68]",
    "--arm",
    "mtl-shared",
    "--arm",
    "cross-stitch",
)


def hide(folder: Path) -> list[str]:
    """What to put before a command so that it sees nothing in the folder; nothing where that is not possible."""
    before = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{folder}" && exec "$@"', "sh"]
    if shutil.which("unshare") and subprocess.run([*before, "true"], capture_output=True).returncode == 0:
        return before
    return []


class Cluster:
    """A head without CPUs, and nodes with two CPUs and a GPU each; every one in a session of its own."""

    def __init__(self, scratch: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.scratch = scratch
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
        self.env = {**os.environ, **self.token, "TMPDIR": str(scratch), "RAY_enable_metrics_collection": "0"}
        self.nodes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start_head(self) -> None:
        port = self.address.rpartition(":")[2]
        self._start(
            "--head",
            f"--port={port}",
            "--num-cpus=0",
            "--num-gpus=0",
            f"--temp-dir={self.scratch}",
            "--include-dashboard=false",
        )

    def start_node(self, before: list[str]) -> None:
        self._start(f"--address={self.address}", "--num-cpus=2", "--num-gpus=1", before=before)

    def _start(self, *options: str, before: list[str] | None = None) -> None:
        mark = f"MTLBENCH_TEST_{len(self.nodes)}_{os.getpid()}"
        command = [
            *(before or []),
            str(RAY),
            "start",
            *options,
            "--disable-usage-stats",
            "--object-store-memory=80000000",
            "--block",
        ]
        with open(self.scratch / f"{mark}.txt", "w") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**self.env, mark: "1"}, start_new_session=True
            )
        self.nodes.append((mark, process))
        until = time.monotonic() + 40
        while "Ray runtime started" not in Path(log.name).read_text():
            assert time.monotonic() < until, Path(log.name).read_text()
            time.sleep(0.1)

    def trainers(self, node: int) -> int:
        """Processes of a node that train."""
        mark, process = self.nodes[node]
        found = 0
        for number in process_ids(mark, process.pid):
            with contextlib.suppress(psutil.Error):
                found += psutil.Process(number).cmdline()[:1] == ["ray::TrialActor.train"]
        return found

    def kill(self, node: int) -> None:
        """A machine is lost: all of it at once."""
        mark, process = self.nodes[node]
        for _ in range(3):
            for number in process_ids(mark, process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
        process.wait()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster(Path(tempfile.mkdtemp(dir="/tmp", prefix="mtlbench-")))  # a short path, for the sockets
    yield made
    for node in range(len(made.nodes)):
        made.kill(node)
    shutil.rmtree(made.scratch, ignore_errors=True)


def test_arms_of_all_kinds_run_on_machines_without_a_path_to_the_store_and_one_is_lost(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.token.items():
        monkeypatch.setenv(name, value)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "own.py").write_text(SCHEME)
    hidden = hide(secret)
    cluster.start_head()
    for _ in range(NODES):  # one by one: together they are in each other's way
        cluster.start_node(hidden)
    options = (*ARMS, "--scheme", f"{secret / 'own.py'}:Own", "--results")
    local = start("MTLBENCH_TEST_LOCAL", *LOCAL, *options, tmp_path / "local")
    local.communicate(timeout=60)
    assert local.returncode == 0
    driver = start(
        "MTLBENCH_TEST_DRIVER",
        *SMOKE,
        "--seeds",
        "0",
        *options,
        secret / "results",
        "--address",
        cluster.address,
        "--gpus-per-trial",
        "1",
    )
    most, before, lost = [0] * NODES, [0] * NODES, False
    while driver.poll() is None:
        here = [cluster.trainers(node) for node in range(1, NODES + 1)]
        most = list(map(max, most, map(min, before, here)))  # one that ends is still there when the next one begins
        done = len(list((secret / "results").glob("*/*/*/result.json")))
        begun = here[1] > before[1]  # a training, which has all of its steps to go
        if not lost and 3 <= done < 10 and here[1] and (begun or done > 7):
            cluster.kill(2)
            lost = True
        before = here
        time.sleep(0.15)
    out, err = driver.communicate()
    assert driver.returncode == 0 and err == "", out + err
    assert lost and max(most) == 1 and sum(most) >= 2, most  # a fake GPU each, though each has two CPUs
    assert re.search(r"^again: ", out, re.MULTILINE) and "12 of 12 trials done" in out  # for whatever reason Ray gives
    assert "Ray offers a GPU on" in out  # it is a fake
    left, right = numbers(secret / "results"), numbers(tmp_path / "local")
    assert len(left) > 800 and left.equals(right)
    if hidden:
        inside = subprocess.run([*hidden, "ls", str(secret)], capture_output=True, text=True, check=True)
        assert inside.stdout == ""
