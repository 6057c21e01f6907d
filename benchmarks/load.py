"""How long a store of many trials takes to be read as one frame, in a fresh process that has imported all.

    python benchmarks/load.py [TRIALS] [FOLDER]

Writes a made-up store of TRIALS (10 000) trials of semseg_sn, into FOLDER where one is given (and leaves it as it is
where it has a store). `parsed` only reads and parses every trial.json and result.json, without the search for cycles.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _figures import Figure, tell
from _made_up import fill, trials_of

from mtlbench.plan import spaces

SECONDS = 3.0  # for 10 000 trials
TIMED = """
import gc, json, pathlib, sys, time, resource
import pandas, mtlbench.store.results
def parsed(root):
    gc.disable()
    return [json.loads(path.read_bytes()) for name in ("trial", "result") for path in root.glob(f"*/*/*/{name}.json")]
def loaded(root):
    return mtlbench.load_results(root).frame
work = parsed if sys.argv[2] == "parsed" else loaded
wall, processor = time.perf_counter(), time.process_time()
made = work(pathlib.Path(sys.argv[1]))
wall, processor = time.perf_counter() - wall, time.process_time() - processor
print(wall, processor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, len(made))
"""


def main(trials: int = 10_000, folder: str = "") -> None:
    """Fill a store and read it."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(folder or scratch)
        count = len(list(root.glob("*/*/*/result.json"))) or fill(root, trials_of(spaces.load("semseg_sn"), trials))
        rows = [measure(root, what) for what in ("parsed", "loaded", "loaded", "loaded")]
    best = min(row["seconds"] for row in rows[1:])
    processor = min(row["processor seconds"] for row in rows[1:])
    tell(
        rows,
        [
            Figure(f"{trials} trials loaded", best, "s", at_most=SECONDS * count / 10_000),
            Figure("processor time of a trial", round(1000 * processor / count, 3), "ms"),
            Figure("loading against parsing alone", round(processor / rows[0]["processor seconds"], 2), "x"),
            Figure("peak memory", max(row["peak MB"] for row in rows[1:]), "MB"),
        ],
    )


def measure(root: Path, what: str) -> dict[str, Any]:
    """A row: one fresh process."""
    said = subprocess.run([sys.executable, "-c", TIMED, root, what], capture_output=True, text=True, check=True).stdout
    seconds, processor, peak, length = map(float, said.split())
    return {
        "what": what,
        "seconds": round(seconds, 3),
        "processor seconds": round(processor, 3),
        "peak MB": round(peak),
        "files or rows": int(length),
    }


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:])
