"""``zoolet data``: what each command says of data directories, sound and damaged."""

import json
import os
import random
import shutil
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.fuzzy import AclNumbers, FuzzySnapshot
from tests.support.writer import Writer
from zoolet.archive.commands.data_group import data
from zoolet.data.sizes import sizes
from zoolet.model import requests
from zoolet.model.acl import ACL, OPEN_ACL, Id
from zoolet.model.codes import CreateMode, OpCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.stat import Stat
from zoolet.state_machine.rules import Rules
from zoolet.storage.disk import READ_BLOCK_BYTES, Disk, ReadableFile, _DiskReader
from zoolet.storage.errors import StorageError
from zoolet.storage.txn_log import read_records

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
    assert len(list(writer.directories.logs.iterdir())) == 4


@pytest.mark.parametrize("is_hole", [True, False])
def test_check_skips_the_zeros_at_the_end_of_several_logs(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, is_hole: bool
) -> None:
    """Of a hole it reads the blocks in which the records end; it reads written zeros once."""
    writer.snapshot()
    writer.create("/f")
    writer.log.roll()
    padding_bytes = 8 << 20
    for path in writer.logs():
        if is_hole:
            os.truncate(path, path.stat().st_size + padding_bytes)
        else:
            path.write_bytes(path.read_bytes() + bytes(padding_bytes))
    assert len(writer.logs()) == 3
    bytes_read: dict[int, int] = {}
    readers: list[ReadableFile] = []
    open_file, read_at = Disk.open, _DiskReader.read_at

    def opening(disk: Disk, path: Path) -> ReadableFile:
        readers.append(open_file(disk, path))
        return readers[-1]

    def reading(reader: _DiskReader, offset: int, size_bytes: int) -> bytes:
        found = read_at(reader, offset, size_bytes)
        bytes_read[id(reader)] = bytes_read.get(id(reader), 0) + len(found)
        return found

    monkeypatch.setattr(Disk, "open", opening)
    monkeypatch.setattr(_DiskReader, "read_at", reading)
    result = run("check", home(writer))
    assert result.exit_code == 0
    assert "DAMAGED" not in result.stdout
    assert "log.7: 1 txns, 0x7 to 0x7" in result.stdout
    assert len(readers) > 3
    most_bytes = (0 if is_hole else padding_bytes) + 3 * READ_BLOCK_BYTES
    assert all(read_bytes <= most_bytes for read_bytes in bytes_read.values())


def cut(path: Path, size_bytes: int = 4) -> None:
    """Take the last bytes of a file, but for the zeros behind its content."""
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:-size_bytes])


def damage_old_log(writer: Writer) -> None:
    cut(writer.directories.logs / "log.1")


def damage_old_snapshot(writer: Writer) -> None:
    cut(writer.directories.snapshots / "snapshot.0")


def damage_newest_snapshot(writer: Writer) -> None:
    cut(writer.directories.snapshots / "snapshot.4")


@pytest.mark.parametrize("damage", [damage_old_log, damage_old_snapshot, damage_newest_snapshot])
def test_check_says_as_a_server_does_whether_it_starts(
    writer: Writer, damage: Callable[[Writer], None]
) -> None:
    """A file that a start does not need may be damaged: the status is 0, the line says DAMAGED."""
    damage(writer)
    result = run("check", home(writer))
    assert writer.recover().machine.zxid == writer.machine.zxid
    assert "DAMAGED" in result.stdout
    assert "A server starts from these files with 6 znodes" in result.stdout
    assert result.exit_code == 0
    assert ("It warns: ignoring a snapshot" in result.stdout) == (damage is damage_newest_snapshot)


def test_check_of_what_a_server_refuses_is_1(writer: Writer) -> None:
    """Both snapshots and the oldest log: no way leads to the end."""
    damage_old_log(writer)
    damage_newest_snapshot(writer)
    with pytest.raises(StorageError):
        writer.recover()
    result = run("check", home(writer))
    assert result.exit_code == 1
    assert "A server does not start from these files" in result.stdout


def test_check_goes_on_behind_a_txn_that_is_not_known(writer: Writer) -> None:
    log = writer.directories.logs / "log.1"
    content = bytearray(log.read_bytes())
    payload_at, payload_bytes = 28, int.from_bytes(content[24:28])
    content[payload_at + 28 : payload_at + 32] = (88).to_bytes(4)
    content[20:24] = zlib.adler32(content[payload_at : payload_at + payload_bytes]).to_bytes(4)
    log.write_bytes(content)
    result = run("check", home(writer))
    assert "DAMAGED" in result.stdout
    assert "unsupported txn of type 88" in result.stdout
    assert "A server starts from these files" in result.stdout
    assert result.exit_code == 0


