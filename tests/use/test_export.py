"""Trained networks: what keeps their weights, one file of them, and the same predictions from it."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from msgspec.structs import replace
from PIL import Image

import mtlbench
from mtlbench.cli.main import main
from mtlbench.errors import UserError
from mtlbench.plan.arms import make_custom
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plan.spaces import load as load_space
from mtlbench.plan.spaces import recipe_of
from mtlbench.plugins import make_plugin
from mtlbench.spec import Trial
from mtlbench.store import predictions
from mtlbench.store.lookup import find_trials
from mtlbench.store.sealing import read_result, write_result
from mtlbench.store.store import Store
from mtlbench.training.batches import evaluation_batch
from mtlbench.training.context import Context
from mtlbench.use.export import SUFFIXES, export, load
from mtlbench.use.trained import Trained, open_trained
from tests.support.places import ROOT
from tests.support.samples import smoke
from tests.support.trials import finish

pytestmark = pytest.mark.slow

PAIRS = ("det_attr", "semseg_sn")
DOCS = ROOT / "docs" / "using_a_network.md"
SCHEME = """
from mtlbench.schemes.cross_stitch import CrossStitch

class Mine(CrossStitch):
    version = 1
"""


def list_kept(trials: list[Trial]) -> list[Trial]:
    return [dataclasses.replace(trial, keep_weights=not trial.average) for trial in trials]


def with_scheme(file: Path) -> list[Trial]:
    """One-task networks of the smoke recipe, and a child of them with the scheme of a file."""
    (first, *_) = trials = smoke("semseg_sn", ("one-task",))
    space = load_space("semseg_sn")
    arms = [next(arm for arm in space.arms if arm.name == "one-task"), make_custom(f"{file}:Mine")]
    backbone = make_plugin("backbone", first.backbone.name, first.backbone.options)
    made = expand(
        space.pair, arms, (0,), DataSource(first.dataset, "", first.fingerprint), backbone, recipe_of(space, "smoke")
    )
    assert made[:2] == trials
    return list_kept(made)


@dataclass
class Study:
    """Finished smoke trials of both pairs in one store; `mine` is the child with a scheme of a file."""

    store: Store
    trials: dict[str, list[Trial]]
    mine: Trial
    scheme: Path

    def export(self, text: str, file: Path, pair: str = "", force: bool = False) -> Path:
        return export(self.store.root, text, pair, file, force, self.silent, [self.scheme])

    @staticmethod
    def silent(line: str) -> None:
        raise AssertionError(line)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("export")
    (folder / "mine.py").write_text(SCHEME)
    store = Store(folder / "results", create=True)
    arms = {"det_attr": ("one-task", "cross-stitch"), "semseg_sn": ("ensemble", "split-fc8", "cross-stitch")}
    trials = {pair: list_kept(smoke(pair, arms[pair])) for pair in PAIRS}
    *_, mine = with_scheme(folder / "mine.py")
    for own in trials.values():
        finish(own, store)
    finish([*[t for t in trials["semseg_sn"] if t.arm == "one-task"], mine], store)
    return Study(store, trials, mine, folder / "mine.py")


def get_refusal(call: Any, *arguments: Any) -> str:
    """The one line that a user's mistake is answered with."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    (line,) = str(caught.value).splitlines()
    return line


def check_predictions(trained: Trained, trials: list[Trial], store: Store) -> None:
    """They are, bit for bit, those that the trials kept."""
    test = Context(trials[0]).subsets["test"]
    expected: dict[str, list[np.ndarray]] = {}
    for trial in trials:
        expected |= predictions.read(store.folder(trial) / predictions.FILE)
    assert set(expected) == set(trained.tasks)
    for number in range(predictions.SHOWN):
        batch = evaluation_batch([test[number]], trained.view)
        found = trained.predict(batch)
        for name, task in trained.tasks.items():
            assert np.array_equal(task.keep(found[name], batch), expected[name][number]), (name, number)


