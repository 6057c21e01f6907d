"""What the official files of VOC become lies in a cache of each test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtlbench.system import parallel
from tests.support.voc import TEST, TRAIN


@pytest.fixture
def voc_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parallel, "FEW", len(TRAIN + TEST))  # starting processes takes two seconds
