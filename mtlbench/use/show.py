"""`mtlbench show`: what a finished trial predicts on the first test images, beside the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtlbench.contracts import Sample, Task
from mtlbench.errors import UserError
from mtlbench.plan.data import open_dataset
from mtlbench.store import predictions, sources
from mtlbench.store.folders import check_file
from mtlbench.store.lookup import find_trials
from mtlbench.store.store import Store
from mtlbench.system.files import write_picture
from mtlbench.text import Say
from mtlbench.training.context import Context
from mtlbench.vision.drawing import DPI, HEADING_SIZE, Drawer, draw_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def show(
    results: Path,
    text: str,
    data_root: Path | None,
    count: int,
    out: Path | None,
    say: Say,
    files: Sequence[Path] = (),
) -> Path:
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
        kept = predictions.read(check_file(one.folder, predictions.FILE))
        context = Context(dataclasses.replace(trial, data_root=root))
        for name, task in context.tasks.items():
            if not (hasattr(task, "keep") and hasattr(task, "draw")):
                say(f"{name} is left out: the task has no keep and draw; see Task in contracts.py")
            elif not kept.get(name):
                say(
                    f"{name} is left out: the trial kept no predictions of it; type mtlbench run ... --force "
                    f"{one.name.arm} to train it anew"
                )
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
        f"{first.name.arm}, seed {first.name.seed}; {first.trial.pair}, recipe {first.name.recipe} on "
        f"{first.trial.dataset.label}; {' + '.join(one.folder.name for one in found)}\n"
        f"test: {', '.join(filter(None, (one.headlines for one in found))) or 'no scores'}"
    )
    path = out or Store(results).root / f"show-{first.name.arm}-{first.folder.name}.png"
    write_picture(path, draw_picture(title, columns, samples), DPI)
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