@pytest.mark.parametrize("name", ["snapshot.4", "log.5", "log.1"])
def test_check_takes_a_single_file(writer: Writer, name: str) -> None:
    path = writer.directories.snapshots / name
    result = run("check", path)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"ok       {path}: ")
    assert len(result.stdout.splitlines()) == 1
    content = bytearray(path.read_bytes())
    content[70] ^= 1
    path.write_bytes(content)
    result = run("check", path)
    assert result.exit_code == 1
    assert result.stdout.startswith("DAMAGED")


def test_check_says_that_only_the_logs_hold_an_acl(writer: Writer) -> None:
    snapshot = FuzzySnapshot(writer, AclNumbers())
    writer.create("/new", acl=(ACL(1, Id("ip", "1.2.3.4")), *OPEN_ACL))
    path = snapshot.finish()
    result = run("check", path)
    assert result.exit_code == 0
    assert "1 of the znodes have ACLs that only the logs contain" in result.stdout
    assert run("check", home(writer)).exit_code == 0
    shown = [znode for znode in lines_of(run("dump", path)) if znode.get("path") == "/new"]
    assert shown[0]["acl"][0]["scheme"] == "unknown"


def test_check_reads_little_of_what_was_only_preallocated(tmp_path: Path) -> None:
    """Counts what is read of a log of 64 MiB with a few txns in it; no zeros are read."""
    writer = Writer(tmp_path)
    writer.create("/a")
    (log,) = writer.logs()
    with log.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 64 << 20)
    read: list[int] = []
    with Disk().open(log) as opened:
        read_at = opened.read_at

        def counting(offset: int, size_bytes: int) -> bytes:
            data = read_at(offset, size_bytes)
            read.append(len(data))
            return data

        opened.read_at = counting  # type: ignore[method-assign]
        assert len(list(read_records(log, opened))) == 2
        assert max(read) <= READ_BLOCK_BYTES
        if opened.next_data(1 << 20) == opened.size_bytes:  # the file system knows holes
            assert sum(read) <= 4 * READ_BLOCK_BYTES


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
    _, snapshot = sorted(writer.directories.snapshots.glob("snapshot.*"))
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


def test_what_kind_of_znode_is_created_is_in_dump_and_history(writer: Writer) -> None:
    writer.machine.rules = Rules(allows_ttl=True)
    kinds = {
        "/box": (OpCode.CREATE_CONTAINER, CreateMode.CONTAINER, OwnerKind.CONTAINER, -1),
        "/brief": (OpCode.CREATE_TTL, CreateMode.PERSISTENT_WITH_TTL, OwnerKind.TTL, 5000),
    }
    for path, (op_code, mode, kind, ttl_ms) in kinds.items():
        writer.change(op_code, requests.Create(path, b"", OPEN_ACL, mode, kind, ttl_ms))
    shown: dict[str, Any] = {}
    for log in sorted(writer.directories.logs.glob("log.*")):
        shown |= {txn["path"]: txn for txn in lines_of(run("dump", log)) if "path" in txn}
    assert (shown["/e"]["type"], shown["/e"]["ephemeral"]) == ("create", True)
    assert (shown["/box"]["type"], "ephemeral" in shown["/box"]) == ("create_container", False)
    assert (shown["/brief"]["type"], shown["/brief"]["ttl_ms"]) == ("create_ttl", 5000)
    for path, name in {"/e": "Create", "/box": "CreateContainer", "/brief": "CreateTtl"}.items():
        assert [change["type"] for change in lines_of(run("history", home(writer), path))] == [name]


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


def test_diff_takes_snapshot_files(writer: Writer) -> None:
    first, second = (writer.directories.snapshots / f"snapshot.{zxid}" for zxid in (0, 4))
    assert run("diff", second, second).exit_code == 0
    result = run("diff", first, second)
    assert result.exit_code == 1
    assert "\n+ /a\n+ /a/b\n+ session 0x4d\n" in result.stdout
    result = run("diff", second, home(writer))
    assert result.exit_code == 1
    assert "- /a/b\n+ /e\n" in result.stdout


def test_diff_reads_the_logs_of_each_side(writer: Writer, tmp_path: Path) -> None:
    """A dataLogDir holds what the last snapshot lacks."""
    logs = tmp_path / "logs"
    (logs / "version-2").mkdir(parents=True)
    split = tmp_path / "split"
    shutil.copytree(home(writer), split)
    for path in (split / "version-2").glob("log.*"):
        shutil.move(path, logs / "version-2")
    assert run("diff", home(writer), split).exit_code == 1
    assert run("diff", split, home(writer), "--logs", logs).exit_code == 0
    assert run("diff", split, split, "--logs", logs, "--logs", logs / "version-2").exit_code == 0
    snapshot = split / "version-2" / "snapshot.4"
    assert "+ /e" in run("diff", snapshot, split, "--logs", logs).stdout
    assert run("diff", snapshot, snapshot, "--logs", logs).exit_code == 2
    assert run("check", split, "--logs", logs).exit_code == 0


