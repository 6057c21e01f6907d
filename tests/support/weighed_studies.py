"""Made-up studies in which architectures were trained with weightings of their tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from tests.support.synthetic_results import FakeResults, results_frame

PLAINS = ("split-conv4", "split-fc8")
EFFECTS = {"split-conv4": 2.0, "split-fc8": -4.0}


def weighed_study(seeds: Sequence[int] = (0, 1, 2), weighings: Mapping[str, float] | None = None) -> FakeResults:
    """Each plain arm, and again under weightings that add so many % to it; a step of these costs 3 instead of 2."""
    gains = weighings if weighings is not None else {"upgrad": 5.0, "rlw": -5.0}
    arms = {f"{arm}@{name}": (arm, name) for arm in PLAINS for name in gains}
    effects = {**EFFECTS, **{arm: EFFECTS[base] + gains[name] for arm, (base, name) in arms.items()}}
    frame = results_frame("det_attr", seeds, ("one-task", *PLAINS, *arms), 0.05, effects)
    for arm, (base, name) in arms.items():
        frame.loc[frame["arm"] == arm, ["variant_of", "method"]] = [base, name]
    steps = frame.drop_duplicates(["arm", "seed"])
    seconds = steps["method"].ne("") * 10.0 + 20.0
    costs = steps.assign(subset="cost", metric="step_seconds", headline=False, task="", value=seconds)
    return FakeResults(pd.concat([frame, costs], ignore_index=True), {})
