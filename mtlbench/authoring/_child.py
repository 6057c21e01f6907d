"""The process in which `mtlbench check` asks a plug-in: it may break what it likes there, and what it breaks is told.

Findings go to the parent as lines of JSON; what the plug-in prints goes nowhere."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import torch

from mtlbench.authoring.check import CALLED, Finding, _reason, find_built_in_kind, kind_of, parse_arguments
from mtlbench.errors import UserError
from mtlbench.plugins import BrokenFile, file_of, find
from mtlbench.spec import is_file
from mtlbench.training.process import SHARED, forbid_exit, state


class Heard(io.TextIOBase):
    """Standard output, which notes the first line of a file in `folder` that writes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.where, self.times = folder, "", 0

    def write(self, text: str) -> int:
        """Drop the text."""
        self.times += "\n" in text
        frame = sys._getframe(1)
        while not self.where and frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.parent == self.folder:
                self.where = f"{path.name}:{frame.f_lineno}: "
            frame = frame.f_back  # type: ignore[assignment]
        return len(text)


def collect_answers(spec: str, kind: str, root: Path | None) -> Iterator[tuple[Finding | None, str]]:
    """Findings on a plug-in, then what it is in words. Raises UserError for what is not there."""
    place, options = parse_arguments(spec)
    file = file_of(place) if is_file(place) else Path()
    sys.stdout = heard = Heard(file.parent)
    try:
        with forbid_exit():
            cls = find(kind or find_built_in_kind(place), place)
    except BrokenFile as error:
        cause = error.__cause__
        yield (
            Finding(
                False,
                f'{file.name} ends the program when it is imported; put what it runs below if __name__ == "__main__":'
                if isinstance(cause, SystemExit)
                else f"the file cannot be imported: {_reason(cause or error, file)}",
            ),
            "",
        )
        return
    kind = kind or kind_of(cls, place)
    if kind == "dataset":
        options = {"root": root, **options}
    elif root is not None:
        raise UserError(f"--data-root is for data sets; {cls.__name__} is a {CALLED.get(kind, kind)}")
    questions = importlib.import_module(f"mtlbench.authoring.check_{kind}").check
    torch.set_num_threads(1)  # small networks: two threads only wait for each other on a busy machine
    before = state()
    for finding in questions(cls, options):
        yield finding, ""
    for finding in find_leftovers(before, state(), heard, file):
        yield finding, ""
    yield None, f"{cls.__name__}, a {CALLED.get(kind, kind)}"


def find_leftovers(before: dict[str, Any], after: dict[str, Any], heard: Heard, file: Path) -> Iterator[Finding]:
    """Whether the plug-in leaves the process as it was, and is silent."""
    source = file.read_text(errors="replace").splitlines() if file.is_file() else []
    good = True
    for name, part in SHARED.items():
        if after[name] != before[name]:  # libraries that torch imports late change some of it, too
            lines = [
                number
                for number, line in enumerate(source, 1)
                if re.search(part.words, line) and not re.match(r"\s*(#|import\b|from\b)", line)
            ]
            if part.late and not lines:
                continue
            where = f"{file.name}:{lines[0]}: " if lines else ""
            yield Finding(
                good := False,
                f"{where}it changes {name}{_change(before[name], after[name])}, which is the "
                "whole process's: other trials run there, too; leave it as it is",
            )
    if heard.where:
        yield Finding(
            good := False,
            f"{heard.where}it prints ({heard.times} lines during this check); a run shows none of it: leave print out",
        )
    if good:
        yield Finding(
            True, "It leaves the process as it was (threads, random numbers, environment, folder), and prints nothing"
        )


def _change(before: Any, after: Any) -> str:
    """` from 1 to 2`, ` (CUDA_DEVICE)`, or nothing where that is too long to say."""
    if isinstance(before, dict):
        return f" ({', '.join(sorted(n for n in before | after if before.get(n) != after.get(n))[:3])})"
    if isinstance(before, set):
        return f" ({len(after - before)} more)" if after - before else ""
    text = f" from {before} to {after}"
    return text if len(text) < 80 else ""


def examine(spec: str, kind: str, root: Path | None) -> Iterator[dict[str, Any]]:
    """What the parent is told of a plug-in; that all has been asked, or what is not there, comes last."""
    try:
        for finding, what in collect_answers(spec, kind, root):
            yield {"what": what} if finding is None else finding._asdict()
        yield {"done": True}
    except UserError as error:
        yield {"error": str(error)}


def main() -> None:
    """Answer the one question on standard input."""
    lines: TextIO = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    for line in examine(asked["spec"], asked["kind"], Path(asked["root"]) if asked["root"] else None):
        print(json.dumps(line), file=lines, flush=True)
    os._exit(0)  # whatever threads the plug-in has started


if __name__ == "__main__":
    main()