def test_du_sums_what_is_below(writer: Writer) -> None:
    assert run("du", home(writer)).stdout.splitlines() == [
        "           0         3 /zookeeper",
        "           7         1 /a",
        "           2         1 /e",
        "           9         6 /",
    ]
    assert run("du", home(writer), "/a").stdout == "           7         1 /a\n"
    snapshot = writer.directories.snapshots / "snapshot.4"
    assert run("du", snapshot, "/a", "-d", "0").stdout == "           6         2 /a\n"
    assert lines_of(run("du", snapshot, "/a", "--json")) == [
        {"path": "/a/b", "bytes": 4, "znodes": 1},
        {"path": "/a", "bytes": 6, "znodes": 2},
    ]
    for path, said in (
        ("/missing", "the znode '/missing' does not exist"),
        ("a", "'a' is not a valid path"),
    ):
        result = run("du", snapshot, path)
        assert result.exit_code == 1
        assert said in result.stderr


@pytest.mark.parametrize("seed", range(5))
def test_du_of_a_random_tree_is_what_a_naive_sum_gives(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    writer = Writer(tmp_path)
    paths = ["/n"]
    writer.create("/n")
    for number in range(40):
        path = f"{chance.choice(paths)}/{number}"
        writer.change(OpCode.CREATE, requests.Create(path, bytes(chance.randrange(9)), OPEN_ACL, 0))
        paths.append(path)
    tree = writer.machine.tree
    depth = chance.randrange(5)
    found = {size.path: (size.size_bytes, size.znodes) for size in sizes(tree, "/n", depth)}
    expected = {}
    for path in paths:
        if path.count("/") - 1 <= depth:
            below = [other for other in paths if f"{other}/".startswith(f"{path}/")]
            nodes = [tree.find(other) for other in below]
            expected[path] = (sum(len(node.data or b"") for node in nodes if node), len(below))
    assert found == expected


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
        ("", ":1: this is not a line of an export"),
        ('{"zoolet_export": 1, "zxid": "0x1", "root": "/a"}', "the export has no root"),
        ("{}", ":1: this is not a line of an export"),
        ("no json", ":1: this is not a line of an export"),
        (
            '{"zoolet_export": 1, "zxid": "0x1"}\n{"path": "/"}',
            ":2: this is not a line of an export",
        ),
        ('{"zoolet_export": 1, "zxid": "0x1"}\n[]', ":2: this is not a line of an export"),
    ],
)
def test_what_is_no_export_is_said_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(content)
    result = run("import", file, tmp_path / "new")
    assert result.exit_code == 1
    assert said in result.stderr
    assert not (tmp_path / "new").exists()


STAT = dict.fromkeys(Stat._fields, 0)
ROOT_LINE = {"path": "/", "data": "", "acl": [], "stat": STAT, "created": 0}
ENTRY = {"perms": 31, "scheme": "world", "id": "anyone"}


@pytest.mark.parametrize(
    "change",
    [
        {"created": 1 << 31},
        {"stat": {**STAT, "czxid": 1 << 63}},
        {"stat": {**STAT, "version": 1 << 31}},
        {"stat": {**STAT, "version": float("inf")}},
        {"acl": [{**ENTRY, "perms": 1 << 31}]},
        {"acl": [{**ENTRY, "id": "\ud800"}]},
        {"data": "\ud800"},
        {"path": "/\ud800"},
    ],
)
def test_a_znode_that_cannot_exist_is_no_line_of_an_export(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    lines = [{"zoolet_export": 1, "zxid": "0x1", "root": "/"}, {**ROOT_LINE, **change}]
    _refuse(tmp_path, lines, ":2: this is not a line of an export")


@pytest.mark.parametrize(
    ("path", "said"), [("/", "the znode / is there twice"), ("/a/b", "is before its parent")]
)
def test_a_znode_at_a_wrong_place_of_an_export(tmp_path: Path, path: str, said: str) -> None:
    header = {"zoolet_export": 1, "zxid": "0x1", "root": "/"}
    _refuse(tmp_path, [header, ROOT_LINE, {**ROOT_LINE, "path": path}], said)


def _refuse(tmp_path: Path, lines: list[dict[str, Any]], said: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
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
        (("dump", garbage), "a snapshot must begin with b'ZKSN'"),
        (("history", tmp_path, "/a"), "does not exist: name a dataDir"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert said in result.stderr
    assert run("restore", tmp_path, "--as-of", "yesterday", "--to", "x").exit_code == 2


def test_a_path_that_is_none_is_said(writer: Writer) -> None:
    result = run("history", home(writer), "a//b")
    assert result.exit_code == 1
    assert "'a//b' is not a valid path" in result.stderr
