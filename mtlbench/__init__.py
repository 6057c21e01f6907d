"""mtlbench: how much should these tasks share? An architecture-search benchmark for multi-task learning."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["load_network", "load_results"]


def __getattr__(name: str) -> Any:
    """`mtlbench.load_results` and `load_network`, imported when asked for: pandas and torch are slow to import."""
    if name == "load_results":
        from mtlbench.store import load_results

        return load_results
    if name == "load_network":
        from mtlbench.export import load_network

        return load_network
    raise AttributeError(f"module 'mtlbench' has no attribute {name!r}")
