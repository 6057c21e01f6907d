"""Which images of a table are in train, val and test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

SHARES = {"test": 0.15, "val": 0.15}  # of the images, the rest is train; as `mtlbench new dataset` has it (ours)


def divide(groups: Sequence[str], wanted: Mapping[str, float] = SHARES) -> list[str]:
    """The subset of each image, from the group of each: always the same, whole groups, in the order of hashes of their
    names, until a subset has its share (Ours).

    >>> divide(["a", "a", "b", "c"], {"test": 0.5})
    ['train', 'train', 'test', 'test']
    """
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    order = sorted(sizes, key=lambda group: (hashlib.sha256(group.encode()).digest(), group))
    subset: dict[str, str] = {}
    for name, share in wanted.items():
        missing = round(share * len(groups)) or 1
        for group in order:
            if missing > 0 and group not in subset:
                subset[group] = name
                missing -= sizes[group]
    return [subset.get(group, "train") for group in groups]


def join_groups(groups: Sequence[str], digests: Sequence[str]) -> list[str]:
    """A name for each image that those of one group, and those with the same bytes, share: the first of the groups.

    >>> join_groups(["a", "b", "c"], ["1", "2", "1"])
    ['a', 'b', 'a']
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    first: dict[str, str] = {}
    for group, digest in zip(groups, digests, strict=True):
        one, other = root(first.setdefault(digest, group)), root(group)
        parent[max(one, other)] = min(one, other)
    return [root(group) for group in groups]
