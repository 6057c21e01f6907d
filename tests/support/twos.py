"""Made-up networks of every two tasks, whose effects are known, beside networks of all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mtlbench.arm_names import BASELINE
from mtlbench.plan.trees import abbreviate
from tests.support.arms import with_facts
from tests.support.synthetic_results import METRICS, STAGES, FakeResults

THREE = ("detection", "attributes", "semseg")
FIVE = ("semseg", "normals", "depth", "detection", "attributes")
OTHER = [("score", 50.0, "%", True)]  # of a task without metrics
Effects = Mapping[tuple[str, str], float]
NOTHING: Effects = {}
NO_NETWORKS: Mapping[str, float] = {}
PLAN = {  # of networks of all three tasks, the groups at conv3 and at fc6
    "split-fc8": ([THREE], [THREE]),
    "split-fc6": ([THREE], [[one] for one in THREE]),
    "split-conv2": ([[one] for one in THREE], [[one] for one in THREE]),
    "tree-conv2:det+att-fc8": ([THREE[:2], THREE[2:]], [THREE[:2], THREE[2:]]),
    "tree-fc6:det+att-fc8": ([THREE], [THREE[:2], THREE[2:]]),
    "tree-conv2:det+att-fc6": ([THREE[:2], THREE[2:]], [[one] for one in THREE]),
}


def twos_frame(
    effects: Effects = NOTHING,
    val: Effects | None = None,
    tasks: Sequence[str] = THREE,
    arm: str = "split-fc8",
    networks: Mapping[str, float] = NO_NETWORKS,
    seeds: Sequence[int] = (0, 1, 2),
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """One row a headline on val and test: {(task, partner): what the task changes in the network of the two, %; absent:
    nothing}, on val those of `val`; {network of all tasks: what every task changes}. Runs have normal noise (%), of
    which val and test share 0.7."""
    rng, short = rng or np.random.default_rng(0), abbreviate(tasks)
    twos = {f"{arm}:{short[one]}+{short[other]}": (one, other) for one, other in combinations(tasks, 2)}
    shared: dict[str, Any] = {"pair": "many", "dataset": "rooms", "backbone": "caffenet", "recipe": "quick"}
    shared |= {"category": "", "headline": True, "finished": "2026-01-02T03:04:05", "setting": "a1"}
    rows = []
    for name in (BASELINE, *networks, *twos):
        for seed in seeds:
            own = twos.get(name, tuple(tasks))
            for task in own:
                partner = next((other for other in own if other != task), "")
                metric, mean, unit, higher = METRICS.get(task, OTHER)[0]
                key = f"{name}/{task if name == BASELINE else 'all'}/{seed}"
                about = {"arm": name, "seed": seed, "task": task, "metric": metric, "unit": unit, "key": key}
                about |= {"roots": key, "higher_is_better": higher}
                both, alone = rng.normal(0, noise, 2)
                for subset, run in (("val", 0.7 * both + (1 - 0.49) ** 0.5 * alone), ("test", both)):
                    known = effects if subset == "test" or val is None else val
                    gain = known.get((task, partner), 0.0) if name in twos else networks.get(name, 0.0)
                    value = mean * (1 + (1 if higher else -1) * (gain + run) / 100)
                    rows.append({**shared, **about, "subset": subset, "value": value})
    return with_facts(pd.DataFrame(rows))


def architectures(arms: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Those of PLAN that are among the arms, as the store's results carry them: shared up to pool1, then as at conv3,
    from fc6 on as there."""
    last = STAGES.index("fc6")
    return {
        arm: [
            {
                "stage": stage,
                "groups": [list(THREE)] if place < 2 else list(map(list, PLAN[arm][place >= last])),
                "unit": False,
            }
            for place, stage in enumerate(STAGES)
        ]
        for arm in arms
        if arm in PLAN
    }


def twos(effects: Effects = NOTHING, **options: Any) -> FakeResults:
    """`twos_frame` with the architectures of its networks of all tasks."""
    frame = twos_frame(effects, **options)
    return FakeResults(frame, architectures(list(frame["arm"].unique())))
