"""A table of photos: kinds of columns, labels, subsets, what is wrong in a line each, the contract."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from mtlbench.authoring.check_dataset import check
from mtlbench.datasets._table_columns import columns_of, parse_column, tasks_of
from mtlbench.datasets._table_subsets import divide, join_groups
from mtlbench.datasets._table_text import Row, Text, read_table
from mtlbench.datasets.table import Table
from mtlbench.errors import UserError
from tests.support.tables import HEADER, photos, rows_for, write_images, write_table


def open_table(table: Path, images: Path, **options: object) -> Table:
    return Table(Table.place(table, images), **options)


def ready(table: Path, images: Path, **options: object) -> Table:
    data = open_table(table, images, **options)
    data.prepare(lambda line: None)
    return data


# ---------------------------------------------------------------------------------------------------- kinds
def kinds(columns: dict[str, Sequence[str]], **asked: str) -> dict[str, str]:
    """Of columns beside that of the files, as `kind` or `kind:task`."""
    count = len(next(iter(columns.values())))
    cells = zip(*[[f"{number}.png" for number in range(count)], *columns.values()], strict=True)
    text = Text(Path("t.csv"), ("file", *columns), tuple(Row(n + 2, row) for n, row in enumerate(cells)))
    found = columns_of(text, asked, "", lambda cell: cell.endswith(".png"))
    assert found[0].kind == "file"
    tasks_of(text, found)
    return {column.name: column.asked for column in found[1:]}


def many(*values: str, times: int = 12) -> list[str]:
    return [*values] * times


def test_kinds_are_what_columns_look_like() -> None:
    count = 60
    numbers = [str(n * n) for n in range(count)]
    assert kinds({"age": numbers}) == {"age": "regression:age"}
    assert kinds({"age": [*numbers[:-2], "", "NA"]}) == {"age": "regression:age"}
    assert kinds({"age": ["?", *numbers[1:]]}) == {"age": "regression:age"}  # one cell is wrong, not the column
    assert kinds({"grade": many("1", "2", "3", "4", "5")}) == {"grade": "classification:grade"}
    assert kinds({"grade": ["1", "2", "3", "4"]}) == {"grade": "skip"}  # 1 2 3 4: numbers of the rows
    assert kinds({"part": many("left", "right", "")}) == {"part": "classification:part"}
    assert kinds({"old": many("0", "1"), "red": many("1", "0")}) == {"old": "multilabel:tags", "red": "multilabel:tags"}
    assert kinds({"old": many("-1", "1"), "red": many("True", "False")})["red"] == "multilabel:tags"
    assert kinds({"old": many("0", "1")}) == {"old": "classification:old"}  # alone it is a class
    assert kinds({"note": [f"text {n}" for n in range(count)]}) == {"note": "skip"}
    assert kinds({"id": [str(n) for n in range(count)]}) == {"id": "skip"}
    assert kinds({"same": many("x")}) == {"same": "skip"} and kinds({"none": many("")}) == {"none": "skip"}
    assert kinds({"subset": many("train", "val", "test")}) == {"subset": "subset"}
    assert kinds({"split": many("Train", "dev", "test")}) == {"split": "subset"}


def test_what_is_asked_for_goes_before_what_columns_look_like() -> None:
    grades = {"grade": many("1", "2", "3", "4", "5"), "old": many("0", "1", "0", "1", "1")}
    assert kinds(grades, grade="regression") == {"grade": "regression:grade", "old": "classification:old"}
    assert kinds(grades, old="multilabel:face")["old"] == "multilabel:face"
    assert kinds(grades, old="skip")["old"] == "skip"
    assert kinds({"depth": many("a", "b"), "type": many("x", "y"), "2 b": many("c", "d")}) == {
        "depth": "classification:depth_",  # is a built-in task
        "type": "classification:type_",  # would hide what networks have
        "2 b": "classification:c_2_b",
    }
    with pytest.raises(UserError, match=r"no column in t.csv called 'grad'. Did you mean 'grade'\?"):
        kinds(grades, grad="skip")
    with pytest.raises(UserError, match=r"no kind of column grade called 'number'"):
        kinds(grades, grade="number")
    with pytest.raises(UserError, match=r"all cells of column none are empty"):
        kinds({"none": many("")}, none="regression")
    with pytest.raises(UserError, match=r"columns grade and old cannot both be task x"):
        kinds(grades, grade="regression:x", old="regression:x")


def test_a_column_and_its_kind_are_told_apart() -> None:
    assert parse_column("a:b:multilabel:face") == ("a:b", "multilabel:face")
    with pytest.raises(UserError, match=r"'age': write COLUMN:KIND or COLUMN:KIND:TASK"):
        parse_column("age")


# ---------------------------------------------------------------------------------------------------- labels
def test_labels_are_the_cells_and_empty_cells_are_missing_labels(tmp_path: Path) -> None:
    data = ready(*photos(tmp_path))
    assert data.tasks == ("age", "weight", "kind", "tags")
    assert (data.categories("kind"), data.categories("tags"), data.categories("age")) == (
        tuple("abc"),
        ("old", "red"),
        (),
    )
    seen, counted = {}, 0
    for name in ("train", "val", "test"):
        for index, (place, _) in enumerate(data.subset(name).places):
            seen[data._opened.about["names"][place]] = sample = data.subset(name)[index]
            counted += name == "train" and int(sample.labels.get("kind", -1)) == 1
    assert len(seen) == 40 and counted == data.counts("kind")[1]
    for number in (0, 1, 2, 17):
        labels, row = seen[f"{number}.png"].labels, rows_for(HEADER * 10)[number]
        assert float(labels.get("age", -1)) == (float(row[1]) if row[1] else -1)
        assert int(labels.get("kind", -1)) == ("abc".index(row[3]) if row[3] else -1)
        assert labels["tags"].tolist() == [int(row[4]) if row[4] else 255, int(row[5])]
    assert seen["0.png"].image.shape == (30, 40, 3)
    assert np.array_equal(seen["0.png"].image, np.array(Image.open(tmp_path / "photos" / "0.png")))


def test_large_images_are_kept_small_and_turned_as_viewers_turn_them(tmp_path: Path) -> None:
    names = write_images(tmp_path / "p", 12, [(300, 200)])
    turned = Image.open(tmp_path / "p" / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera that was held upright
    turned.save(tmp_path / "p" / "0.png", exif=exif)
    data = ready(
        write_table(
            tmp_path / "t.csv", [[n, "ab"[i % 2], "xy"[i // 2 % 2]] for i, n in enumerate(names)], ("f", "a", "b")
        ),
        tmp_path / "p",
        side=32,
    )
    shapes = {
        data.subset(name)[i].image.shape for name in ("train", "val", "test") for i in range(len(data.subset(name)))
    }
    assert shapes == {(32, 48, 3), (48, 32, 3)}


def test_a_file_may_be_named_without_its_ending_and_in_a_folder_but_not_elsewhere(tmp_path: Path) -> None:
    write_images(tmp_path / "p" / "in", 12)
    write_images(tmp_path, 1)
    rows = [[f"in/{n}", "ab"[n % 2], "cd"[n % 2]] for n in range(12)] + [["../0.png", "a", "c"]]
    survey = open_table(write_table(tmp_path / "t.csv", rows, ("f", "a", "b")), tmp_path / "p").verify(
        lambda line: None
    )
    assert [problem for problem in survey.problems if "../0.png is not in" in problem] == [*survey.problems]


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    table, images = photos(tmp_path)
    rows = rows_for([f"{n}.png" for n in range(40)])
    columns = {name: [row[place] or None for row in rows] for place, name in enumerate(HEADER)}
    typed = {
        **columns,
        "age": [None if age is None else float(age) for age in columns["age"]],
        "old": [None if old is None else old == "1" for old in columns["old"]],
    }
    parquet.write_table(pa.table(typed), tmp_path / "people.parquet")
    found = [ready(path, images) for path in (table, tmp_path / "people.parquet")]
    assert found[0].fingerprint() == found[1].fingerprint()
    (tmp_path / "no.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"no\.parquet cannot be read as Parquet"):
        _ = open_table(tmp_path / "no.parquet", images).tasks


# ---------------------------------------------------------------------------------------------------- subsets
def test_groups_are_in_one_subset_and_shares_are_near_those_wanted() -> None:
    groups = [f"person {n // 4}" for n in range(400)]
    subsets = divide(groups)
    assert all(len({s for s, g in zip(subsets, groups, strict=True) if g == one}) == 1 for one in {*groups})
    assert [subsets.count(name) for name in ("train", "val", "test")] == [280, 60, 60]
    assert divide(groups) == subsets and divide(groups[::-1])[::-1] == subsets
    assert {*divide(["a", "b", "c"])} == {"train", "val", "test"}
    assert join_groups(["x", "y", "z", "y"], ["1", "1", "2", "3"]) == ["x", "x", "z", "x"]


def test_groups_and_equal_bytes_stay_together_and_a_subset_column_is_obeyed(tmp_path: Path) -> None:
    names = write_images(tmp_path / "p", 40)
    shutil.copy(tmp_path / "p" / "0.png", tmp_path / "p" / "1.png")
    rows = [[n, f"g{i // 2}", "ab"[i % 2], "cd"[i % 3 % 2]] for i, n in enumerate(names)]
    table = write_table(tmp_path / "t.csv", rows, ("f", "who", "a", "b"))
    data = ready(table, tmp_path / "p", group="who")
    where = {data._opened.about["names"][p]: s for s in ("train", "val", "test") for p, _ in data.subset(s).places}
    assert all(where[f"{n}.png"] == where[f"{n + 1}.png"] for n in range(0, 40, 2))
    loose = ready(write_table(tmp_path / "u.csv", [[r[0], *r[2:]] for r in rows], ("f", "a", "b")), tmp_path / "p")
    where = {loose._opened.about["names"][p]: s for s in ("train", "val", "test") for p, _ in loose.subset(s).places}
    assert where["0.png"] == where["1.png"]
    given = ["train" if i < 30 else "test" for i in range(40)]
    told = write_table(
        tmp_path / "v.csv", [[*r, s] for r, s in zip(rows, given, strict=True)], ("f", "who", "a", "b", "subset")
    )
    data = ready(told, tmp_path / "p", group="who")
    assert [len(data.subset(s)) for s in ("test",)] == [10] and len(data.subset("val")) in (4, 6)


# ---------------------------------------------------------------------------------------------------- what is wrong
def lines(data: Table) -> list[str]:
    return [problem.replace(str(data.path.parent) + "/", "") for problem in data.verify(lambda line: None).problems]


def test_what_is_wrong_is_a_line_each(tmp_path: Path) -> None:
    table, images = photos(tmp_path)
    names = [f"{n}.png" for n in range(40)]
    (images / "4.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((40, 40), np.uint16)).save(images / "5.png")
    rows = [[*row, "nikon"] for row in rows_for(names)]
    rows[6][0] = "gone.png"
    rows[8][1] = "old"
    rows += [rows[9], [*rows[10][:1], "99", *rows[10][2:]], ["", "1", "2", "a", "0", "1", "nikon"], ["7.png", "1"]]
    write_table(table, rows, (*HEADER, "camera"))
    assert lines(open_table(table, images)) == [
        "people.csv:45: 2 cells, the first line has 7; put text with commas into quotes",
        "people.csv:10: age is 'old', which is no number; correct it, or empty the cell",
        "people.csv:43: 10.png stands in line 12 already, with other cells; take one out",
        "people.csv:44: no file is named; take the line out",
        "people.csv:42: 9.png stands in line 11 already, with the same cells; take one out",
        "people.csv: column camera has one value everywhere (nikon): nothing can be learned of it; delete it, or type"
        " --column camera:skip",
        "people.csv:6: photos/4.png cannot be read (its bytes are those of no image); replace it by the original file",
        "people.csv:7: photos/5.png cannot be read (it has more than 8 bits a channel); replace it by the original"
        " file",
        "people.csv:8: gone.png is not in photos; copy it there, or take the line out",
    ]
    with pytest.raises(
        UserError, match=r"people.csv:45: 2 cells.*\(and 3 more\); `mtlbench data verify --csv .*` lists them$"
    ):
        ready(table, images)


def test_sound_images_are_what_is_left_where_that_is_asked_for(tmp_path: Path) -> None:
    table, images = photos(tmp_path)
    (images / "4.png").unlink()
    (images / "7.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"people.csv:6: 4.png is not in .*--data-option broken=leave-out goes on"):
        ready(table, images)
    data = ready(table, images, broken="leave-out")
    assert sum(len(data.subset(name)) for name in ("train", "val", "test")) == 38


def test_images_and_groups_of_two_subsets_are_named(tmp_path: Path) -> None:
    names = write_images(tmp_path / "p", 12)
    shutil.copy(tmp_path / "p" / "0.png", tmp_path / "p" / "11.png")
    rows = [[n, f"g{i}", "ab"[i % 2], ("train", "val", "test")[i // 4]] for i, n in enumerate(names)]
    rows[5][1] = "g1"
    data = open_table(write_table(tmp_path / "t.csv", rows, ("f", "who", "a", "subset")), tmp_path / "p", group="who")
    assert lines(data) == [
        "t.csv:7: 'group g1' is in val and in train; give a group one subset",
        "t.csv:13: 11.png (test) has the same bytes as 0.png (train); take one out",
    ]
    rows[3][3] = "tarin"
    data = open_table(write_table(tmp_path / "t.csv", rows, ("f", "who", "a", "subset")), tmp_path / "p")
    assert lines(data)[0] == "t.csv:5: subset is 'tarin'; write train, val or test"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("file,a\nm\u00f6bel.png,1\n".encode("latin-1"), r"t.csv:2: byte 0xf6 is not UTF-8 \(Latin-1, say\); save"),
        ("file,a\n0.png,1\n".encode("utf-16"), r"t.csv is in UTF-16; save it as UTF-8"),
        (b"", r"t.csv is empty, or its first line is; it must name the columns"),
        (b"file,a\n", r"t.csv has no rows under its first line"),
        (b"file,a,a\n0.png,1,2\n", r"t.csv: two columns are called 'a'"),
        (b'file,a\n0.png,"x\n', r"t.csv:2: unexpected end of data; quotes around a text must be closed"),
        (b"file,a\nx.png,7\n", r"t.csv: no column names files in the folder of images \(its first cell is 'x.png'\)"),
    ],
    ids=["latin-1", "utf-16", "empty", "header", "twice", "quote", "files"],
)
def test_a_text_that_is_no_table_is_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    write_images(tmp_path / "p", 2)
    (tmp_path / "t.csv").write_bytes(content)
    data = open_table(tmp_path / "t.csv", tmp_path / "p")
    with pytest.raises(UserError, match=says):
        _ = data.tasks
    assert len(data.verify(lambda line: None).problems) == 1


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    names = write_images(tmp_path / "p", 12)
    table = write_table(tmp_path / "t.csv", [[n, "ab"[i % 2]] for i, n in enumerate(names)], ("f", "a"), "utf-8-sig")
    assert [column.name for column in open_table(table, tmp_path / "p").columns] == ["f", "a"]


# ---------------------------------------------------------------------------------------------------- contract
def test_the_fingerprint_is_of_all_that_training_sees(tmp_path: Path) -> None:
    table, images = photos(tmp_path)
    first, text = ready(table, images).fingerprint(), table.read_text()
    moved = tmp_path / "elsewhere"
    shutil.move(images, moved)
    lines = text.splitlines()
    table.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")  # another order, another folder
    assert ready(table, moved).fingerprint() != first  # batches are drawn by place
    table.write_text(text)
    assert ready(table, moved).fingerprint() == first
    table.write_text(text.replace("0.png,20,", "0.png,21,"))
    assert ready(table, moved).fingerprint() != first
    table.write_text(text)
    assert ready(table, moved, side=16).fingerprint() != first
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(moved / "0.png")
    assert ready(table, moved).fingerprint() != first


def test_only_so_many_images_are_read(tmp_path: Path) -> None:
    table, images = photos(tmp_path)
    few = ready(table, images, most=20)
    assert sum(len(few.subset(name)) for name in ("train", "val", "test")) == 20


@pytest.mark.slow
def test_the_contract_is_kept(tmp_path: Path) -> None:
    table, images = photos(tmp_path)
    assert [finding.text for finding in check(Table, {"root": Table.place(table, images)}) if not finding.ok] == []


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    table, images = photos(tmp_path)
    with pytest.raises(UserError, match="table needs its file: type mtlbench run --csv"):
        Table()
    for options in ({"side": 8}, {"most": -1}, {"broken": "mend"}):
        with pytest.raises(UserError, match="table: "):
            open_table(table, images, **options)
    place = Table.place(table, images)
    place.write_text("{}")
    with pytest.raises(UserError, match=r"is gone or damaged; give --csv and --images again"):
        Table(place)


@pytest.mark.parametrize(
    ("name", "separator", "size"),
    [
        ("t.csv", ",", "0.5"),
        ("t.csv", ";", "0,5"),
        ("t.csv", "\t", "0,5"),
        ("t.tsv", "\t", "0.5"),
        ("t.csv", "|", "0.5"),
    ],
)
def test_columns_may_be_parted_by_semicolons_tabs_or_bars(tmp_path: Path, name: str, separator: str, size: str) -> None:
    rows = [("file", "size", '"a, b"'), ("0.png", size, "x"), ("1.png", "2", '"y, z"')]
    (tmp_path / name).write_text("\n".join(separator.join(row) for row in rows) + "\n")
    text = read_table(tmp_path / name)
    assert text.header == ("file", "size", "a, b") and text.problems == ()
    assert [row.cells for row in text.rows] == [("0.png", "0.5", "x"), ("1.png", "2", "y, z")]
