"""Byte ranges of CSV and JSON lines: each row is in exactly one range."""

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from zoolet.jobs.errors import DatasetError, InvalidJobError
from zoolet.jobs.loaders import csv_files, json_lines
from zoolet.jobs.loaders.registry import checked_options

FIELDS = (
    "",
    "x",
    "1,5",
    'a "quoted" word',
    "two\nlines",
    "two\r\nlines",
    "é",
    "日本",
    " ",
    "z" * 40,
)


def all_rows(loader: Any, name: str, path: Path, **options: Any) -> list[dict[str, Any]]:
    """Return the rows of all groups of a location; check the number of rows of each group."""
    checked = checked_options(name, options)
    rows = []
    for group in loader.list_groups(str(path), checked, ()):
        found = loader.load(group.position, None, checked)
        assert len(found) == group.rows
        rows += found
    return rows


@pytest.mark.parametrize("seed", range(40))
def test_each_row_of_a_random_csv_file_is_in_one_range(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    delimiter, end = chance.choice((",", ";", "\t")), chance.choice(("\n", "\r\n"))
    names = ["a", "b,1", 'c"'][: chance.randint(1, 3)]
    wanted = [{name: chance.choice(FIELDS) for name in names} for _ in range(chance.randrange(60))]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    for row in wanted:
        if chance.random() < 0.1:
            text.write(end)
        writer.writerow(row.values())
    data = text.getvalue()
    if chance.random() < 0.3:
        data = data.removesuffix(end)
    if chance.random() < 0.2:
        data = "\ufeff" + data
    (tmp_path / "rows.csv").write_bytes(data.encode())
    size = chance.choice((0, 1, 7, 50, 1000))
    found = all_rows(csv_files, "csv", tmp_path, delimiter=delimiter, bytes_per_group=size)
    assert found == wanted


@pytest.mark.parametrize("seed", range(40))
def test_each_line_of_a_random_jsonl_file_is_in_one_range(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    wanted = [{"n": n, "text": chance.choice(FIELDS)} for n in range(chance.randrange(60))]
    lines = [json.dumps(row, ensure_ascii=chance.random() < 0.5) for row in wanted]
    for _ in range(chance.randrange(4)):
        lines.insert(chance.randrange(len(lines) + 1), chance.choice(("", "  ")))
    end = chance.choice(("\n", "\r\n"))
    data = end.join(lines) + chance.choice(("", end))
    (tmp_path / "rows.jsonl").write_bytes(data.encode())
    size = chance.choice((0, 1, 7, 50, 1000))
    assert all_rows(json_lines, "jsonl", tmp_path, bytes_per_group=size) == wanted


def test_only_the_named_columns_are_returned(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,z\n1,2,3\n4,5\n")
    options = checked_options("csv", {})
    [group] = csv_files.list_groups(str(tmp_path), options, ())
    assert csv_files.load(group.position, ["z", "x"], options) == [
        {"z": "3", "x": "1"},
        {"z": None, "x": "4"},
    ]
    with pytest.raises(DatasetError, match="no column 'q'; its columns are x, y, z"):
        csv_files.load(group.position, ["q"], options)


def test_a_name_that_an_object_lacks_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n{"y": 2, "x": [3]}\n')
    options = checked_options("jsonl", {})
    [group] = json_lines.list_groups(str(tmp_path), options, ())
    found = json_lines.load(group.position, ["y", "x"], options)
    assert found == [{"y": None, "x": 1}, {"y": 2, "x": [3]}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'x,y\n1,"open\n', "is not CSV before byte"),
        (b"x,y\n1,\xff\n", "is not in utf-8 at byte 6: set the option encoding"),
        (b"x\na\rb\n", "is not CSV"),
    ],
)
def test_a_file_that_is_not_csv_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        all_rows(csv_files, "csv", tmp_path)


def test_a_row_with_too_many_fields_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n2,3\n")
    with pytest.raises(DatasetError, match="a row with 2 fields, but a header with 1"):
        all_rows(csv_files, "csv", tmp_path)


@pytest.mark.parametrize("line", ["{", "[1]", "1"])
def test_a_line_that_is_no_object_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"x": 1}}\n{line}\n')
    with pytest.raises(DatasetError, match="has a line that is"):
        all_rows(json_lines, "jsonl", tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "nothing"])
def test_an_encoding_without_plain_newlines_is_refused(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n")
    with pytest.raises(InvalidJobError, match="its newline is not the byte"):
        all_rows(csv_files, "csv", tmp_path, encoding=encoding)


def test_another_encoding_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ä\né\n", encoding="latin-1")
    assert all_rows(csv_files, "csv", tmp_path, encoding="latin-1") == [{"ä": "é"}]
