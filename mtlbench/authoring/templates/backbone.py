"""A small network for images of about 64 pixels, with the paper's stage names: every Split and scheme fits it."""

from torch import nn

from mtlbench.authoring import Geometry, ImagePool, RegionPool, Stage, UserError

# Channels of each stage, in times the option `width`; the stages that start with "pool" have no parameters.
CHANNELS = {
    "conv1": 1,
    "pool1": 1,
    "conv2": 2,
    "pool2": 2,
    "conv3": 3,
    "conv4": 3,
    "conv5": 2,
    "pool5": 2,
    "fc6": 8,
    "fc7": 8,
}
UNITS_AFTER = ("pool1", "pool2", "pool5", "fc6", "fc7")  # where cross-stitch and the like put theirs


class Template:
    """Convolutions of 3 x 3 with group normalisation, and two fully connected layers.

    Form `fcn` gives a map for dense tasks, form `roi` a vector for each region of region tasks, form `image` a vector
    for each image.
    """

    version = 1  # raise it when you change what is computed: older results then stay apart
    forms = ("fcn", "roi", "image")
    mean, std, bgr = (124.0, 116.0, 104.0), (58.0, 57.0, 57.0), False  # of the images, 0-255 and RGB
    geometry = Geometry(stride=16, centre=0, hold=True)  # in pixels, of the last map in form fcn (see contracts.py)
    torchvision_weights = ""

    def __init__(self, form, width=32):
        self.form = form
        self.channels = {name: width * times for name, times in CHANNELS.items()}
        self.stages = tuple(
            Stage(name, channels, has_parameters=not name.startswith("pool"), stitched=name in UNITS_AFTER)
            for name, channels in self.channels.items()
        )

    # A fresh module for one stage; what is stitched, such as the output of pool1, is what comes out of it.
    def build(self, stage):
        names = list(CHANNELS)
        before = 3 if stage == names[0] else self.channels[names[names.index(stage) - 1]]
        after, fcn = self.channels[stage], self.form == "fcn"
        if stage == "pool5" and not fcn:
            pool = RegionPool if self.form == "roi" else ImagePool
            return pool(size=3, stride=4)  # stride of the map before: conv1 and pool1 halve, pool2 does not here
        if stage.startswith("pool"):
            return nn.MaxPool2d(3, 1 if stage == "pool2" and not fcn else 2, padding=1)
        if stage.startswith("conv"):
            conv = nn.Conv2d(before, after, 3, 2 if stage == "conv1" else 1, padding=1)
            return nn.Sequential(conv, nn.GroupNorm(1, after), nn.ReLU())
        cells = 3 if stage == "fc6" else 1
        if not fcn:
            return nn.Sequential(nn.Flatten(), nn.Linear(before * cells * cells, after), nn.ReLU())
        return nn.Sequential(nn.Conv2d(before, after, cells, padding=cells // 2), nn.ReLU())

    # {stage: state of its module} from a file of pretrained weights; there are none.
    def adapted(self, state):
        raise UserError("template has no pretrained weights; leave --weights and --init imagenet out")
