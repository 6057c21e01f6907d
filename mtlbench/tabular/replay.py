"""Searches replayed on a table: each asks for a network at a point of its training, is told the number that is known,
and pays what training it so far would have cost."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mtlbench.spec import derive_seed
from mtlbench.tabular.candidates import Space


class Spent(Exception):
    """The budget does not allow the next step."""


@dataclass(frozen=True)
class Step:
    """What a search would give when asked: after it has spent `cost` (of the brute force), `arm`."""

    cost: float
    arm: str


@dataclass
class Ledger:
    """What a search with one seed's networks has seen and paid.

    budget: as a share of the brute force. trace: what the search would give, whenever that changes: of the arms that
    are trained furthest the one that is best on val.
    """

    space: Space
    seed: int
    budget: float
    spent: float = 0.0
    seen: dict[str, int] = field(default_factory=dict)  # how many points of each arm
    trace: list[Step] = field(default_factory=list)

    def train(self, arm: str) -> float:
        """Train an arm up to its next point: the change on val there. Raises Spent."""
        course, point = self.space.courses[self.seed][arm], self.seen.get(arm, 0)
        begun = course.shares[point - 1] if point else 0.0
        price = self.space.works[arm] * (course.shares[point] - begun) / self.space.brute_force
        if self.spent + price > self.budget * (1 + 1e-9):  # sums of shares are not exact
            raise Spent
        self.spent += price
        self.seen[arm] = point + 1
        best = max(self.seen, key=lambda one: (self.seen[one], self._last(one)))
        if not self.trace or self.trace[-1].arm != best:
            self.trace.append(Step(self.spent, best))
        return course.changes[point]

    def train_fully(self, arm: str) -> float:
        """Train an arm to its end. Raises Spent."""
        value = 0.0
        while self.seen.get(arm, 0) < len(self.space.courses[self.seed][arm].shares):
            value = self.train(arm)
        return value

    def _last(self, arm: str) -> float:
        return self.space.courses[self.seed][arm].changes[self.seen[arm] - 1]


Search = Callable[[Ledger, int], None]  # asks the ledger until it has enough; the number is the search's own seed


def search_randomly(ledger: Ledger, seed: int) -> None:
    """Every arm in a random order, each trained fully."""
    for arm in shuffle(ledger.space, seed):
        ledger.train_fully(arm)


def search_in_order(ledger: Ledger, seed: int) -> None:
    """Every arm from sharing nothing to sharing all, each trained fully: the brute force."""
    for arm in ledger.space.depths:
        ledger.train_fully(arm)


def shuffle(space: Space, seed: int) -> list[str]:
    """The arms in a random order."""
    arms = list(space.depths)
    return [arms[place] for place in np.random.default_rng(seed).permutation(len(arms))]


@dataclass(frozen=True)
class Method:
    """A search. `whose`: what of it is Ray Tune's. `extra`: whether it needs the extra `search`."""

    name: str
    whose: str
    function: str = ""  # in `tune_methods`, "" for ours
    is_random: bool = True
    extra: bool = False


METHODS = {
    one.name: one
    for one in (
        Method("random", "ours: any order, each arm trained fully"),
        Method("grid", "ours: the brute force, from sharing nothing to sharing all", is_random=False),
        Method("asha", "Tune's AsyncHyperBandScheduler, arms in any order", "search_by_asha"),
        Method("hyperband", "Tune's HyperBandScheduler, arms in any order", "search_by_hyperband"),
        Method("tpe", "Tune's OptunaSearch (TPE), each arm trained fully", "search_by_tpe", extra=True),
        Method("bohb", "Tune's HyperBandForBOHB, proposals by OptunaSearch (TPE)", "search_by_bohb", extra=True),
    )
}
OURS: dict[str, Search] = {"random": search_randomly, "grid": search_in_order}


def load_search(method: Method) -> Search:
    """The function of a method; ray and optuna are imported now. Raises UserError where an extra is not installed."""
    if not method.function:
        return OURS[method.name]
    from mtlbench.tabular import tune_methods

    if method.extra:
        tune_methods.need_optuna()
    found: Search = getattr(tune_methods, method.function)
    return found


def can_run(method: Method) -> bool:
    """Whether all that the method needs is installed."""
    return not method.extra or importlib.util.find_spec("optuna") is not None


def replay(
    space: Space, method: Method, budget: float, seeds: Sequence[int], repeats: int
) -> dict[int, list[list[Step]]]:
    """{seed of the networks: the traces of `repeats` searches, one where nothing is random}. Raises UserError."""
    search = load_search(method)
    found: dict[int, list[list[Step]]] = {}
    for seed in seeds:
        for repeat in range(repeats if method.is_random else 1):
            ledger = Ledger(space, seed, budget)
            with contextlib.suppress(Spent):
                search(ledger, derive_seed(seed, method.name, repeat))
            found.setdefault(seed, []).append(ledger.trace)
    return found
