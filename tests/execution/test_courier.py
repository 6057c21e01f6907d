"""Files travel between a worker and a store that it has no path to; here without Ray, the courier called directly."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.errors import UserError
from mtlbench.execution import courier
from mtlbench.execution.courier import Courier, run_away, user_sources, with_sources, with_weights
from mtlbench.nets.network import fix_seed
from mtlbench.spec import Plugin, Trial
from mtlbench.store.results import load_results
from mtlbench.store.sealing import read_result
from mtlbench.store.store import Store
from mtlbench.system.files import StoreBroken, seal
from mtlbench.training.trial import Errand, run_trial
from tests.support.samples import smoke

pytestmark = pytest.mark.slow

ERRAND = Errand(torch.device("cpu"))
SCHEME = """
class Own:
    version = 1
    def groups(self, stage, tasks):
        return [tasks]
    def unit(self, stage, tasks):
        return None
"""


class Line:
    """Calls a courier as a worker does, and counts."""

    def __init__(self, store: Store, sources: dict[str, str] | None = None, weights: list[str] | None = None) -> None:
        self.courier = Courier(str(store.root), sources or {}, weights or [])
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, method: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.calls.append((method, arguments[-1] if method == "accept" else len(arguments)))
            return getattr(self.courier, method)(*arguments)

        return call

    def list_accepted(self) -> list[list[str]]:
        return [names for method, names in self.calls if method == "accept"]


def errand_of(errand: Errand) -> Any:
    def run(trial: Trial, folder: Path, parents: dict[str, Path]) -> Iterator[float]:
        yield from run_trial(trial, folder, parents, errand)

    return run


def go(trial: Trial, store: Store, base: Path, line: Line, errand: Errand = ERRAND) -> Path:
    store.begin(trial)
    assert list(run_away(trial, base, line, errand_of(errand)))[-1] == 1.0
    assert [path.name for path in base.iterdir() if path.name != "sources"] == []
    return store.folder(trial)


def test_trials_with_parents_bring_what_they_bring_beside_the_store(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of any size, also where a file is a whole number of them."""
    trials = smoke("semseg_sn", ("one-task", "cross-stitch"))
    beside = Store(tmp_path / "beside", create=True)
    for trial in trials:
        folder = beside.begin(trial)
        for _ in run_trial(trial, folder, {key: folder.parent / key for key in trial.parents}, ERRAND):
            pass
    weights = beside.folder(trials[0]) / "weights.pt"
    sizes = [weights.stat().st_size, 5000, 16 << 20]
    for trial, size in zip(trials, sizes, strict=True):
        monkeypatch.setattr(courier, "CHUNK", size)
        folder, twin = go(trial, store, tmp_path / "base", Line(store)), beside.folder(trial)
        assert set(os.listdir(folder)) == set(os.listdir(twin)) and store.done(trial)
        assert read_result(folder / "result.json").scores == read_result(twin / "result.json").scores
        for name in {"curve.csv", "alphas.csv", "predictions.npz"} & set(os.listdir(folder)):
            assert seal(folder / name) == seal(twin / name)


def test_nothing_a_worker_is_told_names_the_store(tmp_path: Path, store: Store) -> None:
    trial = smoke("semseg_sn", ("one-task",))[0]
    go(trial, store, tmp_path / "base", Line(store))
    assert str(store.root) not in repr(trial.to_json())


def test_a_resume_file_arrives_during_the_trial_and_another_worker_goes_on(tmp_path: Path, store: Store) -> None:
    trial = smoke("semseg_sn", ("one-task",))[0]
    store.begin(trial)
    often = dataclasses.replace(ERRAND, resume_every=0.0)
    line, work = Line(store), None
    work = run_away(trial, tmp_path / "one", line, errand_of(often))
    for _ in range(3):
        next(work)
    assert line.list_accepted() == [["resume.pt"]] * 3
    assert torch.load(store.folder(trial) / "resume.pt", weights_only=True)["done"] == 3
    store.begin(trial)  # the first worker is lost
    again = Line(store)
    first = next(work := run_away(trial, tmp_path / "two", again, errand_of(ERRAND)))
    assert first == pytest.approx(0.9 * 4 / trial.iterations)
    list(work)
    assert again.list_accepted()[-1][-1] == "result.json" and store.done(trial)
    assert not (store.folder(trial) / "resume.pt").exists()


def test_a_failure_is_sent_and_raised_again(tmp_path: Path, store: Store) -> None:
    trial = dataclasses.replace(smoke("semseg_sn", ("split-fc6",))[0], scheme=Plugin("split", {"at": "conv9"}))
    store.begin(trial)
    with pytest.raises(Exception, match="conv9"):
        list(run_away(trial, tmp_path / "base", Line(store), errand_of(ERRAND)))
    (failure,) = load_results(store.root).failures
    assert "conv9" in failure["reason"] and failure["kind"] == "refused" and os.listdir(tmp_path / "base") == []


