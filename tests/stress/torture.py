"""`make torture`: kill runs at random moments, type the same command again, compare with an undisturbed run.

Not collected by pytest (it takes about a quarter of an hour). Every round starts the smoke recipe's arms through Ray
in an empty results folder. A driver round kills the driver with KILL, INT or TERM; afterwards no process and no scratch
may be left, and the same command must complete the study. A worker round kills one worker, and that run itself must
complete the study. A Ray round kills or freezes processes of Ray's own, or all at once (`ray_round`). In the end all
numbers must be those of the undisturbed run, exactly, and nothing finished was done again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import pandas as pd

from tests.support.commands import numbers

COMMAND = ("run", "--pair", "det_attr", "--recipe", "smoke", "--all-splits", "--seeds", "0")
RESUME = ("--resume-every", "0.001")  # minutes: a resume file after every step
DRIVER_SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
WORKER = b"ray::TrialActor"
RAY = {
    "raylet": b"/raylet\0",
    "gcs_server": b"/gcs_server\0",
    "courier": b"ray::Courier",
    "reaper": b"mtlbench.system.scratch\0",
}
RAY_KINDS = (
    "raylet",
    "gcs_server",
    "courier",
    "frozen",
    "reaper",
    "everything",
    "raylet",
    "gcs_server",
    "courier",
    "frozen",
    "raylet",
    "gcs_server",
)
STOP_SECONDS = 10.0  # from INT or TERM to the exit
GONE_SECONDS = 3.0  # from the driver's death to the last process's
STARTING_SECONDS = 0.5  # so long after the start, Python itself may still answer a signal
LONGEST_SECONDS = 300.0
LOCKS = (".lock", ".running.json")  # the latter where a run was killed when all was done
Note = dict[str, object]  # what a round's line says


# ---------------------------------------------------------------------------------------------------- processes
def find_living(mark: str, session: int = -1) -> Iterator[int]:
    """Processes that inherited the environment variable `mark` or belong to the session.

    Ray's agents write their titles over their environment: those are known by the session alone.
    """
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if state != "Z" and (int(own) == session or mark.encode() in (entry / "environ").read_bytes()):
                yield int(entry.name)
        except OSError:
            continue


def find(mark: str, command: bytes) -> list[int]:
    """Living processes of a run with these bytes in their command."""
    numbers = []
    for process in find_living(mark):
        with contextlib.suppress(OSError):
            if command in Path(f"/proc/{process}/cmdline").read_bytes():
                numbers.append(process)
    return sorted(numbers)


def workers(mark: str) -> list[int]:
    """Living processes that train."""
    return find(mark, WORKER)


@dataclass
class Run:
    """One command in a session of its own, marked, with its own results and temporary folder."""

    folder: Path
    options: tuple[str, ...]
    mark: str = field(default_factory=lambda: f"MTLBENCH_TORTURE_{uuid.uuid4().hex}")

    def __post_init__(self) -> None:
        self.results, self.scratch = self.folder / "results", self.folder / "t"
        self.scratch.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(self.scratch), self.mark: "1"}
        number = len(list(self.folder.glob("said*")))
        self.said = self.folder / f"said{number}.txt"  # a file: a pipe would wait for every process that holds it
        with open(self.said, "w") as said:
            self.driver = subprocess.Popen(
                [sys.executable, "-m", "mtlbench", *self.options, "--results", str(self.results)],
                stdout=said,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        self.start = time.monotonic()

    def until(self, moment: float) -> bool:
        """Wait until so many seconds after the start; whether the driver still lives."""
        while (left := self.start + moment - time.monotonic()) > 0 and self.driver.poll() is None:
            time.sleep(min(left, 0.02))
        return self.driver.poll() is None

    def end(self, seconds: float = LONGEST_SECONDS) -> float:
        """Wait for the driver's end; the seconds that it took from now. Raises subprocess.TimeoutExpired."""
        start = time.monotonic()
        self.driver.wait(seconds)
        return time.monotonic() - start

    def alive(self) -> list[int]:
        """All processes of the run."""
        return list(find_living(self.mark, self.driver.pid))

    def expect(self, how: signal.Signals, moment: float) -> set[int]:
        """Exit statuses that may follow a signal; Python itself answers before and after the command's own work."""
        if how == signal.SIGKILL:
            return {-how}
        alone = moment < STARTING_SECONDS or "see mtlbench table" in self.said.read_text()
        return {130, -how} if alone else {130}

    def count_left(self) -> int:
        """How many processes are alive GONE_SECONDS after now; returns as soon as there is none."""
        until = time.monotonic() + GONE_SECONDS
        while (count := len(self.alive())) and time.monotonic() < until:
            time.sleep(0.05)
        return count

    def list_finished(self) -> dict[str, tuple[int, int]]:
        """Time and inode of every result.json."""
        found = {}
        for path in self.results.glob("*/*/*/result.json"):
            about = path.stat()
            found[str(path.relative_to(self.results))] = (about.st_mtime_ns, about.st_ino)
        return found

    def list_scratch(self) -> list[str]:
        """What the run left in its temporary folder (Ray's goes to /tmp where that has a long name); torch's own cache
        is meant to stay."""
        own = [name for name in os.listdir(self.scratch) if not name.startswith("torchinductor_")]
        return own + [str(path) for path in Path("/tmp").glob(f"mtl-{self.driver.pid}-*")]

    def sweep(self) -> None:
        """Kill what is left of this run."""
        for process in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


