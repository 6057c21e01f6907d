"""Do contrasts found on some seeds hold on fresh ones?

    python benchmarks/replication.py RESULTS det_attr 0-2 3-5

Prints, for every task and arm, the change against one-task with its interval on either set of seeds, whether both
exclude zero with the same sign, and the rank correlation of the arms' means between the sets.
"""

from __future__ import annotations

import sys

import pandas as pd

from mtlbench import load_results
from mtlbench.analysis.choice import rank_correlation
from mtlbench.analysis.frame import relative_change
from mtlbench.analysis.inference import compute_intervals
from mtlbench.analysis.selection import Selection, select_newest
from mtlbench.plan.options import parse_seeds


def main() -> None:
    """Compare two sets of seeds of one results folder."""
    results, pair, *sets = sys.argv[1:]
    frame, note = select_newest(load_results(results).frame, Selection(pair))
    first, fresh = (frame[frame["seed"].isin(parse_seeds(seeds))] for seeds in sets)
    changes = [compute_intervals(relative_change(part)).set_index(["task", "arm"]) for part in (first, fresh)]
    both = [change[["mean", "low", "high"]] for change in changes]
    table = pd.concat(both, axis=1, keys=sets).drop(index="one-task", level="arm")
    sides = [(table[seeds]["low"] > 0).astype(int) - (table[seeds]["high"] < 0).astype(int) for seeds in sets]
    table["replicates", ""] = (sides[0] == sides[1]) & (sides[0] != 0)
    print(note)
    print(table.round(1).to_string())
    print(rank_correlation(first, fresh).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
