"""``zoolet data``: what each command says of data directories, sound and damaged."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.writer import Writer
from zoolet.data.commands import data
from zoolet.model import requests
from zoolet.model.codes import OpCode

DAY_MS = 86_400_000


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    """A data directory with a snapshot in the middle; a day passes between two txns."""
    made = Writer(tmp_path / "made")
    made.create("/a", "/a/b")
    made.change(OpCode.SET_DATA, requests.SetData("/a", b"\xff\xfe", -1))
    made.snapshot()
    made.time_ms += DAY_MS
    made.create("/e", mode=1)
    made.change(
        OpCode.MULTI,
        requests.Multi(
            (
                (OpCode.SET_DATA, requests.SetData("/a", "später".encode(), -1)),
                (OpCode.DELETE, requests.Delete("/a/b", -1)),
            )
        ),
    )
    return made


def run(*arguments: object) -> Result:
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def lines_of(result: Result) -> list[Any]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def home(writer: Writer) -> Path:
    return writer.directories.snapshots.parent


def test_check_says_what_is_there_and_changes_nothing(writer: Writer) -> None:
    before = {path: path.read_bytes() for path in writer.directories.logs.iterdir()}
    result = run("check", home(writer))
    assert result.exit_code == 0
    assert "log.1: 4 txns, 0x1 to 0x4" in result.stdout
    assert "with 6 znodes and 1 sessions, at zxid 0x6" in result.stdout
    assert {path: path.read_bytes() for path in writer.directories.logs.iterdir()} == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:60] + bytes([content[60] ^ 1]) + content[61:], "DAMAGED"),
        (lambda content: b"XXXX" + content[4:], "DAMAGED"),
        (lambda content: content.rstrip(b"\0")[:-4], "never finished"),
    ],
)
def test_check_finds_damage(writer: Writer, damage: Callable[[bytes], bytes], said: str) -> None:
    newest = writer.directories.logs / "log.5"
    damaged = damage(newest.read_bytes())
    newest.write_bytes(damaged)
    result = run("check", home(writer))
    assert result.exit_code == (1 if said == "DAMAGED" else 0)
    assert said in result.stdout
    assert newest.read_bytes() == damaged
    assert len(list(writer.directories.logs.iterdir())) == 3


def test_check_finds_a_gap(writer: Writer) -> None:
    for snapshot in writer.directories.snapshots.glob("snapshot.*"):
        snapshot.unlink()
    (writer.directories.logs / "log.1").unlink()
    result = run("check", home(writer))
    assert result.exit_code == 1
    assert "A server does not start from these files" in result.stdout


def test_dump_prints_txns_and_znodes(writer: Writer) -> None:
    txns = lines_of(run("dump", writer.directories.logs / "log.5"))
    assert [txn["type"] for txn in txns] == ["create", "multi"]
    assert txns[1]["parts"][0]["data"] == "später"
    assert txns[1]["zxid"] == "0x6"
    (snapshot,) = writer.directories.snapshots.glob("snapshot.*")
    znodes = {znode["path"]: znode for znode in lines_of(run("dump", snapshot))[1:]}
    assert znodes["/a"]["data_base64"] == "//4="
    assert znodes["/a/b"]["data"] == "/a/b"


def test_history_tells_a_znodes_changes(writer: Writer) -> None:
    changes = lines_of(run("history", home(writer), "/a"))
    assert [(change["zxid"], change["type"]) for change in changes] == [
        ("0x2", "Create"),
        ("0x4", "SetData"),
        ("0x6", "SetData"),
    ]
    assert changes[-1]["session"] == "0x4d"
    writer.change(OpCode.CLOSE_SESSION, requests.CloseSession())
    assert [change["type"] for change in lines_of(run("history", home(writer), "/e"))] == [
        "Create",
        "Delete",
    ]


def test_restore_makes_the_state_of_a_zxid_or_a_time(writer: Writer, tmp_path: Path) -> None:
    moment = datetime.fromtimestamp(99 / 1000, UTC).isoformat()
    for number, as_of in enumerate(("0x3", "0x4", moment, "0x6")):
        restored = tmp_path / f"restored {number}"
        result = run("restore", home(writer), "--as-of", as_of, "--to", restored)
        assert result.exit_code == 0, result.output
        znodes = {znode["path"]: znode for znode in lines_of(run("export", restored))[1:]}
        assert ("/a/b" in znodes) == (as_of != "0x6")
        expected = {"0x3": "/a", "0x6": "später"}.get(as_of)
        assert znodes["/a"].get("data") == expected
    assert run("diff", restored, home(writer)).exit_code == 0
    assert run("restore", home(writer), "--as-of", "0x3", "--to", restored).exit_code == 1


def test_diff_tells_what_is_not_the_same(writer: Writer, tmp_path: Path) -> None:
    other = Writer(tmp_path / "other")
    other.create("/a", "/c")
    result = run("diff", home(writer), tmp_path / "other")
    assert result.exit_code == 1
    assert "\n+ /c\n" in result.stdout
    assert "\n- /e\n" in result.stdout
    assert "~ /a\n    data: b'sp\\xc3\\xa4ter' -> b'/a'\n" in result.stdout


def test_an_export_comes_back(writer: Writer, tmp_path: Path) -> None:
    file, again = tmp_path / "all.jsonl", tmp_path / "again"
    assert run("export", home(writer), file).exit_code == 0
    assert "später" in file.read_text()
    assert run("import", file, again).exit_code == 0
    # An export holds no sessions, so that their ephemerals stay.
    assert run("diff", home(writer), again).stdout.splitlines() == [
        "~ /e",
        "    ephemeral_owner: 77 -> 0",
        "- session 0x4d",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", ":1: this is no line of an export"),
        ('{"zoolet_export": 1, "zxid": "0x1", "root": "/a"}', "the export has no root"),
        ("{}", ":1: this is no line of an export"),
        ("no json", ":1: this is no line of an export"),
        ('{"zoolet_export": 1, "zxid": "0x1"}\n{"path": "/"}', ":2: this is no line of an export"),
        ('{"zoolet_export": 1, "zxid": "0x1"}\n[]', ":2: this is no line of an export"),
    ],
)
def test_what_is_no_export_is_said_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(content)
    result = run("import", file, tmp_path / "new")
    assert result.exit_code == 1
    assert said in result.stderr
    assert not (tmp_path / "new").exists()


def test_what_is_no_data_directory_or_file_is_said(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no snapshot")
    for arguments, said in (
        (("check", tmp_path), "does not exist: name a dataDir"),
        (("dump", tmp_path / "missing"), "No such file"),
        (("dump", garbage), "a snapshot begins with b'ZKSN'"),
        (("history", tmp_path, "/a"), "does not exist: name a dataDir"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert said in result.stderr
    assert run("restore", tmp_path, "--as-of", "yesterday", "--to", "x").exit_code == 2


def test_a_path_that_is_none_is_said(writer: Writer) -> None:
    result = run("history", home(writer), "a//b")
    assert result.exit_code == 1
    assert "'a//b' is no path" in result.stderr
