"""Snapshots and recovery: the same state again, or a refusal that says what is wrong."""

import zlib
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from tests.support.writer import DISK, SESSION, Writer
from zoolet.archive.commands.data_group import data
from zoolet.data.checking import check
from zoolet.data.directory_reader import txns_in
from zoolet.model import requests
from zoolet.model.acl import ACL, OPEN_ACL, AclList, Id
from zoolet.model.codes import CreateMode, OpCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.requests import CloseSession
from zoolet.model.txns import Txn, TxnHeader
from zoolet.state_machine.identities import NOBODY
from zoolet.state_machine.lifetimes import is_due_for_removal
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import Requester
from zoolet.storage.disk import Disk
from zoolet.storage.errors import DamagedFileError, StorageError
from zoolet.storage.files import DataDirectories
from zoolet.storage.recovery import recover
from zoolet.storage.snapshots import Image, read_snapshot, write_snapshot
from zoolet.storage.txn_log import encode_record

DIGEST_ACL: AclList = (ACL(31, Id("digest", "ada:x")), OPEN_ACL[0])


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    made = Writer(tmp_path)
    made.create("/a", "/a/b", "/c")
    made.create("/a/e", mode=CreateMode.EPHEMERAL, acl=DIGEST_ACL)
    made.create("/a/n-", "/a/n-", mode=CreateMode.PERSISTENT_SEQUENTIAL)
    made.machine.rules = Rules(allows_ttl=True)
    container = requests.Create("/box", b"", OPEN_ACL, CreateMode.CONTAINER, OwnerKind.CONTAINER)
    made.change(OpCode.CREATE_CONTAINER, container)
    ttl = requests.Create(
        "/brief", b"", OPEN_ACL, CreateMode.PERSISTENT_WITH_TTL, OwnerKind.TTL, 5000
    )
    made.change(OpCode.CREATE_TTL, ttl)
    made.create("/box/content")
    made.change(OpCode.DELETE, requests.Delete("/box/content", -1))
    made.change(OpCode.DELETE, requests.Delete("/a/b", -1))
    made.change(OpCode.SET_DATA, requests.SetData("/c", None, -1))
    made.change(OpCode.DELETE, requests.Delete("/missing", -1))
    return made


def _due(tree: Tree) -> list[str]:
    return [path for path in tree.perishable if is_due_for_removal(tree, path, 10_000, 0)]


def assert_same(recovered: StateMachine, live: StateMachine) -> None:
    assert recovered.zxid == live.zxid
    ours, theirs = recovered.tree, live.tree
    assert ours.ephemerals == theirs.ephemerals
    assert dict(ours.perishable.items()) == dict(theirs.perishable.items())
    assert _due(ours) == _due(theirs)
    for (path, node), (their_path, their_node) in zip(ours.znodes(), theirs.znodes(), strict=True):
        assert (path, node.record, node.acl) == (their_path, their_node.record, their_node.acl)
        assert (node.names, node.created) == (their_node.names, their_node.created)
    timeouts = {key: value.timeout_ms for key, value in recovered.sessions.by_id.items()}
    assert timeouts == {key: value.timeout_ms for key, value in live.sessions.by_id.items()}


def test_an_empty_directory_is_a_server_that_never_ran(tmp_path: Path) -> None:
    directories = DataDirectories.of(tmp_path / "new")
    directories.prepare(DISK)
    recovery = recover(DISK, directories, 100)
    assert (recovery.machine.zxid, recovery.snapshot_zxid, recovery.notes) == (0, None, [])
    assert list(recovery.machine.tree.walk()) == [
        *("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")
    ]


def test_an_empty_snapshot_and_the_logs_give_the_state(writer: Writer) -> None:
    recovery = writer.recover()
    assert_same(recovery.machine, writer.machine)
    assert (recovery.txns_replayed, recovery.notes) == (writer.machine.zxid, [])


