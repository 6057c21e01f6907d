"""One cache folder for the whole test session, so that the embedded data are rendered once."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import process_ids


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


@pytest.fixture
def mark() -> Iterator[str]:
    yield (text := f"MTLBENCH_TEST_{uuid.uuid4().hex}")
    for process in process_ids(text, -1):
        os.kill(process, signal.SIGKILL)
