"""mtlbench: how much should these tasks share? An architecture-search benchmark for multi-task learning."""

from __future__ import annotations

from typing import Any

from mtlbench._version import __version__

__all__ = ["__version__", "load_network", "load_results"]


def __getattr__(name: str) -> Any:
    """`mtlbench.load_results` and `load_network`, imported when asked for: pandas and torch are slow to import."""
    if name == "load_results":
        from mtlbench.store.results import load_results

        return load_results
    if name == "load_network":
        from mtlbench.use.export import load_network

        return load_network
    raise AttributeError(f"module 'mtlbench' has no attribute {name!r}")
