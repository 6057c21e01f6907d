"""What makes cross-stitch work: start, rate, initialisation and place of its units (Tables 1 to 3, Section 5)."""

from dataclasses import replace

from mtlbench.authoring import cross_stitch, load_space, mtl_shared, one_task

SEMSEG_SN = load_space("semseg_sn")
STARTS = ("0.1", "0.5", "0.7", "0.9")  # alpha_s; alpha_d makes it convex (Table 1)
RATES = (1, 10, 100, 1000, 10_000)  # over the network's; Table 2, and one more: "even higher made the loss diverge"
WIDTHS = {"1-16": 1 / 16, "1-4": 1 / 4, "1-1": 1.0}  # of MTL-shared's latent layer over fc7 (Ours)
CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")  # Section 5: found worse than pooling

# Arms that are the same network as one of semseg_sn go by both names and are trained once.
SPACE = replace(
    SEMSEG_SN,
    arms=(
        one_task(),
        *(cross_stitch(True, f"cross-stitch-alpha-{own}-{1 - float(own):.1f}", own=float(own)) for own in STARTS),
        *(cross_stitch(True, f"cross-stitch-rate-{rate}", lr=float(rate)) for rate in RATES),
        cross_stitch(True, "cross-stitch-from-one-task"),
        replace(cross_stitch(True, "cross-stitch-from-scratch"), parents=(), start="scratch", matched=True),
        cross_stitch(True, "cross-stitch-after-convolutions", after=CONVOLUTIONS),
        cross_stitch(False, "cross-stitch-per-layer"),
        cross_stitch(True, "cross-stitch-per-channel"),
        *(mtl_shared(width, f"mtl-shared-{name}") for name, width in WIDTHS.items()),
    ),
    more=(),
    short_list=("one-task", "cross-stitch-alpha-*", "cross-stitch-rate-*", "cross-stitch-from-*"),
)