def test_a_store_that_breaks_on_the_way_is_not_the_trials_failure(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = smoke("semseg_sn", ("one-task",))[0]
    store.begin(trial)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreBroken, match="No space left"):
        list(run_away(trial, tmp_path / "base", Line(store), errand_of(ERRAND)))
    assert not store.done(trial) and not load_results(store.root).failures


def test_a_users_file_travels_with_its_trial(tmp_path: Path, store: Store) -> None:
    source = tmp_path / "mine" / "own.py"
    source.parent.mkdir()
    source.write_text(SCHEME)
    trial = smoke("semseg_sn", ("split-fc6",))[0]
    trial = dataclasses.replace(trial, scheme=Plugin("Own", {}, 1, f"{source}:Own"))
    sources = user_sources([trial])
    assert sources == {str(source): SCHEME}
    line, base = Line(store, sources), tmp_path / "base"
    assert with_sources(trial, base, line.source) == trial  # it is here, and the same
    source.write_text("raise RuntimeError('another file of this name')")
    there = with_sources(trial, base, line.source)
    path = Path(there.scheme.source.rpartition(":")[0])
    assert base in path.parents and path.read_text() == SCHEME and there.key == trial.key
    source.unlink()
    go(trial, store, base, line)
    assert store.done(trial)


@pytest.mark.parametrize("name", ["../../format.json", "/etc/passwd", ".lock", "names.json", ""])
def test_a_courier_touches_the_files_of_a_trial_only(store: Store, name: str) -> None:
    trial = smoke("semseg_sn", ("one-task",))[0]
    store.begin(trial)
    line = Line(store)
    for call in (("read", "", name, 0), ("write", name, 0, b"x"), ("accept", [name])):
        with pytest.raises(ValueError, match="no file of a trial"):
            getattr(line, call[0])(trial.to_json(), *call[1:])
    with pytest.raises(ValueError, match="no parent"):
        line.read(trial.to_json(), "..", "weights.pt", 0)


def test_pretrained_weights_travel_once_and_only_those_of_the_run(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.pt"
    trial = from_weights(file)
    line, base = Line(store, weights=[str(file)]), tmp_path / "base"
    assert with_weights(trial, base, line) == trial and not line.calls  # it is here
    content = file.read_bytes()
    away_from_here = dataclasses.replace(trial, weights_file="/not/here/weights.pt")
    line = Line(store, weights=[away_from_here.weights_file])
    monkeypatch.setattr(courier, "_read_piece", lambda path, start: content[start : start + courier.CHUNK])
    monkeypatch.setattr(courier, "CHUNK", len(content) // 3)
    there = with_weights(away_from_here, base, line)
    assert base in Path(there.weights_file).parents and Path(there.weights_file).read_bytes() == content
    assert there.key == trial.key and len(line.calls) == 4  # three pieces and a bit
    assert with_weights(away_from_here, base, line) == there and len(line.calls) == 4
    with pytest.raises(ValueError):
        line.weights("/etc/passwd", 0)


def test_a_network_starts_from_the_planned_weights_and_no_others(tmp_path: Path, store: Store) -> None:
    file = tmp_path / "weights.pt"
    trial = from_weights(file)
    frozen = dataclasses.replace(trial, recipe=dataclasses.replace(trial.recipe, lr=0.0))
    folder = store.begin(frozen)
    for _ in run_trial(frozen, folder, {}, ERRAND):
        pass
    ends = torch.load(folder / "weights.pt", weights_only=True)
    for name, value in torch.load(file, weights_only=True).items():
        stage, kind = name.split(".")
        (own,) = [v for n, v in ends.items() if n.startswith(f"trunk.{stage}.semseg.") and n.endswith(kind)]
        assert own.flatten().equal(value.flatten()), name
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(UserError, match="not the file of weights"):
        list(run_trial(frozen, store.begin(frozen), {}, ERRAND))


def from_weights(file: Path) -> Trial:
    """A one-task trial that starts from a file of random weights."""
    trial = smoke("semseg_sn", ("one-task",))[0]
    backbone = Caffenet("fcn", **trial.backbone.options)
    state = {}
    with fix_seed(7, "weights"):
        for stage in backbone.stages:
            if stage.has_parameters:
                for name, value in backbone.build(stage.name).state_dict().items():
                    flat = stage.name.startswith("fc") and value.dim() > 1  # files have them fully connected
                    random = torch.rand_like(value.flatten(1) if flat else value)
                    state[f"{stage.name}.{name.rpartition('.')[2]}"] = random
    torch.save(state, file)
    options = trial.backbone.options | {"weights": str(seal(file)[1])[:12]}
    return dataclasses.replace(
        trial, backbone=dataclasses.replace(trial.backbone, options=options), weights_file=str(file)
    )
