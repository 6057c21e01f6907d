"""The tests' own order: a folder of tests for each of the package's, and what tests share lies in tests/support/."""

from __future__ import annotations

import ast

from tests.support.places import ROOT

TESTS = ROOT / "tests"
PACKAGE = ROOT / "mtlbench"
OTHERS = {"house", "security", "stress", "support"}  # of the whole
FILES = sorted(TESTS.rglob("*.py"))


def modules_imported(text: str) -> set[str]:
    """Full names of the modules that a text imports, or imports from."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module or ''}.{alias.name}" for alias in node.names}
    return found


def imports_of_tests(text: str) -> list[str]:
    return sorted(name for name in modules_imported(text) if name.rpartition(".")[2].startswith("test_"))


def test_no_file_imports_a_file_of_tests() -> None:
    assert {str(path): found for path in FILES if (found := imports_of_tests(path.read_text()))} == {}


def test_every_way_to_import_a_test_is_seen() -> None:
    for text in (
        "import tests.a.test_b",
        "from tests.a.test_b import c",
        "from tests.a import test_b",
        "import test_b",
    ):
        assert imports_of_tests(text), text


def test_folders_of_tests_are_those_of_the_package() -> None:
    folders = {path.name for path in TESTS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == packages | OTHERS


def test_files_of_tests_lie_in_folders_that_are_packages() -> None:
    """Two files may have one name; pytest tells them apart by their folders."""
    for path in FILES:
        assert (path.parent / "__init__.py").is_file(), path
        if path.name.startswith("test_"):
            assert path.parent not in (TESTS, TESTS / "support"), path
