"""Replacing files for a leader: cutting the log, installing a snapshot, setting all aside.

The randomised tests stop the machine at each operation of the disk. After the next start the
directory has the old state or the new one, and each old record and snapshot is still in a file.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fuzzy import AclNumbers, FuzzyContent
from tests.support.histories import ACLS, History, state_of
from tests.support.stopping_disk import StoppedError, StoppingDisk
from tests.support.writer import DISK, SESSION, Writer
from zoolet.model import requests
from zoolet.model.codes import OpCode
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk
from zoolet.storage.epochs import EpochFiles
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories, by_zxid
from zoolet.storage.received_snapshot import ReceivedSnapshot
from zoolet.storage.recovery import recover
from zoolet.storage.replacement import (
    CannotTruncateError,
    finish_replacement,
    set_all_aside,
    truncate,
)
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.storage.txn_log import TxnLog, encode_record, read_records

ONE = DataDirectories.of(Path("/data"))
TWO = DataDirectories.of(Path("/data"), Path("/logs"))
State = dict[str, object]


class Server:
    """A data directory in memory with a random history, and the state after each txn."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.disk = StoppingDisk(chance)
        self.directories = chance.choice([ONE, TWO])
        history = History(chance, StateMachine(Tree.fresh(), SessionTable(100)), prefix="old-")
        self.states = {0: state_of(history.machine)}
        self._log = TxnLog(self.disk, self.directories.logs, chance.choice([0, 4096]))
        self._snapshot(history)
        for _ in range(chance.randrange(3, 25)):
            txn = history.step()
            self._log.append(txn.header.zxid, encode_record(txn))
            self.states[txn.header.zxid] = state_of(history.machine)
            if chance.random() < 0.15:
                self._log.roll()
            if chance.random() < 0.15:
                self._snapshot(history)
        self._log.roll()
        self.last_zxid = history.machine.zxid
        self.num_files = len(contents_of(self.disk, self.directories))

    def _snapshot(self, history: History) -> None:
        self._log.roll()
        write_snapshot(self.disk, self.directories.snapshots, Image.of(history.machine))

    def recovered(self) -> State:
        """Return the state that a start finds."""
        finish_replacement(self.disk, self.directories)
        return state_of(recover(self.disk, self.directories, 100).machine)


def contents_of(disk: Disk, directories: DataDirectories) -> set[object]:
    """Return all txns in logs and the bytes of all snapshots, also in the folders of old files."""
    found: set[object] = set()
    folders = list(dict.fromkeys(directories))
    for number in range(1, 20):
        folders += [directory / f"replaced-{number}" / "version-2" for directory in directories]
    for folder in folders:
        try:
            names = disk.list_names(folder)
        except FileNotFoundError:
            continue
        for _, name in by_zxid(names, "log"):
            with disk.open(folder / name) as log:
                found |= {repr(txn) for _, txn in read_records(folder / name, log)}
        found |= {disk.read(folder / name) for _, name in by_zxid(names, "snapshot")}
    return found


def receive(server: Server) -> tuple[ReceivedSnapshot, State]:
    """Receive a snapshot of another history, with txns after it; return the state after them."""
    chance, disk = server.chance, server.disk
    history = History(chance, StateMachine(Tree.fresh(), SessionTable(100)), prefix="new-")
    history.machine.zxid = 2 << 32
    for _ in range(chance.randrange(20)):
        history.step()
    received = ReceivedSnapshot(disk, server.directories, history.machine.zxid)
    content = FuzzyContent(history.machine, AclNumbers())
    log = TxnLog(disk, received.logs, chance.choice([0, 4096]))
    records = []
    for _ in range(chance.randrange(5)):
        content.step()
        txn = history.step()
        records.append((txn.header.zxid, encode_record(txn)))
    stream = content.finish()
    for start in range(0, len(stream), 100):
        received.write(stream[start : start + 100])
    received.seal()
    for zxid, record in records:
        log.append(zxid, record)
    log.roll()
    return received, state_of(history.machine)


