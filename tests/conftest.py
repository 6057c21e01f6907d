"""One cache folder for the whole test session, so that the embedded data are rendered once."""

from __future__ import annotations

import gc
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

# As many processes as cores run tests: with a thread per core in each, most time is spent waiting for threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy are imported

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave their core to other tests

# Ray's workers give way to all others by default, and would wait for the tests beside theirs.
os.environ.setdefault("RAY_worker_niceness", "0")

from mtlbench.store.store import Store
from mtlbench.system.cache import cache_root
from tests.support.processes import process_ids


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no long one is begun when all others end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """What is imported by now stays: to look for garbage in it took a fifteenth of the tests' time."""
    gc.collect()
    gc.freeze()


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
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test alone."""
    monkeypatch.setenv("MTLBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    return cache_root()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", create=True)


@pytest.fixture
def mark() -> Iterator[str]:
    """A word for the environment of processes; those that carry it are killed in the end."""
    yield (text := f"MTLBENCH_TEST_{uuid.uuid4().hex}")
    for process in process_ids(text, -1):
        os.kill(process, signal.SIGKILL)
