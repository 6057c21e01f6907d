"""`mtlbench data`, and what `run` takes as NAME=VALUE."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from mtlbench.cli.data import report
from mtlbench.contracts import Count, Survey
from mtlbench.errors import UserError
from mtlbench.plan.options import by_task, parse_assignment, parse_task_assignment
from tests.support.commands import cli

SMALL = ("--data-option", "train=4", "--data-option", "val=2", "--data-option", "test=2", "--data-option", "size=32")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTLBENCH_CACHE", str(tmp_path))
    return tmp_path


def run(counts: tuple[Count, ...], problems: tuple[str, ...]) -> tuple[int, str]:
    with redirect_stdout(StringIO()) as text:
        status = report("some", Survey(counts, problems))
    return status, text.getvalue()


def test_a_data_set_is_made_ready_and_looked_at(cache: Path) -> None:
    made = cli("data", "prepare", "rooms", *SMALL)
    assert made.exit_code == 0 and "rooms is ready: train 4, val 2, test 2 images; fingerprint" in made.output
    found = cli("data", "verify", "rooms", *SMALL)
    assert found.exit_code == 0 and found.output.splitlines()[-1] == "complete and sound"
    (image,) = cache.glob("rooms-*/test-image.npy")
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    broken = cli("data", "verify", "rooms", *SMALL)
    assert broken.exit_code == 1 and str(image) in broken.output and broken.output.endswith("1 problem\n")


def test_a_survey_tells_sound_from_complete() -> None:
    whole, part = Count("images", 795, 795), Count("images", 220, 795)
    assert run((whole, Count("val", 79)), ()) == (0, run((whole, Count("val", 79)), ())[1])
    assert run((whole,), ())[1].endswith("complete and sound\n")
    status, text = run((part,), ())
    assert status == 1 and "differs" in text and text.endswith("sound, but not the published data set\n")
    status, text = run((whole,), ("a.jpg: truncated", "b.xml:3: empty box\x1b[31m"))
    assert status == 1 and text.splitlines()[-3:] == ["a.jpg: truncated", "b.xml:3: empty box?[31m", "2 problems"]


def test_values_are_literals_or_words_and_never_run() -> None:
    texts = ("a=3", "b=0.5", "c=True", "d=left-up-towards", "e=(1, 2)", "f=x=y", "g=__import__('os').getcwd()")
    assert dict(map(parse_assignment, texts)) == {
        "a": 3,
        "b": 0.5,
        "c": True,
        "d": "left-up-towards",
        "e": (1, 2),
        "f": "x=y",
        "g": "__import__('os').getcwd()",
    }
    nested = ("normals.decoding=nearest", "normals.labels=soft", "semseg.x=1")
    assert by_task([parse_task_assignment(text) for text in nested]) == {
        "normals": {"decoding": "nearest", "labels": "soft"},
        "semseg": {"x": 1},
    }
    for wrong in ("a", "=3", ""):
        with pytest.raises(UserError, match="NAME=VALUE"):
            parse_assignment(wrong)
    for wrong in ("a=3", ".a=3", "a.=3"):
        with pytest.raises(UserError, match=r"TASK\.NAME=VALUE"):
            parse_task_assignment(wrong)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--data-option", "sise=3"), "no option of dataset rooms called 'sise'. Did you mean 'size'?"),
        (("--task-option", "semsec.x=3"), "Did you mean 'semseg'?"),
        (("--task-option", "normals.decodin=x"), "Did you mean 'decoding'?"),
        (("--task-option", "normals.decoding=best"), "decoding"),
        (("--backbone", "alexnett"), "Did you mean 'alexnet'?"),
        (("--init", "imagenet"), "no weights for caffenet"),
        (("--weights", "nothing.pt"), "--weights: no network starts from ImageNet weights; add --init imagenet"),
        (("--weights", "nothing.pt", "--init", "imagenet"), "nothing.pt"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_done(cache: Path, options: tuple[str, ...], says: str) -> None:
    run = (
        "run",
        "--pair",
        "semseg_sn",
        "--recipe",
        "smoke",
        "--executor",
        "local",
        "--seeds",
        "0",
        "--results",
        cache / "results",
    )
    answer = cli(*run, *options, *SMALL)
    (line,) = [line for line in answer.output.splitlines() if line.startswith("mtlbench:")]
    assert answer.exit_code == 2 and says in line
    assert not list((cache / "results").rglob("trial.json"))
