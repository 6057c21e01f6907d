"""What a run on one machine opens to others: nothing; and whose code its processes run: ours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from test_cli import mark, process_ids  # noqa: F401

LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
DASHBOARD = 8265  # Ray's
DECOY = "open({trap!r}, 'w').close()\nraise ImportError('a stranger wrote this')\n"


def listening(process: int) -> set[tuple[str, int]]:
    """(address, port) of the servers of a process."""
    try:
        found = psutil.Process(process).net_connections("inet")
    except psutil.Error:
        return set()
    return {(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN or one.type == 2}


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_run_listens_on_loopback_alone_and_runs_no_file_of_the_folder_it_was_typed_in(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    """Ray's own choice is every interface, and the current folder at the front of its workers' search path."""
    trap = tmp_path / "run"
    for name in ("torch.py", "numpy.py", "mtlbench/__init__.py"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text(DECOY.format(trap=str(trap)))
    monkeypatch.chdir(tmp_path / "here")
    command = [sys.executable, "-P", "-m", "mtlbench", "run", "--pair", "semseg_sn", "--recipe", "smoke", "--arm",
               "one-task", "--seeds", "0", "--results", str(tmp_path / "results")]  # fmt: skip
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, mark: "1"}, start_new_session=True)  # fmt: skip
    servers: dict[str, set[tuple[str, int]]] = {}
    while driver.poll() is None:
        for process in {driver.pid, *process_ids(mark, driver.pid)}:
            if found := listening(process):
                servers.setdefault(psutil.Process(process).name(), set()).update(found)
        time.sleep(0.2)
    out, err = driver.communicate()
    assert driver.returncode == 0 and "2 of 2 trials done" in out, err
    assert not trap.exists()
    assert {"gcs_server", "raylet"} <= set(servers) and any(name.startswith("ray::") for name in servers), servers
    open_to_others = {name: own for name, own in servers.items() if any(host not in LOOPBACK for host, _ in own)}
    assert open_to_others == {}
    assert DASHBOARD not in {port for own in servers.values() for _, port in own}
    assert not any("ashboard" in name for name in servers), servers