# ---------------------------------------------------------------------------------------------------- comparing


def curves(results: Path) -> dict[str, bytes]:
    """Every curve, alpha and prediction."""
    kept = ("curve.csv", "alphas.csv", "predictions.npz")
    return {str(p.relative_to(results)): p.read_bytes() for name in kept for p in results.glob(f"*/*/*/{name}")}


def list_leftovers(results: Path) -> list[str]:
    """Temporary, resume and error files of a completed study."""
    return sorted(
        path.name
        for path in results.rglob("*")
        if path.is_file()
        and path.name not in LOCKS
        and (path.name.startswith(".") or path.name in ("resume.pt", "error.txt"))
    )


@dataclass
class Reference:
    """The undisturbed run."""

    numbers: pd.DataFrame
    curves: dict[str, bytes]
    seconds: float


# ---------------------------------------------------------------------------------------------------- rounds
class TooLate(Exception):
    """The run ended before the moment came."""


def check_end(run: Run, reference: Reference, done: dict[str, tuple[int, int]], note: Note) -> list[str]:
    """What is wrong with a study that should be complete; `done` was finished before."""
    wrong = []
    if run.driver.returncode != 0:
        wrong.append(f"exit status {run.driver.returncode}")
    now = run.list_finished()
    note["redone"] = sum(now.get(name) != about for name, about in done.items())
    if note["redone"]:
        wrong.append("finished trials were done again")
    found = numbers(run.results) if now else pd.DataFrame()
    note["equal"] = "yes" if found.equals(reference.numbers) and curves(run.results) == reference.curves else "NO"
    if note["equal"] != "yes":
        wrong.append(f"other numbers ({len(now)} trials)")
    left: list[object] = [*list_leftovers(run.results), *run.list_scratch()]
    if running := run.count_left():
        left.append(f"{running} processes")
    note["left"] = left or "nothing"
    if left:
        wrong.append("something is left")
    return wrong


