"""The classes of Cityscapes (Cordts et al. 2016) that count, in the order of their training numbers."""

from __future__ import annotations

KINDS = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")  # in the order of their numbers
CLASSES_BY_ID = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
CLASSES = tuple(CLASSES_BY_ID.values())
SKY = 23  # its label number
