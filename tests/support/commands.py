"""The command line, in this process and in one of its own, and what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from click.testing import CliRunner, Result

from mtlbench import load_results
from mtlbench.cli.main import main
from mtlbench.store.frames import UNITS

SMOKE = ("run", "--pair", "det_attr", "--recipe", "smoke")


LOCAL = (*SMOKE, "--executor", "local", "--seeds", "0")


TIMES = tuple(UNITS)


def numbers(results: Path) -> pd.DataFrame:
    """The frame without what differs between two equal runs."""
    frame = load_results(results).frame.drop(columns="finished")
    frame = frame[~((frame["subset"] == "cost") & frame["metric"].isin(TIMES))]
    order = ["arm", "seed", "key", "task", "subset", "metric", "category"]
    return frame.sort_values(order).reset_index(drop=True)


def folders(results: Path) -> dict[str, Path]:
    """{`arm task`: folder} of all trials."""
    trials = {path.parent: json.loads(path.read_text()) for path in results.glob("*/*/*/trial.json")}
    return {
        " ".join([trial["arm"], *(task["name"] for task in trial["tasks"])]): folder for folder, trial in trials.items()
    }


# ---------------------------------------------------------------------------------------------------- in this process
def cli(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def works(*words: object) -> str:
    result = cli(*words)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def get_refusal(*words: object) -> str:
    """The one line that a user's mistake is answered with."""
    result = cli(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("mtlbench: ") and "Traceback" not in line
    return line


# ---------------------------------------------------------------------------------------------------- processes
def start(mark: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mtlbench", *map(str, args)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, mark: "1"},
        start_new_session=True,
    )
