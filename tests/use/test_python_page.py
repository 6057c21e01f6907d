"""docs/python.md followed word for word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.places import ROOT

pytestmark = pytest.mark.slow


def test_the_page_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert len(blocks) == 4 and (tmp_path / "figure2.png").stat().st_size > 10_000
    assert set(names["means"].index) == {"one-task", "split-fc6", "cross-stitch"}
    assert list(names["means"].columns) == ["attributes", "detection"]
    assert set(names["changes"].index.get_level_values("seed")) == {0, 1, 2} and names["changes"].notna().all()
