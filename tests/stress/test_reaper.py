"""Nothing of a run outlives its driver."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from mtlbench.system.scratch import MARK, mark, scratch_folder

pytestmark = pytest.mark.slow

# A driver with a child of the run, one that has wiped its mark but has a file open below the folder, and a stranger
# that is started meanwhile, as a tracker's service is.
DRIVER = """
import os, subprocess, sys, time
from mtlbench.system.scratch import mark, scratch_folder
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
with scratch_folder() as scratch:
    stranger = subprocess.Popen(sleep, start_new_session=True)
    child = subprocess.Popen(sleep, start_new_session=True, env=mark(scratch))
    code = f"import time; f = open('{scratch}/log', 'w'); print('open', flush=True); time.sleep(60)"
    wiped = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, env={}, stdout=subprocess.PIPE)
    wiped.stdout.readline()
    print(scratch, stranger.pid, child.pid, wiped.pid, flush=True)
    sys.stdin.readline()
print("out", flush=True)
sys.stdin.readline()
"""


def alive(process: int) -> bool:
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE


def soon(true: object) -> bool:
    until = time.monotonic() + 5
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return bool(true())


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_what_a_driver_started_goes_with_it_and_nothing_else(how: str) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert driver.stdin and driver.stdout
    scratch, *numbers = driver.stdout.readline().split()
    stranger, child, wiped = map(int, numbers)
    try:
        assert Path(scratch).is_dir() and Path(scratch).name.startswith(f"mtl-{driver.pid}-")
        assert all(map(alive, (stranger, child, wiped)))
        if how == "killed":
            driver.kill()
            assert soon(lambda: not Path(scratch).exists())
        else:
            driver.stdin.write("\n")
            driver.stdin.flush()
            assert driver.stdout.readline() == "out\n"  # the block ends when all is gone
            assert driver.poll() is None
        assert not alive(child) and not alive(wiped) and not Path(scratch).exists()
        assert alive(stranger)
    finally:
        driver.kill()
        for process in (stranger, child, wiped):  # they hold the pipe that is read next
            if psutil.pid_exists(process):
                psutil.Process(process).kill()
        driver.communicate()


def test_the_mark_is_not_in_the_drivers_environment_and_a_long_temporary_folder_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path has at most 107 characters, of which Ray takes some 60."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 10)))
    assert MARK not in os.environ
    with scratch_folder() as scratch:
        assert MARK not in os.environ and mark(scratch)[MARK] == str(scratch) and len(str(scratch)) < 45