# ---------------------------------------------------------------------------------------------------- there and back
@pytest.mark.parametrize(
    ("pair", "arm"),
    [(pair, arm) for pair in PAIRS for arm in ("one-task", "cross-stitch")] + [("semseg_sn", "split-fc8")],
)
def test_an_exported_network_predicts_bit_for_bit_what_the_trial_did(
    study: Study, pair: str, arm: str, tmp_path: Path
) -> None:
    study.export(f"{arm}:0", tmp_path / "net.pt", pair)
    trained = load(tmp_path / "net.pt")
    check_predictions(trained, [t for t in study.trials[pair] if t.arm == arm], study.store)
    (net,) = trained.nets
    assert not net.training and os.listdir(tmp_path) == ["net.pt"]
    again = mtlbench.load_network(tmp_path / "net.pt").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in net.state_dict().items())


def test_an_ensemble_from_the_store_averages_its_parents_bit_for_bit(study: Study) -> None:
    for one in find_trials(study.store.root, "ensemble"):
        trained = open_trained(one, study.silent)
        assert len(trained.nets) == 2
        check_predictions(trained, [one.trial], study.store)
    line = get_refusal(study.export, "ensemble", Path("never.pt"))
    assert all(key in line for t in study.trials["semseg_sn"] if t.average for key in t.parents) and "averages" in line


def test_the_file_is_plain_and_says_what_is_needed_and_no_folder(study: Study, tmp_path: Path) -> None:
    content = torch.load(study.export("cross-stitch", tmp_path / "net.pth", "semseg_sn"), weights_only=True)
    assert set(content) == {"mtlbench", "version", "trial", "model", "input", "keys", "state"}
    (trial,) = [t for t in study.trials["semseg_sn"] if t.arm == "cross-stitch"]
    context = Context(trial)
    assert content["keys"] == [trial.key] and Trial.from_json(content["trial"]).recipe == trial.recipe
    stage = r"(conv\d|pool\d|fc[67])"
    names = [rf"trunk\.{stage}\.(semseg|normals)\..+", rf"units\.{stage}\.alpha", r"heads\.(semseg|normals)\..+"]
    assert all(any(re.fullmatch(one, name) for one in names) for name in content["state"])
    assert all(type(value) is torch.Tensor for value in content["state"].values())
    categories = content["model"]["tasks"]["semseg"]["categories"]
    assert categories == list(context.dataset.categories("semseg"))
    assert content["model"]["tasks"]["normals"]["facts"] == context.known["normals"].facts
    assert content["input"] == {
        "channels": "BGR",
        "range": [0, 255],
        "mean": list(context.view.mean),
        "std": list(context.view.std),
        "short_side": 64,
        "long_side": 0,
    }
    mine = torch.load(study.export(study.mine.key, tmp_path / "mine.pt"), weights_only=True)
    about = json.dumps({name: value for name, value in mine.items() if name != "state"})
    assert str(study.store.root.parent) not in about and os.sep + "mine.py" not in about and "mine.py:Mine" in about


