"""Trials on a network of timm: statistics of batch normalisation are part of what is kept, resumed, averaged."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from mtlbench.spec import Trial
from mtlbench.store.sealing import read_result
from mtlbench.training.context import Context
from mtlbench.training.trial import _start_networks, run_trial
from tests.support.samples import smoke
from tests.support.trials import NEVER, OFTEN, same

TIMM = {"backbone": "timm", "backbone_options": {"model": "test_efficientnet"}, "frozen": ("stage1",)}


def trials(*arms: str) -> list[Trial]:
    few = {"iterations": {"semseg": 3, "normals": 3}, "images": 2, "curve_points": 1, "curve_images": 2}
    data = {"dataset_options": {"rooms": {"train": 6, "val": 2, "test": 2}}}
    return smoke("semseg_sn", arms, **TIMM, **few, **data)


def run(trial: Trial, root: Path) -> Path:
    (root / trial.key).mkdir()
    for _ in run_trial(trial, root / trial.key, {key: root / key for key in trial.parents}, NEVER):
        pass
    return root / trial.key


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Trial], Path]:
    """The ensemble of semseg and its members, run through."""
    root = tmp_path_factory.mktemp("timm")
    found = [trial for trial in trials("ensemble") if trial.task_names == ("semseg",)]
    for trial in found:
        run(trial, root)
    return found, root


def test_running_statistics_are_kept_and_differ_from_the_start(finished: tuple[list[Trial], Path]) -> None:
    found, root = finished
    state = torch.load(root / found[0].key / "weights.pt", weights_only=True)
    means = [value for name, value in state.items() if name.endswith("running_mean")]
    assert len(means) > 5 and all(bool(mean.any()) for mean in means)
    counts = [value for name, value in state.items() if name.endswith("num_batches_tracked")]
    assert {int(count) for count in counts} == {3}  # evaluations do not count


def test_a_training_that_is_gone_on_with_is_the_one_that_was_not(
    finished: tuple[list[Trial], Path], tmp_path: Path
) -> None:
    found, root = finished
    for _ in itertools.islice(run_trial(found[0], tmp_path, {}, OFTEN), 2):
        pass
    assert (tmp_path / "resume.pt").exists()
    for _ in run_trial(found[0], tmp_path, {}, NEVER):
        pass
    same(tmp_path, root / found[0].key)


def test_an_ensemble_averages_members_with_their_own_statistics(finished: tuple[list[Trial], Path]) -> None:
    found, root = finished
    *members, ensemble = found
    assert ensemble.average and len(members) == 2
    states = [torch.load(root / trial.key / "weights.pt", weights_only=True) for trial in members]
    nets = _start_networks(Context(ensemble), states, torch.device("cpu"))
    for net, state in zip(nets, states, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    name = "trunk.stage5.semseg.blocks_4.0.bn1.running_mean"
    assert not torch.equal(states[0][name], states[1][name])
    assert read_result(root / ensemble.key / "result.json").scores