def driver_round(
    folder: Path,
    options: tuple[str, ...],
    reference: Reference,
    how: signal.Signals,
    moment: float,
    group: bool,
    note: Note,
) -> list[str]:
    """Kill the driver (or, as a terminal does, its group), then type the same command. Raises TooLate."""
    run, wrong = Run(folder, options), []
    try:
        if not run.until(moment):
            raise TooLate
        (os.killpg if group else os.kill)(run.driver.pid, how)
        try:
            note["stop s"] = round(run.end(STOP_SECONDS), 1)
        except subprocess.TimeoutExpired:
            return [f"alive {STOP_SECONDS:g} s after {how.name}"]
        code = run.driver.returncode
        if code == 0:
            raise TooLate
        if code not in run.expect(how, moment):
            wrong.append(f"exit status {code} after {how.name}")
        if running := run.count_left():
            wrong.append(f"{running} processes alive {GONE_SECONDS:g} s after the driver's end")
        if scratch := run.list_scratch():
            wrong.append(f"scratch left: {scratch}")
        done = run.list_finished()
        note["done then"] = len(done)
    finally:
        run.sweep()
    again = Run(folder, options)
    try:
        again.end()
        return wrong + check_end(again, reference, done, note)
    finally:
        again.sweep()


def worker_round(
    folder: Path,
    options: tuple[str, ...],
    reference: Reference,
    moment: float,
    choose: random.Random,
    note: Note,
) -> list[str]:
    """Kill one worker; the run goes on by itself. Raises TooLate."""
    run = Run(folder, options)
    try:
        run.until(moment)
        while not (alive := workers(run.mark)):
            if not run.until(time.monotonic() - run.start + 0.02):
                raise TooLate
        done = run.list_finished()
        os.kill(choose.choice(alive), signal.SIGKILL)
        note["done then"] = len(done)
        run.end()
        return check_end(run, reference, done, note)
    except ProcessLookupError as error:
        raise TooLate from error
    finally:
        run.sweep()


def ray_round(
    folder: Path, options: tuple[str, ...], reference: Reference, kind: str, moment: float, note: Note
) -> list[str]:
    """Kill one of Ray's own processes, the courier or the reaper: the run itself completes the study. Kill everything,
    or freeze Ray and end the run with TERM: the same command does, and says what it removes. Raises TooLate."""
    run, wrong = Run(folder, options), []
    try:
        if not run.until(moment):
            raise TooLate
        if kind not in RAY:
            if kind == "frozen":
                wrong = freeze(run, note)
            else:
                while alive := run.alive():
                    send(alive, signal.SIGKILL)
                run.end()
                note["scratch then"] = len(run.list_scratch())
            done, left = run.list_finished(), run.list_scratch()
            run = Run(folder, options)
            run.end()
            if left and "removed what a killed run had left" not in run.said.read_text():
                wrong.append("the scratch of a dead run is not told of")
        else:
            while not (alive := find(run.mark, RAY[kind])):
                if not run.until(time.monotonic() - run.start + 0.02):
                    raise TooLate
            done = run.list_finished()
            send(alive, signal.SIGKILL)
            note["went on s"] = round(run.end(), 1)
        note["done then"] = len(done)
        note["said"] = [line for line in run.said.read_text().splitlines()[1:-1] if "waiting" not in line]
        return wrong + check_end(run, reference, done, note)
    finally:
        run.sweep()


def freeze(run: Run, note: Note) -> list[str]:
    """Freeze all processes but the driver and the reaper, and end the run with TERM; what is wrong with its end."""
    apart = {run.driver.pid, *find(run.mark, RAY["reaper"])}
    send([process for process in run.alive() if process not in apart], signal.SIGSTOP)
    run.driver.terminate()
    try:
        note["stop s"] = round(run.end(STOP_SECONDS), 1)
    except subprocess.TimeoutExpired:
        note["then"] = f"{len(run.alive())} processes, scratch {run.list_scratch()}"
        run.sweep()
        return [f"alive {STOP_SECONDS:g} s after TERM"]
    wrong = [] if run.driver.returncode == 130 else [f"exit status {run.driver.returncode} after TERM"]
    if running := run.count_left():
        wrong.append(f"{running} frozen processes are left")
    if scratch := run.list_scratch():
        wrong.append(f"scratch left: {scratch}")
    return wrong


