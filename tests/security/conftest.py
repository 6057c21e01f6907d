"""A finished network as a stranger hands it in."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mtlbench.spec import Trial
from mtlbench.store.store import Store
from tests.support.samples import smoke
from tests.support.trials import finish


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Trial]]:
    """Finished networks of the smoke recipe, both with their weights."""
    store = Store(tmp_path_factory.mktemp("trained") / "results", create=True)
    trials = [dataclasses.replace(one, keep_weights=True) for one in smoke("semseg_sn", ("split-fc8",))]
    finish(trials, store)
    Image.new("RGB", (64, 64)).save(store.root.parent / "x.png")
    return store, trials


@pytest.fixture
def theirs(trained: tuple[Store, list[Trial]], tmp_path: Path) -> Path:
    """A copy of the folder of such a trial, in a results folder of its own."""
    store, (trial,) = trained
    shutil.copytree(store.root, tmp_path / "theirs")
    return tmp_path / "theirs" / store.folder(trial).relative_to(store.root)