def install(server: Server) -> State:
    received, state = receive(server)
    received.install()
    return state


def cut(server: Server) -> State:
    zxid = server.chance.randrange(server.last_zxid)
    return state_of(truncate(server.disk, server.directories, zxid, 100).machine)


def discard(server: Server) -> State:
    set_all_aside(server.disk, server.directories)
    return state_of(StateMachine(Tree.fresh(), SessionTable(100)))


OPERATIONS = [install, cut, discard]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("seed", range(10))
def test_the_new_state_is_there_after_each_replacement(
    operation: Callable[[Server], State], seed: int
) -> None:
    server = Server(seed)
    before = contents_of(server.disk, server.directories)
    new_state = operation(server)
    server.disk.restart()
    assert server.recovered() == new_state
    assert before <= contents_of(server.disk, server.directories)
    if operation is cut:
        assert new_state == server.states[server.recovered()["zxid"]]  # type: ignore[index]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("seed", range(2))
def test_a_crash_at_any_operation_leaves_the_old_state_or_the_new_one(
    operation: Callable[[Server], State], seed: int
) -> None:
    whole = Server(seed)
    begin = whole.disk.count
    new_state = operation(whole)
    old_state = whole.states[whole.last_zxid]
    seen = []
    for stop_at in range(begin + 1, whole.disk.count + 1):
        server = Server(seed)
        before = contents_of(server.disk, server.directories)
        server.disk.stop_at = stop_at
        with pytest.raises(StoppedError):
            operation(server)
        server.disk.restart()
        # The next start may crash as well.
        server.disk.stop_at = server.disk.count + server.chance.randrange(1, 20)
        try:
            finish_replacement(server.disk, server.directories)
        except StoppedError:
            server.disk.restart()
        server.disk.stop_at = None
        state = server.recovered()
        assert state in (old_state, new_state)
        seen.append(state == new_state)
        assert before <= contents_of(server.disk, server.directories)
        assert not [
            name
            for directory in server.directories
            for name in server.disk.list_names(directory)
            if name.startswith("replacing.")
        ]
    assert True in seen
    assert False in seen


@pytest.mark.parametrize("seed", range(10))
def test_replacements_follow_each_other(seed: int) -> None:
    """The log goes on after a replacement, and the next one finds it."""
    server = Server(seed)
    before = contents_of(server.disk, server.directories)
    for _ in range(4):
        server.chance.choice([install, discard])(server)
        recovery = recover(server.disk, server.directories, 100)
        history = History(server.chance, recovery.machine)
        if not recovery.snapshot_zxid:
            image = Image.of(recovery.machine)
            write_snapshot(server.disk, server.directories.snapshots, image)
        log = TxnLog(server.disk, server.directories.logs, 0)
        for _ in range(5):
            txn = history.step()
            log.append(txn.header.zxid, encode_record(txn))
        log.roll()
        server.disk.restart()
        assert server.recovered() == state_of(history.machine)
        before |= contents_of(server.disk, server.directories)
    assert before <= contents_of(server.disk, server.directories)


# --- On this machine's disk


