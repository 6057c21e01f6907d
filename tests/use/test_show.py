"""`mtlbench show`: which trials a text means, and what of them is drawn and where it lies."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from mtlbench import plugins
from mtlbench.errors import UserError
from mtlbench.plan import spaces
from mtlbench.spec import Plugin, Trial, recipe_of_trial
from mtlbench.store.lookup import find_trials
from mtlbench.store.predictions import SHOWN, write
from mtlbench.store.store import Store
from mtlbench.use import show as module
from mtlbench.use.show import show
from mtlbench.vision import drawing
from tests.support.samples import smoke
from tests.support.stores import JOINT, TRIAL, finish, result, write_made

DATA = """
import numpy as np
from mtlbench.authoring import Sample

class Toy:
    version = 1
    tasks = ("shade", "mute")
    def __init__(self, root=None, height=20):
        self.root, self.height = root, height
    def prepare(self, say):
        say("preparing")
    def fingerprint(self):
        return f"toy {self.height} {(self.root / 'x').read_text() if self.root else ''}"
    def categories(self, task):
        return ("dark", "light")
    def subset(self, name):
        image = np.full((self.height, 40, 3), 200, np.uint8)
        label = np.full((self.height, 40), len(name), np.uint8)
        return [Sample(image, {"shade": label} if i != 1 else {}) for i in range({"test": 3}.get(name, 2))]
"""
TASK = """
class Shade:
    version = 1
    drawn = []
    def __init__(self, categories, facts, gain=1):
        self.about = (categories, facts, gain)
    @staticmethod
    def fit(categories, train):
        return {"train": len(train)}
    def keep(self, prediction, batch):
        raise NotImplementedError
    def draw(self, axes, sample, kept):
        Shade.drawn.append((self.about, sample, kept))
        axes.imshow(sample.labels["shade"] if kept is None else kept)

class Mute:
    version = 1
    def __init__(self, categories, facts):
        pass
    @staticmethod
    def fit(categories, train):
        return {}
