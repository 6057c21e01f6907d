"""The command line in processes of its own, and the numbers it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from mtlbench import load_results
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
