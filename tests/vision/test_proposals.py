"""Selective search: proposals from pixels alone, the same in every process, and their recall."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mtlbench.datasets._voc_files import read_annotations
from mtlbench.datasets._voc_folders import Folders
from mtlbench.vision import proposals as selective_search
from tests.support.places import ROOT
from tests.support.voc import REAL, picture


def test_proposals_are_equal_in_two_processes_whatever_ran_before() -> None:
    code = (
        "import sys\n"
        "from mtlbench.vision.proposals import propose\n"
        "from tests.support.voc import picture\n"
        "for warm in range(int(sys.argv[1])): propose(picture(warm), 60, 1)\n"
        "print(propose(picture(50), 60, 7).tolist())"
    )
    outputs = [
        subprocess.run([sys.executable, "-c", code, warm], check=True, capture_output=True, text=True, cwd=ROOT).stdout
        for warm in ("0", "3")
    ]
    assert outputs[0] == outputs[1]
    here = selective_search.propose(picture(50), 60, 7)
    assert outputs[0].strip() == str(here.tolist()) and len(here) > 5
    assert sorted(here.tolist()) == sorted(selective_search.propose(picture(50), 60, 8).tolist())


def test_near_duplicates_come_last() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 5, 10]], float)
    assert selective_search.diverse_first(boxes).tolist() == boxes[[0, 2, 3, 1]].tolist()


def test_overlap_of_hand_worked_boxes() -> None:
    found = selective_search.overlap(np.array([[0.0, 0, 4, 2]]), np.array([[2.0, 0, 6, 2], [4, 0, 6, 2], [0, 0, 4, 2]]))
    assert found[0] == pytest.approx([4 / 12, 0, 1])


def test_an_image_of_one_colour_has_itself_as_proposal() -> None:
    assert [0, 0, 30, 20] in selective_search.propose(np.full((20, 30, 3), 7, np.uint8), 200, 0).tolist()


def test_recall_of_hand_worked_boxes() -> None:
    wanted = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    offered = np.array([[0, 0, 10, 5], [20, 20, 30, 24]], np.float32)  # IoU 0.5 and 0.4
    nothing = np.zeros((0, 4), np.float32)
    found = selective_search.measure_recall([(wanted, offered), (nothing, offered), (wanted[:1], nothing)])
    assert found == (1, 3, 4 / 3) and found.share == pytest.approx(1 / 3)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real images here")
def test_proposals_find_real_objects() -> None:
    found, folders = read_annotations(Folders(REAL.resolve())), Folders(REAL.resolve())
    pairs = []
    for name in found.lists["val"][::18]:
        image = selective_search.decode(folders.image(name).read_bytes())
        boxes = np.array([thing.box for thing in found.things[name]])
        pairs.append((boxes, selective_search.propose(image, 200, 0)[:256]))
    assert selective_search.measure_recall(pairs).share >= 0.75
