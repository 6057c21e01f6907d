"""All that a user's own file imports from mtlbench: contracts, layers, arms, errors, caches.

from mtlbench.authoring import Metric, Score, Stage, UserError
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtlbench.contracts import Batch, Count, Geometry, Metric, Pass, Sample, Score, Stage, Survey
from mtlbench.errors import UserError
from mtlbench.plan.arms import (
    alternatives,
    cross_stitch,
    ensemble,
    every_split,
    mtl_shared,
    one_task,
    one_task_longer,
    standard_arms,
)
from mtlbench.plan.spaces import like
from mtlbench.plan.spaces import load as load_space
from mtlbench.plan.trees import every_tree
from mtlbench.spec import Arm, Pair, Recipe, SearchSpace
from mtlbench.system.cache import build_once, cache_root
from mtlbench.system.given import read_text

if TYPE_CHECKING:
    from mtlbench.nets.layers import ImagePool, RegionPool, Seeded, SeededDropout

LAYERS = (
    "ImagePool",
    "RegionPool",
    "Seeded",
    "SeededDropout",
)  # imported when asked for: they need torch, search spaces do not

__all__ = [
    "Arm",
    "Batch",
    "Count",
    "Geometry",
    "ImagePool",
    "Metric",
    "Pair",
    "Pass",
    "Recipe",
    "RegionPool",
    "Sample",
    "Score",
    "SearchSpace",
    "Seeded",
    "SeededDropout",
    "Stage",
    "Survey",
    "UserError",
    "alternatives",
    "build_once",
    "cache_root",
    "cross_stitch",
    "ensemble",
    "every_split",
    "every_tree",
    "like",
    "load_space",
    "mtl_shared",
    "one_task",
    "one_task_longer",
    "read_text",
    "standard_arms",
]


def __getattr__(name: str) -> Any:
    """A layer. Raises AttributeError."""
    if name in LAYERS:
        from mtlbench.nets import layers

        return getattr(layers, name)
    raise AttributeError(f"module 'mtlbench.authoring' has no attribute {name!r}")
