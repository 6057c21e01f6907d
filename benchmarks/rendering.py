"""How fast the embedded data set is rendered: one process alone, then all that `prepare` does on every core.

    python benchmarks/rendering.py [TRAIN]

TRAIN (2400) scenes of train besides the 400 of val and 600 of test, at 64 x 64; the cache is made in a folder of its
own. The digest over images and labels is the same on every machine.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import tempfile
import time
from typing import Any

import numpy as np
from _figures import Figure, tell

from mtlbench.datasets.rooms import Rooms, render_scenes
from mtlbench.system.machine import cores

ALONE = 200  # scenes
TARGET = 500.0  # images a second, two cores


def main(train: int = 2400) -> None:
    """Render both ways."""
    list(render_scenes("train", 0, 8, 64))  # warm
    alone, made = time_work(lambda: list(render_scenes("train", 0, ALONE, 64)))
    digest = hashlib.sha256()
    for array in (array for rendered in made for array in rendered):
        digest.update(np.ascontiguousarray(array).tobytes())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MTLBENCH_CACHE"] = folder
        rooms = Rooms(train=train)
        whole, _ = time_work(rooms.prepare)
    images = sum(rooms.lengths.values())
    rows = [
        {"what": "one process, nothing written", "images": ALONE, **alone},
        {"what": f"prepare, {cores()} cores", "images": images, **whole},
    ]
    each = [row["processor seconds"] / row["images"] for row in rows]
    print(f"digest of the {ALONE} images and labels: {digest.hexdigest()[:16]}")
    tell(
        rows,
        [
            Figure("rendering", round(images / whole["seconds"]), "images/s", at_least=TARGET),
            Figure("processor time of an image", round(1000 * each[0], 3), "ms"),
            Figure("prepare against rendering alone, processor time", round(each[1] / each[0], 3), "x"),
        ],
    )


def time_work(work: Any) -> tuple[dict[str, float], Any]:
    """Wall and processor seconds, children's included, and what the work returned."""
    wall, before = time.perf_counter(), processor()
    made = work()
    return {"seconds": round(time.perf_counter() - wall, 3), "processor seconds": round(processor() - before, 3)}, made


def processor() -> float:
    """Seconds of this process and of its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
