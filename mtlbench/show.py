"""`mtlbench show`: what a finished trial predicts on the first test images, beside the truth."""

from __future__ import annotations

import dataclasses
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtlbench import predictions, sources
from mtlbench.errors import UserError
from mtlbench.files import UNSOUND, replacing
from mtlbench.folders import damaged, groups, names_of, read_result, read_trial, trial_folders
from mtlbench.plugins import Sample, Task
from mtlbench.spec import Options, Trial
from mtlbench.store import Store
from mtlbench.trial import Context, open_dataset

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

CANDIDATES = 5  # that an error names
SHORTEST_PREFIX = 4  # digits of a key

# layout in inches and points
PANEL, GAP, LINE = 3.2, 0.08, 0.17
LETTERS = 13.0  # of the title in an inch
TITLE_SIZE, HEADING_SIZE, LABEL_SIZE = 10, 9, 7
DPI = 150

Say = Callable[[str], None]
Drawer = Callable[["Axes", int, Sample], None]  # of one column: axes, number of the image, image


# ---------------------------------------------------------------------------------------------------- finding
@dataclass(frozen=True)
class Finished:
    """A finished trial under one of its names."""

    folder: Path
    trial: Trial
    name: Options  # arm, seed, recipe, setting
    result: Options

    @property
    def label(self) -> str:
        """`one-task normals seed 0  3f2a9c0d1e2f`."""
        task = f" {self.trial.tasks[0]}" if len(self.trial.tasks) == 1 else ""
        return f"{self.name['arm']}{task} seed {self.name['seed']}  {self.folder.name}"

    @property
    def headlines(self) -> str:
        """`semseg mIoU 38.2 %, normals mean 24.1 degrees` on test. Raises Damaged."""
        try:
            about = self.result["metrics"]
            return ", ".join(
                f"{task} {metric} {value:.1f} {about[task][metric]['unit']}"
                for task, subset, metric, category, value in self.result["scores"]
                if subset == "test" and not category and about[task][metric]["headline"]
            )
        except UNSOUND as error:
            raise damaged(self.folder / "result.json") from error


def find_trials(results: Path, text: str, pair: str = "") -> list[Finished]:
    """The finished trial of a folder, of a key or of the first digits of a key; or the trials of `ARM` or `ARM:SEED`
    in the newest results of that arm (of its first seed; of that pair), one a task where the arm has one a task.

    Raises UserError that names candidates, and says what to type.
    """
    root = Store(results).root
    folder = os.path.expanduser(text)
    if os.path.isfile(os.path.join(folder, "trial.json")):
        return [_finished(Path(folder).resolve())]
    hits = {f.name: f for f in _folders(root) if f.name.startswith(text)} if _is_prefix(text) else {}
    if len(hits) > 1:
        raise UserError(f"{len(hits)} trials begin with {text!r}: {_listed(hits.values())}; type more digits")
    if hits:
        return [_finished(hits[min(hits)])]
    arm, colon, seed = text.partition(":")
    if colon and not re.fullmatch(r"\d{1,18}", seed):
        raise UserError(f"{text!r}: {seed!r} is no seed; type for example {arm or 'one-task'}:0")
    named: list[Finished] = []
    others: list[Finished] = []
    for found in _all_finished(root):
        wanted = found.name["arm"] == arm and seed in ("", str(found.name["seed"])) and pair in ("", found.trial.pair)
        (named if wanted else others).append(found)
    if named:
        return _newest(named)
    raise _not_found(root, text, arm, seed, pair, others)


def _is_prefix(text: str) -> bool:
    return re.fullmatch(f"[0-9a-f]{{{SHORTEST_PREFIX},12}}", text) is not None


def _folders(root: Path) -> list[Path]:
    return [folder for group in groups(root) for folder in trial_folders(group)]


def _finished(folder: Path) -> Finished:
    """Raises UserError for a trial that is not finished, or damaged."""
    trial = read_trial(folder)
    if not (folder / "result.json").exists():
        raise UserError(f"{trial.label} ({folder}) is not finished; mtlbench status tells how far it is")
    return Finished(folder, trial, names_of(folder)[0], read_result(folder / "result.json"))


def _all_finished(root: Path) -> list[Finished]:
    """Every finished trial under each of its names, the newest first; what is damaged is left out."""
    found = []
    for folder in _folders(root):
        try:
            own = _finished(folder)
            found += [Finished(folder, own.trial, name, own.result) for name in names_of(folder)]
        except UserError:
            continue
    return sorted(found, key=lambda one: one.result["finished"], reverse=True)


