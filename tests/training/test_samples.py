"""What a subset in the recipe's scale keeps in memory."""

from __future__ import annotations

from mtlbench.contracts import Sample
from mtlbench.training.samples import Scaled
from tests.support.samples import dense_sample, dense_tasks


class Counting:
    """A subset of one sample that counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        return dense_sample(index)


def test_only_labels_that_are_needed_are_kept_and_a_sample_is_read_once() -> None:
    """A trial of one task holds no labels of the others: normals are 12 of 16 bytes of a pixel."""
    source = Counting()
    subset = Scaled(source, 0, 0)
    assert set(subset[0].labels) == {"semseg", "normals"}  # before anything is said
    subset.need({"semseg": "fcn"})
    for _ in range(2):
        assert set(subset[0].labels) == {"semseg"}
    tasks = {"semseg": dense_tasks()["semseg"]}
    assert set(subset.mirrored(0, tasks).labels) == {"semseg"}
    assert source.reads == 2


def test_a_task_that_is_needed_later_is_read_anew_and_one_that_is_known_reads_nothing() -> None:
    source = Counting()
    subset = Scaled(source, 0, 0)
    subset.need({"semseg": "fcn"})
    before = subset[0]
    subset.need({"semseg": "fcn"})
    assert subset[0] is before
    subset.need({"normals": "fcn"})
    assert set(subset[0].labels) == {"semseg", "normals"} and source.reads == 2
