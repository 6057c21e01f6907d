"""Tables in the forms of Syne Tune and Optuna, read back by these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtlbench.tabular.benchmark import Benchmark
from mtlbench.tabular.optuna_studies import write_studies
from mtlbench.tabular.syne_tune import write_blackbox
from tests.support.benchmarks import make_content


def test_the_array_of_a_blackbox_has_the_tables_numbers(tmp_path: Path) -> None:
    folder, benchmark = write_blackbox(make_content(), tmp_path / "b"), Benchmark.of(make_content())
    numbers = np.load(folder / "objectives_evaluations.npy")
    assert numbers.shape == (1, 5, 3, 4, 7) and numbers.dtype == np.float32  # tasks, arms, seeds, points, objectives
    arm, seed = benchmark.arms.index("split-fc"), 1
    early, last = numbers[0, arm, seed, 1], numbers[0, arm, seed, -1]
    assert early[0] == np.float32(benchmark.query("split-fc", seed=1, subset="val", iteration=20))
    assert np.isnan(early[3:6]).all()  # nothing is tested during training
    assert last[0] == last[3] == np.float32(benchmark.query("split-fc", seed=1))
    seconds = numbers[0, benchmark.arms.index("cross-stitch"), seed, :, -1]
    assert list(seconds) == [8 + 0.5, 8 + 1, 8 + 2, 8 + 4]  # the parents' first


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The 'fastparquet' engine")  # Syne Tune's own choice
def test_syne_tune_reads_a_blackbox(tmp_path: Path) -> None:
    tabular = pytest.importorskip("syne_tune.blackbox_repository.blackbox_tabular")
    pytest.importorskip("fastparquet")
    folder, benchmark = write_blackbox(make_content(), tmp_path / "b"), Benchmark.of(make_content())
    blackbox = tabular.deserialize(str(folder))["d"]
    configuration = next(one for one in blackbox.all_configurations() if one["arm"] == "split-fc")
    assert configuration == {"arm": "split-fc", "stages_shared_a+b": 3}
    found = blackbox(configuration, fidelity={"point": 4}, seed=2)
    assert found["test_change"] == pytest.approx(benchmark.query("split-fc", seed=2), rel=1e-6)
    assert found["test_a"] == 54 and found["elapsed_time"] == 4


@pytest.mark.slow
def test_optuna_reads_studies(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    folder, benchmark = write_studies(make_content(), tmp_path / "o"), Benchmark.of(make_content())
    storage = f"sqlite:///{folder / 'optuna.db'}"
    assert sorted(optuna.get_all_study_names(storage)) == ["p seed 0", "p seed 1", "p seed 2"]
    study = optuna.load_study(study_name="p seed 1", storage=storage)
    assert [trial.params["arm"] for trial in study.trials] == benchmark.arms
    best = study.best_trial
    assert best.params == {"arm": "split-fc", "stages shared a+b": 3}
    assert best.value == benchmark.query("split-fc", seed=1, subset="val")
    assert best.intermediate_values[20] == benchmark.query("split-fc", seed=1, subset="val", iteration=20)
    assert best.user_attrs["test change"] == benchmark.query("split-fc", seed=1)
    assert study.user_attrs["licence"] == "CC0-1.0"
