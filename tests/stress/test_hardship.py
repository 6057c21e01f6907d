"""What borrowed machines do to a run: full disks, folders that cannot be written, damaged files, killed workers, a
second driver. Each is answered in one line, and the same command afterwards completes the study with the same numbers.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from mtlbench.cli.main import main
from tests.stress.torture import Run, find_living, workers
from tests.support.commands import folders, numbers

pytestmark = pytest.mark.slow

STUDY = ("run", "--pair", "det_attr", "--recipe", "smoke", "--seeds", "0", "--arm", "one-task", "--arm", "cross-stitch")
LOCAL = (*STUDY, "--executor", "local")
DETECTION, ATTRIBUTES, JOINT = "one-task detection", "one-task attributes", "cross-stitch detection attributes"
NOBODY = 65534
# A user other than root who may read everything (the interpreter may lie in root's home) and write what anyone may.
AS_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)
# $1 results, $2 size of its disk, $3 results to begin with, $4 where to copy what comes out, the rest: a command.
# The disk is filled as soon as the run has planned its three trials.
FULL_DISK = """
results=$1 size=$2 begun=$3 out=$4; shift 4
mount -t tmpfs -o size=$size none "$results" || exit 77
cp -r "$begun/." "$results"
"$@" > "$out/said" 2> "$out/told" &
while kill -0 $! && [ $(ls "$results"/*/*/*/trial.json | wc -l) -lt 3 ]; do sleep 0.02; done 2> /dev/null
cat /dev/zero > "$results/ballast" 2> /dev/null
wait $!; echo $? > "$out/status"
rm "$results/ballast"
cp -r "$results" "$out/kept"
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def mtlbench(
    *options: object, before: tuple[str, ...] = (), set_up: Callable[[], None] | None = None
) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command in a process of its own."""
    command = [*before, sys.executable, "-m", "mtlbench", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=set_up)
    return done.returncode, done.stdout, done.stderr


def one_line(answer: tuple[int, str, str]) -> str:
    """The line that ends a run that cannot go on; exit status 2."""
    status, _, told = answer
    assert status == 2, answer
    (line,) = told.splitlines()
    assert line.startswith("mtlbench: ") and "Traceback" not in line
    return line


def completes(results: Path, reference: Path, *more: object) -> str:
    """What the same command says; afterwards all numbers are the reference's, and nothing finished was done again."""
    before = list_finished(results)
    done = CliRunner().invoke(main, [str(option) for option in (*LOCAL, "--results", results, *more)])
    assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(numbers(results), numbers(reference), check_exact=True)
    if "--force" not in more:
        assert before.items() <= list_finished(results).items()
    return done.stdout


def list_finished(results: Path) -> dict[str, int]:
    """Time of every result.json that can be read."""
    found = {}
    for path in results.glob("*/*/*/result.json"):
        try:
            json.loads(path.read_text())
        except ValueError:
            continue
        found[path.parent.name] = path.stat().st_mtime_ns
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study; never to be changed."""
    results = tmp_path_factory.mktemp("study") / "results"
    done = CliRunner().invoke(main, [*LOCAL, "--results", str(results)])
    assert done.exit_code == 0, done.output
    return results


@pytest.fixture
def study(reference: Path, tmp_path: Path) -> Path:
    """A copy of the finished study."""
    return Path(shutil.copytree(reference, tmp_path / "results"))


@pytest.fixture
def begun(study: Path) -> Path:
    """A copy of the study in which only the attributes' own network is finished."""
    for name in (DETECTION, JOINT):
        shutil.rmtree(folders(study)[name])
    return study


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short name, for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="mt"))
    yield folder
    shutil.rmtree(folder)


