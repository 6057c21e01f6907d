"""Cross-stitch units per channel and per layer for det_attr, where the paper found the former unstable (Section 6)."""

from dataclasses import replace

from mtlbench.authoring import cross_stitch, load_space, mtl_shared, one_task

SPACE = replace(
    load_space("det_attr"),
    arms=(
        one_task(),
        cross_stitch(False, "cross-stitch-per-layer"),
        cross_stitch(True, "cross-stitch-per-channel"),
        *(mtl_shared(width, f"mtl-shared-{name}") for name, width in (("1-16", 1 / 16), ("1-4", 0.25), ("1-1", 1.0))),
    ),
    more=(),
    short_list=("*",),
)
