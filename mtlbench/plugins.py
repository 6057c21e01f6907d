"""Finding plug-ins: by name in the package, or in a user's file."""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from mtlbench.errors import UserError
from mtlbench.spec import Plugin, is_file


class Broken:
    """Stands for a user's scheme that cannot be imported: its trials are planned, and fail with the reason."""

    version = 0


def scheme_class(name: str) -> Any:
    """The class of a scheme, or Broken for a user's file that is there and cannot be imported. Raises UserError."""
    try:
        return find("scheme", name)
    except BrokenFile:
        return Broken


def parse_call(spec: str, option: str = "--scheme") -> tuple[str, dict[str, Any]]:
    """The name and the options in what an option of the command line says; only literals, nothing is evaluated. Raises
    UserError.

    >>> parse_call("mine.py:Own(rank=4)")
    ('mine.py:Own', {'rank': 4})
    """
    place, bracket, inside = spec.partition("(")
    if not bracket:
        return spec, {}
    try:
        call = ast.parse(f"f({inside}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError
        if not all(keyword.arg for keyword in call.keywords):  # **{...}
            raise ValueError
        return place.strip(), {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{option} {spec!r}: write FILE.py:Class(name=value, ...) with plain values") from error


def make_plugin(kind: str, name: str, options: dict[str, Any]) -> Plugin:
    """A plug-in with the version that its class states now; a user's file is named by its class."""
    version = (scheme_class(name) if kind == "scheme" else find(kind, name)).version
    if is_file(name):
        return Plugin(class_of(name), options, version, f"{file_of(name)}:{class_of(name)}")
    return Plugin(name, options, version)


def defaults_of(kind: str, name: str) -> dict[str, Any]:
    """A plug-in's options and their defaults: resolved, the same network has one key however it was asked for."""
    cls = scheme_class(name) if kind == "scheme" else find(kind, name)
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


KINDS = ("task", "backbone", "scheme", "weighting", "dataset", "figure")  # their folders: the kind and an s


def list_names(kind: str) -> list[str]:
    """Names of all plug-ins of a kind (one of KINDS): the files in its folder."""
    folder = Path(__file__).parent / f"{kind}s"
    return sorted(path.stem for path in folder.glob("[a-z]*.py"))


def class_name(name: str) -> str:
    """
    >>> class_name("cross_stitch")
    'CrossStitch'
    """
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def make_unknown(what: str, name: str, valid: Iterable[str]) -> UserError:
    """The error for a wrong name: the nearest right one and the full list."""
    valid = list(valid)
    near = difflib.get_close_matches(name, valid, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(f"no {what} called {name!r}.{hint} There are: {', '.join(valid) or '(none)'}")


def find(kind: str, name: str) -> Any:
    """The class of a plug-in: a built-in name, or `FILE.py:Class` for a user's own. Raises UserError."""
    if is_file(name):
        return from_file(name)
    if name not in list_names(kind):
        raise make_unknown(kind, name, list_names(kind))
    return getattr(importlib.import_module(f"mtlbench.{kind}s.{name}"), class_name(name))


def file_of(spec: str) -> Path:
    """The absolute path in `FILE.py:Class`."""
    return Path(spec.rpartition(":")[0] if ".py:" in spec else spec).expanduser().resolve()


def class_of(spec: str) -> str:
    """The name of the class in `FILE.py:Class`; of `FILE.py` alone the CamelCase of the file's name."""
    return spec.rpartition(":")[2] if ".py:" in spec else class_name(file_of(spec).stem)


class BrokenFile(UserError):
    """A user's file that is there and cannot be imported."""


class _FromText(SourceFileLoader):
    """Compiles a file each time: Python takes bytecode for that of a file whose length and second of change are the
    same, which two versions of a file may share."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def from_file(spec: str) -> Any:
    """The class `FILE.py:Class` (`FILE.py` alone: the CamelCase of the file name). Raises UserError."""
    path, cls = file_of(spec), class_of(spec)
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    module_name = f"mtlbench_user_{path.stem}"
    loader = _FromText(module_name, str(path))
    module_spec = importlib.util.spec_from_file_location(module_name, path, loader=loader)
    assert module_spec is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module  # dataclasses and pickle look their module up by name
    try:
        loader.exec_module(module)
    except SystemExit as error:
        raise BrokenFile(
            f'{path} ends the program when it is imported; put what it runs below if __name__ == "__main__":'
        ) from error
    except Exception as error:
        moved = isinstance(error, ImportError) and (error.name or "").startswith("mtlbench")
        hint = "; what your file needs of mtlbench is in mtlbench.authoring" if moved else ""
        raise BrokenFile(f"{path} cannot be imported: {type(error).__name__}: {error}{hint}") from error
    if not inspect.isclass(getattr(module, cls, None)):
        own = [n for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module_name]
        raise make_unknown(f"class in {path.name}", cls, own)
    return getattr(module, cls)


@contextlib.contextmanager
def blame(name: str) -> Iterator[None]:
    """Whatever a user's file `name` raises inside is one line that says where. Raises UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_file(name):
            raise
        path = file_of(name)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise UserError(f"{where}: {type(error).__name__}: {error}; type: mtlbench check {name}") from error


def create(kind: str, name: str, **options: Any) -> Any:
    """An instance of a plug-in; wrong options are a UserError that names the right ones."""
    cls = find(kind, name)
    known: Sequence[str] = list(inspect.signature(cls).parameters)
    for option in options:
        if option not in known:
            raise make_unknown(f"option of {kind} {name}", option, known)
    return cls(**options)
