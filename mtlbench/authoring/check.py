"""`mtlbench check`: whether a plug-in keeps its contract, said in plain words."""

from __future__ import annotations

import inspect
import json
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtlbench.errors import UserError
from mtlbench.plugins import class_of, file_of, list_names, make_unknown, parse_call
from mtlbench.spec import Options, is_file, write_canonical

# What tells the kinds apart: a class that has any of these, without its base class.
MARKS = {
    "scheme": ("groups", "unit"),
    "weighting": ("combine", "weights", "aggregate"),
    "backbone": ("build", "stages", "forms", "adapted"),
    "task": ("head", "loss", "predict", "meter"),
    "dataset": ("subset", "categories", "fingerprint", "prepare"),
}
CALLED = {"dataset": "data set"}
LONGEST = 300  # characters of another library's message


class Finding(NamedTuple):
    """What holds, or what is wrong, where, and what to do."""

    ok: bool
    text: str


def check(spec: str, kind: str, data_root: Path | None) -> Iterator[Finding | str]:
    """The findings on `FILE.py`, `FILE.py:Class(rank=4)` or a built-in name as they come; last, in words, what it is,
    where it could be asked at all.

    `kind` is one of MARKS, or empty: then what the class has tells it. Raises UserError for what is not there.
    """
    for told in _run_child(spec, kind, data_root):
        if "error" in told:
            raise UserError(told["error"])
        if "text" in told:
            yield Finding(told["ok"], told["text"])
        elif "what" in told:
            yield told["what"]


def _run_child(spec: str, kind: str, root: Path | None) -> Iterator[dict[str, Any]]:
    """What a process of its own tells of the plug-in; last, where that does not end as it should, how it ended."""
    asked = {"spec": spec, "kind": kind, "root": str(root) if root else "", "path": sys.path}
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "mtlbench.authoring._child"]
    told: dict[str, Any] = {}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as child,
    ):
        assert child.stdin is not None and child.stdout is not None
        with child.stdin as question:
            json.dump(asked, question)
        for line in child.stdout:
            yield (told := json.loads(line))
        if "done" in told or "error" in told:
            return
        status = child.wait()
        errors.seek(0)
        trace = errors.read()
    if "Traceback (most recent call last)" in trace and status == 1:
        raise RuntimeError(f"the check itself failed:\n{trace}")
    yield {"ok": False, "text": f"{_last_own_line(trace, spec)}the process ended {how_it_ended(status)}"}


def how_it_ended(status: int) -> str:
    """`with status 3`, `by SIGSEGV`, from what subprocess gives."""
    return f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"


def _last_own_line(trace: str, spec: str) -> str:
    """`my.py:12 (in forward): ` from faulthandler's lines, empty where none is of the plug-in's folder."""
    place = parse_arguments(spec)[0]
    for path, line, name in re.findall(r'File "(.+)", line (\d+) in (\S+)', trace):
        if is_file(place) and Path(path).parent == file_of(place).parent:
            return f"{Path(path).name}:{line} (in {name}): "
    return ""


def parse_arguments(spec: str) -> tuple[str, Options]:
    """`my.py:C(rank=4)` -> ("my.py:C", {"rank": 4}). Raises UserError."""
    try:
        return parse_call(spec)
    except UserError:
        raise UserError(f"{spec!r}: write FILE.py:Class(name=value, ...) with plain values") from None


def find_built_in_kind(place: str) -> str:
    """The kind that a built-in name is of; any for a file, whose class tells. Raises UserError."""
    if is_file(place):
        return "scheme"
    for kind in MARKS:
        if place in list_names(kind):
            return kind
    raise make_unknown(
        "built-in plug-in (a file ends in .py)", place, [name for kind in MARKS for name in list_names(kind)]
    )


def kind_of(cls: type, place: str) -> str:
    """The kind whose marks a class has most of. Raises UserError where that is none or several."""
    share = {kind: sum(hasattr(cls, mark) for mark in marks) / len(marks) for kind, marks in MARKS.items()}
    likely = [kind for kind, part in share.items() if part == max(share.values())]
    if len(likely) > 1:
        needs = "; ".join(f"{CALLED.get(kind, kind)}: {' and '.join(marks[:2])}" for kind, marks in MARKS.items())
        name = cls.__name__ if ":" in place else class_of(place)
        raise UserError(
            f"cannot tell what {name} in {place} is to be; say --kind scheme (or another). What each kind has: {needs}"
        )
    return likely[0]


def place(function: Any) -> str:
    """`my.py:12: ` of a function in a file, empty for what has none."""
    code = getattr(function, "__code__", None)
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}: " if code else ""


def explain(error: BaseException, cls: Any) -> str:
    """`my.py:12 (in forward): KeyError: 'a'`: the innermost frame in the folder of the class's file, in one line."""
    module = sys.modules.get(cls.__module__)
    return _reason(error, Path(getattr(module, "__file__", None) or ""))


def _reason(error: BaseException, file: Path) -> str:
    if isinstance(error, UserError):
        return str(error)
    message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    text = f"{type(error).__name__}: {message[:LONGEST]}" if message else type(error).__name__
    frames = [(Path(frame.filename), frame.lineno, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((Path(error.filename), error.lineno, "<module>"))
    own = [frame for frame in frames if frame[0].resolve().parent == file.resolve().parent]
    if not own:
        return text
    path, line, name = own[-1]
    return f"{path.name}:{line}{'' if name.startswith('<') else f' (in {name})'}: {text}"


def check_declaration(
    cls: Any, options: Options, methods: Sequence[str], given: Sequence[str] = ()
) -> tuple[list[Finding], Options | None]:
    """Findings on the version, the methods and the options of a class, and its options as a trial would keep them (None
    where nothing can be made of them). `given`: parameters of the constructor that no user gives."""
    name, found = cls.__name__, list[Finding]()
    missing = [method for method in methods if not callable(getattr(cls, method, None))]
    found.append(
        Finding(
            not missing, f"{name} has no {' and no '.join(missing)}" if missing else f"It has {' and '.join(methods)}"
        )
    )
    version = getattr(cls, "version", None)
    if type(version) is int:
        found.append(Finding(True, f"Its version is {version}"))
    else:
        found.append(
            Finding(
                False,
                f"version is {version!r}; write `version = 1` in the class, and raise it when you "
                "change what it computes",
            )
        )
    text = _options_fault(cls, options, given)
    found.append(Finding(not text, text or "Its options have defaults, as plain values"))
    if missing or text:
        return found, None
    known = {p.name: p.default for p in _list_parameters(cls) if p.default is not p.empty and p.name not in given}
    return found, json.loads(write_canonical(known | options))


def _list_parameters(cls: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(cls).parameters.values())


def _options_fault(cls: Any, options: Options, given: Sequence[str]) -> str:
    name, parameters = cls.__name__, _list_parameters(cls)
    where = place(cls.__init__)
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return f"{where}the constructor takes *{parameter.name}; name each option, with a default"
    for option in options:
        if option not in (names := [p.name for p in parameters]):
            return str(make_unknown(f"option of {name}", option, names))
    for parameter in parameters:
        option = parameter.name
        if parameter.default is parameter.empty and option not in (*given, *options):
            return (
                f"{where}option {option} has no default: give it one, or say what to check it with, such as "
                f"'{name}({option}=1)'"
            )
        try:
            write_canonical(options.get(option, None if parameter.default is parameter.empty else parameter.default))
        except (TypeError, ValueError):
            if option not in given:
                return (
                    f"{where}option {option} is {parameter.default!r} by default; results are told apart by "
                    "options, so write numbers, texts, truth values or lists of them"
                )
    return ""
