"""The reader of CelebA's official files: labels, subsets, what is missing or wrong in a line each, the contract."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mtlbench import load_results
from mtlbench.authoring.check_dataset import check
from mtlbench.cli.main import main
from mtlbench.datasets.celeba import Celeba
from mtlbench.errors import UserError
from tests.support.faces import COUNTS, NAMES, values, write_faces
from tests.support.places import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]


def ready(root: Path, **options: object) -> Celeba:
    data = Celeba(root, **options)
    data.prepare(lambda line: None)
    return data


@pytest.mark.parametrize("published", [True, False], ids=["in Anno, Eval, Img", "side by side"])
def test_attributes_are_those_of_the_list_in_official_subsets(tmp_path: Path, published: bool) -> None:
    data = ready(write_faces(tmp_path / "faces", published))
    assert data.tasks == ("tags", "c_5_o_Clock_Shadow", "Male", "Smiling", "Young")
    assert data.categories("tags") == NAMES and data.categories("Male") == ("no", "yes")
    rows, number = list(values().values()), 0
    for name, count in COUNTS.items():
        subset = data.subset(name)
        assert len(subset) == count
        for index in range(count):
            sample, row = subset[index], rows[number]
            assert sample.image.shape == (78, 64, 3)  # 178 x 218, the short side at 64
            assert abs(int(sample.image[10, 10, 2]) - (128 + 60 * row[2])) < 8  # the image that has this row
            assert sample.labels["tags"].tolist() == [value == 1 for value in row]
            assert [int(sample.labels[task]) for task in data.tasks[1:]] == [value == 1 for value in row]
            number += 1
    yes = (np.array(rows[:12]) == 1).sum(axis=0)
    assert data.counts("tags") == tuple(yes) and data.counts("Male") == (12 - yes[1], yes[1])


def test_the_first_images_of_each_subset_alone(tmp_path: Path) -> None:
    root = write_faces(tmp_path / "faces")
    whole, few = ready(root), ready(root, most=3)
    assert [len(few.subset(name)) for name in COUNTS] == [3, 3, 3]
    assert np.array_equal(few.subset("test")[2].image, whole.subset("test")[2].image)
    assert few.fingerprint() != whole.fingerprint() == ready(root).fingerprint()


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    root = write_faces(tmp_path / "faces")
    assert [text for ok, text in check(Celeba, {"root": root}) if not ok] == []


def edit(root: Path, file: str, change: Callable[[str], str]) -> None:
    (root / file).write_text(change((root / file).read_text()))


def test_what_is_missing_or_wrong_is_named_in_a_line_each(tmp_path: Path) -> None:
    root = write_faces(tmp_path / "faces")
    counts = {count.what: (count.found, count.published) for count in Celeba(root).verify(print).counts}
    assert counts["attributes"] == (4, 40) and counts["images of val"] == (4, 19_867)
    assert counts["readable images"] == (22, 202_599) and not Celeba(root).verify(print).problems
    (root / "img_align_celeba" / "000003.jpg").unlink()
    (root / "img_align_celeba" / "000004.jpg").write_bytes(b"no picture")
    edit(root, "list_attr_celeba.txt", lambda text: text.replace("000005.jpg", "000005.jpg  0"))
    edit(root, "list_eval_partition.txt", lambda text: text.replace("000006.jpg 0", "000006.jpg 3"))
    edit(root, "list_eval_partition.txt", lambda text: text.replace("000007.jpg 0\n", ""))
    problems = Celeba(root).verify(print).problems
    for says in (
        f"list_eval_partition.txt: 000003.jpg is not in {root / 'img_align_celeba'}",
        "000004.jpg cannot be read",
        "list_attr_celeba.txt:7: 000005.jpg has not one -1 or 1 for each of the 4 attributes; correct it",
        "list_eval_partition.txt:6: 000006.jpg has not one 0, 1 or 2 after the image's name; correct it",
        "000007.jpg is in list_attr_celeba.txt but not in list_eval_partition.txt",
    ):
        assert len([text for text in problems if says in text]) == 1, (says, problems)
    assert len(problems) == 5 and not any("\n" in text for text in problems)
    with pytest.raises(UserError, match="--data-option broken=leave-out goes on without those images"):
        ready(root)
    left = ready(root, broken="leave-out")
    assert [len(left.subset(name)) for name in COUNTS] == [7, 4, 6]


@pytest.mark.parametrize("file", ["list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"])
def test_files_that_are_not_there_are_named_before_anything_is_decoded(tmp_path: Path, file: str) -> None:
    root = write_faces(tmp_path / "faces")
    path = root / file
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    (problem,) = Celeba(root).verify(print).problems
    assert f"{path} is missing" in problem and "docs/data.md says where it is had" in problem
    for broken in ("refuse", "leave-out"):
        with pytest.raises(UserError, match=f"{path} is missing"):
            ready(root, broken=broken)


def test_lists_that_are_cut_off_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    root = write_faces(tmp_path / "faces")
    edit(root, "list_attr_celeba.txt", lambda text: text[: text.index("000020.jpg")])
    assert any("says that it has 22 images, and has 19" in text for text in Celeba(root).verify(print).problems)
    edit(root, "list_attr_celeba.txt", lambda text: "image_id,Male\n000001.jpg,1\n000002.jpg,-1\n")
    with pytest.raises(UserError, match="take the official file"):
        _ = Celeba(root).tasks
    with pytest.raises(UserError, match="celeba needs its files: --data-root DIR"):
        Celeba()


def test_the_pair_of_the_documentation_runs_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_faces(tmp_path / "faces", published=True)
    page = (ROOT / "docs" / "data.md").read_text().partition("## CelebA")[2].partition("\n## ")[0]
    code = [line.removeprefix("    ") for line in page.splitlines() if line.startswith("    ")]
    verify, run = (line.replace("DIR", str(root)) for line in code if line.startswith("mtlbench "))
    monkeypatch.chdir(tmp_path)
    Path("faces.py").write_text("\n".join(line for line in code if not line.startswith("mtlbench ")))
    found = CliRunner().invoke(main, verify.split()[1:])
    assert found.exit_code == 1 and "sound, but not the published data set" in found.output
    few = ["--recipe", "smoke", "--executor", "local", "--seeds", "0", "--arm", "split-fc8"]
    found = CliRunner().invoke(main, [*run.split()[1:], *few])
    assert found.exit_code == 0, found.output
    frame = load_results("results").frame
    assert {*frame["task"]} >= {"Male", "Smiling", "Young"} and "balanced_accuracy" in {*frame["metric"]}
