"""The request processor: what happens to a request between its frame and its reply.

A write is *prepared* into a txn, *appended* to the batch that gathers, *applied* at once, and its
reply and watch events are *released* when the batch is *synced* (``group_commit``). A read looks at
the tree and is answered at once, unless it would show a txn that is not synced yet: then it waits
with that txn. Either way a connection's replies leave in the order of its requests, and an event
before any reply that shows what it tells.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Final, cast, final

from mypy_extensions import i64

from zoolet.core import access
from zoolet.core.identities import NOBODY, SKIPS_ACL
from zoolet.core.machine import Applied, Event, StateMachine
from zoolet.core.prepare import Requester
from zoolet.core.sessions import PASSWORD_BYTES, Session, is_password, password_of
from zoolet.core.watches import Watcher
from zoolet.model.big_endian import BytesWriter, read_i32_be
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.errors import RequestError
from zoolet.model.requests import (
    CloseSession,
    Connect,
    CreateSession,
    DeleteContainer,
    SetWatches,
    WriteRequest,
)
from zoolet.model.txns import Txn
from zoolet.server import four_letter_words
from zoolet.server.answers import Answers
from zoolet.server.batches import EVERYTHING, NOTHING, Batch, Hold
from zoolet.server.config import Config
from zoolet.server.connection import Connection, Requests
from zoolet.server.encoding_steps import LONG_BODY_BYTES, EncodingSteps
from zoolet.server.group_commit import GroupCommit
from zoolet.server.inspection import Client, Inspector
from zoolet.server.log_limiter import LogLimiter
from zoolet.server.reads import Shown, read
from zoolet.server.scheduler import Scheduler
from zoolet.server.stats import ServerStats
from zoolet.storage.txn_log import TxnTooLargeError
from zoolet.wire.frames import (
    LENGTH_BYTES,
    REPLY_HEADER_BYTES,
    REQUEST_HEADER_BYTES,
    decode_connect,
    encode_connected,
    write_reply,
    write_reply_header,
)
from zoolet.wire.jute import MalformedError
from zoolet.wire.replies import encode_event, encode_path, encode_result, encode_token
from zoolet.wire.requests import (
    WRITE_OP_CODES,
    check_reconfig,
    decode_auth,
    decode_path_or_null,
    decode_sasl,
    decode_set_watches,
    decode_set_watches2,
    decode_write,
)

log = logging.getLogger(__name__)


REPLY_BYTES: Final = LENGTH_BYTES + REPLY_HEADER_BYTES

_WARNING_INTERVAL_MS = 1000
_CLOSE_SESSION: Final = OpCode.CLOSE_SESSION.value
_STEP_COST_US: Final = 200
"""The estimated cost of a step of a long request or task."""

_SHARED_BYTES: Final = 4096
"""Events with more bytes are not copied for each watcher, which may leave them unread for long."""

_EVENTS_EACH: Final = 16
"""If a txn causes more events, those for the same watchers are sent in one piece."""

_SESSIONS_AT_ONCE: Final = 1000
_EPHEMERALS_AT_ONCE: Final = 200
_LOOKS_AT_ONCE: Final = 500
_WATCHES_AT_ONCE: Final = 500
_LOGGED_EACH: Final = 20
"""If more sessions or znodes end together, the log has their number."""

_AUTHENTICATION = frozenset({OpCode.AUTH, OpCode.SASL})
"""Apache ZooKeeper reads these outside of its pipeline, and closes the connection if it cannot."""


@final
class Clock:
    """What time it is, in milliseconds.

    Attributes:
        wall_ms: since the epoch; it may be set back.
        monotonic_ms: since some moment; it only rises.
    """

    __slots__ = ("monotonic_ms", "wall_ms")

    def __init__(self, wall_ms: Callable[[], int], monotonic_ms: Callable[[], int]) -> None:
        self.wall_ms = wall_ms
        self.monotonic_ms = monotonic_ms


def _wall_ms() -> int:
    return int(_time() * _MS_PER_S)


def _monotonic_ms() -> int:
    return int(_monotonic() * _MS_PER_S)


# Floats, which compiled code calculates with as they are; and looked up once.
_MS_PER_S: Final = 1000.0
_time: Final = time.time
_monotonic: Final = time.monotonic

SYSTEM_CLOCK: Final = Clock(_wall_ms, _monotonic_ms)
"""This machine's time."""


