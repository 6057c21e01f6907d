"""A table as studies of Optuna, one a seed: for its dashboard, its plots and its importances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtlbench.errors import UserError
from mtlbench.tabular.benchmark import Benchmark
from mtlbench.tabular.candidates import count_shared
from mtlbench.tabular.content import CHANGE, Content
from mtlbench.tabular.export import refuse_to_replace

FILE = "optuna.db"


def write_studies(content: Content, folder: Path, force: bool = False) -> Path:
    """Write DIR/optuna.db (SQLite) with a study a seed, `PAIR seed N`; its folder.

    A trial is an arm: its value is the change on val, its intermediate values those during training, its parameters
    the arm and, for every two tasks, how many stages they share; the change on test, the family and costs are user
    attributes. Raises UserError, also where optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("optuna is not installed: type pip install 'mtlbench[search]'") from error
    path = folder / FILE
    refuse_to_replace(path, force)
    benchmark = Benchmark.of(content)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        for seed in benchmark.seeds:
            study = optuna.create_study(
                storage=storage, study_name=f"{content.about.pair} seed {seed}", direction="maximize"
            )
            for name in ("note", "version", "licence", "citation"):
                study.set_user_attr(name, getattr(content.about, name))
            study.add_trials(_make_trials(benchmark, seed))
        storage.engine.dispose()
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; name another folder") from error
    finally:
        optuna.logging.set_verbosity(before)
    return folder


def _make_trials(benchmark: Benchmark, seed: int) -> list[Any]:
    """The arms that have a change on val with this seed, as finished trials."""
    import optuna

    most = max(len(known.stages) for known in benchmark.architectures.values())
    found = []
    for arm, known in benchmark.architectures.items():
        if (value := benchmark.look_up(arm, seed=seed, subset="val")) is None:
            continue
        shared = {f"stages shared {name}": number for name, number in count_shared(benchmark, arm).items()}
        distributions: dict[str, Any] = {
            "arm": optuna.distributions.CategoricalDistribution(benchmark.arms),
            **dict.fromkeys(shared, optuna.distributions.IntDistribution(0, most)),
        }
        found.append(
            optuna.trial.create_trial(
                params={"arm": arm, **shared},
                distributions=distributions,
                value=value,
                intermediate_values=_curve(benchmark, arm, seed),
                user_attrs={"family": known.family, **_numbers(benchmark, arm, seed)},
            )
        )
    return found


def _curve(benchmark: Benchmark, arm: str, seed: int) -> dict[int, float]:
    """Changes on val during training that the table has."""
    measured = {at: benchmark.look_up(arm, seed=seed, subset="val", iteration=at) for at in benchmark.iterations[arm]}
    return {at: change for at, change in measured.items() if change is not None}


def _numbers(benchmark: Benchmark, arm: str, seed: int) -> dict[str, float]:
    """Changes on test and costs that the table has."""
    tested = {f"test {metric}": metric for metric in (CHANGE, *benchmark.tasks)}
    costs = {metric: metric for metric in ("parameters", "flops", "seconds_with_parents")}
    asked = {name: benchmark.look_up(arm, seed=seed, metric=metric) for name, metric in (tested | costs).items()}
    return {name: value for name, value in asked.items() if value is not None}