def test_the_cut_files_are_in_a_folder_that_the_tools_can_read(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.create("/a", "/b", "/c")
    writer.snapshot()
    writer.create("/d", "/e")
    writer.log.roll()
    recovery = truncate(DISK, writer.directories, 3, 100)
    assert recovery.machine.zxid == 3
    assert writer.recover().machine.zxid == 3
    folder = tmp_path / "version-2" / "replaced-1" / "version-2"
    assert sorted(path.name for path in folder.iterdir()) == ["log.4", "log.5", "snapshot.4"]
    old = recover(DISK, DataDirectories.of(folder.parent), 100)
    assert old.machine.zxid == 6
    assert "/e" in old.machine.tree.records


def test_a_log_that_does_not_reach_back_cannot_be_cut(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.create("/a", "/b")
    newest = writer.snapshot()
    writer.create("/c")
    writer.log.roll()
    for path in (writer.directories.snapshots / "snapshot.0", writer.logs()[0]):
        path.unlink()
    before = sorted(path.name for path in newest.parent.iterdir())
    with pytest.raises(CannotTruncateError):
        truncate(DISK, writer.directories, 2, 100)
    assert sorted(path.name for path in newest.parent.iterdir()) == before
    assert writer.recover().machine.zxid == 4


def test_a_log_cannot_be_cut_behind_its_end(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.create("/a")
    writer.log.roll()
    with pytest.raises(CannotTruncateError, match="0x63"):
        truncate(DISK, writer.directories, 99, 100)
    assert writer.recover().machine.zxid == 2


def test_a_snapshot_that_contains_later_txns_does_not_remain(tmp_path: Path) -> None:
    """It has the zxid at which its writing began, as a leader's snapshot has."""
    writer = Writer(tmp_path)
    writer.create("/a")
    content = FuzzyContent(writer.machine, AclNumbers())
    zxid = writer.machine.zxid
    writer.create("/b")
    writer.log.roll()
    received = ReceivedSnapshot(DISK, writer.directories, zxid)
    received.write(content.finish())
    received.seal()
    path = writer.directories.snapshots / f"snapshot.{zxid:x}"
    (received.logs / path.name).rename(path)
    state = truncate(DISK, writer.directories, zxid, 100).machine
    assert "/b" not in state.tree.records
    assert state_of(writer.recover().machine) == state_of(state)
    assert not path.exists()


def test_a_snapshot_with_a_later_acl_does_not_remain(tmp_path: Path) -> None:
    """No zxid in a znode's Stat shows that its ACL was changed."""
    writer = Writer(tmp_path)
    writer.create("/a")
    zxid = writer.machine.zxid
    before = state_of(writer.machine)
    writer.change(OpCode.SET_ACL, requests.SetAcl("/a", ACLS[-1], -1))
    writer.log.roll()
    image = Image(zxid, writer.machine.tree, {SESSION: 5000})
    write_snapshot(DISK, writer.directories.snapshots, image)
    assert state_of(truncate(DISK, writer.directories, zxid, 100).machine) == before
    assert state_of(writer.recover().machine) == before


def test_unfinished_snapshots_are_removed_at_the_next_start(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.create("/a")
    received = ReceivedSnapshot(DISK, writer.directories, 9)
    received.write(b"some")
    assert list(received.logs.iterdir())
    assert finish_replacement(DISK, writer.directories) == []
    assert not list(received.logs.iterdir())
    assert writer.recover().machine.zxid == 2


def test_an_abandoned_snapshot_leaves_nothing(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for is_sealed in (False, True):
        received = ReceivedSnapshot(DISK, writer.directories, 9)
        received.write(b"some")
        if is_sealed:
            received.seal()
        received.abandon()
        assert not list(received.logs.iterdir())


def test_an_interrupted_replacement_is_reported(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.create("/a")
    marker = writer.directories.snapshots / "replacing.discard.1.0.-1"
    marker.write_bytes(b"")
    (writer.directories.snapshots / "replaced-1" / "version-2").mkdir(parents=True)
    with pytest.raises(StorageError, match="Start the server"):
        writer.recover()
    notes = finish_replacement(DISK, writer.directories)
    assert len(notes) == 1
    assert "replacing.discard" in notes[0]
    assert writer.recover().machine.zxid == 0


def test_the_epochs_are_discarded_with_the_data_but_remain_with_a_snapshot(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    EpochFiles(DISK, writer.directories).store_accepted(5)
    received = ReceivedSnapshot(DISK, writer.directories, 9)
    received.write(FuzzyContent(writer.machine, AclNumbers()).finish())
    received.seal()
    folder = received.install()
    assert (folder / "version-2" / "snapshot.0").exists()
    assert EpochFiles(DISK, writer.directories).accepted == 5
    folder = set_all_aside(DISK, writer.directories)
    assert EpochFiles(DISK, writer.directories).accepted is None
    assert EpochFiles(DISK, DataDirectories.of(folder)).accepted == 5
