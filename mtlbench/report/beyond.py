"""Whether any arm reaches trade-offs between the tasks that the Splits with tuned weights do not, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mtlbench.analysis.comparison import BEATS, FRONT_SHARE, Case, Difference, difference_of
from mtlbench.analysis.inference import make_paired_contrast, mean_interval
from mtlbench.analysis.trade_offs import TradeOffs, has_grid, trade_offs
from mtlbench.contracts import Results
from mtlbench.errors import UserError


@dataclass(frozen=True)
class BeyondSplits:
    """The Splits at several weightings of the losses, and {other arm: its `front.compute_advantages` over them, as one
    of as many contrasts as there are such arms}; `others` have a grid, with numbers in common with the Splits or not.

    Only that an arm is ahead is ever said, since equal arms come out a little behind (Ours).
    """

    note: str  # which results these are
    splits: tuple[str, ...]
    others: tuple[str, ...]
    advantages: Mapping[str, Difference]

    @property
    def outside(self) -> list[str]:
        """The arms that are said to lie outside the Splits' front."""
        return [arm for arm, found in self.advantages.items() if found.relation == BEATS]


def find_trade_offs(case: Case, results: Results) -> TradeOffs | None:
    """What the case's pair, dataset, backbone and recipe have at several weightings, None without a grid."""
    if not has_grid(results.frame):
        return None
    try:
        return trade_offs(results.frame, case.selection)
    except UserError:
        return None  # the figure says why


def beyond_splits(found: TradeOffs) -> BeyondSplits:
    """Every other arm against the front of the Splits: paired t intervals over seeds, each seed's difference averaged
    over directions."""
    others, table = found.others, found.advantages
    advantages = {}
    for arm in others:
        own = table.loc[table["arm"] == arm, "advantage"]
        if len(own):
            mean, _, high, seeds = mean_interval(own)
            advantages[arm] = difference_of(make_paired_contrast(mean, high, seeds), len(others), FRONT_SHARE)
    return BeyondSplits(found.note, tuple(found.splits), tuple(others), advantages)
