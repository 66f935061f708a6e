"""Writes of an observer: they are forwarded to the leader, which decides each change.

The leader sends each txn back, also the txn of a refused request. Then this module logs and applies
the txn, and replies to the client after the sync. Invariants:

- only requests that can be decoded completely are forwarded;
- a request that is not forwarded waits until the earlier requests of its connection are answered,
  so replies keep the order of the requests. Behind a short read, later writes are forwarded
  meanwhile. Behind a request whose reply may take several steps, nothing is taken: the steps must
  not see the changes of later requests.
"""

from collections import deque
from typing import TYPE_CHECKING, Final, cast, final

from mypy_extensions import i64

from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.txns import Txn
from zoolet.observer.forwarded import OrderError
from zoolet.server.common.clock import Clock
from zoolet.server.common.ensemble_view import EnsembleView
from zoolet.server.common.stats import ServerStats
from zoolet.server.connections.batches import EVERYTHING, Batch
from zoolet.server.connections.connection import Connection, Requests
from zoolet.server.pipeline.auditing import Auditor, without_data
from zoolet.server.pipeline.changes import Changes
from zoolet.server.pipeline.forwardable import reason_to_refuse
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.leader import Leader, Waiter
from zoolet.server.pipeline.leader_sessions import LeaderSessions
from zoolet.server.pipeline.outbox import Outbox
from zoolet.server.pipeline.writes import Writes
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.apply import Applied
from zoolet.state_machine.machine import StateMachine
from zoolet.wire.frames import REQUEST_HEADER_BYTES
from zoolet.wire.jute import MalformedError, Reader
from zoolet.wire.replies import encode_path, encode_result
from zoolet.wire.requests import (
    WRITE_OP_CODES,
    check_reconfig,
    decode_path_or_null,
    decode_write,
)

if TYPE_CHECKING:
    from zoolet.state_machine.sessions import Session

_CLOSE_SESSION: Final = OpCode.CLOSE_SESSION.value
_CREATE_SESSION: Final = OpCode.CREATE_SESSION.value
_RECONFIG: Final = OpCode.RECONFIG.value
_SYNC: Final = OpCode.SYNC.value
_SESSION_MOVED: Final = ErrorCode.SESSION_MOVED.value

_NEVER_WAIT: Final = WRITE_OP_CODES | {
    _SYNC,
    _RECONFIG,
    OpCode.AUTH.value,
    OpCode.SASL.value,
}
"""Requests that need not wait for earlier ones: they are forwarded. Like Apache ZooKeeper, the
server authenticates clients outside of the order of other requests."""

_SHORT: Final = frozenset([OpCode.GET_DATA.value, OpCode.EXISTS.value, OpCode.PING.value])
"""Requests whose replies never take several steps."""

_MOST_WAITING: Final = 1000
"""The most requests of a connection that wait (``zookeeper.globalOutstandingLimit`` of Apache
ZooKeeper has the same default, for all connections together)."""

_MOST_WAITING_BYTES: Final = 1 << 20
"""The most bytes of the requests of a connection that wait and are not forwarded."""

_LONG_TURN_MS: Final = 50
"""A turn takes about 1 ms. If it took longer than this, the process may have stood still."""


@final
class _Line:
    """The requests of one connection that wait, in their order.

    Attributes:
        requests: a waiter for each forwarded request, and the bytes of each other request. The
            first one is a waiter.
        size_bytes: the size of all bytes.
        is_blocked: whether nothing may come behind the last request.
    """

    __slots__ = ("is_blocked", "requests", "size_bytes")

    def __init__(self) -> None:
        self.requests: deque[Waiter | bytes] = deque()
        self.size_bytes = 0
        self.is_blocked = False

    @property
    def is_full(self) -> bool:
        """Whether the connection must take no further request."""
        return (
            self.is_blocked
            or len(self.requests) >= _MOST_WAITING
            or self.size_bytes >= _MOST_WAITING_BYTES
        )


