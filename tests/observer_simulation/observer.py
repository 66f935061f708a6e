"""An observer without sockets: Replica, Forwarded, Contact, storage and the state machine.

It executes the steps of the replica in their order, one at a time, and writes its log in batches.
What clients get waits until the batch is on disk.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.observer_simulation.ensemble import OBSERVER_ID
from tests.observer_simulation.leader import LeaderLink
from tests.support.stopping_disk import StoppingDisk
from zoolet.big_endian.buffers import BytesWriter
from zoolet.model.codes import OpCode
from zoolet.model.learner import PacketType, QuorumPacket, epoch_of
from zoolet.model.txns import Txn
from zoolet.observer.contact import Contact
from zoolet.observer.forwarded import Forwarded, Lost
from zoolet.observer.replica import Replica
from zoolet.observer.steps import (
    Activate,
    AnswerPing,
    AnswerSync,
    Apply,
    GiveUp,
    InstallSnapshot,
    MakeDurable,
    Revalidated,
    Send,
    Serve,
    Step,
    StoreAcceptedEpoch,
    StoreCurrentEpoch,
    TakeSnapshot,
    Truncate,
)
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.storage.epochs import EpochFiles
from zoolet.storage.files import DataDirectories
from zoolet.storage.open_acls import OpenAcls
from zoolet.storage.received_snapshot import ReceivedSnapshot
from zoolet.storage.recovery import recover
from zoolet.storage.replacement import CannotTruncateError, finish_replacement, truncate
from zoolet.storage.snapshot_parser import SnapshotParser
from zoolet.storage.snapshots import SNAPSHOT_HEADER, Image, write_snapshot
from zoolet.storage.txn_log import TxnLog, write_record
from zoolet.wire.learner import (
    PacketReader,
    SnapshotEnd,
    SnapshotPiece,
    encode_packet,
    encode_touched,
)

_BUCKET_MS = 100
_PREALLOCATE_BYTES = 4096

Waiter = Callable[[Txn | None, int], None]
"""Is called with the txn of a forwarded request, or None for a sync, and the zxid of the state."""
RevalidationWaiter = Callable[[bool], None]


class _Received:
    """A database that comes from the leader and is not valid yet."""

    def __init__(self, disk: StoppingDisk, directories: DataDirectories, zxid: int) -> None:
        self.zxid = zxid
        self.file = ReceivedSnapshot(disk, directories, zxid)
        self.log = TxnLog(disk, self.file.logs, _PREALLOCATE_BYTES)
        self.parser = SnapshotParser(is_sealed=False)
        self._steps = self.parser.steps()
        self.take(SNAPSHOT_HEADER, is_content=False)
        self.machine: StateMachine | None = None
        self.open_acls: OpenAcls | None = None

    def take(self, piece: bytes, *, is_content: bool = True) -> None:
        if is_content:
            self.file.write(piece)
        self.parser.feed(piece)
        while next(self._steps, False):
            pass

    def seal(self) -> None:
        self.file.seal()
        sessions = SessionTable(_BUCKET_MS)
        for session_id, timeout_ms in self.parser.sessions.items():
            sessions.open(session_id, timeout_ms, now_ms=0)
        self.machine = StateMachine(self.parser.tree, sessions, self.zxid)
        self.open_acls = OpenAcls(self.parser.tree, self.parser.open_acls)


class Observer:
    """One observer on one disk; ``start`` it again after a crash.

    Attributes:
        machine: the state in memory.
        is_serving: whether the state is up to date with the leader.
        forwarded: the requests that wait for the leader.
        contact: how long sessions may be served.
        reason: why the last connection ended; "" if it did not end by itself.
        checked: is called after each change of a valid state.
        session_closed: is called with each session that the leader closed.
    """

    def __init__(self, disk: StoppingDisk, directories: DataDirectories) -> None:
        self.checked: Callable[[StateMachine], None] = lambda _: None
        self.session_closed: Callable[[int], None] = lambda _: None
        self._disk = disk
        self._directories = directories

    def start(self, now_ms: int) -> None:
        """Start the process."""
        disk, directories = self._disk, self._directories
        finish_replacement(disk, directories)
        recovery = recover(disk, directories, _BUCKET_MS)
        self.machine = recovery.machine
        if recovery.snapshot_zxid is None:
            write_snapshot(disk, directories.snapshots, Image.of(self.machine))
        self.epochs = EpochFiles(disk, directories)
        self._log = TxnLog(disk, directories.logs, _PREALLOCATE_BYTES)
        self.contact = Contact(now_ms)
        self.forwarded = Forwarded[Waiter]()
        self._revalidations: deque[RevalidationWaiter] = deque()
        self._wants_snapshot = False
        self.released_zxid = self.machine.zxid
        self._batch = BytesWriter()
        self._first_zxid: int | None = None
        self._holds: list[Callable[[], None]] = []
        self._link: LeaderLink | None = None
        self.reason = ""
        self._reset()

    def _reset(self) -> None:
        self.is_serving = False
        self.outgoing = bytearray()
        self._work: deque[Callable[[], None]] = deque()
        self._received: _Received | None = None

    # --- The connection

    def connect(self, link: LeaderLink) -> None:
        """Begin a connection."""
        zxid = 0 if self._wants_snapshot else self.machine.zxid
        epochs = self.epochs
        self._wants_snapshot = False
        self.reason = ""
        self._link = link
        self._reader = PacketReader()
        self.replica = Replica(
            OBSERVER_ID,
            epoch_of(zxid) if epochs.accepted is None else epochs.accepted,
            epoch_of(zxid) if epochs.current is None else epochs.current,
            zxid,
        )
        self._add(self.replica.connected())

    @property
    def is_connected(self) -> bool:
        return self._link is not None

    @property
    def has_work(self) -> bool:
        return bool(self._work or self._first_zxid is not None or self._holds)

    def receive(self, data: bytes, now_ms: int) -> None:
        """Process bytes of the leader."""
        self._reader.feed(data)
        while (item := self._reader.next()) is not None:
            self.contact.heard(now_ms)
            match item:
                case SnapshotPiece():
                    self._work.append(partial(self._take_piece, item.data))
                case SnapshotEnd():
                    self._work.append(self._seal)
                    self._add(self.replica.snapshot_received())
                case QuorumPacket():
                    self._add(self.replica.received(item))

    def cut(self) -> Lost[Waiter]:
        """End the connection; steps that are not executed are dropped."""
        self._link = None
        received = self._received
        self._reset()
        if received is not None:
            self._drop_batch()
            received.file.abandon()
        self._revalidations.clear()
        return self.forwarded.end()

    def _drop_batch(self) -> None:
        """Forget the txns of a database that is not valid."""
        self._batch, self._first_zxid = BytesWriter(), None
        self._holds.clear()

    def send(self, packet: QuorumPacket) -> None:
        """Send a packet to the leader."""
        self.outgoing += encode_packet(packet)

    def add_revalidation(self, session_id: int, waiter: RevalidationWaiter) -> None:
        """Wait for the leader's answer about a session."""
        self.forwarded.add_revalidation(session_id, lambda _txn, _zxid: None)
        self._revalidations.append(waiter)

    # --- Steps

    def _add(self, steps: list[Step]) -> None:
        self._work += [partial(self._execute, step) for step in steps]

    def work(self, now_ms: int) -> bool:
        """Execute the next step; return False if there was none."""
        self.now_ms = now_ms
        if not self._work:
            return False
        self._work.popleft()()
        return True

    def _take_piece(self, piece: bytes) -> None:
        assert self._received is not None
        self._received.take(piece)

    def _seal(self) -> None:
        assert self._received is not None
        self._received.seal()

    def _execute(self, step: Step) -> None:
        match step:
            case Send():
                self.send(step.packet)
            case Apply():
                self._apply(step.txn)
            case AnswerPing():
                touched = encode_touched(self.contact.take_touched(self.now_ms))
                self.send(QuorumPacket(PacketType.PING, step.zxid, touched))
            case AnswerSync():
                self._hold(partial(self.forwarded.take_sync(), None, self.machine.zxid))
            case Revalidated():
                self.forwarded.take_revalidation(step.session_id)
                waiter = self._revalidations.popleft()
                self._hold(partial(waiter, step.is_valid))
            case Serve():
                self.is_serving = True
            case GiveUp():
                assert not step.is_final, step.reason
                self.reason = step.reason
            case _:
                self._execute_on_disk(step)

    def _execute_on_disk(self, step: Step) -> None:
        match step:
            case StoreAcceptedEpoch():
                self.epochs.store_accepted(step.epoch)
            case StoreCurrentEpoch():
                self.epochs.store_current(step.epoch)
            case Truncate():
                self._truncate(step.zxid)
            case TakeSnapshot():
                self.sync()
                self._received = _Received(self._disk, self._directories, step.zxid)
            case InstallSnapshot():
                self._install()
            case MakeDurable():
                self.sync()
            case _:
                assert isinstance(step, Activate)

    def _truncate(self, zxid: int) -> None:
        self.sync()
        self._log.roll()
        try:
            recovery = truncate(self._disk, self._directories, zxid, _BUCKET_MS)
        except CannotTruncateError as error:
            self._wants_snapshot = True
            self.reason = str(error)
            self._work.clear()
            return
        self.machine = recovery.machine
        self.checked(self.machine)

    def _install(self) -> None:
        received = self._received
        assert received is not None
        assert received.machine is not None
        assert received.open_acls is not None
        assert received.open_acls.reason_unusable() is None
        self.sync()
        received.log.roll()
        self._log.roll()
        received.file.install()
        self._log = TxnLog(self._disk, self._directories.logs, _PREALLOCATE_BYTES)
        self.machine = received.machine
        self._received = None
        self.checked(self.machine)

    def _apply(self, txn: Txn) -> None:
        received = self._received
        machine = self.machine if received is None else received.machine
        assert machine is not None
        machine.apply(txn)
        write_record(self._batch, txn)
        if self._first_zxid is None:
            self._first_zxid = txn.header.zxid
        if received is not None:
            assert received.open_acls is not None
            received.open_acls.settle(txn.body)
            return
        self.checked(machine)
        header = txn.header
        waiter = self.forwarded.take_write(header.client_id, header.cxid)
        if waiter is not None:
            self._hold(partial(waiter, txn, machine.zxid))
        if header.type == OpCode.CLOSE_SESSION:
            self.contact.forget(header.client_id)
            self._hold(partial(self.session_closed, header.client_id))

    def _hold(self, reply: Callable[[], None]) -> None:
        """Call ``reply`` when all that is applied now is on disk."""
        self._holds.append(reply)

    # --- Disk

    def sync(self) -> None:
        """Write and sync the batch, and release its replies."""
        if self._first_zxid is not None:
            log = self._log if self._received is None else self._received.log
            log.append(self._first_zxid, self._batch.getvalue())
            self._batch, self._first_zxid = BytesWriter(), None
        if self._received is None:
            self.released_zxid = self.machine.zxid
        holds, self._holds = self._holds, []
        for reply in holds:
            reply()

    def snapshot(self) -> None:
        """Write a snapshot of the state, and begin a new log."""
        if self._received is None:
            self.sync()
            self._log.roll()
            write_snapshot(self._disk, self._directories.snapshots, Image.of(self.machine))


def directories_of(number: int) -> DataDirectories:
    """Return the directories of a simulated server, with its logs apart or not."""
    data = Path("/observer")
    return DataDirectories.of(data, Path("/observer-logs") if number % 2 else None)
