"""`mtlbench new`: a short file of one's own that already works."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import keyword
import re
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.plugins import class_name, list_names

# What to type next; `FILE` is the new file.
NEXT = {
    "scheme": (
        "mtlbench check FILE",
        "mtlbench run --pair det_attr --recipe smoke --scheme FILE",
        "mtlbench run --pair det_attr --all-splits --scheme FILE",
        "mtlbench plot figure2",
    ),
    "weighting": (
        "mtlbench check FILE",
        "mtlbench run --pair det_attr --recipe smoke --arm split-fc8 --weighting FILE",
        "mtlbench run --pair det_attr --arm split-fc8 --weighting FILE",
        "mtlbench plot figure2 --arm 'split-fc8*'",
    ),
    "backbone": (
        "mtlbench check FILE",
        "mtlbench run --pair det_attr --recipe smoke --backbone FILE",
        "mtlbench run --pair det_attr --backbone FILE",
        "mtlbench plot figure2",
    ),
    "task": (
        "mtlbench check FILE",
        "then put it into a pair with another task: docs/own_task.md",
    ),
    "dataset": (
        "mtlbench check FILE --data-root DIR",
        "mtlbench data verify FILE --data-root DIR",
        "mtlbench run --pair semseg_sn --dataset FILE --data-root DIR --recipe short",
        "mtlbench plot figure2",
    ),
}


def new(kind: str, name: str, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Write NAME.py into the folder; its path, and what to type next. `kind` is one of NEXT. Raises UserError."""
    text = (Path(__file__).parent / "templates" / f"{kind}.py").read_text()
    path = folder / f"{name}.py"
    if fault := explain_unfit(kind, name, text, folder.resolve()):
        raise UserError(f"{name!r} {fault}; write for example: mtlbench new {kind} my_{kind}")
    try:
        with open(path, "x") as file:
            file.write(text.replace("Template", class_name(name)).replace("template", name))
    except FileExistsError:
        raise UserError(f"{path.name} is there already; choose another name, or remove it") from None
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return path, tuple(line.replace("FILE", path.name) for line in NEXT[kind])


def explain_unfit(kind: str, name: str, text: str, folder: Path) -> str:
    """Why a plug-in in `folder` cannot be called so; empty where it can. `text` is the template."""
    cls = class_name(name)
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        return "is no name for a Python file and its class: letters, digits and _, a letter first"
    if keyword.iskeyword(name) or keyword.iskeyword(cls):
        return "is a word of Python's own"
    if name in list_names(kind):
        return f"is a built-in {kind}"
    if cls in find_names(text) or hasattr(builtins, cls):
        return "would hide what the file itself uses"
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.origin and Path(spec.origin).parent != folder:
        return "is an installed Python package, which the file would hide"
    return ""


def find_names(text: str) -> set[str]:
    """The names that stand in a Python text."""
    nodes = list(ast.walk(ast.parse(text)))
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    imported = {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}
    return classes | imported | {node.id for node in nodes if isinstance(node, ast.Name)}