def test_a_snapshot_and_the_logs_after_it_give_the_state(writer: Writer) -> None:
    writer.snapshot()
    writer.create("/later")
    recovery = writer.recover()
    assert_same(recovery.machine, writer.machine)
    assert recovery.txns_replayed == 1
    for path in writer.logs()[:-1]:
        path.unlink()
    assert_same(writer.recover().machine, writer.machine)


def test_the_padding_that_a_dead_server_left_is_removed(writer: Writer) -> None:
    """Of the newest log only: the others end with their servers, or were written by Apache."""
    writer.snapshot()
    writer.create("/later")
    older, newest = writer.logs()
    older.write_bytes(older.read_bytes() + bytes(100))
    older_size_bytes = older.stat().st_size
    assert newest.read_bytes().endswith(bytes(3000))
    assert_same(writer.recover().machine, writer.machine)
    assert not newest.read_bytes().endswith(b"\0")
    assert_same(writer.recover().machine, writer.machine)
    assert older.stat().st_size == older_size_bytes


def test_a_crash_while_padding_is_removed_loses_nothing(writer: Writer) -> None:
    """The file has any length from the end of its records to that of its padding."""
    log = writer.logs()[-1]
    padded = log.read_bytes()
    records = padded.rstrip(b"\0")
    for size_bytes in (len(records), len(records) + 1, len(padded) - 1, len(padded)):
        log.write_bytes(padded[:size_bytes])
        recovery = writer.recover()
        assert_same(recovery.machine, writer.machine)
        assert recovery.notes == []
        assert log.read_bytes() == records


def test_open_acls_are_still_found_by_identity(writer: Writer) -> None:
    writer.snapshot()
    assert writer.recover().machine.tree.acl_of("/a") is OPEN_ACL


def test_txns_that_the_snapshot_has_already_change_nothing(writer: Writer) -> None:
    """As with a snapshot that was taken while txns went on: it holds more than its name says."""
    path = writer.snapshot()
    path.rename(path.with_name("snapshot.2"))
    assert_same(writer.recover().machine, writer.machine)


@pytest.mark.parametrize("keep", [0, 3, 20, 200, -1])
def test_a_damaged_snapshot_falls_back_to_the_one_before(writer: Writer, keep: int) -> None:
    writer.snapshot()
    writer.create("/later")
    path = writer.snapshot()
    path.write_bytes(path.read_bytes()[:keep])
    recovery = writer.recover()
    assert_same(recovery.machine, writer.machine)
    assert len(recovery.notes) == 1
    assert str(path) in recovery.notes[0]


def test_every_flipped_bit_of_a_snapshot_is_found(writer: Writer) -> None:
    path = writer.snapshot()
    data = path.read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        if 8 <= position < 16:  # the database id, which the checksum covers and nothing reads
            continue
        with pytest.raises(DamagedFileError):
            read_snapshot(path, bytes(damaged))


def test_a_snapshot_that_is_not_finished_is_none(writer: Writer) -> None:
    class FullDisk(Disk):
        def rename(self, old: Path, new: Path) -> None:  # noqa: ARG002 -- it only fails
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_snapshot(FullDisk(), writer.directories.snapshots, Image.of(writer.machine))
    recovery = writer.recover()
    assert_same(recovery.machine, writer.machine)
    assert recovery.snapshot_zxid == 0


def test_a_torn_tail_is_cut_and_kept(writer: Writer) -> None:
    before = writer.recover().machine
    writer.create("/torn")
    (path,) = writer.logs()
    whole = path.read_bytes().rstrip(b"\0")
    path.write_bytes(whole[:-3] + bytes(500))
    recovery = writer.recover()
    assert_same(recovery.machine, before)
    assert "cut off an unfinished write" in recovery.notes[0]
    (kept,) = writer.directories.logs.glob("torn.*")
    assert kept.read_bytes() == whole[int(kept.name.rpartition(".")[2]) : -3].rstrip(b"\0")
    assert whole.startswith(path.read_bytes())
    again = writer.recover()
    assert_same(again.machine, before)
    assert again.notes == []


