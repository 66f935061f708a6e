"""A request processor with real connections on a simulated event loop, clock, network and disk.

Time passes only when a test says so. An iteration of the loop is as asyncio's: it looks at all
sockets, then calls what was ready before and what the sockets brought.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from tests.support.rawclient import RawReply, connect_frame, parse_reply, request_frame
from tests.support.simulated import TICK_MS, simulated_config
from zoolet.server.common.clock import Clock
from zoolet.server.common.scheduler import BUDGET_S, Scheduler, Share
from zoolet.server.connections.batches import Batch
from zoolet.server.connections.connection import Connection
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.server.zoo_cfg.config import ObserverConfig
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.storage.files import DataDirectories
from zoolet.storage.txn_log import TxnLog
from zoolet.testing.servers.memory_disk import MemoryDisk
from zoolet.wire.jute import INT, Reader

_MS_PER_S = 1000
_EVENTS_AT_ONCE = 100_000
_PEER = "127.0.0.1"


class StageTransport(asyncio.Transport):
    """The network's end at the server.

    Attributes:
        written: what the server has sent.
        is_closing_now: whether the server has closed or aborted the connection.
    """

    def __init__(self, port: int) -> None:
        super().__init__({"peername": (_PEER, port)})
        self.written = b""
        self.is_closing_now = False
        self.is_paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Everything that is written is taken at once."""

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def abort(self) -> None:
        self.is_closing_now = True

    def close(self) -> None:
        self.is_closing_now = True


class StageClient:
    """A client of the stage: what it sends waits in its socket until the loop looks at it."""

    def __init__(self, stage: "Stage", port: int) -> None:
        self.connection = Connection(stage.processor)
        self.transport = StageTransport(port)
        self.socket = b""
        self.session_id = 0
        self._xid = 0
        self._is_lost = False
        self._stage = stage
        self.connection.connection_made(self.transport)

    def connect(self, timeout_ms: int = 2 * TICK_MS) -> None:
        """Open a session."""
        self.socket += connect_frame(timeout_ms)
        self._stage.settle()
        self.connected()

    def connected(self) -> None:
        """Read the reply to a connect request."""
        reader = Reader(self.frames()[0], 8)
        self.session_id = reader.read_long()

    def lose(self) -> None:
        """Tell the server that the connection has ended, if it was not told before."""
        if not self._is_lost:
            self._is_lost = True
            self.connection.connection_lost(None)

    def send(self, op_code: int, body: bytes = b"", xid: int | None = None) -> None:
        """Put a request in the socket."""
        if xid is None:
            self._xid += 1
            xid = self._xid
        self.socket += request_frame(xid, op_code, body)

    def request(self, op_code: int, body: bytes = b"") -> RawReply:
        """Send a request, and return its reply."""
        self.send(op_code, body)
        self._stage.settle()
        return self.replies()[-1]

    def replies(self) -> list[RawReply]:
        """Return what has come since the last call."""
        return [parse_reply(frame) for frame in self.frames()]

    def frames(self) -> list[bytes]:
        """Return the frames that have come since the last call."""
        written, self.transport.written = self.transport.written, b""
        frames = []
        while written:
            (size,) = INT.unpack_from(written)
            frames.append(written[4 : 4 + size])
            written = written[4 + size :]
        return frames

    def deliver(self) -> None:
        """Let the server read what is in the socket; what the loop calls."""
        if self.socket and not self.transport.is_paused and not self.transport.is_closing_now:
            data, self.socket = self.socket, b""
            self.connection.data_received(data)


class _Disk:
    """The thread of the disk: what it does is done at once, and reported in the next iteration."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._call_soon = call_soon

    def submit(self, call: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        call()
        self._call_soon(partial(done, None))


class Stage:
    """A server without sockets, files and threads.

    Attributes:
        now_s: the time; a test sets it.
        clock_readings: how often the scheduler's clock was read.
        processor: takes the requests.
        commit: collects the txns.
    """

    def __init__(self, rules: Rules | None = None, observer: ObserverConfig | None = None) -> None:
        self.now_s = 1000.0
        self.clock_readings = 0
        self.clients: list[StageClient] = []
        self._ready: deque[Callable[[], None]] = deque()
        self.scheduler = Scheduler(self.call_soon, self._read_clock)
        config = simulated_config(Path("/stage"), rules or Rules())._replace(observer=observer)
        disk = MemoryDisk()
        directories = DataDirectories.of(config.data_dir)
        directories.prepare(disk)
        self.machine = StateMachine(Tree.fresh(), SessionTable(TICK_MS), 0, config.rules)
        commit = self.commit = GroupCommit(
            TxnLog(disk, directories.logs, preallocate_bytes=4096),
            cast("Any", _Disk(self.call_soon)),
            cast("Any", self),
            self.machine.zxid,
            self._failed,
            self._synced,
            config.rules.max_txn_bytes,
            self.scheduler,
        )
        clock = Clock(self._now_ms, self._now_ms)
        self.processor = RequestProcessor(
            config, self.machine, commit, clock, 1, self.scheduler, self._failed
        )

    def client(self, timeout_ms: int = 2 * TICK_MS) -> StageClient:
        """Return a client with a session."""
        client = self.stranger()
        client.connect(timeout_ms)
        return client

    def stranger(self) -> StageClient:
        """Return a client without a session."""
        client = StageClient(self, 1000 + len(self.clients))
        self.clients.append(client)
        return client

    def call_soon(self, call: Callable[..., None], *args: object) -> None:
        """Call in the next iteration; what the server calls."""
        self._ready.append(partial(call, *args))

    def iterate(self) -> None:
        """Do one iteration of the loop."""
        self._ready.extend(client.deliver for client in self.clients if client.socket)
        for _ in range(len(self._ready)):
            self._ready.popleft()()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ready, and no socket has anything that the server would read."""
        return not self._ready and not any(
            client.socket and not client.transport.is_paused and not client.transport.is_closing_now
            for client in self.clients
        )

    def settle(self) -> None:
        """Iterate until nothing is left to do."""
        for _ in range(_EVENTS_AT_ONCE):
            if self.is_idle:
                return
            self.iterate()
        raise AssertionError("the stage does not come to rest")

    def pass_ms(self, time_ms: int) -> None:
        """Let time pass; the server stands still meanwhile."""
        self.now_s += time_ms / _MS_PER_S

    def use_budget(self) -> None:
        """Use the budget of this iteration, so that what arrives in it has to wait."""
        self.scheduler.used(Share("the test"), self.now_s - 2 * BUDGET_S)

    @property
    def now_ms(self) -> int:
        """The time, in ms."""
        return round(self.now_s * _MS_PER_S)

    def _now_ms(self) -> int:
        return self.now_ms

    def _read_clock(self) -> float:
        self.clock_readings += 1
        return self.now_s

    def _failed(self, error: Exception) -> None:
        raise AssertionError("the server has failed") from error

    def _synced(self, batch: Batch) -> None:
        self.processor.batch_released(batch)
