"""A results folder that a stranger has written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtlbench.store.sealing import seal_text

COMMANDS = (
    ("status",),
    ("status", "--failed"),
    ("table",),
    ("table", "--format", "csv"),
    ("report",),
    ("plot", "all"),
    ("clean", "--yes"),
)


class Code:
    """Makes the file `trap` as soon as it is unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trap),)


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """A sealed file with a change made in place, sealed anew: anybody can."""
    data = json.loads(path.read_text())
    del data["checksum"]
    change(data)
    path.write_text(seal_text(data))
