"""mtlbench: how much should these tasks share? An architecture-search benchmark for multi-task learning."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["load_results"]


def __getattr__(name: str) -> Any:
    """`mtlbench.load_results`, imported when asked for: pandas is slow to import."""
    if name == "load_results":
        from mtlbench.store import load_results

        return load_results
    raise AttributeError(f"module 'mtlbench' has no attribute {name!r}")
