"""What is checked before anything is trained: space on disk, a GPU, the weights that networks start from."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.execution.costs import Costs
from mtlbench.plan.chosen import parse_tuned
from mtlbench.plan.expand import Pretrained
from mtlbench.plugins import create, find
from mtlbench.spec import Options, Plugin, Recipe, Trial
from mtlbench.store.store import Store
from mtlbench.system.machine import cores
from mtlbench.text import bytes_text

SMALL_FILES = 1 << 20  # bytes a trial: result, curve, alphas, predictions


def check_disk(missing: Sequence[Trial], costs: Costs, store: Store) -> None:
    """Raises UserError where the disk of the store cannot hold what the trials will write."""
    needed = bytes_of(missing, costs)
    free = shutil.disk_usage(store.root).free
    if needed > free:
        raise UserError(
            f"{len(missing)} trials write about {bytes_text(needed)}, and {bytes_text(free)} are free on the disk of "
            f"{store.root}; make room, or use another folder with --results"
        )


def bytes_of(missing: Sequence[Trial], costs: Costs) -> int:
    """What the trials write to the store, roughly: weights that others may start from, small files, and the resume
    files (weights and momentum) of those that run at a time."""
    weights = {trial.key: 4 * costs.of(trial)[0] for trial in missing}
    kept = sum(weights[t.key] for t in missing if t.keep_weights or (len(t.tasks) == 1 and not t.parents))
    largest = sorted(weights.values())[-cores() :]
    return kept + SMALL_FILES * len(missing) + 2 * sum(largest)


def find_pretrained(
    starts: Iterable[str], backbone: Plugin, form: str, dataset: str, file: Path | None
) -> dict[str, Pretrained]:
    """{start: the file of weights that networks start from}, checked against the backbone. "imagenet" takes `file`, or
    torchvision's, "pretrained" the trunk of the data set. Raises UserError."""
    from mtlbench.nets import pretrained

    made = create("backbone", backbone.source or backbone.name, form=form, **backbone.options)
    found = {}
    for start in starts:
        options: Options = {}
        licence = ""
        if start == "pretrained":
            path, options = _find_trunk(dataset, backbone.name, form)
        else:
            path, licence = pretrained.locate(backbone.name, made, file)
        try:
            made.adapted(pretrained.read(path))  # refused here, not in every trial
        except UserError as error:
            if start != "pretrained":
                raise
            raise UserError(f"{error}; type --init scratch") from error
        found[start] = Pretrained(str(path.resolve()), pretrained.digest(path), options, licence)
    return found


def _find_trunk(dataset: str, backbone: str, form: str) -> tuple[Path, Options]:
    """The data set's own. Raises UserError where it has none."""
    trunk = getattr(find("dataset", dataset), "pretrained", lambda backbone, form: None)
    own: tuple[Path, Options] | None = trunk(backbone, form)
    if own is None:
        raise UserError(f"{dataset} has no pretrained trunk for {backbone} in form {form}; type --init scratch")
    return own


def check_gpu(recipe: Recipe, named: str, address: str) -> list[str]:
    """What to tell of a recipe that needs a GPU, as lines. Raises UserError where there is none on this machine, unless
    the recipe was `named` or runs elsewhere (`address`)."""
    import torch

    if not recipe.gpu_hours or address:
        return []
    present = torch.cuda.is_available()
    needs = f"recipe {recipe.name} takes about {recipe.gpu_hours:.0f} hours of a GPU for all arms of one seed"
    if not present and parse_tuned(named)[0] != parse_tuned(recipe.name)[0]:
        raise UserError(
            f"{needs}, and there is none here; type --recipe short for minutes, --recipe {recipe.name} to insist"
        )
    return [needs if present else f"{needs}; without one, some 50 times that"]
