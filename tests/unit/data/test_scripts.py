"""Apache ZooKeeper's scripts for data directories, with its options and its words."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.support.scripts import run_script, write_zoo_cfg
from tests.support.writer import SESSION, Writer
from zoolet.data.commands import data
from zoolet.data.growth import Sizes
from zoolet.data.scripts import (
    zk_cleanup,
    zk_snapshot_comparer,
    zk_snapshot_toolkit,
    zk_txn_log_toolkit,
)
from zoolet.model import requests
from zoolet.model.codes import OpCode
from zoolet.storage.snapshots import read_snapshot
from zoolet.testing import ReservedPort


def run(script: click.Command, *arguments: object, obj: object = None, text: str = "") -> Result:
    return CliRunner().invoke(script, [str(word) for word in arguments], obj=obj, input=text)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    """Five snapshots, each with a znode and a log more than the one before."""
    made = Writer(tmp_path / "zk")
    for number in range(5):
        made.create(f"/n{number}")
        made.snapshot()
    made.create("/n4/below")
    made.create("/e", mode=1)
    made.log.roll()
    return made


def names(writer: Writer) -> list[str]:
    return sorted(path.name for path in writer.directories.snapshots.iterdir())


def newest_log(writer: Writer) -> Path:
    return writer.logs()[-1]


# --- ZkCleanup.sh


@pytest.mark.parametrize(("count", "removed"), [(3, 3), (4, 2), (5, 1), (99, 0)])
def test_cleanup_keeps_the_newest_snapshots(writer: Writer, count: int, removed: int) -> None:
    before = names(writer)
    home = writer.directories.snapshots.parent
    result = run(zk_cleanup, home, "-n", count)
    assert result.exit_code == 0, result.output
    gone = sorted(set(before) - set(names(writer)))
    assert [name for name in gone if name.startswith("snapshot")] == [
        f"snapshot.{zxid:x}" for zxid in (0, 2, 3)[:removed]
    ]
    told = [line.rpartition("/")[2] for line in result.stdout.splitlines()]
    assert sorted(told) == gone
    assert all(line.startswith("Removing file: 2") for line in result.stdout.splitlines())
    assert writer.recover().machine.zxid == writer.machine.zxid


def test_cleanup_takes_both_directories_in_apaches_order(tmp_path: Path) -> None:
    made = Writer(tmp_path / "data")
    for number in range(5):
        made.create(f"/n{number}")
        made.snapshot()
    logs = tmp_path / "logs" / "version-2"
    logs.mkdir(parents=True)
    for log in made.logs():
        log.rename(logs / log.name)
    result = run(zk_cleanup, tmp_path / "logs", tmp_path / "data", "-n", 3)
    assert result.exit_code == 0, result.output
    assert "/data/version-2/snapshot.2" in result.stdout
    assert "/logs/version-2/log.1" in result.stdout


def test_cleanup_reads_the_directories_of_zoo_cfg(writer: Writer, tmp_path: Path) -> None:
    home = writer.directories.snapshots.parent
    write_zoo_cfg(tmp_path, ReservedPort(), dataDir=home)
    by_option = run_script("zkCleanup.sh", "--config", tmp_path, "-n", "4")
    assert by_option.returncode == 0, by_option.stderr
    assert "snapshot.2" in by_option.stdout
    variables = {"ZOOCFGDIR": str(tmp_path)}
    by_variable = run_script("zkCleanup.sh", "-n", "3", variables=variables)
    assert "snapshot.3" in by_variable.stdout
    nowhere = run_script("zkCleanup.sh", "-n", "3", variables={"ZOOCFGDIR": "/nowhere"})
    assert nowhere.returncode == 1
    assert "name the directories" in nowhere.stderr.lower()


@pytest.mark.parametrize("arguments", [["-n", "2"], ["-n", "x"], [], ["a", "b", "c", "-n", "3"]])
def test_cleanup_that_is_written_wrong_removes_nothing(
    writer: Writer, arguments: list[str]
) -> None:
    before = names(writer)
    assert run(zk_cleanup, *arguments).exit_code == 2
    assert names(writer) == before


def test_purge_is_the_same_under_our_name(writer: Writer) -> None:
    torn = writer.directories.logs / "torn.log.1.99"
    torn.write_bytes(b"x")
    kept = writer.directories.logs / f"torn.{newest_log(writer).name}.99"
    kept.write_bytes(b"x")
    result = run(data, "purge", writer.directories.snapshots.parent, "--keep", 3)
    assert result.exit_code == 0, result.output
    assert "snapshot.2" in result.stdout
    assert not torn.exists()
    assert kept.exists()
    assert run(data, "purge", writer.directories.snapshots.parent, "--keep", 2).exit_code == 2


# --- ZkTxnLogToolkit.sh


def flip(log: Path, at: int) -> None:
    content = bytearray(log.read_bytes())
    content[at] ^= 1
    log.write_bytes(bytes(content))


def test_the_toolkit_prints_a_log(writer: Writer) -> None:
    first = writer.logs()[0]
    result = run(zk_txn_log_toolkit, first)
    assert result.exit_code == 0
    header, opened, created, end = result.stdout.splitlines()
    assert header == "ZooKeeper Transactional Log File with dbid 0 txnlog format version 2"
    assert re.fullmatch(
        r'\S+ session 0x4d cxid 0x1 zxid 0x1 createSession {"timeout_ms": 5000}', opened
    )
    assert "session 0x4d cxid 0x1 zxid 0x2 create {" in created
    assert json.loads(created[created.index("{") :])["path"] == "/n0"
    assert end == "EOF reached after 2 txns."
    assert run(zk_txn_log_toolkit, "-d", first).stdout == result.stdout


def test_the_toolkit_finds_and_mends_a_checksum(writer: Writer) -> None:
    log = newest_log(writer)
    sound = log.read_bytes()
    flip(log, 20)
    found = run(zk_txn_log_toolkit, log)
    assert found.exit_code == 1
    assert found.stdout.count("CRC ERROR - ") == 1
    assert "EOF reached after 2 txns." in found.stdout
    fixed = log.with_name(f"{log.name}.fixed")
    aborted = run(zk_txn_log_toolkit, "-r", log, text="a\n")
    assert (aborted.exit_code, fixed.exists()) == (1, False)
    left = run(zk_txn_log_toolkit, "-r", log, text="what\nno\n")
    assert "written with 0 fixed CRC error(s)" in left.stdout
    assert fixed.read_bytes() == log.read_bytes()
    again = run(zk_txn_log_toolkit, "-r", log, text="yes\n")
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)
    fixed.unlink()
    mended = run(zk_txn_log_toolkit, "--recover", "--yes", "--verbose", log)
    assert "written with 1 fixed CRC error(s)" in mended.stdout
    assert mended.stdout.count(" session 0x4d ") == 3
    assert fixed.read_bytes() == sound


def test_the_toolkit_mends_any_flipped_bits_of_checksums(writer: Writer) -> None:
    """What it writes is the log, whichever checksums are damaged."""
    log = writer.logs()[0]
    sound = log.read_bytes()
    record_offsets = [16, 16 + 8 + 4 + int.from_bytes(sound[24:28]) + 1]
    chance = random.Random(16)
    for number in range(20):
        log.write_bytes(sound)
        for offset in chance.sample(record_offsets, chance.randint(1, 2)):
            flip(log, offset + chance.randrange(8))
        fixed = log.with_name(f"{log.name}.fixed")
        assert run(zk_txn_log_toolkit, "-r", "-y", log).exit_code == 0, number
        assert fixed.read_bytes() == sound
        fixed.unlink()


@pytest.mark.parametrize("zxid", ["0x2", "2"])
def test_the_toolkit_cuts_a_log_behind_a_zxid(tmp_path: Path, zxid: str) -> None:
    made = Writer(tmp_path / "zk")
    made.create("/a", "/b", "/c")
    log = made.logs()[0]
    result = run(zk_txn_log_toolkit, "-c", "-z", zxid, log)
    assert result.exit_code == 0, result.output
    assert "Chopping at 2 new log has 2 records" in result.stdout
    (chopped,) = tmp_path.rglob("*.chopped2")
    assert "EOF reached after 2 txns." in run(zk_txn_log_toolkit, chopped).stdout


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["-c", "-z", "0x99"], 1, "does not contain the zxid 0x99"),
        (["-c", "-z", "0x4"], 1, "there is nothing to cut off"),
        (["-c", "-z", "four"], 2, "is not a zxid"),
        (["-c"], 2, "-c and -z must be used together"),
        (["-z", "1"], 2, "-c and -z must be used together"),
    ],
)
def test_what_the_toolkit_cannot_cut(
    tmp_path: Path, options: list[str], status: int, said: str
) -> None:
    made = Writer(tmp_path / "zk")
    made.create("/a", "/b", "/c")
    result = run(zk_txn_log_toolkit, *options, made.logs()[0])
    assert (result.exit_code, said in result.stderr) == (status, True), result.output
    assert len(made.logs()) == len(list(made.directories.logs.glob("log*"))) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-3],
        lambda content: content[:-1] + b"X",
        lambda content: content + b"\x00" * 8 + b"\x7f\xff\xff\xff" + b"xx",
    ],
)
def test_the_toolkit_prints_what_is_before_a_torn_tail(
    writer: Writer, damage: Callable[[bytes], bytes]
) -> None:
    log = newest_log(writer)
    log.write_bytes(damage(log.read_bytes()))
    result = run(zk_txn_log_toolkit, log)
    assert result.exit_code == 0
    assert "EOF reached after" in result.stdout
    assert "at byte" in result.stderr


def test_what_is_no_log_is_said_by_the_toolkit(writer: Writer, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    snapshot = next(writer.directories.snapshots.glob("snapshot.*"))
    for file, said in (
        (empty, "the file header is cut short"),
        (snapshot, "a log must begin with b'ZKLG'"),
        (tmp_path / "missing", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        result = run(zk_txn_log_toolkit, file)
        assert (result.exit_code, said in result.stderr) == (1, True), result.output


# --- ZkSnapShotToolkit.sh


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    made = Writer(tmp_path / "zk")
    made.create("/a", "/a/b", "/a/b/c", "/d")
    made.create("/e", mode=1)
    made.change(OpCode.SET_DATA, requests.SetData("/d", b"\xff\x00", -1))
    return made.snapshot()


def test_the_details_of_a_snapshot(snapshot: Path) -> None:
    result = run(zk_snapshot_toolkit, snapshot)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "ZNode Details (count=9):"
    paths = [line for line in lines if line.startswith("/")]
    assert sorted(paths) == sorted(read_snapshot(snapshot, snapshot.read_bytes()).tree.records)
    assert paths.index("/a/b/c") == paths.index("/a") + 2
    at = lines.index("/d")
    assert lines[at + 1] == "  cZxid = 0x00000000000005"
    assert lines[at + 7 : at + 9] == ["  dataVersion = 1", "  aclVersion = 0"]
    assert lines[at + 10] == "  dataLength = 2"
    assert lines[-4:] == [
        "Session Details (sid, timeout, ephemeralCount):",
        f"{SESSION:#016x}, 5000, 1",
        "----",
        "Last zxid: 0x7",
    ]
    with_data = run(zk_snapshot_toolkit, "-d", snapshot).stdout.splitlines()
    assert "  data = /wA=" in with_data


def test_the_json_of_a_snapshot_is_for_ncdu(snapshot: Path) -> None:
    result = run(zk_snapshot_toolkit, "-json", snapshot)
    major, minor, header, root = json.loads(result.stdout)
    assert (major, minor, header["progver"]) == (1, 0, "0.01")
    assert (root[0]["name"], root[0]["asize"]) == ("/", 0)

    def found(entry: object) -> dict[str, object]:
        """Return a directory as names, each with what is in it; a file has its size."""
        if isinstance(entry, dict):
            return {str(entry["name"]): entry["asize"]}
        assert isinstance(entry, list)
        below: dict[str, object] = {}
        for child in entry[1:]:
            below |= found(child)
        return {entry[0]["name"]: below}

    tree = found(root)["/"]
    assert isinstance(tree, dict)
    assert tree["a"] == {"b": {"c": 6}}
    assert (tree["d"], tree["e"]) == (2, 2)


@pytest.mark.parametrize("depth", [1, 1500])
def test_a_deep_tree_is_no_deep_recursion(tmp_path: Path, depth: int) -> None:
    made = Writer(tmp_path / "zk")
    made.create(*["/a" * level for level in range(1, depth + 1)])
    file = made.snapshot()
    assert run(zk_snapshot_toolkit, file).exit_code == 0
    shown = run(zk_snapshot_toolkit, "-json", file).stdout
    assert shown.count("[") == shown.count("]") == depth + 2


def test_what_the_snapshot_toolkit_refuses(snapshot: Path, tmp_path: Path) -> None:
    assert run(zk_snapshot_toolkit, "-d", "-json", snapshot).exit_code == 2
    assert run(zk_snapshot_toolkit).exit_code == 2
    (tmp_path / "snapshot.1").write_bytes(b"none")
    for file in (tmp_path / "snapshot.1", tmp_path / "missing"):
        result = run(zk_snapshot_toolkit, file)
        assert (result.exit_code, result.stderr.startswith("zoolet: ")) == (1, True)


# --- ZkSnapshotComparer.sh


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two snapshots: in the second /a has a child more, /gone is missing, /new is there."""
    made = Writer(tmp_path / "zk")
    made.create("/a", "/gone")
    left = made.snapshot()
    made.create("/a/b", "/new")
    made.change(OpCode.DELETE, requests.Delete("/gone", -1))
    return left, made.snapshot()