def _newest(named: Sequence[Finished]) -> list[Finished]:
    """Those of the newest one's study (pair, data set, setting) and of the first seed there; by tasks."""
    newest = named[0]
    same = (newest.folder.parent, newest.name["setting"])
    study = [one for one in named if (one.folder.parent, one.name["setting"]) == same]
    seed = min(one.name["seed"] for one in study)
    by_tasks: dict[tuple[str, ...], Finished] = {}
    for one in study:  # trained anew after a change of version: the newest counts
        if one.name["seed"] == seed:
            by_tasks.setdefault(one.trial.tasks, one)
    return [by_tasks[tasks] for tasks in sorted(by_tasks)]


def _not_found(root: Path, text: str, arm: str, seed: str, pair: str, others: Sequence[Finished]) -> UserError:
    """The error for an arm and seed (of a pair) without a finished trial."""
    for folder in _folders(root):
        if pair not in ("", folder.parent.parent.name):
            continue
        try:
            names = names_of(folder)
        except UserError:
            continue
        if any(name["arm"] == arm and seed in ("", str(name["seed"])) for name in names):
            return UserError(f"{text} ({folder}) is not finished; mtlbench status tells how far it is")
    if not others:
        return UserError(f"no trial is finished in {root}; mtlbench run --pair det_attr makes some")
    near = [one for one in others if one.name["arm"] == arm] or others
    listed = "; ".join(one.label for one in near[:CANDIDATES]) + ("; ..." if len(near) > CANDIDATES else "")
    where = f"of {pair} in {root}" if pair else f"in {root}"
    return UserError(
        f"no finished trial {text!r} {where}; type a key, its first {SHORTEST_PREFIX} digits or more, ARM or ARM:SEED; "
        f"there are: {listed}"
    )


def _listed(folders: Iterable[Path]) -> str:
    labels = []
    for folder in folders:
        try:
            labels.append(f"{read_trial(folder).label}  {folder.name}")
        except UserError:
            labels.append(folder.name)
    return "; ".join(labels[:CANDIDATES]) + ("; ..." if len(labels) > CANDIDATES else "")


# ---------------------------------------------------------------------------------------------------- drawing
def show(
    results: Path, text: str, data_root: Path | None, count: int, out: Path | None, say: Say,
    files: Sequence[Path] = (),
) -> Path:  # fmt: skip
    """Draw the first `count` test images with truth and prediction of every task into a picture file; its path.

    `text` is what `find_trials` takes; `data_root` (default: where the trial found it) has the data; `out` is by
    default `show-<arm>-<key>.png` in the results folder. `say` takes lines on progress and on tasks that are left out.
    `files` are users' plug-in files that the trial was trained with; no other code is run.
    Raises UserError: no such trial, other data than the trial's, nothing to draw, a file that cannot be written.
    """
    found = find_trials(results, text)
    columns: list[tuple[str, Drawer]] = [("image", _image)]
    first = found[0]
    root = first.trial.data_root if data_root is None else str(data_root.expanduser().resolve())
    trials = [sources.with_files(one.trial, files, sources.command_for(one.trial)) for one in found]
    open_dataset(trials[0].dataset, root).prepare(say)
    for one, trial in zip(found, trials, strict=True):
        kept = predictions.read(one.folder / predictions.FILE)
        context = Context(dataclasses.replace(trial, data_root=root))
        for name, task in context.tasks.items():
            if not (hasattr(task, "keep") and hasattr(task, "draw")):
                say(f"{name} is left out: the task has no keep and draw; see Task in plugins.py")
            elif not kept.get(name):
                say(f"{name} is left out: the trial kept no predictions of it; type mtlbench run ... --force "
                    f"{one.name['arm']} to train it anew")  # fmt: skip
            else:
                heading = Path(name).name
                columns.append((f"{heading}: truth", partial(_truth, name, task)))
                columns.append((f"{heading}: prediction", partial(_prediction, task, kept[name])))
                count = min(count, len(kept[name]))
    if len(columns) == 1:
        raise UserError(f"nothing to draw of {first.label}: no task of it kept predictions")
    test = context.subsets["test"]
    samples = [test[number] for number in range(min(count, len(test)))]
    title = (
        f"{first.name['arm']}, seed {first.name['seed']}; {first.trial.pair}, recipe {first.name['recipe']} on "
        f"{first.trial.dataset.label}; {' + '.join(one.folder.name for one in found)}\n"
        f"test: {', '.join(filter(None, (one.headlines for one in found))) or 'no scores'}"
    )
    path = out or Store(results).root / f"show-{first.name['arm']}-{first.folder.name}.png"
    save(picture(title, columns, samples), path)
    return path


