"""What code of a user's may do to the process that runs it: what outlives a trial there, and how it may end."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch

from mtlbench.errors import UserError


class Ended(UserError):
    """Something wanted to end the process."""


class Shared(NamedTuple):
    """A part of a process's state that everything in it sees."""

    look: Callable[[], Any]
    put: Callable[[Any], None] | None  # back; None = nobody can
    words: str  # with which a file changes it, as a regular expression
    late: bool = False  # whether libraries change it when they are imported late


def _set_environment(wanted: dict[str, str]) -> None:
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)


def _set_filters(wanted: list[Any]) -> None:
    warnings.filters[:] = wanted  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _flags() -> tuple[bool, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )


def _set_flags(wanted: tuple[bool, ...]) -> None:
    torch.use_deterministic_algorithms(wanted[0], warn_only=wanted[1])
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = wanted[2:]


def _numpy() -> Any:
    return tuple(part.tobytes() if isinstance(part, np.ndarray) else part for part in np.random.get_state())


def _set_numpy(wanted: Any) -> None:
    np.random.set_state((wanted[0], np.frombuffer(wanted[1], np.uint32), *wanted[2:]))


SHARED = {
    "torch's number of threads": Shared(torch.get_num_threads, torch.set_num_threads, r"set_num_threads"),
    "torch's default dtype": Shared(torch.get_default_dtype, torch.set_default_dtype, r"set_default_(dtype|tensor)"),
    "torch's choice of deterministic algorithms": Shared(_flags, _set_flags, r"determin|benchmark"),
    "torch's recording of gradients": Shared(torch.is_grad_enabled, torch._C._set_grad_enabled, r"set_grad_enabled"),
    "the seed of torch's global generator": Shared(torch.initial_seed, None, r"seed\("),
    "the state of Python's global generator (random)": Shared(random.getstate, random.setstate, r"\brandom\."),
    "the state of numpy's global generator (np.random)": Shared(_numpy, _set_numpy, r"\brandom\."),
    "the environment (os.environ)": Shared(lambda: dict(os.environ), _set_environment, r"environ|putenv", True),
    "the working folder": Shared(os.getcwd, os.chdir, r"chdir"),
    "the filters of warnings": Shared(lambda: list(warnings.filters), _set_filters, r"filterwarn|simplefilter", True),
    "the running threads": Shared(lambda: {thread.name for thread in threading.enumerate()}, None, r"Thread|Pool"),
}


def state() -> dict[str, Any]:
    """All of SHARED, by name."""
    return {name: part.look() for name, part in SHARED.items()}


@contextlib.contextmanager
def guard_process() -> Iterator[None]:
    """What is done inside neither ends this process nor leaves its shared state changed. Raises Ended."""
    before = state()
    try:
        with forbid_exit():
            yield
    finally:
        for name, part in SHARED.items():
            if part.put and part.look() != before[name]:
                part.put(before[name])


@contextlib.contextmanager
def forbid_exit() -> Iterator[None]:
    """sys.exit and os._exit of this thread are an error here, which says where they stand. Raises Ended."""
    real, owner, process = os._exit, threading.get_ident(), os.getpid()

    def refuse(status: int) -> NoReturn:
        if (threading.get_ident(), os.getpid()) != (owner, process):  # the end of a run is one, a fork's child another
            real(status)
        raise Ended(_describe_ending(sys._getframe(1), f"os._exit({status})"))

    os._exit = refuse
    try:
        yield
    except SystemExit as error:
        raise Ended(_describe_ending(_innermost(error.__traceback__), f"sys.exit({error.code!r})")) from error
    finally:
        os._exit = real


def _innermost(at: TracebackType | None) -> TracebackType | None:
    """The last line of a traceback that is not Python's own `exit`."""
    found: TracebackType | None = None
    while at is not None:
        if "_sitebuiltins" not in at.tb_frame.f_code.co_filename:
            found = at
        at = at.tb_next
    return found


def _describe_ending(at: Any, how: str) -> str:
    """In words; `at` is a frame or a traceback's step."""
    frame = getattr(at, "tb_frame", at)
    line = getattr(at, "tb_lineno", None) or getattr(at, "f_lineno", 0)
    where = f"{Path(frame.f_code.co_filename).name}:{line} (in {frame.f_code.co_name}) " if frame else "something "
    return f"{where}ends the process by {how}; raise an exception where a trial cannot go on"