def compare(two: tuple[Path, Path], *options: object, text: str = "") -> str:
    result = run(zk_snapshot_comparer, "-l", two[0], "-r", two[1], *options, text=text)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("All layers compared.\n")
    return result.stdout


def test_what_grew_between_two_snapshots(two: tuple[Path, Path]) -> None:
    shown = compare(two, "-b", 0, "-n", 0)
    assert "Node count: 6\nTotal size: 7\nMax depth: 3\n" in shown
    assert "Node /a found in both trees. Delta: 4 bytes, 1 descendants" in shown
    assert "Node /gone found only in left tree. Descendant size: 5. Descendant count: 0" in shown
    assert "Node /new found only in right tree. Descendant size: 4. Descendant count: 0" in shown
    assert "Node /a/b found only in right tree." in shown


@pytest.mark.parametrize(("size", "znodes"), [(4, 9), (4, 1), (100, 100)])
def test_what_is_below_both_thresholds_is_not_shown(
    two: tuple[Path, Path], size: int, znodes: int
) -> None:
    shown = compare(two, "--bytes", size, "--nodes", znodes)
    assert "Node /new" not in shown
    assert "Node /a " not in shown
    assert "Filtered" in compare(two, "-b", size, "-n", znodes, "-d")


def test_the_comparison_in_steps(two: tuple[Path, Path]) -> None:
    text = "\n/a\n/none\n9\n/\n2\n"
    shown = compare(two, "-b", 0, "-n", 0, "-i", text=text)
    assert "Analysis for depth 0" in shown
    assert "Analysis for node /a\nNode /a/b found only in right tree." in shown
    assert "Path /none is neither found in left tree nor right tree." in shown
    assert "Depth must be in range [0, 2]" in shown
    assert "Analysis for node /\n" in shown
    assert "Analysis for depth 2" in shown


def test_the_sizes_are_those_of_a_plain_count(tmp_path: Path) -> None:
    chance = random.Random(16)
    made = Writer(tmp_path / "zk")
    paths = [""]
    for number in range(60):
        paths.append(f"{chance.choice(paths)}/n{number}")
        made.create(paths[-1])
    tree = made.machine.tree
    sizes = Sizes.of(tree)
    for path in paths:
        below = [name for name in tree.records if name.startswith(f"{path}/") and name != "/"]
        assert sizes.by_path[path].descendants == len(below)
        data_of = [tree.find(name) for name in [*below, path or "/"]]
        expected = sum(len(node.data or b"") for node in data_of if node is not None)
        assert sizes.by_path[path].size_bytes == expected


@pytest.mark.parametrize("missing", ["-l", "-r", "-b", "-n"])
def test_the_comparer_needs_all_four_options(two: tuple[Path, Path], missing: str) -> None:
    options = {"-l": two[0], "-r": two[1], "-b": 1, "-n": 1}
    words = [
        str(word) for name, value in options.items() if name != missing for word in (name, value)
    ]
    assert run(zk_snapshot_comparer, *words).exit_code == 2
