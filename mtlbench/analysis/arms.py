"""What the arms of a frame are, read from its columns: Splits, variants of others, users' own, with their labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from mtlbench.arm_names import name_in_prose, shorten
from mtlbench.spec import Family


@dataclass(frozen=True)
class Kind:
    """What one arm is: the plug-in of its scheme, one of `spec.Family`, and the arm that it varies, or ""."""

    scheme: str = ""
    family: str = Family.OTHER
    variant_of: str = ""


@dataclass(frozen=True)
class Arms:
    """{arm: what it is}; of an arm without results nothing is known, it has a label all the same."""

    kinds: dict[str, Kind]

    @staticmethod
    def of(frame: pd.DataFrame) -> Arms:
        """Those of a frame with columns arm, scheme, family, variant_of; of an arm with several the last row counts."""
        rows = frame[["arm", "scheme", "family", "variant_of"]].drop_duplicates("arm", keep="last")
        return Arms({str(arm): Kind(*map(str, kind)) for arm, *kind in rows.itertuples(index=False, name=None)})

    def kind(self, arm: str) -> Kind:
        return self.kinds.get(arm, Kind())

    def is_split(self, arm: str) -> bool:
        """Whether val may choose it as the best Split: of the family, and no variant of a Split."""
        kind = self.kind(arm)
        return kind.family == Family.SPLIT and not kind.variant_of

    def is_tree(self, arm: str) -> bool:
        """Whether tasks leave one after another in it; no variant of such an arm."""
        kind = self.kind(arm)
        return kind.family == Family.TREE and not kind.variant_of

    def splits(self) -> list[str]:
        """The Splits of the frame."""
        return [arm for arm in self.kinds if self.is_split(arm)]

    def is_own(self, arm: str) -> bool:
        """Whether it is of a user's scheme: never one of the paper's arms, whatever it is called."""
        return self.kind(arm).family == Family.OWN

    def is_variant(self, arm: str) -> bool:
        """Whether it ablates or varies another arm."""
        return bool(self.kind(arm).variant_of)

    def plain(self, arm: str) -> str:
        """The arm that this one is a variant of, at the end of the line; a plain arm's own name."""
        seen = {arm}
        while (base := self.kind(arm).variant_of) and base not in seen:
            seen.add(base)
            arm = base
        return arm

    def label(self, arm: str) -> str:
        """For sentences: `Split conv4`."""
        return name_in_prose(arm, self.kind(arm).family)

    def short(self, arm: str) -> str:
        """For little room: `CS-rate-10`."""
        return shorten(arm, self.kind(arm).family)

    def shown(self) -> list[str]:
        """All but those that are trained for others to start from."""
        return [arm for arm, kind in self.kinds.items() if kind.family != Family.PARENT]

    def add(self, more: Iterable[tuple[str, Kind]]) -> Arms:
        """These and others that are not known yet."""
        return Arms({**dict(more), **self.kinds})


def without_parents(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of all arms but those that are trained for others to start from."""
    return frame[frame["family"] != Family.PARENT]
