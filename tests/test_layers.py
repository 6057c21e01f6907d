"""Imports only go down the layers; starting the command line imports neither torch nor ray."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    {"errors", "machine"}, {"spec", "cache", "files", "imagefile"}, {"values"}, {"plugins", "metrics", "board"},
    {"regions", "layers", "folders"}, {"sources", "frames"},
    {"backbones", "sharing", "tasks", "data"},
    {"weights", "network", "batches", "enumerator", "store", "spaces", "predictions"}, {"train"},
    {"trial", "courier", "reaper"}, {"schedule", "packing", "show"}, {"ray_executor", "display", "stats"},
    {"choice", "inference", "paper", "render"}, {"deltas", "comparison", "tables"},
    {"paper_tables", "figures", "claims", "status"}, {"verdict", "plots"}, {"report", "study", "clean"},
    {"datasets", "listing", "export"}, {"predict"}, {"checks", "new"}, {"_check_labels", "_check_probe"},
    {"_check_task", "_check_dataset", "_check_scheme", "_check_backbone"}, {"cli"},
]  # fmt: skip
WITHOUT_TORCH = ("stats", "choice", "inference", "paper", "render", "deltas", "comparison", "tables", "paper_tables",
                 "figures", "claims", "verdict", "plots", "report", "spec", "frames", "store", "cli", "display",
                 "status", "clean")  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
PLUGINS = ("backbones", "sharing", "tasks", "data", "figures")
FILES = [p for p in sorted((ROOT / "mtlbench").rglob("*.py")) if p.stem not in ("__init__", "__main__")
         and p.parent.name != "templates"]  # fmt: skip


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "mtlbench").with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    own = layer_of(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "ray":
            assert path.stem == "ray_executor"
        if parts[0] in ("torch", "torchvision"):
            assert own not in WITHOUT_TORCH
        if parts[0] != "mtlbench" or len(parts) < 2 or parts[1] not in LEVEL:
            continue
        other = parts[1]
        if other == own:
            # Plug-ins never import each other, only the private helpers of their folder.
            assert own not in PLUGINS or parts[2].startswith("_"), f"{path} imports {name}"
        else:
            assert LEVEL[other] < LEVEL[own], f"{path} imports {name}"


def test_help_imports_neither_torch_nor_ray_nor_pandas() -> None:
    code = (
        "import sys; from mtlbench.cli import main; main(['--help'], standalone_mode=False);"
        "print([m for m in ('torch', 'ray', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")
