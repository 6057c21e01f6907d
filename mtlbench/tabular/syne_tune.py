"""A table as a blackbox of Syne Tune: `blackbox_tabular.deserialize(DIR)` reads it and `load_blackbox`'s users take it.

The form is Syne Tune's own (0.16): hyperparameters.parquet, objectives_evaluations.npy `tasks configs seeds fidelities
objectives` float32, fidelities_values.npy, and JSON of both spaces and of names. Hyperparameters: `arm`, and for every
two tasks how many stages they share, which follows from the arm: only the arms' own configurations have numbers
(`all_configurations`). The fidelity `point` counts the points of training from 1; NaN where an arm lacks a number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mtlbench.errors import UserError
from mtlbench.system.files import replace_file, write
from mtlbench.system.schema import encode
from mtlbench.tabular.benchmark import Benchmark
from mtlbench.tabular.candidates import count_shared
from mtlbench.tabular.content import CHANGE, Columns, Content
from mtlbench.tabular.export import refuse_to_replace

METADATA = "metadata.json"
FIDELITY = "point"
SECONDS = "elapsed_time"  # cumulative, as Syne Tune's simulator wants it; the parents' training comes first


def write_blackbox(content: Content, folder: Path, force: bool = False) -> Path:
    """Write the table's blackbox; its folder. Objectives: the change and each task's headline on val (the last point:
    on all of val, after training), the same on test (NaN before the end), seconds. Raises UserError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    refuse_to_replace(folder / METADATA, force)
    benchmark = Benchmark.of(content)
    points = max((len(found) for found in benchmark.iterations.values()), default=0) or 1
    names, numbers = _evaluate(benchmark, points)
    shared = [count_shared(benchmark, arm) for arm in benchmark.arms]
    configurations: Columns = {"arm": benchmark.arms}
    configurations |= {f"stages_shared_{name}": [one[name] for one in shared] for name in shared[0]}
    about = content.about
    metadata = {
        "objectives_names": names,
        "task_names": [about.dataset],
        "elapsed_time_attr": SECONDS,
        **{name: getattr(about, name) for name in ("version", "pair", "recipe", "note", "licence", "citation")},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replace_file(folder / "hyperparameters.parquet") as temporary:
            pq.write_table(pa.table(configurations), temporary, compression="gzip")
        for name, array in (("objectives_evaluations", numbers), ("fidelities_values", np.arange(1, points + 1))):
            with replace_file(folder / f"{name}.npy") as temporary, open(temporary, "wb") as file:
                np.save(file, array, allow_pickle=False)
        write(folder / "configspace.json", encode(_make_space(configurations)))
        write(folder / "fidelityspace.json", encode({FIDELITY: _domain("Integer", lower=1, upper=points)}))
        write(folder / METADATA, encode(metadata))
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; name another folder") from error
    return folder


def _evaluate(benchmark: Benchmark, points: int) -> tuple[list[str], np.ndarray]:
    """Names of the objectives, and the numbers `1 arms seeds points objectives`."""
    measured = [CHANGE, *benchmark.tasks]
    names = [*(f"val_{name}" for name in measured), *(f"test_{name}" for name in measured), SECONDS]
    numbers = np.full((1, len(benchmark.arms), len(benchmark.seeds), points, len(names)), np.nan, np.float32)
    for i, arm in enumerate(benchmark.arms):
        during = benchmark.iterations[arm] or [0]
        for j, seed in enumerate(benchmark.seeds):
            for point, iteration in enumerate(during[:points]):
                is_last = point == len(during) - 1
                at = points - 1 if is_last else point  # an arm with fewer points ends at the last one, too
                row = [_ask(benchmark, arm, seed, name, "val", None if is_last else iteration) for name in measured]
                row += [_ask(benchmark, arm, seed, name, "test", None) if is_last else np.nan for name in measured]
                share = iteration / during[-1] if during[-1] else 1.0
                numbers[0, i, j, at] = [*row, _seconds(benchmark, arm, seed, share)]
    return names, numbers


def _ask(benchmark: Benchmark, arm: str, seed: int, metric: str, subset: str, iteration: int | None) -> float:
    """NaN for what the table does not have."""
    value = benchmark.look_up(arm, seed=seed, metric=metric, subset=subset, iteration=iteration)
    return np.nan if value is None else value


def _seconds(benchmark: Benchmark, arm: str, seed: int, share: float) -> float:
    own = _ask(benchmark, arm, seed, "seconds", "", None)
    return _ask(benchmark, arm, seed, "seconds_with_parents", "", None) - own + share * own


def _make_space(configurations: Columns) -> dict[str, Any]:
    """The domain of every hyperparameter. Syne Tune takes no table with a single one."""
    return {
        name: _domain("Categorical", categories=values)
        if name == "arm"
        else _domain("Integer", lower=min(values), upper=max(max(values), min(values) + 1))
        for name, values in configurations.items()
    }


def _domain(kind: str, **arguments: Any) -> dict[str, Any]:
    return {"domain_cls": kind, "domain_kwargs": arguments, "sampler_cls": "Uniform", "sampler_kwargs": {}}
