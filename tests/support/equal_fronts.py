"""Studies with a grid of weightings in which all arms are equal: no arm lies outside the others' front."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mtlbench.analysis.trade_offs import TradeOffs, trade_offs
from mtlbench.arm_names import BASELINE
from tests.support.grids import TWO, grid_frame


@dataclass(frozen=True)
class GridNoise:
    """`sd` of a run (%), `baseline` times that of one-task, whose run is in every change; of an arm's runs at several
    weightings `alike` is what they share (of the standard deviation) and `common` what val and test do; `wild` arms
    have three times the noise."""

    seeds: int = 3
    sd: float = 2.0
    baseline: float = 1.0
    alike: float = 0.0
    common: float = 0.7
    wild: tuple[str, ...] = ()


def equal_fronts(
    arms: Sequence[str], noise: GridNoise, studies: int, tasks: Sequence[str] = TWO, levels: int = 5, start: int = 0
) -> Iterator[TradeOffs]:
    """As many studies: every arm has the same true changes at the same weighting."""
    rng = np.random.default_rng([start, noise.seeds])
    frame = grid_frame(dict.fromkeys(arms, 0.0), tasks, levels, range(noise.seeds))
    exact = trade_offs(frame)
    rows = exact.test[["name", "arm", "seed", "task"]]
    assert rows.equals(exact.val[["name", "arm", "seed", "task"]])
    own = rows.groupby(["name", "seed", "task"]).ngroup().to_numpy()
    of_arm = rows.groupby(["arm", "seed", "task"]).ngroup().to_numpy()
    of_seed = rows.groupby(["seed", "task"]).ngroup().to_numpy()
    scale = np.where(rows["arm"].isin(noise.wild), 3.0, 1.0)
    is_base = (rows["arm"] == BASELINE).to_numpy()

    def draw() -> np.ndarray:
        """Noise of a run, a row each."""
        shared, alone = rng.normal(size=of_arm.max() + 1)[of_arm], rng.normal(size=own.max() + 1)[own]
        base = noise.baseline * rng.normal(size=of_seed.max() + 1)[of_seed]
        drawn = scale * (noise.alike * shared + np.sqrt(1 - noise.alike**2) * alone) - base
        return np.where(is_base, 0.0, noise.sd * drawn)

    for _ in range(studies):
        test, other = draw(), draw()
        val = noise.common * test + np.sqrt(1 - noise.common**2) * other
        yield dataclasses.replace(
            exact,
            test=exact.test.assign(change=exact.test["change"] + test),
            val=exact.val.assign(change=exact.val["change"] + val),
        )