def test_the_snippet_of_the_documentation_gives_the_classes_that_the_trial_kept(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    trials = [t for t in study.trials["semseg_sn"] if t.arm == "one-task"]
    study.export("one-task", Path("winner.pt"), "semseg_sn")
    Image.fromarray(Context(trials[0]).subsets["test"][2].image).save("photo.png")
    names: dict[str, Any] = {}
    exec(snippet, names)
    (semseg,) = [t for t in trials if t.task_names == ("semseg",)]
    expected = predictions.read(study.store.folder(semseg) / predictions.FILE)["semseg"][2]
    assert np.array_equal(names["classes"].numpy(), expected)
    assert capsys.readouterr().out == f"{names['names'][expected[0, 0]]} in the upper left corner\n"


def test_an_existing_file_stays_unless_forced_and_others_are_refused(study: Study, tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    file.write_text("mine")
    assert "exists; type --force to overwrite it" in get_refusal(study.export, "cross-stitch", file)
    assert file.read_text() == "mine"
    assert study.export("cross-stitch", file, force=True) == file and mtlbench.load_network(file)
    assert "ends in .pt or .pth or .safetensors" in get_refusal(study.export, "cross-stitch", tmp_path / "net.onnx")
    assert "cannot write" in get_refusal(study.export, "cross-stitch", tmp_path / "none" / "net.pt")
    assert os.listdir(tmp_path) == ["net.pt"]


def test_safetensors_where_it_is_installed(study: Study, tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    if importlib.util.find_spec("safetensors") is None:
        assert "pip install safetensors" in get_refusal(study.export, "cross-stitch", file)
        assert os.listdir(tmp_path) == [] and file.suffix in SUFFIXES
        return
    study.export("cross-stitch", file, "semseg_sn")
    check_predictions(load(file), [t for t in study.trials["semseg_sn"] if t.arm == "cross-stitch"], study.store)


def test_other_files_are_one_line_each(tmp_path: Path, study: Study) -> None:
    file = tmp_path / "net.pt"
    assert "is no file" in get_refusal(mtlbench.load_network, file)
    for content in (b"", b"junk", study.export("cross-stitch", tmp_path / "good.pt").read_bytes()[:5000]):
        file.write_bytes(content)
        assert "is cut off, or not written by mtlbench export-weights" in get_refusal(mtlbench.load_network, file)
    content = torch.load(tmp_path / "good.pt", weights_only=True)
    for changes, told in (
        ({"mtlbench": 99}, "upgrade mtlbench"),
        ({"mtlbench": None}, "not written by"),
        ({"trial": {}}, "not written by"),
        ({"state": {}}, "do not fit the network"),
        ({"model": {}}, "not written by"),
    ):
        torch.save({**content, **changes}, file)
        assert told in get_refusal(mtlbench.load_network, file)
    torch.save(content["state"], file)
    assert "not written by" in get_refusal(mtlbench.load_network, file)
    torch.save({"code": Study}, file)  # a class: would be imported
    assert "not written by" in get_refusal(mtlbench.load_network, file)


# ---------------------------------------------------------------------------------------------------- users' files
def test_a_scheme_of_a_file_is_run_from_where_it_is_and_never_from_the_results(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = study.store.folder(study.mine)
    file = study.export(study.mine.key, tmp_path / "net.pt")
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "copy" / "mine.py"
    elsewhere.parent.mkdir()
    elsewhere.write_text(SCHEME)
    for given in ((), ("other.py",)):
        assert get_refusal(mtlbench.load_network, file, given).endswith("load_network('net.pt', files=['mine.py'])")
    check_predictions(load(file, [elsewhere]), [study.mine], study.store)
    (one,) = find_trials(study.store.root, study.mine.key)
    text = study.scheme.read_text()
    try:
        said: list[str] = []
        study.scheme.write_text(text + "# changed\n")
        open_trained(one, said.append, [study.scheme])
        assert len(said) == 1 and said[0].startswith(f"{study.scheme} has changed since mine seed 0 was trained")
        study.scheme.write_text(text.replace("version = 1", "version = 2"))
        told = get_refusal(open_trained, one, said.append, [study.scheme])
        assert "was trained with version 1 of scheme Mine, which is now 2" in told
        study.scheme.unlink()
        (folder / "mine.py").write_text("raise SystemExit")
        assert get_refusal(open_trained, one, said.append, [study.scheme]) == f"no such file: {study.scheme}"
    finally:
        study.scheme.write_text(text)


def test_a_changed_version_of_the_package_is_refused(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtlbench.tasks.semseg import Semseg

    (one,) = find_trials(study.store.root, "split-fc8", "semseg_sn")
    monkeypatch.setattr(Semseg, "version", 77)
    assert "version 1 of task semseg, which is now 77" in get_refusal(open_trained, one, study.silent)


# ---------------------------------------------------------------------------------------------------- what is kept
def test_what_is_kept_is_no_part_of_a_trials_identity_but_of_being_done(tmp_path: Path) -> None:
    store = Store(tmp_path / "results", create=True)
    trials = smoke("semseg_sn", ("split-fc8",))
    (plain,), (asked,) = trials, list_kept(trials)
    assert plain.key == asked.key and Trial.from_json(asked.to_json()) == asked
    old = {name: value for name, value in plain.to_json().items() if name != "keep_weights"}
    assert Trial.from_json(old) == plain  # a trial.json of before
    finish([plain], store)
    before = read_result(store.folder(plain) / "result.json")
    assert store.done(plain) and not store.done(asked) and "weights.pt" not in before.files and before.model is None
    (one,) = find_trials(store.root, plain.key)
    assert get_refusal(open_trained, one, print).endswith("--keep-weights 'split-fc8' to train it again and keep them")
    finish([asked], store)
    after = read_result(store.folder(plain) / "result.json")
    assert store.done(plain) and store.done(asked) and set(after.files) == {*before.files, "weights.pt"}
    assert after.scores == before.scores
    check_predictions(open_trained(one, print), [plain], store)


def test_run_trains_again_what_kept_no_weights_says_so_and_counts_them(tmp_path: Path) -> None:
    results = tmp_path / "results"

    def run(*more: str, status: int = 0) -> str:
        arguments = (
            "run",
            "--pair",
            "semseg_sn",
            "--recipe",
            "smoke",
            "--executor",
            "local",
            "--seeds",
            "0",
            "--arm",
            "split-fc8",
            "--results",
            str(results),
            *more,
        )
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == status, result.output
        return result.stderr if status else result.stdout

    def space(said: str) -> float:
        return float(re.findall(r"write about ([\d.]+) MB", said)[0])

    asking = ("--keep-weights", "none-*", "--keep-weights", "split-*")
    assert "no arm called 'none-*'" in run(*asking, status=2)
    asking = asking[2:]
    weights = space(run(*asking, "--dry-run")) - space(run("--dry-run"))
    assert "for --keep-weights" not in run()
    (weights_file,) = (path.parent / "weights.pt" for path in results.glob("*/*/*/result.json"))
    assert not weights_file.exists()
    line = "finished without keeping weights: 1; trained again for --keep-weights"
    assert line in run(*asking, "--dry-run") and line in run(*asking)
    assert weights_file.stat().st_size / 1e6 == pytest.approx(weights, abs=0.1)
    for more in (asking, ()):
        assert "nothing to do" in (said := run(*more)) and line not in said
    assert weights_file.exists()


def test_damaged_weights_and_results_are_refused(study: Study, tmp_path: Path) -> None:
    (trial,) = trials = list_kept(smoke("semseg_sn", ("split-fc8",)))
    store = Store(tmp_path / "results", create=True)
    finish(trials, store)
    weights = store.folder(trial) / "weights.pt"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    (one,) = find_trials(store.root, trial.key)
    assert "weights.pt is damaged; type mtlbench run ... --force split-fc8" in get_refusal(open_trained, one, print)


def test_a_result_of_before_the_categories_were_kept_asks_the_data(study: Study, tmp_path: Path) -> None:
    trials = list_kept(smoke("semseg_sn", ("split-fc8",)))
    store = Store(tmp_path / "results", create=True)
    finish(trials, store)
    path = store.folder(trials[0]) / "result.json"
    write_result(path.parent, trials[0].key, replace(read_result(path), model=None))
    (one,) = find_trials(store.root, trials[0].key)
    said: list[str] = []
    check_predictions(open_trained(one, said.append), trials, store)
    assert said == ["split-fc8 seed 0 is of before results told their categories: its data (rooms) are opened"]
