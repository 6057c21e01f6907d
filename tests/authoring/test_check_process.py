"""`mtlbench check` and `run` on schemes that end their process, change what others share in it, or fail late."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mtlbench.authoring.check import _last_own_line, how_it_ended
from mtlbench.authoring.check_scheme import QUESTIONS, Case
from mtlbench.authoring.check_scheme import TASKS as NAMES
from mtlbench.cli.main import main
from mtlbench.training.process import Ended, guard_process

pytestmark = pytest.mark.slow

HEAD = """
import os, sys, threading, time, warnings
import torch
from torch import nn

class Own:
    version = 1
    def groups(self, stage, tasks):
        return [(task,) for task in tasks]
    def unit(self, stage, tasks):
        return Unit() if stage.name in ("fc6", "fc7") else None

TIED = nn.Parameter(torch.ones(()))

class Unit(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.ones(()))
        self.calls = 0
    def forward(self, xs):
        self.calls += self.training and next(iter(xs.values())).device.type != "meta"
"""
SOUND = "        return {task: x * self.gate for task, x in xs.items()}\n"
LATE = {  # a line of forward, and what is said of it
    "sys.exit(3)": r"own\.py:22 \(in forward\) ends the process by sys\.exit\(3\)",
    "if self.calls > 4: os._exit(4)": r"own\.py:22 \(in forward\) ends the process by os\._exit\(4\).*in step 5",
    "if self.calls > 4: raise KeyError('late')": r"own\.py:22 \(in forward\): KeyError: 'late' \(in step 5",
    "if self.calls > 4: xs = {t: x * float('nan') for t, x in xs.items()}": r"own\.py:20: the unit after fc6 returns NaN or infinity for semseg.*\(in step 5 of a training\)",  # noqa: E501
    "xs['semseg'] = xs['semseg'] * 1": r"own\.py:20: the unit after fc6 writes semseg into the dictionary",
    "xs = {t: x.abs().sqrt() for t, x in xs.items()}": r"own\.py:20: the unit after fc\d has a gradient of NaN or infinity where features are 0",  # noqa: E501
    "self.gate = TIED": r".*gate of the unit after fc7 is the same as units\.fc6\.gate",
}
LEFT = {  # a line of forward, and what is said of the process after it
    "torch.set_num_threads(2)": r"own\.py:22: it changes torch's number of threads from",
    "print('here')": r"own\.py:22: it prints \(\d+ lines",
    "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()": r"own\.py:22: it changes the running threads \(\d+ more\)",  # noqa: E501
    "os.environ['OWN'] = '1'": r"own\.py:22: it changes the environment \(os\.environ\) \(OWN",
    "warnings.simplefilter('ignore')": r"own\.py:22: it changes the filters of warnings",
}


def write(folder: Path, *lines: str) -> Path:
    path = folder / "own.py"
    tied = any("TIED" in line for line in lines)
    text = HEAD.replace("self.gate = nn.Parameter(torch.ones(()))", "self.gate = TIED") if tied else HEAD
    path.write_text(text + "".join(f"        {'pass' if 'TIED' in line else line}\n" for line in lines) + SOUND)
    return path


@pytest.mark.parametrize("line", LATE)
def test_what_shows_late_or_at_zeros_is_named(tmp_path: Path, line: str) -> None:
    from mtlbench.authoring._probe import ask
    from mtlbench.plugins import find

    cls = find("scheme", f"{write(tmp_path, line)}:Own")
    case = Case(cls, "fcn", NAMES["fcn"][:2])
    text = next(finding.text for finding in ask(cls, QUESTIONS, [case]) if not finding.ok)
    assert re.match(LATE[line], text), text


def test_what_is_left_in_the_process_is_named_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(HEAD + "        if self.calls == 1:\n" + "".join(f"            {line}\n" for line in LEFT) + SOUND)
    result = CliRunner().invoke(main, ["check", f"{path}:Own"])
    wrong = [line.removeprefix("wrong").strip() for line in result.stdout.splitlines() if line.startswith("wrong")]
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    for expected in LEFT.values():
        assert any(re.match(expected.replace(":22:", r":\d+:"), text) for text in wrong), (expected, wrong)


def test_a_crash_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(HEAD + "        os.abort()\n" + SOUND)
    result = CliRunner().invoke(main, ["check", f"{path}:Own"])
    assert result.exit_code == 1
    assert "own.py:22 (in forward): the process ended by SIGABRT" in result.stdout, result.output
    assert how_it_ended(3) == "with status 3" and _last_own_line("", str(path)) == ""


def test_what_a_trial_changes_in_its_process_is_put_back() -> None:
    before = (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        os.getcwd(),
        dict(os.environ),
        random.getstate(),
        list(warnings.filters),
        np.random.get_state()[1].tolist(),
    )
    with guard_process():
        torch.set_num_threads(before[0] + 1)
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        os.chdir("/")
        os.environ["OWN"] = "1"
        random.seed(5)
        np.random.seed(5)
        warnings.simplefilter("ignore")
    assert not torch.are_deterministic_algorithms_enabled()
    assert before == (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        os.getcwd(),
        dict(os.environ),
        random.getstate(),
        list(warnings.filters),
        np.random.get_state()[1].tolist(),
    )


@pytest.mark.parametrize("end", [lambda: sys.exit("done"), lambda: os._exit(7)], ids=["sys", "os"])
def test_an_end_of_the_process_is_an_error(end: object) -> None:
    real = os._exit
    with pytest.raises(Ended, match=r"test_check_process\.py:\d+ \(in <lambda>\) ends the process by"), guard_process():
        end()
    assert os._exit is real


def test_in_a_run_such_schemes_are_failed_arms_and_prints_are_not_shown(tmp_path: Path) -> None:
    """In a process of its own, which os._exit would end."""
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    ends = write(tmp_path / "one", "print('HERE')", "if self.calls > 1: os._exit(4)")
    leaves = write(tmp_path / "two", "sys.exit(3)")
    leaves.write_text(leaves.read_text().replace("class Own", "class Other"))
    command = [
        sys.executable,
        "-m",
        "mtlbench",
        "run",
        "--pair",
        "semseg_sn",
        "--recipe",
        "smoke",
        "--executor",
        "local",
        "--seeds",
        "0",
        "--arm",
        "one-task",
        "--scheme",
        f"{ends}:Own",
        "--scheme",
        f"{leaves}:Other",
        "--results",
        str(tmp_path / "results"),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1 and "Traceback" not in found.stderr and "HERE" not in found.stdout + found.stderr
    assert "own.py:23 (in forward) ends the process by os._exit(4)" in found.stdout, found.stdout
