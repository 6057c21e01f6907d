"""What pyproject.toml declares is what the package imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from tests.support.places import ROOT

# Imported under names that their distributions do not list, or by several.
DISTRIBUTIONS = {"cv2": "opencv-contrib-python-headless", "mlflow": "mlflow-skinny"}


def read_declared() -> set[str]:
    """Distributions that the package needs, or an extra of it, in plain spelling; those of tools are not imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        need for name, some in project["optional-dependencies"].items() if name not in ("dev", "docs") for need in some
    ]
    needs = [*project["dependencies"], *extras]
    return {re.split(r"[\[<>=!~ ]", need)[0].lower().replace("_", "-") for need in needs}


def find_imported() -> set[str]:
    """Distributions that some file of the package imports and that are not tried for."""
    names: set[str] = set()
    for path in (ROOT / "mtlbench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    names -= {*sys.stdlib_module_names, "mtlbench"}
    known = packages_distributions()
    return {DISTRIBUTIONS.get(name) or known.get(name, [name])[0].lower().replace("_", "-") for name in names}


def test_what_is_declared_is_imported_and_what_is_imported_is_declared() -> None:
    assert read_declared() == find_imported()
