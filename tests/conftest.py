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


RAY = {  # files that start Ray or look for processes: one at a time
    "test_cli",
    "test_cluster",
    "test_courier",
    "test_hardship",
    "test_loopback",
    "test_ray_executor",
    "test_ray_lost",
    "test_reaper",
}
SLOW = RAY | {  # files that `make quick` leaves out
    "test_accumulation",
    "test_alphas",
    "test_bench",
    "test_branching",
    "test_check_backbone",
    "test_check_dataset",
    "test_check_process",
    "test_check_scheme",
    "test_check_task",
    "test_cost",
    "test_coverage",
    "test_curves",
    "test_export",
    "test_mixed_up_files",
    "test_new",
    "test_nyu_survey",
    "test_predict",
    "test_report",
    "test_resume",
    "test_rooms",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of these files."""
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker(pytest.mark.slow)
        if item.path.stem in RAY:
            item.add_marker(pytest.mark.xdist_group("ray"))
