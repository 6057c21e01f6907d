"""How long the report, every table and every figure take from a store of many trials.

    python benchmarks/report_speed.py [TRIALS] [SPACE] [FOLDER]

Writes a made-up store of at least TRIALS (500) trials of the arms of SPACE (semseg_sn), into FOLDER where one is given,
and prints the processor seconds (user + system) of each part, then of whole commands, imports included.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtlbench import spaces
from mtlbench.enumerator import expand, plugin
from mtlbench.errors import UserError
from mtlbench.paper_tables import TABLES, paper_table
from mtlbench.plugins import create, names
from mtlbench.report import report
from mtlbench.spec import FORMAT, SearchSpace, Trial
from mtlbench.store import Results, Store
from mtlbench.tables import results_table


def fill(root: Path, space: SearchSpace, count: int) -> int:
    """Write a store of at least `count` trials; returns how many."""
    store, written = Store(root, create=True), set[str]()
    for trial in trials_of(space, count):
        if trial.key in written:
            store.name(trial)
            continue
        folder, rng = store.begin(trial), np.random.default_rng(len(written))
        (folder / "curve.csv").write_text("\n".join(curve_of(trial)) + "\n")
        if trial.scheme.name == "cross_stitch":
            (folder / "alphas.csv").write_text("\n".join(alphas_of(trial, rng)) + "\n")
        (folder / "result.json").write_text(json.dumps(result_of(trial, len(written), rng), indent=1))
        written.add(trial.key)
    return len(written)


def timed(what: str, work: Callable[[], Any]) -> None:
    """Print the processor seconds that a piece of work takes in this process."""
    start = time.process_time()
    try:
        work()
        print(f"  {time.process_time() - start:6.2f}  {what}")
    except UserError as error:
        print(f"       -  {what}: {error}")


def command(root: Path, *words: str) -> None:
    """Print the processor seconds of a whole command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "mtlbench", *words, "--results", root], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(f"  {seconds:6.2f}  mtlbench {' '.join(words)}{'' if done.returncode == 0 else '  ' + done.stderr.strip()}")


def figure(name: str, results: Results, root: Path) -> None:
    """Draw one figure into a file."""
    canvas, drawer = Figure(), create("figure", name)
    drawer.draw(drawer.data(results), canvas)
    canvas.savefig(root / f"{name}.svg")


def measure(root: Path) -> None:
    """Every part, then whole commands."""
    results = Store(root).load()
    timed("load", lambda: results.frame)
    timed("failures", lambda: results.failures)
    timed("curves", lambda: results.curves)
    timed("alphas", lambda: results.alphas)
    timed("table", lambda: results_table(results.frame, failures=results.failures))
    for number in TABLES:
        timed(f"table {number}", lambda number=number: paper_table(number, results, paper=True))
    for name in names("figure"):
        timed(name, lambda name=name: figure(name, results, root))
    timed("report", lambda: report(results, root / "report.html"))
    print("whole commands, imports included:")
    for words in (["table"], ["plot", "all"], ["report"]):
        command(root, *words)


def main() -> None:
    """Fill a store and measure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    space = spaces.load(sys.argv[2] if len(sys.argv) > 2 else "semseg_sn")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(sys.argv[3] if len(sys.argv) > 3 else folder)
        print(f"{fill(root, space, count)} trials of {len(space.arms)} arms; processor seconds:")
        measure(root)


if __name__ == "__main__":
    main()
