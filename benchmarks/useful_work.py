"""What share of the machine's time a whole run spends in optimiser steps and evaluation.

    python benchmarks/useful_work.py RESULTS -- mtlbench run --pair det_attr --all-splits --results RESULTS

Runs the command on an empty results folder and prints a line of JSON: wall seconds, CPU seconds inside steps and
evaluation, their share of cores x wall, and evaluation's share of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from mtlbench import load_results


def main() -> None:
    """Time the command and read the store that it leaves."""
    results, dashes, *command = sys.argv[1:]
    assert dashes == "--", __doc__
    start = time.perf_counter()
    subprocess.run(command, check=True)
    wall = time.perf_counter() - start
    costs = load_results(results).frame.query("subset == 'cost'").drop_duplicates(["key", "metric"])
    sums = costs.groupby("metric")["value"].sum()
    useful = sums["step_seconds"] + sums["evaluation_seconds"]
    cores = os.cpu_count() or 1
    print(
        json.dumps(
            {
                "trials": int(costs["key"].nunique()),
                "cores": cores,
                "wall_seconds": round(wall, 1),
                "useful_cpu_seconds": round(useful, 1),
                "useful_share": round(useful / (cores * wall), 3),
                "evaluation_share": round(sums["evaluation_seconds"] / useful, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
