"""`mtlbench export`, `search` and `track` on the command line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mtlbench.cli.main import main
from mtlbench.store import results as stored
from tests.support.stores import TRIAL, finish
from tests.support.synthetic_results import results_frame
from tests.support.worlds import World

ARMS = ("one-task", "split-conv4", "split-fc8", "cross-stitch")


def call(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def test_a_table_is_exported_and_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = World(results_frame("det_attr", (0, 1, 2), ARMS))
    monkeypatch.setattr(stored, "load_results", lambda root: made)
    done = call("export", tmp_path / "t", "--licence", "CC0-1.0")
    assert done.exit_code == 0 and "4 arms, 3 seeds" in done.output
    again = call("export", tmp_path / "t")
    assert again.exit_code == 2 and again.output.count("\n") == 1 and "--force" in again.output
    found = call("search", "--table", tmp_path / "t", "--method", "grid", "--method", "random", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(found.output)))
    assert [row["method"] for row in rows[:4]] == ["grid", "random", "one-task, always", "cross-stitch, always"]
    assert rows[0]["gives"] in ARMS and rows[3]["gives"] == "cross-stitch"
    text = call("search", "--table", tmp_path / "t", "--method", "grid", "--out", tmp_path / "regret.png").output
    assert (tmp_path / "regret.png").read_bytes().startswith(b"\x89PNG")
    assert "cross-stitch, with the networks that it starts from, costs" in " ".join(text.split())
    assert call("search", "--table", tmp_path / "nowhere").exit_code == 2
    refused = call("search", "--table", tmp_path / "t", "--method", "grid", "--out", tmp_path / "regret.xyz")
    assert refused.exit_code == 2 and "cannot write" in refused.output


def test_finished_trials_are_told_to_a_tracker(tmp_path: Path) -> None:
    from mtlbench.store.store import Store

    finish(Store(tmp_path / "results", create=True))
    done = call("track", f"tensorboard:{tmp_path / 'tb'}", "--results", tmp_path / "results")
    assert done.exit_code == 0 and "was told of 1 trial\n" in done.output
    assert list((tmp_path / "tb" / "p" / "d" / "one-task" / TRIAL.key).glob("events*"))
    refused = call("track", "comet", "--results", tmp_path / "results")
    assert refused.exit_code == 2 and "no tracker called 'comet'" in refused.output
