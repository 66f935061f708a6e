"""Snapshots that Apache wrote while txns went on, and whole histories of a data directory."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fuzzy import AclNumbers, FuzzySnapshot
from tests.support.writer import DISK, SESSION, Writer
from zoolet.data.directory_reader import state_of
from zoolet.model import requests
from zoolet.model.acl import ACL, OPEN_ACL, AclList, Id
from zoolet.model.codes import CreateMode, OpCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.rules import Rules
from zoolet.storage.errors import StorageError
from zoolet.storage.recovery import AsOf
from zoolet.storage.retention import Retention, checked_size
from zoolet.storage.snapshots import read_snapshot
from zoolet.storage.txn_log import TxnLog, encode_record


def acl_of(name: str) -> AclList:
    """Return one of many lists that permit everything to everyone."""
    return (ACL(1, Id("digest", f"{name}:x")), *OPEN_ACL)


ACLS = (OPEN_ACL, *map(acl_of, "abcdef"))


def state_in(machine: StateMachine) -> Iterator[object]:
    tree = machine.tree
    yield machine.zxid
    yield {path: (node.record, node.acl, node.created) for path, node in tree.znodes()}
    yield {path: set(node.names) for path, node in tree.znodes()}
    yield {owner: set(paths) for owner, paths in tree.ephemerals.items() if paths}
    yield dict(tree.perishable.items())
    yield {key: session.timeout_ms for key, session in machine.sessions.by_id.items()}


def assert_same(recovered: StateMachine, live: StateMachine) -> None:
    for ours, theirs in zip(state_in(recovered), state_in(live), strict=True):
        assert ours == theirs


def set_acl(writer: Writer, path: str, acl: AclList) -> None:
    writer.change(OpCode.SET_ACL, requests.SetAcl(path, acl, -1))


def delete(writer: Writer, path: str) -> None:
    writer.change(OpCode.DELETE, requests.Delete(path, -1))


def close_session(writer: Writer) -> None:
    writer.change(OpCode.CLOSE_SESSION, requests.CloseSession())
    writer.change(OpCode.CREATE_SESSION, requests.CreateSession(5000))


def set_it(writer: Writer) -> None:
    set_acl(writer, "/there", acl_of("new"))


def create_one(writer: Writer) -> None:
    writer.create("/new", acl=acl_of("new"))


def create_again(writer: Writer) -> None:
    writer.create("/new", acl=acl_of("first"))
    delete(writer, "/new")
    writer.create("/new", acl=acl_of("new"))
    set_acl(writer, "/new", acl_of("newer"))


def create_in_a_multi(writer: Writer) -> None:
    def create(acl: AclList) -> tuple[int, requests.WriteRequest]:
        return OpCode.CREATE, requests.Create("/new", b"", acl, 0)

    parts = (create(acl_of("first")), (OpCode.DELETE, requests.Delete("/new", -1)))
    writer.change(OpCode.MULTI, requests.Multi((*parts, create(acl_of("new")))))  # type: ignore[arg-type]


def create_an_ephemeral_of_two_sessions(writer: Writer) -> None:
    writer.create("/new", acl=acl_of("first"), mode=CreateMode.EPHEMERAL)
    close_session(writer)
    writer.create("/new", acl=acl_of("new"), mode=CreateMode.EPHEMERAL)


def create_a_container(writer: Writer) -> None:
    request = requests.Create("/new", b"", acl_of("new"), CreateMode.CONTAINER, OwnerKind.CONTAINER)
    writer.change(OpCode.CREATE_CONTAINER, request)


CHANGES = [
    set_it,
    create_one,
    create_again,
    create_in_a_multi,
    create_an_ephemeral_of_two_sessions,
    create_a_container,
]


@pytest.mark.parametrize("is_digested", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_an_acl_that_the_table_lacks_is_found_in_the_logs(
    tmp_path: Path, change: Callable[[Writer], None], is_digested: bool
) -> None:
    """As ZOOKEEPER-4846: the table of ACLs is written first, the znodes later."""
    writer = Writer(tmp_path)
    writer.create("/there", acl=acl_of("old"))
    snapshot = FuzzySnapshot(writer, AclNumbers())
    change(writer)
    path = snapshot.finish(is_digested=is_digested)
    writer.create("/later")
    read = read_snapshot(path, path.read_bytes())
    assert len(read.open_acls) == 1
    ((open_path, _),) = read.open_acls.items()
    assert [each.perms for each in read.tree.acl_of(open_path)] == [0]
    assert checked_size(DISK, path) == path.stat().st_size
    recovery = writer.recover()
    assert recovery.snapshot_zxid == 2
    assert recovery.notes == []
    assert_same(recovery.machine, writer.machine)


def test_a_znode_that_is_deleted_later_needs_no_acl(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    snapshot = FuzzySnapshot(writer, AclNumbers())
    writer.create("/new", acl=acl_of("new"), mode=CreateMode.EPHEMERAL)
    snapshot.finish()
    close_session(writer)
    assert_same(writer.recover().machine, writer.machine)


def test_a_znode_that_is_created_again_keeps_its_children(tmp_path: Path) -> None:
    """The snapshot has the new znode and its children; the logs first delete the old znode."""
    writer = Writer(tmp_path)
    writer.create("/a", "/a/old")
    delete(writer, "/a/old")
    snapshot = FuzzySnapshot(writer, AclNumbers())
    delete(writer, "/a")
    writer.create("/a", "/a/b", "/a/b/c", acl=acl_of("new"))
    writer.create("/a/b/e", mode=CreateMode.EPHEMERAL)
    snapshot.finish()
    delete(writer, "/a/b/c")
    writer.create("/a/b/c", "/a/d")
    assert_same(writer.recover().machine, writer.machine)


def test_an_acl_that_is_nowhere_makes_the_snapshot_unusable(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    numbers = AclNumbers()
    first = FuzzySnapshot(writer, numbers)
    writer.create("/new", acl=acl_of("new"))
    first.finish()
    writer.create("/later")
    broken = FuzzySnapshot(writer, numbers)
    set_acl(writer, "/new", acl_of("newer"))
    path = broken.finish()
    # The last txn, which has the ACL, is lost: the older snapshot and the logs give all before it.
    log = writer.logs()[-1]
    content = log.read_bytes().rstrip(b"\0")
    log.write_bytes(content[: len(content) - 20])
    recovery = writer.recover()
    assert recovery.machine.zxid == writer.machine.zxid - 1
    assert recovery.machine.tree.acl_of("/new") == acl_of("new")
    assert any(str(path) in note and "'/new' names ACL number 3" in note for note in recovery.notes)


def test_an_acl_that_is_nowhere_refuses_the_start_if_no_other_snapshot_is_there(
    tmp_path: Path,
) -> None:
    writer = Writer(tmp_path)
    writer.log.roll()
    writer.create("/a", "/b")
    snapshot = FuzzySnapshot(writer, AclNumbers())
    writer.log.roll()
    writer.create("/new", acl=acl_of("new"))
    path = snapshot.finish()
    for log in writer.logs():
        log.unlink()
    (writer.directories.snapshots / "snapshot.0").unlink()
    with pytest.raises(StorageError, match="the znode '/new' names ACL number 2") as refused:
        writer.recover()
    assert str(path) in str(refused.value)


def test_a_state_before_the_acl_was_set_comes_from_an_older_snapshot(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.create("/a", acl=acl_of("old"))
    before = writer.machine.zxid
    snapshot = FuzzySnapshot(writer, AclNumbers())
    writer.create("/b")
    set_acl(writer, "/a", acl_of("new"))
    snapshot.finish()
    machine = state_of(writer.directories, AsOf(zxid=before + 1)).machine
    assert machine.tree.acl_of("/a") == acl_of("old")
    assert machine.zxid == before + 1


def test_an_acl_that_was_set_after_the_moment_is_not_in_the_state(tmp_path: Path) -> None:
    """The snapshot has the newer ACL in its table, so nothing in it is missing."""
    writer = Writer(tmp_path)
    writer.create("/other", acl=acl_of("new"))
    writer.create("/a", acl=acl_of("old"))
    before = writer.machine.zxid
    snapshot = FuzzySnapshot(writer, AclNumbers())
    set_acl(writer, "/a", acl_of("new"))
    snapshot.finish()
    assert state_of(writer.directories, AsOf(zxid=before)).machine.tree.acl_of("/a") == acl_of(
        "old"
    )
    assert state_of(writer.directories).machine.tree.acl_of("/a") == acl_of("new")


def test_a_znode_that_was_deleted_after_the_moment_is_in_the_state(tmp_path: Path) -> None:
    """Its parent was written before, so no Stat shows the deletion."""
    writer = Writer(tmp_path)
    writer.create("/a", "/a/b", "/a/b/e")
    before = writer.machine.zxid
    snapshot = FuzzySnapshot(writer, AclNumbers())
    while "/a/b" not in snapshot.waiting:
        assert snapshot.step()
    delete(writer, "/a/b/e")
    delete(writer, "/a/b")
    snapshot.finish()
    assert "/a/b/e" in state_of(writer.directories, AsOf(zxid=before)).machine.tree.records


def test_a_session_that_began_after_the_moment_is_not_in_the_state(tmp_path: Path) -> None:
    """Apache copies the sessions after it has noted the zxid of the snapshot."""
    writer = Writer(tmp_path)
    before = writer.machine.zxid
    writer.change(OpCode.CLOSE_SESSION, requests.CloseSession())
    closed = writer.machine.zxid
    writer.change(OpCode.CREATE_SESSION, requests.CreateSession(5000))
    path = writer.snapshot()
    path.rename(path.with_name(f"snapshot.{closed:x}"))
    sessions = state_of(writer.directories, AsOf(zxid=closed)).machine.sessions
    assert list(sessions.by_id) == []
    assert list(state_of(writer.directories, AsOf(zxid=before)).machine.sessions.by_id) == [SESSION]


def test_without_an_older_snapshot_the_moment_is_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.create("/a")
    before = writer.machine.zxid
    writer.log.roll()
    snapshot = FuzzySnapshot(writer, AclNumbers())
    set_acl(writer, "/a", acl_of("new"))
    snapshot.finish()
    (writer.directories.snapshots / "snapshot.0").unlink()
    (writer.directories.logs / "log.1").unlink()
    with pytest.raises(StorageError, match="no snapshot from before this moment"):
        state_of(writer.directories, AsOf(zxid=before))
    assert state_of(writer.directories, AsOf(zxid=before + 1)).machine.zxid == before + 1


def test_damage_after_the_moment_does_not_prevent_a_restore(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.create("/a", "/b")
    before = writer.machine.zxid
    writer.create("/c", "/d")
    (log,) = writer.logs()
    content = bytearray(log.read_bytes())
    content[content.index(b"/c", content.index(b"/b")) + 1] ^= 1
    log.write_bytes(content)
    assert state_of(writer.directories, AsOf(zxid=before)).machine.zxid == before


class History:
    """A data directory whose events chance chooses, and the state that it must have."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.writer = Writer(directory)
        self.writer.machine.rules = Rules(allows_ttl=True)
        self._numbers = AclNumbers()
        self._fuzzy: FuzzySnapshot | None = None

    def step(self) -> None:
        events = {
            self._change: 60,
            self._close_session: 3,
            self._roll: 4,
            self._write_znodes: 20,
            self._take_snapshot: 2,
            self._damage_snapshot: 2,
            self._purge: 3,
            self._restart: 4,
        }
        (event,) = self.chance.choices(list(events), list(events.values()))
        event()

    def mild_step(self) -> None:
        """Do what keeps all txns, and one snapshot after the other."""
        events = {self._change: 60, self._close_session: 3, self._roll: 4, self._write_znodes: 40}
        if self._fuzzy is None:
            events[self._take_snapshot] = 3
        (event,) = self.chance.choices(list(events), list(events.values()))
        event()

    def _change(self) -> None:
        chance, writer = self.chance, self.writer
        path = chance.choice(("/a", "/b", "/a/a", "/a/b", "/a/s-", "/b/c"))
        acl, data = chance.choice(ACLS), chance.randbytes(chance.randrange(20))
        kinds: list[tuple[OpCode, requests.WriteRequest]] = [
            (OpCode.CREATE, requests.Create(path, data, acl, chance.choice((0, 0, 1, 2, 3)))),
            (OpCode.CREATE, requests.Create(path, data, acl, 0)),
            (OpCode.SET_DATA, requests.SetData(path, data, -1)),
            (OpCode.SET_ACL, requests.SetAcl(path, acl, -1)),
            (OpCode.DELETE, requests.Delete(path, -1)),
            (
                OpCode.CREATE_TTL,
                requests.Create(
                    path, data, acl, CreateMode.PERSISTENT_WITH_TTL, OwnerKind.TTL, 5000
                ),
            ),
            (
                OpCode.CREATE_CONTAINER,
                requests.Create(path, data, acl, CreateMode.CONTAINER, OwnerKind.CONTAINER),
            ),
        ]
        if chance.random() < 0.2:
            parts = [kind for kind in kinds[:5] if kind[0] != OpCode.SET_ACL]
            multi = requests.Multi(tuple(chance.choices(parts, k=3)))  # type: ignore[arg-type]
            writer.change(OpCode.MULTI, multi)
        else:
            writer.change(*chance.choice(kinds))

    def _close_session(self) -> None:
        close_session(self.writer)

    def _roll(self) -> None:
        self.writer.log.roll()

    def _write_znodes(self) -> None:
        """Write a few znodes of a snapshot, or begin or end one."""
        if self._fuzzy is None:
            if self.chance.random() < 0.5:
                self._fuzzy = FuzzySnapshot(self.writer, self._numbers)
        elif not self._fuzzy.step():
            self._fuzzy.finish(is_digested=self.chance.random() < 0.5)
            self._fuzzy = None

    def _take_snapshot(self) -> None:
        self.writer.snapshot()

    def _damage_snapshot(self) -> None:
        """Cut a snapshot short; the first one stays, or nothing might be left to start from."""
        snapshots = list(self.writer.directories.snapshots.glob("snapshot.*"))
        whole = [path for path in snapshots if checked_size(DISK, path) is not None]
        if len(whole) > 1:
            path = self.chance.choice(whole)
            path.write_bytes(path.read_bytes()[: self.chance.randrange(path.stat().st_size)])
            try:
                self._check()
            except StorageError:  # it was the only one from which the logs lead on
                self.writer.snapshot()

    def _purge(self) -> None:
        Retention(DISK, self.writer.directories, 3).purge()

    def _restart(self) -> None:
        """Die, in the middle of a write perhaps, and start again."""
        self._fuzzy = None
        writer = self.writer
        if self.chance.random() < 0.5 and (logs := writer.logs()):
            torn = encode_record(writer.refused())[: -self.chance.randrange(1, 30)]
            content = logs[-1].read_bytes()
            written = content.rstrip(b"\0")
            logs[-1].write_bytes(written + torn + content[len(written) + len(torn) :])
        recovery = writer.recover()
        assert_same(recovery.machine, writer.machine)
        # No snapshot is passed over for an ACL that the logs hold.
        assert not any("names ACL" in note for note in recovery.notes)
        recovery.machine.rules = writer.machine.rules
        writer.machine = recovery.machine
        writer.log = TxnLog(DISK, writer.directories.logs, preallocate_bytes=4096)

    def _check(self) -> None:
        assert_same(state_of(self.writer.directories).machine, self.writer.machine)

    def check(self) -> None:
        """The start after all this has the state that was written."""
        self._fuzzy = None
        self._restart()


@pytest.mark.parametrize("seed", range(60))
def test_a_random_history_is_recovered(tmp_path: Path, seed: int) -> None:
    history = History(tmp_path, seed)
    for _ in range(150):
        history.step()
    history.check()
    assert history.writer.machine.sessions.by_id.keys() == {SESSION}


@pytest.mark.parametrize("seed", range(30))
def test_every_state_of_a_random_history_can_be_restored(tmp_path: Path, seed: int) -> None:
    """Also those of moments at which a snapshot was being written."""
    history = History(tmp_path, seed)
    writer = history.writer
    states = {writer.machine.zxid: list(state_in(writer.machine))}
    for _ in range(80):
        history.mild_step()
        states[writer.machine.zxid] = list(state_in(writer.machine))
    for zxid in history.chance.sample(list(states), 15):
        recovered = state_of(writer.directories, AsOf(zxid=zxid)).machine
        assert list(state_in(recovered)) == states[zxid]