def test_a_log_without_a_whole_record_makes_room_for_the_next(writer: Writer) -> None:
    writer.log.roll()
    zxid = writer.machine.zxid
    path = writer.directories.logs / f"log.{zxid + 1:x}"
    path.write_bytes(bytes(64))
    assert_same(writer.recover().machine, writer.machine)
    writer.create("/next")
    assert path.exists()
    assert_same(writer.recover().machine, writer.machine)


def test_a_torn_log_that_is_not_the_newest_is_damage(writer: Writer) -> None:
    writer.log.roll()
    writer.create("/next")
    first, _ = writer.logs()
    first.write_bytes(first.read_bytes().rstrip(b"\0")[:-3])
    damaged = first.read_bytes()
    with pytest.raises(DamagedFileError, match="Nothing was changed") as error:
        writer.recover()
    assert error.value.path == first
    assert first.read_bytes() == damaged


def _leave_unfinished(writer: Writer, kept: slice) -> Path:
    """Append a part of the next record to the log, as a killed member of an ensemble does."""
    (log,) = writer.logs()
    writer.log.roll()
    log.write_bytes(log.read_bytes() + encode_record(writer.refused())[kept])
    return log


def _check_passed_over(writer: Writer, log: Path) -> None:
    before = log.read_bytes()
    recovery = writer.recover()
    assert_same(recovery.machine, writer.machine)
    (note,) = recovery.notes
    assert note.startswith(f"passing over an unfinished write: {log}: at byte")
    assert log.read_bytes() == before
    zxids = [found.txn.header.zxid for found in txns_in(writer.directories)]
    assert zxids[-1] == writer.machine.zxid
    findings = list(check(writer.directories, lambda files: files))
    assert all(finding.is_sound for finding in findings), findings
    assert any("a starting server passes over it" in finding.text for finding in findings)


def test_an_unfinished_write_before_the_next_txn_hides_nothing(writer: Writer) -> None:
    log = _leave_unfinished(writer, slice(0, -3))
    writer.create("/next")
    _check_passed_over(writer, log)


@pytest.mark.parametrize("kept", [5, 12, 30, -1])
def test_an_unfinished_write_before_a_new_epoch_hides_nothing(writer: Writer, kept: int) -> None:
    log = _leave_unfinished(writer, slice(0, kept))
    writer.machine.zxid = 1 << 32
    writer.create("/next")
    _check_passed_over(writer, log)


def test_any_damage_of_the_last_record_before_a_new_epoch_is_found(writer: Writer) -> None:
    """The zxids cannot show that this txn is missing, so the damage must be recognized."""
    (log,) = writer.logs()
    begin = len(log.read_bytes().rstrip(b"\0"))
    writer.create("/last")
    data = log.read_bytes()
    writer.log.roll()
    writer.machine.zxid = 1 << 32
    writer.create("/next")
    random = Random(7)
    for position in range(begin, len(data.rstrip(b"\0"))):
        damaged = bytearray(data)
        damaged[position] ^= random.randrange(1, 256)
        log.write_bytes(damaged)
        with pytest.raises(StorageError, match="othing was changed"):
            writer.recover()
        with pytest.raises(StorageError):
            list(txns_in(writer.directories))


def test_a_missing_log_is_a_gap(writer: Writer) -> None:
    for number in range(2):
        writer.log.roll()
        writer.create(f"/{number}")
    writer.logs()[1].unlink()
    with pytest.raises(StorageError, match="the txns between them are missing"):
        writer.recover()


def test_a_snapshot_without_any_log_is_noted(writer: Writer) -> None:
    """The dataLogDir may be gone, with all changes since the snapshot."""
    writer.snapshot()
    assert writer.recover().notes == []
    for path in writer.logs():
        path.unlink()
    (note,) = writer.recover().notes
    assert f"{writer.directories.logs} holds no transaction log" in note
    assert f"snapshot of zxid 0x{writer.machine.zxid:x}." in note