# ---------------------------------------------------------------------------------------------------- no room
def test_a_file_that_may_not_grow_ends_the_run_in_one_line(begun: Path, reference: Path) -> None:
    weights = (folders(reference)[DETECTION] / "weights.pt").stat().st_size
    limit = weights // 2
    assert limit > 50_000  # all other files are smaller
    answer = mtlbench(
        *LOCAL, "--results", begun, set_up=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    line = one_line(answer)
    assert "cannot write to " in line and "File too large" in line and "type the same command" in line
    assert len(list_finished(begun)) == 1
    assert "3 trials, 1 of them done" in completes(begun, reference)


@linux
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_disk_that_fills_up_ends_the_run_in_one_line(
    executor: str, begun: Path, reference: Path, tmp_path: Path, short_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    mark = f"MTLBENCH_TEST_{uuid.uuid4().hex}"
    command = [
        "unshare",
        "-m",
        "sh",
        "-c",
        FULL_DISK,
        "sh",
        short_path,
        "64m",
        begun,
        out,
        sys.executable,
        "-m",
        "mtlbench",
        *STUDY,
        "--executor",
        executor,
        "--results",
        short_path,
    ]
    environment = {**os.environ, mark: "1"}
    shell = subprocess.Popen(
        [str(word) for word in command], stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    problem = shell.communicate(timeout=100)[1]
    if not (out / "status").exists():
        pytest.skip(f"no disk can be mounted here: {problem.strip()}")
    told = (int((out / "status").read_text()), (out / "said").read_text(), (out / "told").read_text())
    line = one_line(told)
    assert f"cannot write to {short_path}" in line and "No space left on device" in line
    until = time.monotonic() + 3
    while list(find_living(mark, shell.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    assert list(find_living(mark, shell.pid)) == []
    kept = out / "kept"
    assert folders(begun)[ATTRIBUTES].name in list_finished(kept)
    completes(kept, reference)


# ---------------------------------------------------------------------------------------------------- no permission
def answer_unprivileged(*options: object) -> tuple[int, str, str]:
    """The answer to a user who is not root."""
    if os.geteuid() != 0:
        return mtlbench(*options)
    if not shutil.which("setpriv"):
        pytest.skip("root cannot become another user here: there is no setpriv")
    return mtlbench(*options, before=AS_NOBODY)


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """A folder that all users reach."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest-of-"):
            break
        folder.chmod(0o755)
    folder.chmod(0o755)
    return tmp_path


@linux
@pytest.mark.parametrize(
    ("closed", "says"),
    [
        ("parent", "new cannot be used as a results folder: Permission denied"),
        ("results", "results cannot be written; use another folder with --results"),
        ("pair", "cannot write to {}: Permission denied; finished trials are kept; make room, or use another folder"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named_in_one_line(
    closed: str, says: str, study: Path, reference: Path, open_path: Path
) -> None:
    shutil.rmtree(folders(study)[JOINT])
    before = list_finished(study)
    shut = {"parent": open_path, "results": study, "pair": study / "det_attr" / "rooms"}[closed]
    study.chmod(0o777)
    shut.chmod(0o555)
    results = open_path / "new" if closed == "parent" else study
    try:
        line = one_line(answer_unprivileged(*LOCAL, "--results", results))
    finally:
        shut.chmod(0o755)
    assert str(shut) in line and says.format(shut) in line
    assert list_finished(study) == before and not (open_path / "new").exists()
    completes(study, reference)


# ---------------------------------------------------------------------------------------------------- damage
def test_truncated_weights_of_a_parent_are_made_again(study: Path, reference: Path) -> None:
    shutil.rmtree(folders(study)[JOINT])
    parent = folders(study)[DETECTION]
    os.truncate(parent / "weights.pt", 1000)
    before = list_finished(study)
    said = CliRunner().invoke(main, [*LOCAL, "--results", str(study)])
    assert said.exit_code == 0 and "3 trials, 1 of them done" in said.stdout
    after = list_finished(study)
    assert {key for key in before if after[key] != before[key]} == {parent.name}
    pd.testing.assert_frame_equal(numbers(study), numbers(reference), check_exact=True)


def test_weights_that_were_changed_are_found_before_a_child_starts_from_them(study: Path, reference: Path) -> None:
    shutil.rmtree(folders(study)[JOINT])
    weights = folders(study)[DETECTION] / "weights.pt"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    status, said, told = mtlbench(*LOCAL, "--results", study)
    assert status == 1 and told == ""
    (line,) = [line for line in said.splitlines() if line.startswith("failed: cross-stitch seed 0: ")]
    assert f"{weights} is damaged; type mtlbench run ... --force one-task" in line
    completes(study, reference, "--force", "one-task")


def test_truncated_results_resume_files_and_trials_are_done_again(study: Path, reference: Path) -> None:
    of = folders(study)
    os.truncate(of[ATTRIBUTES] / "result.json", 100)
    (of[DETECTION] / "result.json").unlink()
    (of[DETECTION] / "resume.pt").write_bytes((of[DETECTION] / "weights.pt").read_bytes()[:5000])
    (of[JOINT] / "trial.json").write_bytes(b"")
    (of[JOINT] / "result.json").unlink()
    assert "3 trials, 0 of them done" in completes(study, reference)
    assert sorted(folders(study)) == sorted(of)
    for name, folder in folders(reference).items():
        assert sorted(os.listdir(of[name])) == sorted(os.listdir(folder))


def test_a_finished_trial_with_an_empty_description_gets_it_back(study: Path, reference: Path) -> None:
    path = folders(study)[JOINT] / "trial.json"
    path.write_bytes(b"")
    completes(study, reference)
    assert json.loads(path.read_text()) == json.loads((folders(reference)[JOINT] / "trial.json").read_text())


# ---------------------------------------------------------------------------------------------------- two drivers
def together(*commands: tuple[object, ...]) -> list[tuple[int, str, str]]:
    """Answers of commands that are started at the same moment."""
    drivers = [
        subprocess.Popen(
            [sys.executable, "-m", "mtlbench", *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    said = [driver.communicate() for driver in drivers]
    return [(driver.returncode, *texts) for driver, texts in zip(drivers, said, strict=True)]


def test_of_two_runs_on_one_pair_one_works_and_the_other_is_refused(tmp_path: Path, reference: Path) -> None:
    command = (*LOCAL, "--results", tmp_path / "results")
    first, second = sorted(together(command, command), key=lambda answer: answer[0])
    assert first[0] == 0 and first[2] == ""
    if second[0]:  # else it came when the first had ended
        line = one_line(second)
        assert "another run (process " in line and f"is working in {tmp_path / 'results'}" in line
    assert "nothing to do" in completes(tmp_path / "results", reference)


def test_two_runs_on_different_pairs_share_a_results_folder(tmp_path: Path, reference: Path) -> None:
    results = tmp_path / "results"
    other = (
        "run",
        "--pair",
        "semseg_sn",
        "--recipe",
        "smoke",
        "--seeds",
        "0",
        "--arm",
        "one-task",
        "--executor",
        "local",
        "--results",
        results,
    )
    for status, _, told in together((*LOCAL, "--results", results), other):
        assert (status, told) == (0, "")
    frame = numbers(results)
    assert set(frame["pair"]) == {"det_attr", "semseg_sn"}
    own = frame[frame["pair"] == "det_attr"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, numbers(reference), check_exact=True)


# ---------------------------------------------------------------------------------------------------- a worker dies
@linux
def test_a_run_outlives_a_killed_worker(short_path: Path, reference: Path) -> None:
    run = Run(short_path, STUDY)
    try:
        while not (alive := workers(run.mark)):
            assert run.until(time.monotonic() - run.start + 0.02), run.said.read_text()
        os.kill(alive[0], signal.SIGKILL)
        run.end()
        assert run.driver.returncode == 0, run.said.read_text()
        assert run.count_left() == 0 and run.list_scratch() == []
    finally:
        run.sweep()
    assert "Traceback" not in run.said.read_text()
    pd.testing.assert_frame_equal(numbers(run.results), numbers(reference), check_exact=True)
