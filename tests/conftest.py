"""One cache folder for the whole test session, so that the embedded data are rendered once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("MTLBENCH_CACHE")
    os.environ["MTLBENCH_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["MTLBENCH_CACHE"]
    else:
        os.environ["MTLBENCH_CACHE"] = before
