"""All benchmarks that are quick enough, compared with the figures of an earlier time.

    make bench                        all of them: some ten minutes on two cores
    make bench ARGS='step startup'    these
    make bench ARGS=--write           and keep the figures in reference.json

Compared is how many times worse a figure is than its reference. Ratios (unit "x") are taken within one run and should
come out alike anywhere: they may be 1.3 times worse. Seconds, images a second and megabytes are those of a machine and
of what else ran on it: they may be 2.5 times worse, and tell only where the reference is of the same machine. The exit
status is 1 where a figure is worse than that, or misses a target that its reference meets.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from _figures import Figure

HERE = Path(__file__).parent
REFERENCE = HERE / "reference.json"
SCRIPTS: dict[str, list[str]] = {  # with the arguments that keep them short
    "startup": [],
    "queue_store": ["1000"],
    "report_speed": ["500"],
    "load": [],
    "rendering": ["1400"],
    "memory": [],
    "step": [],
    "tune_overhead": ["50"],
}
STRICT, LOOSE = 1.3, 2.5  # times worse than the reference


def main(words: list[str]) -> int:
    """Run, compare, and return the exit status."""
    chosen = [word for word in words if word != "--write"] or list(SCRIPTS)
    if unknown := [name for name in chosen if name not in SCRIPTS]:
        print(f"no benchmark {' or '.join(unknown)}; there are {', '.join(SCRIPTS)} (others run by hand: README.md)")
        return 2
    reference = json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {}
    found, broken = {}, []
    for name in chosen:
        start = time.monotonic()
        print(f"\n--- {name} {' '.join(SCRIPTS[name])}", flush=True)
        figures = run(name)
        print(f"({time.monotonic() - start:.0f} s)")
        found |= {name: figures} if figures else {}
        broken += [] if figures else [name]
    rows = [
        compare(f"{name}: {key}", figure, reference.get(name, {}).get(key))
        for name, figures in found.items()
        for key, figure in figures.items()
    ]
    print(f"\n{pd.DataFrame(rows).to_string(index=False, na_rep='')}")
    if "--write" in words:
        plain = {name: {key: figure._asdict() for key, figure in figures.items()} for name, figures in found.items()}
        REFERENCE.write_text(json.dumps(reference | plain, indent=1) + "\n")
    worse = [row["figure"] for row in rows if row[""] in ("worse", "missed")]
    for name in broken:
        print(f"{name} failed")
    return 1 if worse or broken else 0


def run(name: str) -> dict[str, Figure]:
    """A script's figures by name; its output is shown but for the JSON. none where it failed."""
    done = subprocess.run([sys.executable, HERE / f"{name}.py", *SCRIPTS[name]], stdout=subprocess.PIPE, text=True)
    *lines, last = done.stdout.rstrip("\n").split("\n")
    try:
        figures = [Figure(**one) for one in json.loads(last)["figures"]]
    except (ValueError, KeyError, TypeError):
        lines, figures = [*lines, last], []
    print("\n".join(lines))
    return {figure.name: figure for figure in figures} if done.returncode == 0 else {}


def compare(name: str, figure: Figure, stored: Mapping[str, Any] | None) -> dict[str, str]:
    """A row of the last table."""
    row = {
        "figure": name,
        "now": f"{figure.value:.4g} {figure.unit}",
        "reference": "",
        "times worse": "",
        "target": figure.target,
    }
    if stored is None:
        return row | {"": "missed" if figure.missed else "new"}
    known = Figure(**stored)
    times = measure_worsening(figure, known)
    row |= {"reference": f"{known.value:.4g}", "times worse": f"{times:.2f}"}
    if figure.missed and not figure._replace(value=known.value).missed:
        return row | {"": "missed"}
    slow = times > (STRICT if figure.unit == "x" else LOOSE)
    return row | {"": "worse" if slow else "ok, target missed as before" if figure.missed else "ok"}


def measure_worsening(figure: Figure, known: Figure) -> float:
    """How many times worse than its reference a figure is; below 1 it is better."""
    return known.value / figure.value if figure.higher_is_better else figure.value / known.value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
