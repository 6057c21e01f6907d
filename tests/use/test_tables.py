"""From a table of photos to predictions: one call, the same call again, and its pair alone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import mtlbench
from mtlbench.cli.main import main
from mtlbench.store.results import load_results
from tests.support.places import ROOT
from tests.support.tables import photos, write_images, write_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished smoke study of two regressions, a class and tags."""
    folder = tmp_path_factory.mktemp("study")
    table, images = photos(folder)
    results = run(folder, csv=table, images=images)
    assert not results.failures
    return folder


def run(folder: Path, **options: Any) -> mtlbench.Results:
    chosen = {"arms": ["one-task", "split-fc8", "cross-stitch"], "seeds": [0], "recipe": "smoke", "executor": "local"}
    return mtlbench.run(**options, **chosen, keep_weights="split-fc8", results=folder / "results", quiet=True)


def command(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_every_column_has_its_scores(study: Path) -> None:
    frame = load_results(study / "results").frame
    assert {*frame["pair"]} == {"people"} and {*frame["dataset"]} == {"table"}
    headlines = frame[frame["headline"] & (frame["subset"] == "test") & (frame["category"] == "")]
    assert {*headlines["task"]} == {"age", "weight", "kind", "tags"}
    assert len(headlines) == 4 * 3 and np.isfinite(headlines["value"]).all()


def test_the_same_call_and_the_pair_alone_go_on(study: Path) -> None:
    """By mtlbench.run and by the command line; nothing is trained again."""
    keys = {path.parent.name for path in (study / "results").glob("people/table/*/result.json")}
    assert len(keys) == 6
    before = {path: path.stat().st_mtime_ns for path in (study / "results").glob("people/table/*/result.json")}
    run(study, csv=study / "people.csv", images=study / "photos")
    run(study, pair="people")
    words = ("--recipe", "smoke", "--seeds", "0", "--results", study / "results", "--executor", "local")
    table = ("--csv", study / "people.csv", "--images", study / "photos")
    said = command("run", *table, "--column", "age:regression", "--arm", "split-fc8", *words, "--dry-run")
    assert "0 trials to run" in said and "age: regression, 39 of 40" in said
    assert "0 trials to run" in command("run", "--pair", "people", "--arm", "split-fc8", *words, "--dry-run")
    assert before == {path: path.stat().st_mtime_ns for path in (study / "results").glob("people/table/*/result.json")}


def test_pictures_tables_and_predictions_are_made_of_it(study: Path) -> None:
    results = ("--results", study / "results")
    assert "age nRMSE" in command("table", *results)
    command("plot", "figure2", *results)
    command("report", *results)
    page = (study / "results" / "report.html").read_text()
    chosen = "--arm split-fc8 --arm cross-stitch"
    assert f"mtlbench run --pair people --dataset table --recipe smoke --seeds 0 {chosen}" in page
    assert "FILE.py" not in page
    command("show", "split-fc8", *results)
    command("predict", "split-fc8", study / "photos" / "3.png", "--out", study / "out", *results)
    said = json.loads((study / "out" / "3-prediction.json").read_text())["tasks"]
    assert set(said["kind"]["prediction"]) == {*"abc"} and set(said["tags"]["prediction"]) == {"old", "red"}
    assert sum(said["kind"]["prediction"].values()) == pytest.approx(1, abs=1e-3)
    assert 0 < said["age"]["prediction"]["number"] < 100
    assert (study / "out" / "3-prediction.png").stat().st_size > 1000


def test_an_exported_network_is_whole_without_the_table(study: Path) -> None:
    command("export-weights", "split-fc8", study / "net.pt", "--results", study / "results")
    net = mtlbench.load_network(study / "net.pt")
    with torch.no_grad():
        found = net(torch.zeros(2, 3, 40, 30))
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        "age": (2, 1),
        "weight": (2, 1),
        "kind": (2, 3),
        "tags": (2, 2),
    }


def test_the_files_are_looked_at_by_data_verify(study: Path) -> None:
    said = command("data", "verify", "--csv", study / "people.csv", "--images", study / "photos")
    assert "labelled for age" in said and "complete and sound" in said
    assert "is ready" in command("data", "prepare", "--csv", study / "people.csv", "--images", study / "photos")


QUICK = ("--recipe", "smoke", "--seeds", "0", "--arm", "one-task", "--arm", "split-conv4", "--executor", "local")


def test_the_page_word_for_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/csv.md: its first table with more rows, then all that it says to type."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "csv.md").read_text()
    blocks = [re.sub(r"^    ", "", block, flags=re.M) for block in re.findall(r"\n\n((?:    [^\n]*\n)+)", text)]
    header, first, *_ = blocks[0].splitlines()
    names = write_images(tmp_path / "photos" / "ann", 40)
    rows = [
        ["ann/" + n, str(20 + i), "good poor".split()[i % 2], *f"{i % 2}{i // 2 % 2}", f"p{i // 4}"]
        for i, n in enumerate(names)
    ]
    assert len(first.split(",")) == len(rows[0])
    write_table(tmp_path / "people.csv", rows, header.split(","))
    shutil.copy(tmp_path / "photos" / "ann" / "0.png", tmp_path / "new.jpg")
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("mtlbench ")]
    assert len(lines) == 8
    for line in lines:
        words = line.split()[1:]
        said = command(*words, *(QUICK if words[0] == "run" else ()))
        if "--csv" in words and words[0] == "run":
            assert "tags: multilabel, 40 of 40 images labelled, 2 labels (smiling, glasses)" in said
            assert "column 'photographer': group" in said
