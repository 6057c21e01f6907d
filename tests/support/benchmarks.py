"""A made-up table whose searches have known answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtlbench.tabular.content import CURVE, FORMAT, About, Architecture, Content, Metric, Stage

TASKS = ("a", "b")
STAGES = ("conv1", "pool1", "conv2", "fc")
PARTS_AT = {"one-task": 0, "split-conv2": 2, "split-fc": 3, "split-fc8": 4}  # place of the first stage that is apart
FAMILIES = {"one-task": "baseline", "cross-stitch": "cross-stitch"}
POINTS = (10, 20, 40, 80)  # iterations of the curve
GAINS = {"one-task": 0.0, "split-conv2": 2.0, "split-fc": 6.0, "split-fc8": -4.0, "cross-stitch": 5.0}  # in %


def architecture_of(arm: str) -> Architecture:
    """Groups of an arm; cross-stitch mixes after pool1 and starts from one-task."""
    stitched = arm == "cross-stitch"
    apart = PARTS_AT.get(arm, 0)
    groups = [[["a", "b"]] if place < apart else [["a"], ["b"]] for place in range(len(STAGES))]
    stages = [Stage(name, own, stitched and name == "pool1") for name, own in zip(STAGES, groups, strict=True)]
    return Architecture(FAMILIES.get(arm, "split"), "", ["one-task"] if stitched else [], stages)


def make_content(
    seeds: Sequence[int] = (0, 1, 2), gains: Mapping[str, float] = GAINS, early: Mapping[str, float] | None = None
) -> Content:
    """Task a: accuracy, 50 of one-task; task b: an error, 10 of one-task. Every arm gains so many % in both tasks, on
    val and test; at the curve's points half of it, or half of `early`. An arm's network visits 1000 images at 2 FLOPs
    (one-task's at 3 for each task, cross-stitch's at 6)."""
    names = ("arm", "seed", "task", "subset", "metric", "iteration", "value")
    scores: list[tuple[object, ...]] = []
    costs: list[tuple[object, ...]] = []
    for arm, gain in gains.items():
        for seed in seeds:
            for task, metric, base, sign in (("a", "acc", 50.0, 1), ("b", "error", 10.0, -1)):
                value = base * (1 + sign * gain / 100) + seed * base / 100
                for subset in ("val", "test"):
                    scores.append((arm, seed, task, subset, metric, 80, value))
                for point in POINTS:
                    half = base * (1 + sign * (early or gains)[arm] / 200) + seed * base / 100
                    scores.append((arm, seed, task, CURVE, metric, point, half))
            networks = {"a": 3.0, "b": 3.0} if arm == "one-task" else {"": 6.0 if arm == "cross-stitch" else 2.0}
            for task, flops in networks.items():
                key = f"{arm}{task}{seed}"
                for metric, value in (("flops", flops), ("image_visits", 1000.0), ("seconds", 4.0)):
                    costs.append((arm, seed, task, key, metric, value))
                parents = 8.0 if arm == "cross-stitch" else 0.0
                costs.append((arm, seed, task, key, "seconds_with_parents", 4.0 + parents))
    about = About(
        format=FORMAT,
        version="0",
        pair="p",
        dataset="d",
        backbone="b",
        recipe="r",
        setting="s",
        note="p on d.",
        tasks=list(TASKS),
        baseline="one-task",
        seeds=list(seeds),
        metrics=[Metric("a", "acc", "%", True, True), Metric("b", "error", "", False, True)],
        licence="CC0-1.0",
        citation=["somebody"],
    )
    columns = {name: [row[place] for row in scores] for place, name in enumerate(names)}
    of_costs = ("arm", "seed", "task", "key", "metric", "value")
    return Content(
        about,
        {arm: architecture_of(arm) for arm in gains},
        columns,
        {name: [row[place] for row in costs] for place, name in enumerate(of_costs)},
    )
