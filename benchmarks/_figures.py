"""What a benchmark prints: its table, its figures against their targets, and the same as a last line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd


class Figure(NamedTuple):
    """A number to hold on to. The unit "x" says that it is a ratio taken within one run, which another machine should
    find again; all else (s, images/s, MB) is the machine's."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def higher_is_better(self) -> bool:
        """Throughputs, and what has a lowest value to reach."""
        return self.at_least is not None or self.unit.endswith("/s")

    @property
    def target(self) -> str:
        """As printed; "" where there is none."""
        bounds = (("<=", self.at_most), (">=", self.at_least))
        return ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)

    @property
    def missed(self) -> bool:
        """Whether the value is beyond a target."""
        above = self.at_most is not None and self.value > self.at_most
        return above or (self.at_least is not None and self.value < self.at_least)


def tell(rows: Sequence[Mapping[str, object]], figures: Sequence[Figure]) -> None:
    """Print rows as a table, every figure with its target, and as the last line {"figures": [...]} in JSON."""
    if rows:
        print(pd.DataFrame(rows).to_string(index=False, na_rep=""))
    for figure in figures:
        bound = f"  target {figure.target}{'  missed' * figure.missed}" if figure.target else ""
        print(f"{figure.name}: {figure.value:.4g} {figure.unit}{bound}")
    print(json.dumps({"figures": [figure._asdict() for figure in figures]}), flush=True)
