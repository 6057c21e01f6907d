"""The comparison of measured figures with stored ones, and that every benchmark of `make bench` has stored ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.places import ROOT

pytestmark = pytest.mark.slow

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def modules() -> Any:
    """benchmarks/_figures.py and bench.py: they are scripts beside each other, no package."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import _figures  # type: ignore[import-not-found]
        import bench  # type: ignore[import-not-found]

        yield _figures, bench
    finally:
        sys.path.remove(str(BENCHMARKS))


def verdict(modules: Any, now: float, before: float | None, unit: str = "x", **targets: float) -> str:
    figures, bench = modules
    stored = None if before is None else figures.Figure("f", before, unit, **targets)._asdict()
    return bench.compare("a: f", figures.Figure("f", now, unit, **targets), stored)[""]


@pytest.mark.parametrize(
    ("now", "before", "unit", "targets", "expected"),
    [
        (1.29, 1.0, "x", {}, "ok"),
        (1.31, 1.0, "x", {}, "worse"),
        (0.1, 1.0, "x", {}, "ok"),
        (2.4, 1.0, "s", {}, "ok"),  # another machine, or another guest on it
        (2.6, 1.0, "s", {}, "worse"),
        (41.0, 100.0, "images/s", {}, "ok"),
        (39.0, 100.0, "images/s", {}, "worse"),
        (500.0, 100.0, "images/s", {}, "ok"),
        (1.1, 0.9, "s", {"at_most": 1.0}, "missed"),
        (1.1, 1.2, "s", {"at_most": 1.0}, "ok, target missed as before"),
        (3.1, 1.2, "s", {"at_most": 1.0}, "worse"),
        (0.78, 1.0, "x", {"at_least": 0.75}, "ok"),
        (0.74, 0.8, "x", {"at_least": 0.75}, "missed"),
        (0.5, 0.7, "x", {"at_least": 0.75}, "worse"),
        (5.0, None, "s", {}, "new"),
        (5.0, None, "s", {"at_most": 1.0}, "missed"),
    ],
)
def test_ratios_may_be_a_little_worse_and_what_depends_on_the_machine_more(
    modules: Any, now: float, before: float | None, unit: str, targets: dict[str, float], expected: str
) -> None:
    assert verdict(modules, now, before, unit, **targets) == expected


def test_the_last_line_of_a_benchmark_gives_its_figures_back(modules: Any, capsys: pytest.CaptureFixture[str]) -> None:
    figures, _ = modules
    told = [figures.Figure("a", 2.5, "s", at_most=2.0), figures.Figure("b", 0.5, "x")]
    figures.tell([{"part": "one", "seconds": 1.5}, {"part": "two", "note": "-"}], told)
    *lines, last = capsys.readouterr().out.splitlines()
    assert [figures.Figure(**one) for one in json.loads(last)["figures"]] == told
    assert [line for line in lines if "target" in line] == ["a: 2.5 s  target <= 2  missed"]
    assert lines[0].split() == ["part", "seconds", "note"] and lines[1].split() == ["one", "1.5"]


def test_figures_stay_as_they_are_for_benchmarks_that_did_not_run(
    modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, bench = modules
    monkeypatch.setattr(bench, "REFERENCE", tmp_path / "reference.json")
    found = {"load": 1.0, "startup": 2.0}
    monkeypatch.setattr(bench, "run", lambda name: {"f": figures.Figure("f", found[name], "x")} if found[name] else {})
    assert bench.main(["load", "startup", "--write"]) == 0
    found["load"] = 9.0
    assert bench.main(["load"]) == 1 and "load: f 9 x" in capsys.readouterr().out
    assert bench.main(["load", "--write"]) == 1
    stored = json.loads((tmp_path / "reference.json").read_text())
    assert {name: one["f"]["value"] for name, one in stored.items()} == {"load": 9.0, "startup": 2.0}
    found["load"] = 0.0
    assert bench.main(["load"]) == 1 and "load failed" in capsys.readouterr().out
    assert bench.main(["lode"]) == 2 and "there are startup, queue_store" in capsys.readouterr().out


def test_every_benchmark_is_there_and_has_stored_figures(modules: Any) -> None:
    _, bench = modules
    stored = json.loads((BENCHMARKS / "reference.json").read_text())
    assert set(stored) == set(bench.SCRIPTS)
    for name, figures in stored.items():
        assert (BENCHMARKS / f"{name}.py").is_file()
        assert figures and all(one["name"] == key and one["value"] > 0 for key, one in figures.items())