@final
class RequestProcessor(Requests):
    """Takes requests from connections and sees to their answers.

    Attributes:
        machine: the database.
        connections: those that are open, in the order in which they came.
        stats: what was counted.
        inspector: what an operator may see of it all.
        answers: the answers to operators that are under way.
    """

    def __init__(
        self,
        config: Config,
        machine: StateMachine,
        commit: GroupCommit,
        clock: Clock,
        next_session_id: int,
        scheduler: Scheduler,
        on_fatal: Callable[[Exception], None],
    ) -> None:
        """Serve requests.

        ``on_fatal`` is called with an exception that leaves the state unknown: the server must end.
        """
        super().__init__(
            config.max_frame_bytes,
            scheduler,
            keeps_alive=config.keeps_alive,
            x509_super_user=config.x509_super_user,
            limited=LogLimiter(log, clock.monotonic_ms, _WARNING_INTERVAL_MS),
        )
        self._on_fatal = on_fatal
        self.machine = machine
        self.connections: dict[Connection, None] = {}
        self.stats = ServerStats()
        self.inspector = Inspector(config, self, clock.monotonic_ms())
        self.answers = Answers(scheduler.run, commit.when_durable)
        self._config = config
        self._commit = commit
        self._clock = clock
        self._next_session_id = next_session_id
        self._warned_ms = clock.monotonic_ms() - _WARNING_INTERVAL_MS
        self._wall_ms = 0
        self._is_expiring = False
        self._is_removing = False
        self._perishable: Iterator[str] = iter(())
        self._session_secret = config.session_secret.encode()
        self._requires_schemes = bool(config.required_schemes)
        self._others: dict[int, Callable[[Connection, int, bytes, i64, i64], None]] = {
            OpCode.SYNC: self._sync,
            OpCode.AUTH: self._auth,
            OpCode.SASL: self._sasl,
            OpCode.SET_WATCHES: self._set_watches,
            OpCode.SET_WATCHES2: self._set_watches2,
            OpCode.RECONFIG: self._refuse_reconfig,
        }

    # -- connections -------------------------------------------------------------------------------

    def connection_opened(self, connection: Connection) -> None:
        """Take a connection in."""
        connection.established_ms = self._clock.monotonic_ms()
        self.connections[connection] = None
        if self._config.skips_acl:
            connection.identities = connection.identities.with_((SKIPS_ACL,))

    def connection_closed(self, connection: Connection) -> None:
        """Forget a connection; its session goes on until it expires."""
        self.connections.pop(connection, None)
        self._forget_watches(connection)
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection = None

    def _forget_watches(self, connection: Connection) -> None:
        """Drop the watches of a connection that is gone; many of them in several steps."""
        steps = self.machine.forget_watcher(connection)
        if connection.num_watches > _WATCHES_AT_ONCE:
            self.scheduler.run("removing the watches of a closed connection", steps)
        else:
            for _ in steps:
                pass

    def malformed(self, connection: Connection, error: MalformedError) -> None:
        """Note that what a connection brought is no frame; it is closed."""
        self.limited.warning("closing the connection of %s: %s", connection.peer, error)

    def heard(self, connection: Connection) -> None:
        """Note that bytes came that wait for their turn: the client is alive."""
        if connection.session is not None:
            connection.session.touch(self._clock.monotonic_ms())

    def failed(self, connection: Connection, error: Exception) -> None:
        """Close a connection whose request failed before it changed anything.

        If a change was under way, the state is unknown: the server acknowledges nothing more.
        """
        if self.machine.is_changing:
            self._commit.stop()
            self.scheduler.stop()
            self._on_fatal(error)
            return
        connection.abort()
        self.limited.warning(
            "closing the connection of %s: its request failed and changed nothing: %s",
            connection.peer,
            repr(error),
        )

    def answer_word(self, connection: Connection, word: str, argument: bytes) -> None:
        """Answer a four-letter word once what it shows is on disk."""
        if word.encode() == four_letter_words.TRACE_MASK_WORD and self._may_be_asked(word):
            self.inspector.trace_mask = int.from_bytes(argument, signed=True)
        whitelist = self._config.four_letter_words
        connection.answer_and_close(
            self.answers.new(
                word,
                four_letter_words.answer(word, whitelist, self.inspector),
                is_large=word in four_letter_words.LARGE_WORDS and self._may_be_asked(word),
                closes=True,
            )
        )

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back once everything that can be seen now is on disk."""
        self._commit.when_durable(callback)

    def _may_be_asked(self, word: str) -> bool:
        return not {word, "*"}.isdisjoint(self._config.four_letter_words)

    @property
    def outstanding_requests(self) -> int:
        """How many replies wait for the disk."""
        return sum([hold.count for hold in self._holds()])

    def outstanding_by_connection(self) -> dict[Client, int]:
        """Return how many of them wait for each connection that has any."""
        counts: dict[Client, int] = {}
        for hold in self._holds():
            connection = cast("Connection", hold.connection)
            counts[connection] = counts.get(connection, 0) + hold.count
        return counts

    def _holds(self) -> list[Hold]:
        syncing = self._commit.syncing
        return self._commit.collecting.holds + ([] if syncing is None else syncing.holds)

    @property
    def now_ms(self) -> int:
        """What time it is on the clock that only rises."""
        return self._clock.monotonic_ms()

    def wall_ms_of(self, monotonic_ms: int) -> int:
        """Return a moment of the clock that only rises as milliseconds since the epoch."""
        return self._clock.wall_ms() + monotonic_ms - self._clock.monotonic_ms()

    # -- requests ----------------------------------------------------------------------------------

    def take(self, connection: Connection, data: bytes, start: i64, end: i64) -> None:
        """Take the request in ``data[start:end]``."""
        if connection.session is None:
            self._connect(connection, data, start, end)
            self.machine.is_changing = False
            return
        if end - start < REQUEST_HEADER_BYTES:
            self.limited.warning(
                "closing the connection of %s: a request too short", connection.peer
            )
            connection.abort()
            return
        xid: int = read_i32_be(data, start)
        op_code: int = read_i32_be(data, start + 4)
        connection.stats.last_cxid = xid
        connection.stats.last_op_code = op_code
        if self._requires_schemes and not self._may_ask(connection, op_code):
            self._turn_stranger_away(connection, xid)
            return
        body = start + REQUEST_HEADER_BYTES
        try:
            shown = read(op_code, self.machine, connection, data, body, end)
            if shown is not None and shown.steps is None:
                self._answer(connection, shown.path, xid, 0, shown.body)
            elif shown is not None:
                connection.start_job(self._answer_in_steps(connection, xid, shown))
            elif op_code in WRITE_OP_CODES:
                self._write(connection, xid, op_code, data, body, end)
                self.machine.is_changing = False
            elif (handle := self._others.get(op_code)) is not None:
                handle(connection, xid, data, body, end)
            else:
                self.limited.warning(
                    "%s asked for op code %d, which is none", connection.peer, op_code
                )
                self._turn_away(connection, xid, -1, ErrorCode.UNIMPLEMENTED)
        except RequestError as error:
            self._answer(connection, error.path, xid, error.code)
        except MalformedError as malformed:  # one name for both would have one type in mypyc
            self._answer_malformed(connection, xid, op_code, malformed)

    def _answer_malformed(
        self, connection: Connection, xid: int, op_code: int, error: MalformedError
    ) -> None:
        self.limited.warning("a malformed request of %s: %s", connection.peer, error)
        if op_code in _AUTHENTICATION:
            connection.finish()
        else:
            self._answer(connection, NOTHING, xid, ErrorCode.MARSHALLING_ERROR)

    def taken(
        self, connection: Connection, num_requests: int, size_bytes: int, latency_ms: int
    ) -> None:
        """Note what came in one read, and that its session's client was heard."""
        now_ms = self._clock.monotonic_ms()
        self._wall_ms = 0
        if num_requests and connection.session is not None:
            connection.session.touch(now_ms)
        stats, answered = connection.stats, connection.answered + connection.answered_long
        connection.answered_long = 0
        self.stats.packets_received += num_requests
        self.stats.bytes_received += size_bytes
        self.stats.latency.add(latency_ms, answered)
        self.stats.latencies.add(latency_ms, answered)
        stats.packets_received += num_requests
        stats.add(latency_ms, answered)
        if answered:
            stats.last_zxid = self._commit.synced_zxid
            stats.last_response_ms = now_ms

    def _time_ms(self) -> int:
        """Return the time of the txns that one read brings, ms since the epoch."""
        if not self._wall_ms:
            self._wall_ms = self._clock.wall_ms()
        return self._wall_ms

    def _may_ask(self, connection: Connection, op_code: int) -> bool:
        """Say whether a connection has proven enough, or is about to (``enforce.auth.schemes``)."""
        required = self._config.required_schemes
        return op_code in _AUTHENTICATION or not required.isdisjoint(connection.identities.schemes)

    def _turn_stranger_away(self, connection: Connection, xid: int) -> None:
        """Close a connection that asks for something before it has authenticated."""
        self.limited.warning(
            "closing the connection of %s: it must authenticate first, under one of: %s",
            connection.peer,
            ", ".join(sorted(self._config.required_schemes)),
        )
        self._turn_away(connection, xid, 0, ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH)

    def _turn_away(self, connection: Connection, xid: int, zxid: int, code: ErrorCode) -> None:
        """Refuse a request, whatever the state, and close the connection."""
        batch = self._commit.batch_to_wait_for(connection, NOTHING)
        self._reply(batch, connection, xid, zxid, code)
        connection.finish()

    def batch_released(self, batch: Batch) -> None:
        """Count how long the replies waited that a batch held."""
        latency_ms = self._clock.monotonic_ms() - batch.opened_ms
        for hold in batch.holds:
            stats = hold.connection.stats
            self.stats.latency.add(latency_ms, hold.count)
            self.stats.latencies.add(latency_ms, hold.count)
            stats.add(latency_ms, hold.count)
            stats.last_zxid = batch.last_zxid
            stats.last_response_ms = batch.opened_ms + latency_ms

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way that could append a txn while requests are held."""
        if self._is_expiring or self._is_removing:
            return False
        for connection in self.connections:  # noqa: SIM110 -- compiled code makes no closure
            if connection.has_job:
                return False
        return True

    def database_replaced(self) -> None:
        """Give no session id that the machine's new state has; the old sessions are gone."""
        next_id = self.machine.sessions.next_id(self._clock.wall_ms())
        self._next_session_id = max(self._next_session_id, next_id)

    def look_for_expired_sessions(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Close, in several steps, the sessions whose clients were silent for too long.

        A ping may have arrived that is not read yet. So a session ends only if it is still silent
        after the event loop has looked at every socket once more, later than the deadline. Two
        calls of ``call_soon`` are needed for that: the first one may come before the look.
        """
        now_ms = self._clock.monotonic_ms()
        if self.is_held or self._is_expiring or not self.machine.sessions.has_expired(now_ms):
            return
        self._is_expiring = True

        def look_again() -> None:
            call_soon(partial(self._begin_to_expire, now_ms))

        call_soon(look_again)

    def _begin_to_expire(self, deadline_ms: int) -> None:
        self.scheduler.run("closing expired sessions", self._expire_steps(deadline_ms))

    def expire_sessions(self) -> None:
        """Close now the sessions whose clients were silent for too long."""
        if self.is_held:
            return
        for _ in self._expire_steps(self._clock.monotonic_ms()):
            pass

    def _expire_steps(self, deadline_ms: int) -> Iterator[int]:
        """Close the sessions whose time was up at ``deadline_ms``."""
        sessions = self.machine.sessions
        count = 0
        while found := sessions.expired(deadline_ms, _SESSIONS_AT_ONCE):
            for session in found:
                connection = _connection_of(session)
                if connection is not None and connection.is_behind:
                    sessions.postpone(session, self._clock.monotonic_ms())
                    continue
                count += 1
                if count <= _LOGGED_EACH:
                    log.info(
                        "session 0x%x expired after %d ms", session.session_id, session.timeout_ms
                    )
                yield from self._end_session_steps(session)
                yield _STEP_COST_US
        if count > _LOGGED_EACH:
            log.info("%d more sessions expired", count - _LOGGED_EACH)
        self._is_expiring = False

    def expire_session(self, session_id: int) -> bool:
        """Close a session as if its client had been silent too long; False: there is none."""
        session = self.machine.sessions.by_id.get(session_id)
        if session is None:
            return False
        log.info("session 0x%x is made to expire", session_id)
        for _ in self._end_session_steps(session):
            pass
        return True

    def look_for_removable(self) -> None:
        """Remove, in several steps, empty containers and znodes whose TTL is over."""
        if not self.is_held and not self._is_removing and self.machine.tree.perishable:
            self._is_removing = True
            self.scheduler.run("removing containers and TTL znodes", self._remove_steps())

    def end_ownerless_ephemerals(self) -> None:
        """Close the sessions that own ephemerals and do not exist, before anyone is served.

        A snapshot may hold such ephemerals; nothing else would ever delete them. As every change
        it is logged, so that a replay gives the same tree. Source: ``ZooKeeperServer.loadData``.
        """
        sessions = self.machine.sessions.by_id
        owners = [owner for owner in self.machine.tree.ephemerals if owner not in sessions]
        for session_id in owners:
            log.warning("deleting the ephemerals of session 0x%x, which does not exist", session_id)
            for _ in self._end_session_steps(Session(session_id, 0, 0)):
                pass

    def remove_due_znodes(self) -> None:
        """Remove now the containers that are empty again, and the znodes whose TTL is over."""
        if self.is_held:
            return
        for _ in self._remove_steps():
            pass

    def _remove_steps(self) -> Iterator[int]:
        config = self._config
        looks_per_minute = max(1, 60_000 // config.container_check_interval_ms)
        at_most = max(1, config.max_removed_per_minute // looks_per_minute)
        tree = self.machine.tree
        count = 0
        for number, path in enumerate(self._next_perishable()):
            if number % _LOOKS_AT_ONCE == 0:
                yield _STEP_COST_US
            if not tree.is_due_for_removal(path, self._clock.wall_ms(), config.container_unused_ms):
                continue
            count += 1
            if count <= _LOGGED_EACH:
                log.info("removing %s: its time is over", path)
            self._wall_ms = 0
            self._change(Requester(0, NOBODY), 0, OpCode.DELETE_CONTAINER, DeleteContainer(path))
            self.machine.is_changing = False
            if count >= at_most:
                break
            yield _STEP_COST_US
        if count > _LOGGED_EACH:
            log.info("removed %d more znodes whose time was over", count - _LOGGED_EACH)
        self._is_removing = False

    def _next_perishable(self) -> Iterator[str]:
        """Yield the containers and TTL znodes that the last look has left, and then all."""
        # Not "yield from": it would end what is left when a look stops before the end.
        for path in self._perishable:
            yield path
        self._perishable = _letting_go(tuple(self.machine.tree.perishable))
        for path in self._perishable:
            yield path

    # -- sending: the only places that know of batches ---------------------------------------------

    def _answer(
        self, connection: Connection, path: str, xid: int, err: int, body: bytes = b""
    ) -> None:
        """Send the reply to a read of ``path``, or hold it behind what it shows.

        The zxid in the header is the last one that may be seen with it.
        """
        batch = self._commit.batch_to_wait_for(connection, path)
        zxid = self._commit.synced_zxid if batch is None else batch.last_zxid
        self._reply(batch, connection, xid, zxid, err, body)

    def _answer_in_steps(self, connection: Connection, xid: int, shown: Shown) -> Iterator[int]:
        """Send the reply to a read that takes several steps to encode.

        It shows the state at the moment when the request was taken, so it waits for what was not
        synced then. Events that come meanwhile are sent after it.
        """
        batch = self._commit.batch_to_wait_for(connection, shown.path)
        zxid = self._commit.synced_zxid if batch is None else batch.last_zxid
        steps = shown.steps
        if steps is None:
            raise AssertionError("a read without steps is answered at once")
        return self._encode_and_reply(connection, xid, batch, zxid, steps)

    def _encode_and_reply(
        self,
        connection: Connection,
        xid: int,
        batch: Batch | None,
        zxid: int,
        steps: EncodingSteps,
    ) -> Iterator[int]:
        try:
            while not steps.step():
                yield _STEP_COST_US
            body, behind = steps.body(), steps.behind
            if len(body) > LONG_BODY_BYTES:
                self._reply_long(batch, connection, xid, zxid, body, behind)
            else:
                self._reply(batch, connection, xid, zxid, 0, body + behind)
        except RequestError as error:
            self._reply(batch, connection, xid, zxid, error.code)
        self._send_deferred(connection)

    def _send_deferred(self, connection: Connection) -> None:
        """Send the events that came while the steps of a long request were under way."""
        for batch, frame in connection.take_deferred():
            self._send(batch, connection, frame)

    def _reply(
        self,
        batch: Batch | None,
        connection: Connection,
        xid: int,
        zxid: int,
        err: int,
        body: bytes = b"",
    ) -> None:
        """Send a reply once ``batch`` is durable; None: it goes out with this turn's others."""
        if len(body) > LONG_BODY_BYTES:
            self._reply_long(batch, connection, xid, zxid, body, b"")
            return
        self.stats.packets_sent += 1
        hold = connection.hold
        if batch is not None and (hold is None or hold.batch is not batch):
            hold = _hold_behind(batch, connection)
        if hold is None:
            write_reply(connection.out(), xid, zxid, err, body)
        else:
            hold.count += 1
            write_reply(hold.frames, xid, zxid, err, body)
            hold.size_bytes += REPLY_BYTES + len(body)
            connection.held_bytes += REPLY_BYTES + len(body)

    def _reply_long(
        self,
        batch: Batch | None,
        connection: Connection,
        xid: int,
        zxid: int,
        body: bytes,
        behind: bytes,
    ) -> None:
        """Do the same without making copies of a long body, which ends with ``behind``."""
        self.stats.packets_sent += 1
        hold = _hold_behind(batch, connection)
        body_bytes = len(body) + len(behind)
        if hold is None:
            writer = BytesWriter()
            write_reply_header(writer, xid, zxid, 0, body_bytes)
            connection.send_large(writer.getvalue(), body, behind)
        else:
            hold.count += 1
            write_reply_header(hold.frames, xid, zxid, 0, body_bytes)
            hold.add_long(body)
            hold.frames.write(behind)
            hold.size_bytes += REPLY_BYTES + body_bytes
            connection.held_bytes += REPLY_BYTES + body_bytes

    def _send_behind(self, batch: Batch | None, connection: Connection, frame: bytes) -> None:
        """Send what is no reply once ``batch`` is durable; None: with this turn's others.

        It waits for the steps of a long request that are under way.
        """
        self.stats.packets_sent += 1
        if connection.has_job:
            connection.defer(batch, frame)
        else:
            self._send(batch, connection, frame)

    @staticmethod
    def _send(batch: Batch | None, connection: Connection, frame: bytes) -> None:
        hold = _hold_behind(batch, connection)
        if hold is None:
            connection.out().write(frame)
        else:
            hold.count += 1
            if len(frame) > _SHARED_BYTES:
                hold.add_long(frame)
            else:
                hold.frames.write(frame)
            hold.size_bytes += len(frame)
            connection.held_bytes += len(frame)

    def _tell(self, batch: Batch | None, event: Event) -> None:
        """Send a watch event to its watchers, each behind ``batch``."""
        frame = encode_event(event.type, event.path, event.zxid)
        for watcher in event.watchers:
            connection = cast("Connection", watcher)
            if connection.is_open:
                self._send_behind(batch, connection, frame)

    def _tell_many(self, batch: Batch, events: list[Event]) -> None:
        """Send many events of one txn; those for the same watchers in one piece."""
        first = 0
        while first < len(events):
            watchers = events[first].watchers
            frames = BytesWriter()
            end = first
            while end < len(events) and _are_same(events[end].watchers, watchers):
                frames.write(encode_event(events[end].type, events[end].path, events[end].zxid))
                end += 1
            piece = frames.getvalue()
            for watcher in watchers:
                connection = cast("Connection", watcher)
                if connection.is_open:
                    self._send_behind(batch, connection, piece)
                    self.stats.packets_sent += end - first - 1
            first = end

    def _commit_txn(self, txn: Txn) -> tuple[Applied, Batch]:
        """Append and apply a txn, and hold its watch events; returns what came of it.

        What fails before *apply* changes nothing. What fails later ends the server: the machine is
        marked as changing until the request is answered (``take``).
        """
        machine = self.machine
        batch = self._commit.append(txn, self._clock.monotonic_ms)
        machine.is_changing = True
        applied = machine.apply(txn, self._clock.monotonic_ms)
        self._commit.touch(batch, applied.touched)
        if len(applied.events) > _EVENTS_EACH:
            self._tell_many(batch, applied.events)
        else:
            for event in applied.events:
                self._tell(batch, event)
        return applied, batch

    # -- sessions ----------------------------------------------------------------------------------

    def _connect(self, connection: Connection, data: bytes, start: i64, end: i64) -> None:
        """Give a connection its session: a new one, or the one it left."""
        try:
            request = decode_connect(data, start, end)
        except MalformedError as error:
            self.limited.warning(
                "closing the connection of %s: no connect request: %s", connection.peer, error
            )
            connection.abort()
            return
        self.stats.connection_requests += 1
        if request.last_zxid_seen > self.machine.zxid:
            self.limited.warning(
                "closing the connection of %s: it has seen zxid 0x%x, and the last here is 0x%x;"
                " it belongs to another server, or this one's data was put back",
                connection.peer,
                request.last_zxid_seen,
                self.machine.zxid,
            )
            connection.abort()
            return
        timeout_ms = min(
            max(request.timeout_ms, self._config.min_session_timeout_ms),
            self._config.max_session_timeout_ms,
        )
        if request.session_id:
            self._resume_session(connection, request, timeout_ms)
        else:
            self._open_session(connection, request, timeout_ms)

    def _open_session(self, connection: Connection, request: Connect, timeout_ms: int) -> None:
        session_id = self._next_session_id
        self._next_session_id += 1
        batch = self._change(
            Requester(session_id, NOBODY), 0, OpCode.CREATE_SESSION, CreateSession(timeout_ms)
        )[1]
        self._attach(connection, self.machine.sessions.by_id[session_id])
        self._send_behind(batch, connection, self._connected(connection.session, request))

    def _resume_session(self, connection: Connection, request: Connect, timeout_ms: int) -> None:
        session = self.machine.sessions.by_id.get(request.session_id)
        if session is not None and session.is_closing:
            session = None
        password = request.password or b""
        if session is not None and not is_password(
            password, request.session_id, self._session_secret
        ):
            self.limited.warning(
                "refusing session 0x%x to %s: the password is wrong",
                request.session_id,
                connection.peer,
            )
            session = None
        if session is not None:
            self.stats.sessions_resumed += 1
            session.timeout_ms = timeout_ms
            session.touch(self._clock.monotonic_ms())
            self._attach(connection, session)
        frame = self._connected(session, request)
        self._send_behind(self._commit.newest_batch(), connection, frame)
        if session is None:
            connection.finish()

    def _connected(self, session: Session | None, request: Connect) -> bytes:
        """Return the answer to a Connect; zeros where there is no such session, or no longer."""
        timeout_ms, session_id, password = 0, 0, bytes(PASSWORD_BYTES)
        if session is not None:
            timeout_ms, session_id = session.timeout_ms, session.session_id
            password = password_of(session_id, self._session_secret)
        return encode_connected(
            timeout_ms, session_id, password, has_read_only=request.has_read_only
        )

    def _attach(self, connection: Connection, session: Session) -> None:
        """Make this the session's connection; one that it had before is closed."""
        former = _connection_of(session)
        if former is not None:
            former.abort()
            self._forget_watches(former)
        connection.session = session
        session.connection = connection

    def _end_session_steps(self, session: Session) -> Iterator[int]:
        """Close a session of which nobody is to be told."""
        yield from self._delete_ephemerals_steps(session)
        self._wall_ms = 0
        asker = Requester(session.session_id, NOBODY)
        self._change(asker, 0, OpCode.CLOSE_SESSION, CloseSession())
        self.machine.is_changing = False
        connection = _connection_of(session)
        if connection is not None:
            connection.finish()

    # -- writes ------------------------------------------------------------------------------------

    def _write(
        self,
        connection: Connection,
        xid: int,
        op_code: int,
        data: bytes,
        start: i64,
        end: i64,
    ) -> None:
        session = cast("Session", connection.session)
        asker = Requester(session.session_id, connection.identities)
        try:
            request = decode_write(op_code, data, start, end)
        except MalformedError as error:
            self.limited.warning("a malformed request of %s: %s", connection.peer, error)
            if op_code == OpCode.MULTI:
                self._refuse(connection, session.session_id, xid, ErrorCode.MARSHALLING_ERROR)
            else:
                # Apache ZooKeeper reads any other request before it takes a zxid for it.
                self._answer(connection, EVERYTHING, xid, ErrorCode.MARSHALLING_ERROR)
            return
        if op_code == _CLOSE_SESSION:
            owned = self.machine.tree.ephemerals.get(session.session_id)
            if owned is not None and len(owned) > _EPHEMERALS_AT_ONCE:
                connection.start_job(self._close_session_steps(connection, session, xid))
                return
        applied, batch = self._change(asker, xid, op_code, request)
        result = applied.result
        self._reply(batch, connection, xid, batch.last_zxid, result.err, encode_result(result))
        if op_code == _CLOSE_SESSION:
            connection.finish()

    def _close_session_steps(
        self, connection: Connection, session: Session, xid: int
    ) -> Iterator[int]:
        """Close a session with many ephemerals, as its client asks."""
        yield from self._delete_ephemerals_steps(session)
        asker = Requester(session.session_id, NOBODY)
        applied, batch = self._change(asker, xid, OpCode.CLOSE_SESSION, CloseSession())
        err = applied.result.err
        self._reply(batch, connection, xid, batch.last_zxid, err, encode_result(applied.result))
        self._send_deferred(connection)
        self.machine.is_changing = False
        connection.finish()

    def _delete_ephemerals_steps(self, session: Session) -> Iterator[int]:
        """Delete a session's ephemerals, until few enough are left for one txn.

        Each step is a txn of its own (docs/decisions/0054). From the first one on, the session
        can do nothing more.
        """
        session.is_closing = True
        session_id = session.session_id
        tree = self.machine.tree
        while len(tree.ephemerals.get(session_id, ())) > _EPHEMERALS_AT_ONCE:
            self._wall_ms = 0
            txn = self.machine.delete_ephemerals(session_id, _EPHEMERALS_AT_ONCE, self._time_ms())
            self._commit_txn(txn)
            self.machine.is_changing = False
            yield _STEP_COST_US

    def _refuse(self, connection: Connection, session_id: int, xid: int, code: ErrorCode) -> None:
        """Commit that a request is refused, whatever the state, and say so."""
        txn = self.machine.refuse(session_id, xid, code, self._time_ms())
        _, batch = self._commit_txn(txn)
        self._reply(batch, connection, xid, batch.last_zxid, code)
        self.machine.is_changing = False

    def _change(
        self, asker: Requester, xid: int, op_code: int, request: WriteRequest
    ) -> tuple[Applied, Batch]:
        """Prepare a request and commit what it becomes; a txn that is too large is refused."""
        machine = self.machine
        txn = machine.prepare(asker, xid, op_code, request, self._time_ms())
        if machine.warnings:
            self._tell_operator(machine.warnings)
        try:
            return self._commit_txn(txn)
        except TxnTooLargeError as error:
            self.limited.warning("refusing a request of session 0x%x: %s", asker.session_id, error)
        code = ErrorCode.MARSHALLING_ERROR
        return self._commit_txn(machine.refuse(asker.session_id, xid, code, self._time_ms()))

    def _tell_operator(self, warnings: list[str]) -> None:
        """Log the last of the warnings, but not more often than a log can bear."""
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._warned_ms >= _WARNING_INTERVAL_MS:
            self._warned_ms = now_ms
            log.warning("%s", warnings[-1])
        warnings.clear()

    # -- what is neither a plain read nor a write --------------------------------------------------

    def _sync(self, connection: Connection, xid: int, data: bytes, start: i64, end: i64) -> None:
        """Answer once everything applied so far is durable: what follows shows it all."""
        path = decode_path_or_null(data, start, end).path
        batch = self._commit.newest_batch()
        zxid = self._commit.synced_zxid if batch is None else batch.last_zxid
        self._reply(batch, connection, xid, zxid, 0, encode_path(path))

    def _auth(self, connection: Connection, xid: int, data: bytes, start: i64, end: i64) -> None:
        request = decode_auth(data, start, end)
        proven = access.authenticate(
            request.scheme, request.auth, connection.address, self._config.digests
        )
        identities = connection.identities.with_(proven)
        most = self.machine.rules.most_identities
        is_one_too_many = identities is not connection.identities and identities.num_proven > most
        accepted = bool(proven) and not is_one_too_many
        batch = self._commit.batch_to_wait_for(connection, NOTHING)
        self._reply(batch, connection, xid, 0, 0 if accepted else ErrorCode.AUTH_FAILED)
        if accepted:
            connection.identities = identities
            return
        self.stats.auth_failures += 1
        connection.finish()
        if is_one_too_many:
            self.limited.warning(
                "closing the connection of %s: it proves more identities than"
                " zoolet.maxIdentitiesPerConnection (%d)",
                connection.peer,
                most,
            )
        else:
            self.limited.warning(
                "%s failed to authenticate under the scheme %r", connection.peer, request.scheme
            )

    def _refuse_reconfig(
        self, connection: Connection, xid: int, data: bytes, start: i64, end: i64
    ) -> None:
        """Refuse a reconfig, as a standalone server does: it takes a zxid all the same."""
        check_reconfig(data, start, end)
        session = cast("Session", connection.session)
        self._refuse(connection, session.session_id, xid, ErrorCode.RECONFIG_DISABLED)

    def _sasl(self, connection: Connection, xid: int, data: bytes, start: i64, end: i64) -> None:
        """Answer as a server without a SASL mechanism: no token, and nobody is authenticated."""
        if decode_sasl(data, start, end) is None:
            self.limited.warning("closing the connection of %s: a null SASL token", connection.peer)
            connection.abort()
            return
        batch = self._commit.batch_to_wait_for(connection, NOTHING)
        self._reply(batch, connection, xid, 0, 0, encode_token(None))

    def _set_watches(
        self, connection: Connection, xid: int, data: bytes, start: i64, end: i64
    ) -> None:
        self._take_watches_over(connection, xid, decode_set_watches(data, start, end))

    def _set_watches2(
        self, connection: Connection, xid: int, data: bytes, start: i64, end: i64
    ) -> None:
        self._take_watches_over(connection, xid, decode_set_watches2(data, start, end))

    def _take_watches_over(self, connection: Connection, xid: int, request: SetWatches) -> None:
        if request.num_watches > _WATCHES_AT_ONCE:
            connection.start_job(self._take_watches_steps(connection, xid, request))
        elif self._set_some_watches(connection, xid, request):
            self._answer(connection, EVERYTHING, xid, 0)

    def _take_watches_steps(
        self, connection: Connection, xid: int, request: SetWatches
    ) -> Iterator[int]:
        for part in request.parts(_WATCHES_AT_ONCE):
            if not self._set_some_watches(connection, xid, part):
                connection.take_deferred()
                return
            yield _STEP_COST_US
        self._answer(connection, EVERYTHING, xid, 0)
        self._send_deferred(connection)

    def _set_some_watches(self, connection: Connection, xid: int, request: SetWatches) -> bool:
        """Set watches again and send the events that were missed; False: they are too many."""
        try:
            events = self.machine.set_watches(request, connection)
        except RequestError as error:
            # Clients do not look at an error in this reply: their watches would be gone unseen.
            self.limited.warning(
                "closing the connection of %s: it takes over more watches than"
                " zoolet.maxWatchesPerConnection (%d)",
                connection.peer,
                self.machine.rules.most_watches,
            )
            self._turn_away(connection, xid, 0, error.code)
            return False
        batch = self._commit.newest_batch()
        for event in events:
            self._tell(batch, event)
        return True


def _letting_go(paths: tuple[str, ...]) -> Iterator[str]:
    """Yield paths, and let go of them bit by bit: of a million at once, that takes too long."""
    bits = [paths[at : at + _LOOKS_AT_ONCE] for at in range(0, len(paths), _LOOKS_AT_ONCE)]
    bits.reverse()
    paths = ()
    while bits:
        yield from bits.pop()


def _are_same(watchers: Collection[Watcher], others: Collection[Watcher]) -> bool:
    return watchers is others or (len(watchers) == len(others) and [*watchers] == [*others])


def _connection_of(session: Session) -> Connection | None:
    """Return the connection of a session's client; None: the client is away."""
    return cast("Connection | None", session.connection)


def _hold_behind(batch: Batch | None, connection: Connection) -> Hold | None:
    """Return where a frame waits that must not be sent before ``batch`` is on disk.

    None: it waits for nothing. It also stays behind what waits for its connection already.
    """
    hold = connection.hold
    if batch is None or batch.is_released:
        return hold
    if hold is not None and hold.batch.number > batch.number:
        return hold
    return batch.hold_of(connection)