def test_logs_that_begin_too_late_without_a_snapshot_are_refused(writer: Writer) -> None:
    writer.log.roll()
    writer.create("/next")
    writer.logs()[0].unlink()
    path = writer.directories.snapshots / "snapshot.0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match="holds no snapshot that can be read"):
        writer.recover()
    path.unlink()
    with pytest.raises(StorageError, match="the txns before it are missing"):
        writer.recover()


def test_a_txn_out_of_order_is_damage(writer: Writer) -> None:
    txn = writer.refused()
    header = txn.header
    early = Txn(TxnHeader(header.client_id, header.cxid, 2, header.time_ms, header.type), txn.body)
    writer.log.append(2, encode_record(early))
    before = writer.logs()[0].read_bytes()
    with pytest.raises(StorageError, match="the txn 0x2 is out of order"):
        writer.recover()
    assert writer.logs()[0].read_bytes() == before


def test_a_txn_that_is_not_known_is_not_taken_for_a_torn_tail(writer: Writer) -> None:
    """As a log of Apache ZooKeeper may hold: the record is whole, its type is not known here."""
    record = bytearray(encode_record(writer.refused()))
    record[12 + 28 : 12 + 32] = (88).to_bytes(4, "big")
    record[4:8] = zlib.adler32(record[12:-1]).to_bytes(4, "big")
    writer.log.append(writer.machine.zxid + 1, bytes(record))
    before = writer.logs()[0].read_bytes()
    with pytest.raises(StorageError, match="unsupported txn of type 88"):
        writer.recover()
    assert writer.logs()[0].read_bytes() == before


def test_a_damaged_snapshot_that_no_log_replaces_is_refused(writer: Writer) -> None:
    writer.snapshot()
    writer.create("/later")
    path = writer.snapshot()
    path.write_bytes(path.read_bytes()[:-4])
    writer.logs()[-1].unlink()
    with pytest.raises(StorageError, match="at most 0x1 txns are lost") as refused:
        writer.recover()
    assert str(path) in str(refused.value)


def test_what_is_lost_and_how_to_go_on_is_said(writer: Writer, tmp_path: Path) -> None:
    zxid = writer.machine.zxid
    before = writer.recover().machine
    writer.create("/damaged", "/behind")
    (path,) = writer.logs()
    content = bytearray(path.read_bytes())
    content[content.index(b"/damaged")] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError) as refused:
        writer.recover()
    said = f"--as-of 0x{zxid:x} --to NEWDIR"
    assert said in str(refused.value)
    assert "bytes of this file and 0 newer logs" in str(refused.value)
    new = tmp_path / "restored"
    command = ["restore", str(path.parents[1]), "--as-of", f"0x{zxid:x}", "--to", str(new)]
    assert CliRunner().invoke(data, command).exit_code == 0
    restored = recover(DISK, DataDirectories.of(new), 100)
    assert_same(restored.machine, before)


def test_a_session_with_very_many_ephemerals_ends_in_short_records(tmp_path: Path) -> None:
    """Apache reads no record that is much longer than jute.maxbuffer, also not its own."""
    writer = Writer(tmp_path)
    writer.create("/e")
    tree = writer.machine.tree
    for number in range(100_000):
        path = f"/e/{number:010d}"
        tree.create(path, "/e", b"", OPEN_ACL, SESSION, -1, writer.machine.zxid, 0)
    while tree.ephemerals:
        txn = writer.machine.delete_ephemerals(SESSION, 100_000, 0)
        assert len(encode_record(txn)) < writer.machine.rules.max_txn_bytes
        writer.machine.apply(txn)
    txn = writer.machine.prepare(
        Requester(SESSION, NOBODY), 1, OpCode.CLOSE_SESSION, CloseSession(), 0
    )
    assert len(encode_record(txn)) < 1000
    writer.machine.apply(txn)
    assert not tree.ephemeral_bytes
    assert not tree.has_children("/e")