def send(processes: list[int], what: signal.Signals) -> None:
    """A signal to processes, some of which may have ended."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, what)


def rounds(driver: int, worker: int, ray: int) -> list[str]:
    """The kinds of all rounds, in order."""
    drivers = [DRIVER_SIGNALS[i % len(DRIVER_SIGNALS)].name for i in range(driver)]
    return drivers + ["worker"] * worker + [RAY_KINDS[i % len(RAY_KINDS)] for i in range(ray)]


def torture(root: Path, kinds: list[str], seed: int) -> int:
    """All rounds; how many were in breach."""
    knows = subprocess.run([sys.executable, "-m", "mtlbench", "run", "--help"], capture_output=True, text=True).stdout
    Run(root / "cache", (*COMMAND, "--dry-run")).end()  # renders the data
    run = Run(root / "reference", COMMAND)
    seconds = run.end()
    if run.driver.returncode:
        raise SystemExit(f"the undisturbed run failed:\n{run.said.read_text()}")
    reference = Reference(numbers(run.results), curves(run.results), seconds)
    click.echo(f"seed {seed}; undisturbed: {len(run.list_finished())} trials, {seconds:.1f} s")
    breaches = 0
    for number, kind in enumerate(kinds):
        choose = random.Random(f"{seed} {number}")
        options = (*COMMAND, *RESUME) if number % 5 == 4 and RESUME[0] in knows else COMMAND
        start = time.monotonic()
        while True:
            moment = choose.uniform(0, seconds)
            group = kind == "SIGINT" or (kind == "SIGTERM" and choose.random() < 0.5)
            folder, note = root / str(number), Note(moment=f"{moment:.2f}")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                if kind == "worker":
                    wrong = worker_round(folder, options, reference, moment, choose, note)
                elif kind in RAY_KINDS:
                    wrong = ray_round(folder, options, reference, kind, moment, note)
                else:
                    wrong = driver_round(folder, options, reference, signal.Signals[kind], moment, group, note)
                break
            except TooLate:
                click.echo(f"round {number:2} {kind}: ended before {moment:.2f} s; drawn again")
        about = ", ".join(f"{name} {value}" for name, value in note.items())
        extra = "".join((" to the group" if group else "", " with resume files" if options != COMMAND else ""))
        click.echo(
            f"round {number:2} {kind}{extra}: {about}, {time.monotonic() - start:.1f} s in all"
            + (f"  BREACH: {'; '.join(wrong)}; kept in {folder}" if wrong else "")
        )
        breaches += bool(wrong)
        if not wrong:
            shutil.rmtree(folder)
    return breaches


def main() -> None:
    """The command line; exit status 1 at any breach."""
    parser = argparse.ArgumentParser(description="Kill runs at random moments and compare what comes out.")
    parser.add_argument("--driver", type=int, default=20, help="rounds that kill the driver (KILL, INT, TERM in turn)")
    parser.add_argument("--worker", type=int, default=10, help="rounds that kill a worker")
    parser.add_argument("--ray", type=int, default=6, help="rounds that kill or freeze Ray's own processes")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="draws every moment")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no run is left behind
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell has it ignored, and its runs
    start = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="mt"))  # short: Ray's socket paths
    os.environ["MTLBENCH_CACHE"] = str(root / "rooms")
    breaches = torture(root, rounds(asked.driver, asked.worker, asked.ray), asked.seed)
    minutes = (time.monotonic() - start) / 60
    click.echo(
        f"seed {asked.seed}: {asked.driver} kills of the driver, {asked.worker} of a worker, {asked.ray} of Ray, "
        f"{breaches} breaches, {minutes:.1f} min"
    )
    if not breaches:
        shutil.rmtree(root)
    sys.exit(bool(breaches))


if __name__ == "__main__":
    main()
