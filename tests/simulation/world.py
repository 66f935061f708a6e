"""A server's state machine and storage on a simulated clock, disk and network, driven by one seed.

The parts are the real ones: connections, request processor, state machine, group commit, log,
snapshots, recovery. Only what they stand on is simulated: the event loop's queue, the thread that
writes the log, the clock, the disk, the network.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from tests.simulation.disk import CrashError, SimulatedDisk
from tests.simulation.memory import FailingMemory
from tests.simulation.parts import SimulatedDiskThread, SimulatedLoop, SimulatedTransport
from tests.support.simulated import TICK_MS, simulated_config
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode, Xid
from zoolet.model.stat import STAT, Stat
from zoolet.model.txns import Txn
from zoolet.server.common.clock import Clock
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.scheduler import Scheduler
from zoolet.server.connections.batches import Batch
from zoolet.server.connections.connection import Connection
from zoolet.server.failures import HARMLESS_IN_CALLBACKS
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.server.snapshotter import Snapshotter
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories
from zoolet.storage.recovery import recover
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.storage.txn_log import TxnLog
from zoolet.testing.received_requests.frames import REPLY_HEADER, REQUEST_HEADER
from zoolet.wire.jute import INT, LONG, Reader, pack_acl, pack_buffer, pack_ustring
from zoolet.wire.txns import decode_txn

DIRECTORIES = DataDirectories.of(Path("/simulated"))
CLIENTS = 3
_RECORD_HEADER_BYTES = 12

CONFIG = simulated_config(Path("/simulated"), Rules())


class SimulatedClient:
    """Sends what chance says, and checks that no reply shows what its header's zxid does not.

    Attributes:
        seen_zxid: the greatest zxid in anything that came.
        answered: how many replies came.
    """

    def __init__(self, world: "World", number: int) -> None:
        self.seen_zxid = 0
        self.answered = 0
        self.session_id, self.password = 0, bytes(16)
        self.connection: Connection | None = None
        self._transport: SimulatedTransport | None = None
        self._world = world
        self._number = number
        self._received = b""
        self._asked: deque[int] = deque()
        self._xid = 0

    def act(self) -> None:
        """Connect where it is not connected, otherwise ask for something."""
        if self._transport is None or self._transport.is_closing():
            self._connect()
            return
        op_code, body = self._world.request_of(self._number)
        self._xid += 1
        self._asked.append(op_code)
        self._send(REQUEST_HEADER.pack(self._xid, op_code) + body)
        if op_code == OpCode.CLOSE_SESSION:
            self.session_id, self.password = 0, bytes(16)

    def cut(self) -> None:
        """Lose the connection, and with it what is under way."""
        if self.connection is not None:
            self.connection.connection_lost(None)
        self.forget_connection()

    def forget_connection(self) -> None:
        """What the server still sends does not arrive."""
        if self._transport is not None:
            self._transport.is_cut = True
        self.connection = self._transport = None

    def _connect(self) -> None:
        self.cut()
        self._received, self._asked = b"", deque([OpCode.CREATE_SESSION])
        self.connection = Connection(self._world.processor)
        self._transport = SimulatedTransport(self._receive)
        self._world.transports.append(self._transport)
        self.connection.connection_made(cast("Any", self._transport))
        self._send(
            INT.pack(0)
            + LONG.pack(self.seen_zxid)
            + INT.pack(self._world.chance.choice((4000, 10_000)))
            + LONG.pack(self.session_id)
            + pack_buffer(self.password)
            + b"\0"
        )

    def _send(self, content: bytes) -> None:
        assert self.connection is not None
        frame = INT.pack(len(content)) + content
        self._world.loop.guard(partial(self.connection.data_received, frame))
        self._world.deliver()

    def _receive(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= INT.size:
            (size,) = INT.unpack_from(self._received)
            if len(self._received) < INT.size + size:
                return
            frame = self._received[INT.size : INT.size + size]
            self._received = self._received[INT.size + size :]
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        if self._asked and self._asked[0] == OpCode.CREATE_SESSION:
            self._asked.popleft()
            reader = Reader(frame, 8)
            self.session_id, password = reader.read_long(), reader.read_buffer()
            self.password = password or bytes(16)
            return
        xid, zxid, err = REPLY_HEADER.unpack_from(frame)
        self.seen_zxid = max(self.seen_zxid, zxid)
        if xid == Xid.NOTIFICATION:
            return
        op_code = self._asked.popleft()
        self.answered += 1
        if op_code == OpCode.GET_DATA and not err:
            stat = Stat.unpack(frame, len(frame) - STAT.size)
            assert max(stat.czxid, stat.mzxid, stat.pzxid) <= zxid, (
                "a reply shows more than it says"
            )


class World:
    """One run: steps chosen by chance, crashes among them, and what must hold after each.

    Attributes:
        story: what happened, for whoever looks at a failure.
        logged: the txns that were appended, by zxid: what a replay must give.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._pace = random.Random(seed)
        self._worked_s = 0.0
        self.disk = SimulatedDisk(self.chance)
        self.story: list[str] = []
        self.logged: dict[int, Txn] = {}
        self.now_ms = 1_000_000
        self.crashes = 0
        self.processor: RequestProcessor
        self.clients = [SimulatedClient(self, number) for number in range(CLIENTS)]
        self.memory = FailingMemory(self.chance)
        self.transports: list[SimulatedTransport] = []
        self.loop = SimulatedLoop(self._callback_failed, self.memory)
        self._thread = SimulatedDiskThread(self.loop)
        self._snapshot_thread = SimulatedDiskThread(self.loop)
        self._snapshotter: Snapshotter
        self._commit: GroupCommit
        self._failed = False

    def run(self, steps: int) -> None:
        """A safety phase with faults, then a liveness phase without."""
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(cast("Any", self.loop))
        try:
            self._start_until_it_serves()
            for _ in range(steps):
                self._step()
            self.disk.faults = self.memory.fails = False
            self._settle()
        finally:
            asyncio._set_running_loop(running)

    def request_of(self, number: int) -> tuple[int, bytes]:
        """Return a request by chance."""
        path = self.chance.choice(("/a", "/b", "/a/a", "/a/b", f"/c{number}", "/a/s-"))
        kind = self.chance.random()
        data = pack_buffer(self.chance.randbytes(self.chance.randrange(40)))
        if kind < 0.4:
            flags = 2 if path.endswith("-") else self.chance.choice((0, 0, 1))
            return OpCode.CREATE, pack_ustring(path) + data + pack_acl(OPEN_ACL) + INT.pack(flags)
        if kind < 0.6:
            return OpCode.SET_DATA, pack_ustring(path) + data + INT.pack(-1)
        if kind < 0.7:
            return OpCode.DELETE, pack_ustring(path) + INT.pack(-1)
        if kind < 0.8:
            part = INT.pack(OpCode.SET_DATA) + b"\0" + INT.pack(-1)
            part += pack_ustring(path) + data + INT.pack(-1)
            return OpCode.MULTI, part * 2 + INT.pack(-1) + b"\1" + INT.pack(-1)
        if kind < 0.82:
            return OpCode.CLOSE_SESSION, b""
        return OpCode.GET_DATA, pack_ustring(path) + self.chance.choice((b"\0", b"\1"))

    # --- Steps

    def _step(self) -> None:
        chance = self.chance
        kinds: list[tuple[int, Callable[[], None]]] = [
            (100, lambda: chance.choice(self.clients).act()),
            (50, self._thread.step),
            (20, self._step_snapshot),
            (30, self.loop.run_ready),
            (6, lambda: chance.choice(self.clients).cut()),
            (4, self._let_time_pass),
            (4, self._snapshot),
            (2, self._check_live),
            (1, self._stop_here),
        ]
        (do,) = chance.choices([do for _, do in kinds], [weight for weight, _ in kinds])
        try:
            do()
        except CrashError:
            self._crash("crash")
        self._remember_appended()
        self.deliver()
        self._pass_time_worked()
        if self._failed:
            self._crash("the server failed")

    def deliver(self) -> None:
        """Let what was sent arrive at the clients."""
        for transport in self.transports:
            transport.deliver()
        self.transports = [each for each in self.transports if not each.is_cut]

    def _read_scheduler_clock(self) -> float:
        """Return the time in seconds; between two readings the machine has worked for a while."""
        self._worked_s += self._pace.choice((0.0, 0.0, 0.0001, 0.005))
        return self.now_ms / 1000 + self._worked_s

    def _pass_time_worked(self) -> None:
        """Let the other clock go on by as much as the machine has worked."""
        worked_ms = int(self._worked_s * 1000)
        self.now_ms += worked_ms
        self._worked_s -= worked_ms / 1000

    def _let_time_pass(self) -> None:
        self.now_ms += self.chance.choice((100, TICK_MS, 12_000))
        self.processor.local.sessions.expire_now()

    def _stop_here(self) -> None:
        raise CrashError

    def _settle(self) -> None:
        """Without faults, every client gets a session and an answer."""
        before = [client.answered for client in self.clients]
        for _ in range(200):
            for client in self.clients:
                client.act()
            self._remember_appended()
            self._thread.step()
            self.loop.run_ready()
            self.deliver()
            if self._failed:  # a write had failed before the faults ended
                self._crash("the log failed")
        for client, answered in zip(self.clients, before, strict=True):
            assert client.answered > answered, "a client is never answered again"
        self._remember_appended()
        while self._thread.calls:
            self._thread.step()
            self.loop.run_ready()
            self._remember_appended()
        self._check_live()
        self._crash("the end")

    def _step_snapshot(self) -> None:
        failures = self._snapshotter.failures
        self._snapshot_thread.step()
        self.loop.run_ready()
        if self._snapshotter.failures > failures:
            self.story.append("a snapshot failed")

    def _snapshot(self) -> None:
        """As the server does it: the log is ended behind what is being synced."""
        if self._snapshotter.is_busy:
            return
        self._commit.roll_log()
        self._snapshotter.take(Image.of(self.processor.machine))

    # --- Crash and recovery

    def _crash(self, why: str) -> None:
        self.story.append(f"{why} at zxid 0x{self.processor.machine.zxid:x}")
        self.crashes += 1
        self._remember_appended()
        self.disk.lose_unsynced(self.chance)
        if self.disk.faults and self.chance.random() < 0.1:
            self.disk.rot()
        for client in self.clients:
            client.forget_connection()
        self._start_until_it_serves()

    def _start_until_it_serves(self) -> None:
        while True:
            try:
                self._start()
            except CrashError:
                self.disk.lose_unsynced(self.chance)
            except StorageError as error:
                if self.disk.rotten is None:
                    raise AssertionError(f"a sound disk is refused: {error}") from error
                self.disk.unrot()
            except OSError:
                self.story.append("a start failed")
            else:
                self.disk.unrot()
                return

    def _start(self) -> None:
        recovery = recover(self.disk, DIRECTORIES, TICK_MS)
        machine = recovery.machine
        self._check_recovered(machine)
        self.loop = SimulatedLoop(self._callback_failed, self.memory)
        asyncio._set_running_loop(cast("Any", self.loop))
        self._thread = SimulatedDiskThread(self.loop)
        self._snapshot_thread = SimulatedDiskThread(self.loop)
        self._failed = False
        machine.sessions.restart_clocks(self.now_ms)
        if recovery.snapshot_zxid is None:
            write_snapshot(self.disk, DIRECTORIES.snapshots, Image.of(machine))
        scheduler = Scheduler(self.loop.call_soon, self._read_scheduler_clock)
        self._commit = GroupCommit(
            TxnLog(self.disk, DIRECTORIES.logs, preallocate_bytes=512),
            cast("DiskThread", self._thread),
            cast("Any", self.loop),
            machine.zxid,
            self._log_failed,
            self._batch_synced,
            CONFIG.rules.max_txn_bytes,
            scheduler,
        )
        clock = Clock(self._read_clock, self._read_clock)
        next_id = machine.sessions.next_id(self.now_ms)
        self.now_ms += 1
        self.processor = RequestProcessor(
            CONFIG, machine, self._commit, clock, next_id, scheduler, self._state_unknown
        )
        self._snapshotter = Snapshotter(
            CONFIG,
            self.disk,
            cast("DiskThread", self._snapshot_thread),
            self._commit.when_durable,
            lambda: self.now_ms,
            self.processor.stats.snapshots,
        )
        self._snapshotter.remove_unfinished()

    def _read_clock(self) -> int:
        self.memory.may_fail_now()
        return self.now_ms

    def _remember_appended(self) -> None:
        """Note the txns that the last step has appended: they are in one of the two batches."""
        for batch in (self._commit.syncing, self._commit.collecting):
            for txn in () if batch is None else txns_in(batch.records.getvalue()):
                self.logged[txn.header.zxid] = txn

    def _log_failed(self, failure: Exception) -> None:
        self.story.append(f"the log failed: {failure}")
        self._failed = True

    def _callback_failed(self, failure: Exception) -> None:
        """As ``Server._callback_failed`` decides."""
        self.story.append(f"a callback failed: {failure!r}")
        if not isinstance(failure, HARMLESS_IN_CALLBACKS):
            self._commit.stop()
            self._failed = True

    def _state_unknown(self, failure: Exception) -> None:
        self.story.append(f"a change failed: {failure!r}")
        self._failed = True

    def _batch_synced(self, batch: Batch) -> None:
        self.processor.batch_released(batch)

    # --- What must hold

    def _check_recovered(self, machine: StateMachine) -> None:
        seen = max(client.seen_zxid for client in self.clients)
        assert machine.zxid >= seen, f"seen 0x{seen:x}, and 0x{machine.zxid:x} is left"
        for zxid in [zxid for zxid in self.logged if zxid > machine.zxid]:
            del self.logged[zxid]
        self._check_same(machine)

    def _check_live(self) -> None:
        self._check_same(self.processor.machine)

    def _check_same(self, machine: StateMachine) -> None:
        """The state is what applying all txns to nothing gives."""
        replayed = StateMachine(Tree.fresh(), SessionTable(TICK_MS))
        for zxid in sorted(self.logged):
            replayed.apply(self.logged[zxid])
        for ours, theirs in zip(_state_of(machine), _state_of(replayed), strict=True):
            assert ours == theirs


def txns_in(records: bytes) -> Iterator[Txn]:
    """Yield the txns of whole records, one behind the other."""
    while records:
        end = _RECORD_HEADER_BYTES + int.from_bytes(records[8:_RECORD_HEADER_BYTES])
        yield decode_txn(records[_RECORD_HEADER_BYTES:end])
        records = records[end + 1 :]


def _state_of(machine: StateMachine) -> Iterator[object]:
    yield machine.zxid
    tree = machine.tree
    yield {path: (node.record, node.acl, node.created) for path, node in tree.znodes()}
    yield {path: set(node.names) for path, node in tree.znodes()}
    yield {owner: set(paths) for owner, paths in tree.ephemerals.items() if paths}
    # A client that comes back may negotiate another timeout, of which no txn tells.
    yield set(machine.sessions.by_id)