def _image(axes: Axes, number: int, sample: Sample) -> None:
    axes.imshow(sample.image)


def _truth(name: str, task: Task, axes: Axes, number: int, sample: Sample) -> None:
    if name in sample.labels:
        task.draw(axes, sample, None)
    else:
        axes.text(0.5, 0.5, "not labelled", ha="center", va="center", transform=axes.transAxes, fontsize=HEADING_SIZE)


def _prediction(task: Task, kept: Sequence[np.ndarray], axes: Axes, number: int, sample: Sample) -> None:
    task.draw(axes, sample, kept[number])


def picture(title: str, columns: Sequence[tuple[str, Drawer]], samples: Sequence[Sample]) -> Canvas:
    """A row an image, a column a drawer under its heading; pictures are equally wide and as tall as the image asks.

    What a drawer puts below the image or beside its picture (a list, a legend) gets room in its row and column.
    """
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(1, 1), dpi=DPI)
    grid = [[canvas.add_axes((0, 0, 1, 1), label=f"{row} {place}") for place in range(len(columns))]
            for row in range(len(samples))]  # fmt: skip
    tall = np.zeros((len(samples), len(columns)))
    outside = np.zeros((*tall.shape, 4))  # left, below, right, above
    for number, (sample, row) in enumerate(zip(samples, grid, strict=True)):
        for place, ((heading, draw), axes) in enumerate(zip(columns, row, strict=True)):
            axes.set_position((0, 0, PANEL, PANEL * sample.image.shape[0] / sample.image.shape[1]))
            draw(axes, number, sample)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.set_title(heading if number == 0 else "", fontsize=HEADING_SIZE, pad=3)
            axes.set_ylabel(f"test {number}" if place == 0 else "", fontsize=LABEL_SIZE, labelpad=2)
            tall[number, place] = _height(axes, sample)
            axes.set_position((0, 0, PANEL, tall[number, place]))
            outside[number, place] = _outside(axes)
    left, right = outside[..., 0].max(axis=0), outside[..., 2].max(axis=0)
    above, down = outside[..., 3].max(axis=1), (tall + outside[..., 1]).max(axis=1)
    width = float((left + PANEL + right + GAP).sum()) + GAP
    lines = [piece for line in title.splitlines() for piece in textwrap.wrap(line, int(width * LETTERS))]
    head = LINE * len(lines) + 2 * GAP
    height = head + float((above + down + GAP).sum())
    canvas.set_size_inches(width, height)
    y = head + above + np.cumsum(above + down + GAP) - (above + down + GAP)
    x = GAP + left + np.cumsum(left + PANEL + right + GAP) - (left + PANEL + right + GAP)
    for number, row in enumerate(grid):
        for place, axes in enumerate(row):
            own = tall[number, place]
            axes.set_position((x[place] / width, 1 - (y[number] + own) / height, PANEL / width, own / height))
    canvas.text(GAP / width, 1 - GAP / height, "\n".join(lines), va="top", fontsize=TITLE_SIZE)
    return canvas


def _height(axes: Axes, sample: Sample) -> float:
    """Inches for what was drawn at full width: the image's, and at most a panel more for what stands below it."""
    image = PANEL * sample.image.shape[0] / sample.image.shape[1]
    if axes.get_aspect() == "auto":
        return image
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    return min(PANEL * abs((y1 - y0) / (x1 - x0)), image + PANEL)


def _outside(axes: Axes) -> list[float]:
    """Inches that the drawing takes to the left of, below, to the right of and above its axes; at most a panel each."""
    drawn, box = axes.get_tightbbox(), axes.get_window_extent()
    if drawn is None:
        return [0.0] * 4
    pixels = (box.x0 - drawn.x0, box.y0 - drawn.y0, drawn.x1 - box.x1, drawn.y1 - box.y1)
    return [min(max(one / DPI, 0.0), PANEL) for one in pixels]


def save(canvas: Canvas, path: Path) -> None:
    """Write a picture in the format of its suffix. Raises UserError."""
    try:
        with replacing(path) as temporary:
            canvas.savefig(temporary, format=path.suffix[1:] or "png", dpi=DPI)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {path}: {error}; give another file with --out FILE.png") from error
