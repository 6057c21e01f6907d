"""`mtlbench check` without its own process, whose start takes most of its time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mtlbench.authoring import check


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what is said; that it comes out of a process of its own is for test_check_process.py."""

    def child(spec: str, kind: str, root: Path | None) -> list[dict[str, Any]]:
        from mtlbench.authoring._child import examine

        stdout, threads = sys.stdout, torch.get_num_threads()
        try:
            return list(examine(spec, kind, root))
        finally:
            sys.stdout = stdout
            torch.set_num_threads(threads)

    monkeypatch.setattr(check, "_run_child", child)
