"""Which folder may import which (CONTRIBUTING.md, "Where things are"); starting the command line imports little."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

PACKAGE = ROOT / "mtlbench"
PLUGINS = ("backbones", "schemes", "weightings", "tasks", "datasets", "figures")
TOP = ("errors", "text", "_version", "spec", "arm_names", "contracts", "system", "plugins")  # for everyone
NUMBERS = (
    "vision",
    "nets",
    "backbones",
    "schemes",
    "weightings",
    "tasks",
    "datasets",
    "plan",
    "store",
    "training",
    "execution",
)
READING = ("analysis", "tabular", "figures", "report")  # of numbers
ORDER = (*TOP, *NUMBERS, *READING, "use", "authoring", "cli", "__main__")  # a folder or file imports what stands before
WITHOUT_TORCH = ("text", "spec", "arm_names", "contracts", "system", "plugins", *READING, "cli")
WITH_RAY = ("execution/ray_executor.py", "tabular/tune_methods.py")
WITH_PANDAS = ("store", *READING, "cli")
FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py" and p.parent.name != "templates"]


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, but for types alone."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    skipped = {id(inner) for block in types for inner in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def breaches(file: str, names: set[str]) -> list[str]:
    """What a file (below mtlbench/) imports and may not."""
    own, wrong = file.split("/")[0].removesuffix(".py"), []
    for parts in (name.split(".") for name in sorted(names)):
        if parts[0] == "ray" and file not in WITH_RAY:
            wrong.append(f"{file}: only {' and '.join(WITH_RAY)} import ray")
        if parts[0] in ("torch", "torchvision") and own in WITHOUT_TORCH:
            wrong.append(f"{file}: no torch in {own}")
        if parts[0] == "pandas" and own not in WITH_PANDAS:
            wrong.append(f"{file}: no pandas in {own}")
        if parts[0] != "mtlbench" or len(parts) < 2 or parts[1] not in ORDER:
            continue
        other = parts[1]
        if other == own:
            if own in PLUGINS and not parts[2].startswith("_"):
                wrong.append(f"{file}: plug-ins never import each other, {'.'.join(parts)}")
        elif ORDER.index(other) > ORDER.index(own):
            wrong.append(f"{file}: {own} may not import {other}")
        elif own in READING and other in NUMBERS and other != "plan":
            wrong.append(f"{file}: {own} reads numbers and may not import {other}, which makes them")
        elif other in PLUGINS:
            wrong.append(f"{file}: plug-ins are found by plugins.find, not imported: {'.'.join(parts)}")
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_card(path: Path) -> None:
    assert breaches(str(path.relative_to(PACKAGE)), imports(path)) == []


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("analysis/frame.py", "torch"),
        ("analysis/frame.py", "mtlbench.store.results.Results"),
        ("training/loop.py", "mtlbench.execution.study.run_study"),
        ("tasks/semseg.py", "mtlbench.tasks.normals.Normals"),
        ("nets/network.py", "mtlbench.schemes.split.Split"),
        ("training/loop.py", "pandas"),
        ("cli/main.py", "ray"),
    ],
)
def test_a_wrong_import_is_named(file: str, name: str) -> None:
    assert len(breaches(file, {name})) == 1


def test_every_folder_is_on_the_card() -> None:
    top = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert top == set(ORDER)


def test_help_imports_no_large_library() -> None:
    code = (
        "import sys; from mtlbench.cli.main import main; main(['--help'], standalone_mode=False);"
        "print([m for m in ('torch', 'ray', 'pandas', 'matplotlib', 'seaborn') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")


def test_contributing_names_every_module_once_and_none_that_is_not_there() -> None:
    """A stranger looks there first."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    table = text.partition("| folder |")[2].partition("`search_spaces/` has")[0]
    named = re.findall(r"`(\w+\.py)`", table)
    there = [path.name for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    assert sorted(named) == sorted(there)
