"""How long the report, every table and every figure take from a store of many trials.

    python benchmarks/report_speed.py [TRIALS] [SPACE] [FOLDER]

Writes a made-up store of at least TRIALS (500) trials of the arms of SPACE (semseg_sn), into FOLDER where one is given
(and leaves it as it is where it has a store). Processor seconds (user + system) of each part, and of whole commands,
imports included.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _figures import Figure, tell
from _made_up import fill, trials_of
from matplotlib.figure import Figure as Canvas

from mtlbench.errors import UserError
from mtlbench.plan import spaces
from mtlbench.plugins import create, list_names
from mtlbench.report.paper_layouts import TABLES
from mtlbench.report.paper_tables import paper_table
from mtlbench.report.render import render
from mtlbench.report.report import report
from mtlbench.report.results_table import results_table
from mtlbench.store.results import Results, load_results

PART_SECONDS = 5.0  # of one table or figure from 500 trials
Row = dict[str, Any]


def time_work(what: str, work: Callable[[], Any]) -> Row:
    """The processor seconds that a piece of work takes in this process."""
    start = time.process_time()
    try:
        work()
    except UserError as error:
        return {"part": what, "note": str(error)}
    return {"part": what, "processor seconds": round(time.process_time() - start, 3)}


def command(root: Path, *words: str) -> Row:
    """The processor seconds of a whole command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "mtlbench", *words, "--results", root], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"part": f"mtlbench {' '.join(words)}", "processor seconds": round(seconds, 3)}


def figure(name: str, results: Results, root: Path) -> None:
    """Draw one figure into a file."""
    canvas, drawer = Canvas(), create("figure", name)
    drawer.draw(drawer.data(results), canvas)
    canvas.savefig(root / f"{name}.svg")


def parts(root: Path) -> list[Row]:
    """Every part, in an order in which each finds loaded what is not its own."""
    results = load_results(root)
    work: dict[str, Callable[[], Any]] = {
        "load": lambda: results.frame,
        "failures": lambda: results.failures,
        "curves read": lambda: results.curves,
        "alphas read": lambda: results.alphas,
        "table": lambda: render(results_table(results.frame, failures=results.failures)),
        **{
            f"table {number}": lambda number=number: render(paper_table(number, results, paper=True))
            for number in TABLES
        },
        **{name: lambda name=name: figure(name, results, root) for name in list_names("figure")},
        "report": lambda: report(results, root / "report.html"),
    }
    return [time_work(what, one) for what, one in work.items()]


def main(trials: int = 500, space: str = "semseg_sn", folder: str = "") -> None:
    """Fill a store and measure."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(folder or scratch)
        found = len(list(root.glob("*/*/*/result.json"))) or fill(root, trials_of(spaces.load(space), trials))
        rows = parts(root)
        commands = [command(root, *words) for words in (["table"], ["plot", "all"], ["report"])]
    seconds = {row["part"]: row["processor seconds"] for row in rows if "processor seconds" in row}
    shown = {part: one for part, one in seconds.items() if part not in ("load", "failures", "report")}
    tell(
        rows + commands,
        [
            Figure("slowest table or figure", max(shown.values()), "s", at_most=PART_SECONDS * max(1.0, found / 500)),
            Figure("report", seconds["report"], "s"),
            Figure("report against all tables and figures", round(seconds["report"] / sum(shown.values()), 2), "x"),
            *(Figure(row["part"], row["processor seconds"], "s") for row in commands),
        ],
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:])
