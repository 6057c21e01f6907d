"""A user's scheme that ends its process, in whole runs with Ray: one reason a trial, and nothing else is harmed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtlbench import load_results
from tests.support.commands import SMOKE, start

pytestmark = pytest.mark.slow

SCHEME = """
import os
from os import _exit
from torch import nn

class Quits:
    version = 1
    def __init__(self, imported=False):
        self.imported = imported
    def groups(self, stage, tasks):
        return [(task,) for task in tasks]
    def unit(self, stage, tasks):
        return Unit(_exit if self.imported else None) if stage.name == "fc6" else None

class Unit(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.end, self.steps = end, 0
    def forward(self, xs):
        self.steps += self.training
        if self.steps == 3:
            (self.end or os._exit)(7)
        return xs
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mt"))  # short: Ray's socket paths
    yield folder
    shutil.rmtree(folder)


def test_an_exit_in_forward_is_one_reason_and_other_arms_are_unharmed(folder: Path) -> None:
    scheme = folder / "quits.py"
    scheme.write_text(SCHEME)
    arms = ("--arm", "one-task", "--scheme", f"{scheme}:Quits", "--scheme", f"{scheme}:Quits(imported=True)")
    results = folder / "results"
    run = start("MTLBENCH_TEST", *SMOKE, "--seeds", "0", "--executor", "ray", *arms, "--results", results)
    said, _ = run.communicate(timeout=400)
    assert run.returncode == 1 and "2 of 4 trials done" in said, said
    assert "again" not in said and "out of memory" not in said
    loaded = load_results(results)
    assert set(loaded.frame["arm"]) == {"one-task"} and set(loaded.frame["task"]) >= {"detection", "attributes"}
    assert len(loaded.failures) == 2
    why = "quits.py:22 (in forward) ends the process by os._exit(7); raise an exception where a trial cannot go on"
    assert [(one["kind"], one["reason"]) for one in loaded.failures] == [("exit", f"Ended: {why}")] * 2
