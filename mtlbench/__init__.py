"""mtlbench: how much should these tasks share? An architecture-search benchmark for multi-task learning.

run: train a study. load_results: what a results folder holds, as Results. load_network: a network from a file that
`mtlbench export-weights` wrote. Benchmark: a table that `mtlbench export` wrote, asked without training. All of
them are imported when asked for: pandas and torch are slow to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtlbench._version import __version__

if TYPE_CHECKING:
    from mtlbench.tabular.benchmark import Benchmark
    from mtlbench.use.export import load_network
    from mtlbench.use.results import Results, load_results
    from mtlbench.use.run import run

__all__ = ["Benchmark", "Results", "__version__", "load_network", "load_results", "run"]


def __getattr__(name: str) -> Any:
    """A public name, imported now. Raises AttributeError."""
    if name == "run":
        from mtlbench.use.run import run

        return run
    if name == "load_network":
        from mtlbench.use.export import load_network

        return load_network
    if name == "Benchmark":
        from mtlbench.tabular.benchmark import Benchmark

        return Benchmark
    if name in ("Results", "load_results"):
        from mtlbench.use import results

        return getattr(results, name)
    raise AttributeError(f"module 'mtlbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, for completion and help."""
    return __all__
