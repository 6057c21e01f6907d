"""What the paper's Tables 1, 2, 3, 5 and 6 look like: rows, columns, and the commands that train them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Score = tuple[str, str]  # task, metric


@dataclass(frozen=True)
class LayoutRow:
    """A row of a table: how it is called, the arm it shows ("" = none), the paper's arms that it stands for."""

    label: str
    arm: str
    published: tuple[str, ...] = ()
    command: str = ""  # that trains the arm; "" = the table's


@dataclass(frozen=True)
class Layout:
    """A table of the paper. `best`: in the place of None among the rows, the Splits that val chooses, {task or "" for
    the pair: the paper's choice}."""

    title: str
    pair: str
    command: str
    heading: str  # of the rows
    groups: tuple[tuple[tuple[str, ...], tuple[Score, ...]], ...]  # lines over columns, columns
    rows: tuple[LayoutRow | None, ...]
    best: Mapping[str, str]
    remark: str = ""
    recipe: str = ""  # of a protocol of others, whose numbers these are; "" = the paper's
    sources: tuple[str, ...] = ()  # of the published numbers; () = the paper's table of this number

    @property
    def scores(self) -> list[Score]:
        """The columns, from left to right."""
        return [score for _, scores in self.groups for score in scores]


def _same(label: str, arm: str, command: str = "") -> LayoutRow:
    """A row whose arm has the same name in paper.csv."""
    return LayoutRow(label, arm, (arm,), command)


WITHIN = tuple(("normals", f"within_{angle}") for angle in ("11.25", "22.5", "30"))
DENSE = (
    (("Surface normals", "angle, degrees", "(lower better)"), (("normals", "mean"), ("normals", "median"))),
    (("Surface normals", "within t degrees, %", "(higher better)"), WITHIN),
    (("Segmentation", "%", "(higher better)"), tuple(("semseg", name) for name in ("pixacc", "mIoU", "fwIoU"))),
)
REGIONS = ((("Detection", "%"), (("detection", "mAP"),)), (("Attributes", "%"), (("attributes", "mAP"),)))
ABLATIONS, ARMS = "--pair ablations {setting} --all-splits", "--pair {pair} {setting} --all-splits"
IMAGENET = "--pair semseg_sn {setting} --arm cross-stitch --init cross-stitch=imagenet"  # docs/weights.md
BASELINES = (
    _same("one-task", "one-task"),
    _same("ensemble", "ensemble"),
    None,
    _same("MTL-shared", "mtl-shared"),
    _same("cross-stitch", "cross-stitch"),
)
TABLES = {
    "1": Layout(
        "cross-stitch units by their start (alpha_s, alpha_d)",
        "semseg_sn",
        ABLATIONS,
        "alpha_s, alpha_d",
        DENSE,
        tuple(
            _same(f"{s}, {d}", f"cross-stitch-alpha-{s}-{d}")
            for s, d in (("0.1", "0.9"), ("0.5", "0.5"), ("0.7", "0.3"), ("0.9", "0.1"))
        ),
        {},
    ),
    "2": Layout(
        "learning rate of cross-stitch units over the network's",
        "semseg_sn",
        ABLATIONS,
        "scale",
        DENSE,
        tuple(_same(str(scale), f"cross-stitch-rate-{scale}") for scale in (1, 10, 100, 1000, 10_000)),
        {},
        "The paper has no row 10000; its Section 5.2 says that a scale above 1000 made the loss diverge.",
    ),
    "3": Layout(
        "what cross-stitched networks start from, as many iterations in all",
        "semseg_sn",
        ABLATIONS,
        "start",
        DENSE,
        (
            _same("scratch", "cross-stitch-from-scratch"),
            _same("ImageNet", "cross-stitch-from-imagenet", IMAGENET),
            _same("one-task", "cross-stitch-from-one-task"),
        ),
        {},
        "The paper has no row scratch. ImageNet needs published weights of the backbone (docs/weights.md).",
    ),
    "5": Layout(
        "surface normals and semantic segmentation", "semseg_sn", ARMS, "arm", DENSE, BASELINES, {"": "split-conv4"}
    ),
    "6": Layout(
        "object detection and attributes",
        "det_attr",
        ARMS,
        "arm",
        REGIONS,
        BASELINES,
        {"detection": "split-fc7", "attributes": "split-conv2"},
    ),
}

THREE = (
    (("Segmentation", "%", "(higher better)"), (("semseg", "mIoU"), ("semseg", "pixacc"))),
    (("Depth", "cm, %", "(lower better)"), (("depth", "absolute"), ("depth", "relative"))),
    DENSE[0],
    DENSE[1],
)
METHODS = ("dwa", "uncertainty", "mgda", "pcgrad", "graddrop", "cagrad", "nash-mtl", "rlw")
OF_LIBMTL = (*METHODS, "gradnorm", "geometric-mean")


def _command(arms: str, methods: tuple[str, ...]) -> str:
    """What trains arms with weightings of their tasks."""
    weightings = "".join(f" --weighting {name.replace('-', '_')}" for name in methods)
    return f"--pair {{pair}} {{setting}} {arms}{weightings}"


def _weighed(arm: str, methods: tuple[str, ...] = METHODS) -> tuple[LayoutRow, ...]:
    """An arm, and the same with each weighting of its tasks."""
    return tuple(_same(name, name) for name in (arm, *(f"{arm}@{method}" for method in methods)))


PROTOCOLS = {
    "libmtl": Layout(
        "three tasks of NYUv2 by LibMTL's protocol",
        "dense3",
        _command("--arm split-fc8 --arm mtan", OF_LIBMTL),
        "arm",
        THREE,
        (
            _same("one-task", "one-task"),
            *_weighed("split-fc8", OF_LIBMTL),
            _same("mtan", "mtan"),
        ),
        {},
        "Published: one run each on all 795 images of train, of which we keep a tenth for val; split-fc8 is their HPS."
        " Their cross-stitch, MMoE, CGC, PLE, LTB and DSelect-k are other networks than ours, IMTL and GradVac other"
        " weightings: not shown.",
        "libmtl",
        ("LibMTL, Table 2", "LibMTL, Table 5"),
    ),
    "nash": Layout(
        "three tasks of NYUv2 by the protocol of Nash-MTL",
        "dense3",
        _command("--arm mtan", METHODS),
        "arm",
        THREE,
        (_same("one-task", "one-task"), *_weighed("mtan")),
        {},
        "Published are means over the last 10 epochs of three runs on SegNet, which mtlbench does not have.",
        "nash",
        ("Navon et al. 2022",),
    ),
}