@final
class ForwardedWrites(Writes):
    """Forwards the writes of an observer's clients, and applies the leader's txns.

    Attributes:
        leader: sends requests to the leader.
        sessions: connects clients with sessions, about which the leader decides.
    """

    def __init__(
        self,
        config: Config,
        requests: Requests,
        machine: StateMachine,
        commit: GroupCommit,
        outbox: Outbox,
        clock: Clock,
        stats: ServerStats,
        view: EnsembleView,
        auditor: Auditor | None,
    ) -> None:
        self.leader = Leader(view, clock)
        self.sessions = LeaderSessions(
            config, requests, machine, commit, outbox, clock, stats, self.leader
        )
        self._machine = machine
        self._requests = requests
        self._commit = commit
        self._outbox = outbox
        self._clock = clock
        self._changes = Changes(machine, commit, outbox, clock, requests.limited, auditor)
        self._lines: dict[Connection, _Line] = {}
        commit.before_release = self._before_release
        self._turn_began_ms = 0
        self._draining: Connection | None = None

    # --- Requests of clients

    def admits(
        self, connection: Connection, op_code: int, data: bytes, start: i64, end: i64
    ) -> bool:
        """Keep a request back that must wait for the leader; return whether it need not wait."""
        if not self._turn_began_ms:
            self._begin_turn(connection)
        if not connection.is_open:
            return False
        if not self._lines or op_code in _NEVER_WAIT:
            return True
        return not self._waits(connection, data, start, end, is_short=op_code in _SHORT)

    def _begin_turn(self, connection: Connection) -> None:
        """Close the sessions that the leader may have ended, before a connection is served."""
        now_ms = self._turn_began_ms = self._clock.monotonic_ms()
        self.sessions.close_unrenewed(now_ms)
        session = connection.session
        if session is not None and connection.is_open:
            self.leader.contact.touch(session.session_id)

    def write(self, connection: Connection, xid: int, op_code: int, reader: Reader) -> None:
        """Forward a write."""
        start = reader.position
        try:
            request = decode_write(op_code, reader)
        except MalformedError as error:
            if not self._is_behind(connection, reader, start):
                self._requests.limited.warning(
                    "refusing a malformed request of %s: %s", connection.peer, error
                )
                self._outbox.answer(connection, EVERYTHING, xid, ErrorCode.MARSHALLING_ERROR)
            return
        code = reason_to_refuse(request)
        if code is None:
            waiter = Waiter(connection, xid, op_code)
            if self._changes.auditor is not None:
                waiter.request = without_data(request)
            self._forward(connection, waiter, reader, start)
        elif not self._is_behind(connection, reader, start):
            self._outbox.answer(connection, EVERYTHING, xid, code)

    def sync(self, connection: Connection, xid: int, reader: Reader) -> None:
        """Forward a sync; the leader answers when this server has all txns before it."""
        start = reader.position
        try:
            path = decode_path_or_null(reader).path
        except MalformedError:
            if self._is_behind(connection, reader, start):
                return
            raise
        self._forward(connection, Waiter(connection, xid, _SYNC, path), reader, start)

    def reconfig(self, connection: Connection, xid: int, reader: Reader) -> None:
        """Forward a reconfig."""
        start = reader.position
        try:
            check_reconfig(reader)
        except MalformedError:
            if self._is_behind(connection, reader, start):
                return
            raise
        self._forward(connection, Waiter(connection, xid, _RECONFIG), reader, start)

    def _is_behind(self, connection: Connection, reader: Reader, start: i64) -> bool:
        """Keep a request back that is answered here, if earlier requests wait for the leader."""
        begin = start - REQUEST_HEADER_BYTES
        return self._waits(connection, reader.data, begin, reader.end, is_short=True)

    def _waits(
        self, connection: Connection, data: bytes, start: i64, end: i64, *, is_short: bool
    ) -> bool:
        """Keep a request back if earlier requests of its connection wait; return whether it is."""
        line = self._lines.get(connection)
        if line is None or self._draining is connection:
            return False
        line.requests.append(data[start:end])
        line.size_bytes += int(end - start)
        line.is_blocked = not is_short
        if line.is_full:
            connection.is_paused = True
        return True

    def _forward(self, connection: Connection, waiter: Waiter, reader: Reader, start: i64) -> None:
        session = cast("Session", connection.session)
        if self.sessions.is_read_only_session(session):
            self.sessions.refuse_write(connection, waiter)
            return
        leader = self.leader
        if not leader.is_serving:
            # The request is not sent, so the client may repeat it on another server.
            connection.abort()
            return
        line = self._lines.get(connection)
        if line is None:
            line = self._lines[connection] = _Line()
        line.requests.append(waiter)
        if line.is_full:
            connection.is_paused = True
        body = reader.data[start : reader.end]
        leader.request(session.session_id, waiter.op_code, body, connection.identities, waiter)

    def _before_release(self) -> None:
        """Drop the replies of sessions that the leader may have ended during the sync."""
        self.sessions.close_unrenewed(self._clock.monotonic_ms())

    def turn_ended(self) -> None:
        """Send what was forwarded in this turn.

        If the process stood still during the turn, the leader may have ended sessions meanwhile.
        Then their replies, which are not sent yet, are dropped.
        """
        began_ms = self._turn_began_ms
        if began_ms:
            self._turn_began_ms = 0
            now_ms = self._clock.monotonic_ms()
            if now_ms - began_ms >= _LONG_TURN_MS:
                self.sessions.close_unrenewed(now_ms)
        self.leader.flush()

    @property
    def is_quiet(self) -> bool:
        """True: this server makes no changes of its own."""
        return True

    # --- Txns and answers of the leader

    @property
    def is_changing(self) -> bool:
        """Whether a change is in progress: after an exception, the state is unknown."""
        return self._machine.is_changing

    def apply(self, txn: Txn) -> None:
        """Log and apply a txn of the leader, and reply if it answers a request of a client here.

        A failure before *apply* changes nothing; after a later failure, the machine is marked as
        changing, and the server must stop.
        """
        header = txn.header
        ended: Session | None = None
        if header.type == _CLOSE_SESSION:
            ended = self._machine.sessions.by_id.get(header.client_id)
        applied, batch = self._changes.commit(txn)
        waiter = self.leader.forwarded.take_write(header.client_id, header.cxid)
        if waiter is not None and waiter.connect is None:
            self._reply(waiter, batch, applied)
        if header.type == _CREATE_SESSION:
            self.sessions.created(header.client_id, waiter)
        elif ended is not None:
            self.sessions.ended(ended)
        self._changes.end()
        if waiter is not None and waiter.connect is None:
            self._answered(waiter)

    def _reply(self, waiter: Waiter, batch: Batch, applied: Applied) -> None:
        connection, result = waiter.connection, applied.result
        if self._changes.auditor is not None:
            self._changes.auditor.client_wrote(
                batch, connection, waiter.op_code, waiter.request, result
            )
        if result.err == _SESSION_MOVED:
            # As Apache ZooKeeper: the client must notice that it has another connection.
            connection.abort()
        elif connection.is_open:
            # For a reconfig, the record of the znode has the bytes of the reply: data and Stat.
            is_reconfig = waiter.op_code == _RECONFIG and not result.err
            body = result.record if is_reconfig else encode_result(result)
            zxid = batch.last_zxid
            self._outbox.reply(batch, connection, waiter.xid, zxid, result.err, body)
            if waiter.op_code == _CLOSE_SESSION:
                connection.finish()

    def answer_sync(self) -> None:
        """Answer the oldest sync: this server has all txns that the leader had before it."""
        waiter = self.leader.forwarded.take_sync()
        connection = waiter.connection
        if connection.is_open:
            batch = self._commit.newest_batch()
            zxid = self._commit.zxid_seen_with(batch)
            self._outbox.reply(batch, connection, waiter.xid, zxid, 0, encode_path(waiter.path))
            connection.flush()
        self._answered(waiter)

    def _answered(self, waiter: Waiter) -> None:
        """Process the requests that have waited for this answer only.

        Raises OrderError if the leader has not answered in the order of the requests.
        """
        connection = waiter.connection
        line = self._lines.get(connection)
        if line is None:
            return
        requests = line.requests
        if requests.popleft() is not waiter:
            raise OrderError("the leader has answered a later request first")
        self._draining = connection
        try:
            while requests and connection.is_open and not connection.is_finishing:
                request = requests[0]
                if isinstance(request, Waiter):
                    break
                requests.popleft()
                line.size_bytes -= len(request)
                self._requests.take(connection, request, 0, len(request))
        except Exception as error:  # noqa: BLE001 -- the processor decides what to do
            self._requests.failed(connection, error)
        finally:
            self._draining = None
            self._turn_began_ms = 0  # this was no turn of the connection
        connection.flush()
        if not requests:
            self._lines.pop(connection, None)
        if connection.is_paused and (
            not requests or (len(requests) <= _MOST_WAITING // 2 and not line.is_full)
        ):
            connection.resume()

    def forget(self, connection: Connection) -> None:
        """Drop the waiting requests of a closed connection."""
        self._lines.pop(connection, None)

    # --- The link to the leader

    def link_lost(self) -> None:
        """Close the connections with requests whose fate is unknown: the link has ended."""
        lost = self.leader.lose()
        for waiter in (*lost.writes, *lost.syncs, *lost.revalidations):
            waiter.connection.abort()
        self._lines.clear()
        self.sessions.link_lost()
