"""What a run prints into a log."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from mtlbench.execution.display import LINE_SECONDS, Display
from mtlbench.execution.queue import Queue
from mtlbench.store.board import Board
from tests.support.stores import JOINT, TRIAL


def test_a_log_gets_a_progress_line_a_minute_at_most_and_every_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """600 notes in ten minutes: ten lines; a line of any kind puts the next one off."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    queue = Queue([TRIAL, JOINT], (), lambda trial: 1.0)
    log = io.StringIO()
    with Display(queue, Board(tmp_path), Console(file=log, force_terminal=False)) as display:
        queue.take(TRIAL.key)
        display.note_start(TRIAL)
        for second in range(600):
            clock[0] += 1.0
            display.note_progress(TRIAL, second / 600)
        lines = log.getvalue().splitlines()
        assert 9 <= len(lines) <= 10
        assert all(re.match(r"0 of 2 trials done, 1 running, 1 waiting", line) for line in lines)
        display.note_end(TRIAL, "the loss is nan")
        clock[0] += LINE_SECONDS - 1
        display.note_start(JOINT)
    (line,) = log.getvalue().splitlines()[len(lines) :]
    assert line.startswith("failed: ") and line.endswith("the loss is nan")