"""


def make_trial(trial: Trial, seed: int, arm: str = "", **changes: Any) -> Trial:
    return dataclasses.replace(trial, seed=seed, net_seed=seed, arm=arm or trial.arm, **changes)


def error(results: Path, text: str) -> str:
    """The one line that a text without a trial is answered with."""
    with pytest.raises(UserError) as caught:
        find_trials(results, text)
    (line,) = str(caught.value).splitlines()
    return line


def keys(results: Path, text: str) -> list[str]:
    return [found.folder.name for found in find_trials(results, text)]


# ---------------------------------------------------------------------------------------------------- finding
def test_a_trial_is_found_by_key_beginning_of_a_key_and_folder(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finish(store)
    key = TRIAL.key
    for text in (key, key[:4], key[:9], str(folder), f"{folder}/", os.path.relpath(folder)):
        (found,) = find_trials(store.root, text)
        assert (found.folder, found.trial) == (folder, TRIAL)
        assert found.label == f"one-task colour seed 3  {key}"
    assert keys(store.root / "elsewhere", str(folder)) == [key]
    monkeypatch.chdir(folder.parent)
    assert keys(store.root, key) == keys(store.root, ".//" + key) == [key]
    assert "no finished trial" in error(store.root, key[:3])


def test_several_keys_with_one_beginning_are_listed_at_most_five(store: Store) -> None:
    made: dict[str, list[Trial]] = {}
    for seed in range(5000):  # sixteen bits of a hash: a few collide
        trial = make_trial(TRIAL, seed)
        made.setdefault(trial.key[:4], []).append(trial)
    start, twins = max(made.items(), key=lambda item: len(item[1]))
    assert len(twins) >= 2
    for trial in twins:
        finish(store, trial)
    line = error(store.root, start)
    assert line.startswith(f"{len(twins)} trials begin with '{start}': ") and line.endswith("; type more digits")
    assert all(f"one-task colour seed {trial.seed}  {trial.key}" in line for trial in twins)
    assert keys(store.root, twins[1].key) == [twins[1].key]


def test_an_arm_means_its_newest_study_and_first_seed_and_one_trial_a_task(store: Store) -> None:
    size = dataclasses.replace(TRIAL, tasks=(Plugin("size"),))
    old = {"finished": "2026-01-01T00:00:00"}
    new = {"finished": "2026-02-01T00:00:00"}
    newest = {"finished": "2026-03-01T00:00:00"}
    finish(
        store,
        make_trial(TRIAL, 0, setting="old", recipe_name="quick", recipe=dataclasses.replace(TRIAL.recipe, lr=1.0)),
        **old,
    )
    for seed in (2, 1):
        finish(store, make_trial(size, seed), **new)
        finish(store, make_trial(TRIAL, seed), **(newest if seed == 2 else new))
    finish(
        store, make_trial(TRIAL, 1, tasks=(Plugin("colour", version=0),)), **old
    )  # of the same study, of an older version
    finish(store, make_trial(JOINT, 5), **newest)
    ones = [make_trial(TRIAL, 1).key, make_trial(size, 1).key]
    assert keys(store.root, "one-task") == keys(store.root, "one-task:1") == ones
    assert keys(store.root, "one-task:2") == [make_trial(TRIAL, 2).key, make_trial(size, 2).key]
    assert keys(store.root, "one-task:0") == [
        make_trial(TRIAL, 0, setting="old", recipe_name="quick", recipe=dataclasses.replace(TRIAL.recipe, lr=1.0)).key
    ]
    assert keys(store.root, "split") == [make_trial(JOINT, 5).key]


def test_a_second_name_of_a_trial_counts_too(store: Store) -> None:
    finish(store)
    store.name(dataclasses.replace(TRIAL, arm="alias", recipe_name="other"))
    (found,) = find_trials(store.root, "alias:3")
    assert found.folder.name == TRIAL.key and found.name.recipe == "other"
    assert found.label == f"alias colour seed 3  {TRIAL.key}"


def test_what_is_not_there_is_answered_with_what_is(store: Store) -> None:
    assert "no trial is finished in" in error(store.root, "one-task")
    assert "mtlbench run" in error(store.root / "nowhere", "one-task")
    trials = [make_trial(TRIAL, seed) for seed in range(7)]
    for trial in trials:
        finish(store, trial, finished=f"2026-01-0{1 + trial.seed}T00:00:00")
    line = error(store.root, "stitch")
    assert line.startswith(f"no finished trial 'stitch' in {store.root}; type a key, its first 4 digits or more, ARM")
    newest = [f"one-task colour seed {seed}  {trials[seed].key}" for seed in (6, 5, 4, 3, 2)]
    assert line.endswith(f"there are: {'; '.join(newest)}; ...")
    finish(store, make_trial(JOINT, 0), finished="2026-02-01T00:00:00")
    assert error(store.root, "one-task:9").endswith(f"there are: {'; '.join(newest)}; ...")  # those of that arm
    assert "'x' is no seed; type for example one-task:0" in error(store.root, "one-task:x")
    assert "no finished trial 'ffff'" in error(store.root, "ffff")
    for odd in ("", ":", "\0", "~nobody/x", "x" * 5000, "[red]"):
        error(store.root, odd)


def test_a_trial_that_is_not_finished_says_so(store: Store) -> None:
    store.plan([TRIAL, JOINT])
    finish(store, make_trial(TRIAL, 8))
    for text in (TRIAL.key, TRIAL.key[:5], str(store.folder(TRIAL)), "one-task:3", "split"):
        assert "is not finished; mtlbench status tells how far it is" in error(store.root, text)
    (store.folder(TRIAL) / "result.json").write_text("{")
    assert "is damaged" in error(store.root, TRIAL.key)
    (store.folder(make_trial(TRIAL, 8)) / "trial.json").write_text("{")  # damage elsewhere stops nothing
    finish(store, make_trial(JOINT, 1))
    assert keys(store.root, "split") == [make_trial(JOINT, 1).key]


# ---------------------------------------------------------------------------------------------------- show
SMOKE = spaces.recipe_of(spaces.load("semseg_sn"), "smoke")


@dataclasses.dataclass
class Toy:
    """A finished trial over a data set and a task of files; `shade` draws its label or what was kept."""

    store: Store
    trial: Trial
    task: str
    files: list[Path]
    lines: list[str] = dataclasses.field(default_factory=list)

    def show(self, text: str = "one-task", root: Path | None = None, count: int = 8, out: Path | None = None) -> Path:
        return show(self.store.root, text, root, count, out, self.lines.append, self.files)


@pytest.fixture
def toy(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    files = [tmp_path / "toy.py", tmp_path / "shade.py"]
    for file, text in zip(files, (DATA, TASK), strict=True):
        file.write_text(text)
    loaded: dict[str, Any] = {}
    monkeypatch.setattr(plugins, "from_file", lambda spec, real=plugins.from_file: loaded.setdefault(spec, real(spec)))
    task = "shade"
    trial = dataclasses.replace(
        TRIAL,
        tasks=(Plugin(task, {"gain": 3}, source=f"{files[1]}:Shade"),),
        form="fcn",
        dataset=Plugin("Toy", {"height": 20}, source=f"{files[0]}:Toy"),
        fingerprint="toy 20 ",
        backbone=Plugin("caffenet", {"small": True}),
        recipe=recipe_of_trial(SMOKE, (task,)),
    )
    scores = [[task, "test", "acc", "", 61.25], [task, "val", "acc", "", 1.0], [task, "test", "acc", "red", 2.0]]
    metrics = {task: {"acc": {"unit": "%", "higher_is_better": True, "headline": True}}}
    folder = store.begin(trial)
    write(folder / "predictions.npz", {task: [np.full((20, 40), 9 - i, np.uint8) for i in range(3)]})
    write_made(folder, trial.key, result(scores=scores, metrics=metrics))
    return Toy(store, trial, task, files)


def draw(toy: Toy) -> list[Any]:
    return plugins.find("task", toy.trial.tasks[0].source).drawn


def test_truth_and_prediction_of_every_image_are_drawn_by_the_task(toy: Toy) -> None:
    path = toy.show()
    assert path == toy.store.root / f"show-one-task-{toy.trial.key}.png" and toy.lines == ["preparing"]
    assert {about for about, _, _ in map(lambda one: (str(one[0]), *one[1:]), draw(toy))} == {
        "(('dark', 'light'), {'train': 2}, 3)"
    }
    kept = [None if kept is None else int(kept[0, 0]) for _, _, kept in draw(toy)]
    assert kept == [None, 9, 8, None, 7]  # the second image is not labelled: no truth
    pixels = matplotlib.image.imread(path)
    assert pixels.shape[1] == pytest.approx(drawing.DPI * (3 * (drawing.PANEL + drawing.GAP)), rel=0.05)
    assert set(os.listdir(toy.store.root)) == {"format.json", "p", path.name}


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (2, 2), (50, 3)])
def test_as_many_images_as_asked_for_and_kept(toy: Toy, count: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Figure] = []
    monkeypatch.setattr(module, "write_picture", lambda path, canvas, dpi: seen.append(canvas))
    toy.show(count=count)
    (canvas,) = seen
    assert len(canvas.axes) == 3 * rows
    (title,) = canvas.texts
    words = " ".join(title.get_text().split())
    assert words.startswith(f"one-task, seed 3; p, recipe smoke on Toy(height=20); {toy.trial.key} test: ")
    assert "acc 61.2 %" in words and "1.0" not in words and "2.0" not in words
    assert [axes.get_title() for axes in canvas.axes[:3]] == ["image", "shade: truth", "shade: prediction"]


def test_other_data_than_the_trials_are_refused(toy: Toy, tmp_path: Path) -> None:
    for root, content in (("changed", "changed"), ("same", "")):
        (tmp_path / root).mkdir()
        (tmp_path / root / "x").write_text(content)
    with pytest.raises(
        UserError, match="are not those that the trial was planned with: toy 20 changed, not toy 20 ; .* --data-root"
    ):
        toy.show(root=tmp_path / "changed")
    toy.show(root=tmp_path / "same")


def test_a_task_that_cannot_be_drawn_is_left_out_with_a_line(toy: Toy, tmp_path: Path) -> None:
    mute = Plugin("mute", source=f"{toy.files[1]}:Mute")
    both = dataclasses.replace(toy.trial, arm="both", tasks=(mute, *toy.trial.tasks))
    folder = toy.store.begin(both)
    write(folder / "predictions.npz", {toy.task: [np.zeros((20, 40))]})
    write_made(folder, both.key, result(scores=[]))
    toy.show("both")
    assert toy.lines == ["preparing", "mute is left out: the task has no keep and draw; see Task in contracts.py"]
    write(folder / "predictions.npz", {"other": [np.zeros(3)]})
    write_made(folder, both.key, result(scores=[]))
    with pytest.raises(UserError, match=f"nothing to draw of both seed 3  {both.key}"):
        toy.show("both")
    assert toy.lines[-1].startswith(f"{toy.task} is left out: the trial kept no predictions of it; type mtlbench run")
    (folder / "predictions.npz").unlink()
    with pytest.raises(UserError, match="predictions.npz is missing"):
        toy.show("both")


def test_the_picture_goes_where_it_is_asked_to_in_the_format_of_its_name(toy: Toy, tmp_path: Path) -> None:
    assert toy.show(out=tmp_path / "a.svg").read_text().startswith("<?xml")
    for bad in (tmp_path / "none" / "a.png", tmp_path / "a.docx", tmp_path):
        with pytest.raises(UserError, match="cannot write .* --out FILE.png"):
            toy.show(out=bad)
    assert not list(tmp_path.glob(".a*"))


def test_a_damaged_result_is_one_line(toy: Toy) -> None:
    folder = toy.store.begin(toy.trial)
    write(folder / "predictions.npz", {toy.task: [np.zeros((20, 40))]})
    write_made(folder, toy.trial.key, result(scores=[["x", "test", "acc", "", 3.0]]))
    with pytest.raises(UserError, match="result.json is damaged"):
        toy.show()


# ---------------------------------------------------------------------------------------------------- built-in tasks
@pytest.mark.parametrize("pair", ["det_attr", "semseg_sn"])
def test_the_tasks_of_both_pairs_draw_what_they_keep(pair: str, store: Store) -> None:
    import torch

    from mtlbench.training.batches import evaluation_batch
    from mtlbench.training.context import Context

    trials: Sequence[Trial] = smoke(pair, ("one-task",))
    for trial in trials:
        context = Context(trial)
        net = context.network().eval()
        kept: dict[str, list[np.ndarray]] = {name: [] for name in trial.task_names}
        test = context.subsets["test"]
        for number in range(SHOWN):
            batch = evaluation_batch([test[number]], context.view)
            with torch.inference_mode():
                output = net(batch.images, batch.regions)
            for name, task in context.tasks.items():
                kept[name].append(task.keep(task.predict(output[name], batch), batch))
        folder = store.begin(trial)
        write(folder / "predictions.npz", kept)
        write_made(folder, trial.key, result(scores=[]))
        assert (folder / "predictions.npz").stat().st_size < 200_000
    lines: list[str] = []
    path = show(store.root, "one-task", None, 2, None, lines.append)
    assert not any("left out" in line for line in lines)
    pixels = matplotlib.image.imread(path)
    columns = 1 + 2 * len(trials)
    assert pixels.shape[1] >= columns * drawing.PANEL * drawing.DPI
