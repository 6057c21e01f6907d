"""All annotations of VOC 2008 and aPascal together: lists, XML and attribute lines of one copy.

Whatever is wrong becomes a `Problem`; readers never raise for what a file holds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from mtlbench.datasets._problems import Problem
from mtlbench.datasets._voc_folders import OFFICIAL, Folders, read_attribute_names, read_list
from mtlbench.datasets._voc_objects import Thing, read_lines, read_xml, with_attributes


@dataclass
class Annotations:
    """What lists, XML and attribute lines say, and what is wrong with them."""

    lists: dict[str, list[str]]  # of VOC's train and val, in their order
    attribute_names: tuple[str, ...] = ()
    lines: dict[str, list[Thing]] = field(default_factory=dict)  # by image
    xml: dict[str, list[Thing]] | None = None  # by listed image; None without Annotations/
    things: dict[str, list[Thing]] = field(default_factory=dict)  # of each listed image: what training sees
    problems: list[Problem] = field(default_factory=list)
    unlisted: int = 0  # images with attribute lines that are in JPEGImages but in no list

    @property
    def names(self) -> list[str]:
        """All listed images, each once."""
        return list(dict.fromkeys(name for names in self.lists.values() for name in names))


def read_annotations(folders: Folders) -> Annotations:
    """Read everything but the images."""
    problems: list[Problem] = []
    found = Annotations({official: read_list(folders.list_file(official), problems) for official in OFFICIAL})
    found.problems = problems
    both = set(found.lists["val"])
    for name in found.lists["train"]:
        if name in both:
            text = f"{folders.list_file('train')} and val.txt: {name} is in both; take it out of one"
            problems.append(Problem(text, name, "images are in both train.txt and val.txt; take them out of one", name))
    found.attribute_names = read_attribute_names(folders.attribute_names, problems)
    _read_all_lines(folders, found)
    if folders.annotations.is_dir():
        _read_all_xml(folders, found)
    else:
        found.things = {name: found.lines.get(name, []) for name in found.names}
        wrong = {problem.image for problem in problems}
        if None in wrong:  # a file of lines may be gone: one problem, not thousands
            return found
        for name in found.names:
            if not found.things[name] and name not in wrong:
                what = "listed in ImageSets/Main but {} no attribute line, and there are no Annotations; add them, or"
                text = f"{name} is {what.format('has')} take it out of the list"
                kind = f"images are {what.format('have')} take them out of the list"
                problems.append(Problem(text, name, kind, name))
    return found


def _read_all_lines(folders: Folders, found: Annotations) -> None:
    listed, elsewhere, nowhere = set(found.names), set[str](), set[str]()
    for official in OFFICIAL:
        for name, thing in read_lines(folders.lines(official), listed, found.problems):
            if name in listed:
                found.lines.setdefault(name, []).append(thing)
            elif folders.image(name).exists():  # VOC 2009-2012 list 8 images fewer than aPascal has lines for
                elsewhere.add(name)
            elif name not in nowhere:
                nowhere.add(name)
                what = "in no list of ImageSets/Main, nor in JPEGImages; correct or delete"
                text, kind = (
                    f"{thing.where}: {name} is {what} its lines",
                    f"images of attribute lines are {what}",
                )
                found.problems.append(Problem(text, name, f"{kind} the lines", name))
    found.unlisted = len(elsewhere)


def _read_all_xml(folders: Folders, found: Annotations) -> None:
    found.xml = {}
    if found.names and not any(os.path.lexists(folders.xml(name)) for name in found.names):  # links may lead nowhere
        text = f"{folders.annotations} has no XML of a listed image; copy VOC 2008's there, or remove the folder"
        found.problems.append(Problem(text))
        return
    for name in found.names:
        found.xml[name] = read_xml(folders.xml(name), name, found.problems)
        found.things[name] = with_attributes(found.xml[name], found.lines.get(name, []))
