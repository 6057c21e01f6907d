"""The pages that are followed word for word: docs/notebook.ipynb, and docs/tutorial.md up to the photos."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mtlbench.cli.main import main
from tests.support.places import ROOT

pytestmark = pytest.mark.slow


def test_the_notebook_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
    blocks = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/notebook.ipynb", "exec"), names)
    assert len(blocks) == 5 and (tmp_path / "figure2.png").stat().st_size > 10_000
    assert names["figure"]._repr_png_().startswith(b"\x89PNG")
    assert set(names["means"].index) == {"one-task", "split-fc6", "cross-stitch"}
    assert list(names["means"].columns) == ["attributes", "detection"]
    assert set(names["changes"].index.get_level_values("seed")) == {0, 1, 2} and names["changes"].notna().all()


def test_the_tutorial_runs_as_it_is_written_with_fewer_arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "tutorial.md").read_text().partition("## Your own photos")[0]
    lines = re.findall(r"^    (mtlbench .*)$", text, re.MULTILINE)
    for line in lines:
        words = shlex.split(line.replace("--all-splits", "--arm one-task --arm split-fc8 --seeds 0"), comments=True)[1:]
        done = CliRunner().invoke(main, words, catch_exceptions=False)
        assert done.exit_code == 0, f"{line}: {done.output}"
    assert [line.split()[1] for line in lines] == ["run", "table", "plot", "report", "new", "check", "run", "plot"]
    page = (tmp_path / "results" / "report.html").read_text()
    assert "split-fc8" in page or "Split fc8" in page
    assert (tmp_path / "results" / "figure2.png").is_file()
