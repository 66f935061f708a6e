"""The request processor: processes each request from its frame to its reply.

A write is *prepared* into a txn, *appended* to the batch that collects txns, and *applied*, in one
turn. Its reply and watch events are *released* when the batch is *synced* (``group_commit``). The
reply to a read is sent in the same turn, unless it would show a txn that is not synced yet: then
the reply waits for that txn. In both cases, the replies of a connection have the order of its
requests, and a watch event is sent before any reply that shows the same change.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, cast, final

from mypy_extensions import i64

from zoolet.big_endian.buffers import read_i32_be
from zoolet.model.codes import ErrorCode, OpCode, by_number
from zoolet.model.errors import RequestError
from zoolet.model.requests import SetWatches
from zoolet.server.common.clock import MS_PER_S, Clock
from zoolet.server.common.ensemble_view import EnsembleView
from zoolet.server.common.samples import Sample
from zoolet.server.common.scheduler import STEP_COST_US, Scheduler
from zoolet.server.common.stats import ServerStats
from zoolet.server.connections.batches import EVERYTHING, NOTHING, Batch
from zoolet.server.connections.connection import Connection, Requests
from zoolet.server.logs.log_limiter import LogLimiter
from zoolet.server.operator import four_letter_words
from zoolet.server.operator.answers import Answers
from zoolet.server.operator.inspection import Client, Inspector
from zoolet.server.pipeline.auditing import Auditor
from zoolet.server.pipeline.forwarded_writes import ForwardedWrites
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.local_writes import LocalWrites
from zoolet.server.pipeline.logins import Logins
from zoolet.server.pipeline.outbox import Outbox
from zoolet.server.pipeline.reads import read
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.identities import SKIPS_ACL
from zoolet.state_machine.machine import StateMachine
from zoolet.wire.frames import REQUEST_HEADER_BYTES
from zoolet.wire.jute import MalformedError, Reader
from zoolet.wire.requests import (
    WRITE_OP_CODES,
    decode_set_watches,
    decode_set_watches2,
)

if TYPE_CHECKING:
    from zoolet.server.pipeline.session_life import SessionLife
    from zoolet.server.pipeline.writes import Writes
    from zoolet.server.sasl.logins import SaslLogins

log = logging.getLogger(__name__)


_CLOSE_SESSION: Final = OpCode.CLOSE_SESSION.value
_WATCHES_AT_ONCE: Final = 500
_WARNING_INTERVAL_MS: Final = 1000

_SEVERAL_FRAMES_BYTES: Final = 256
"""With fewer bytes, preparing for several requests together is not worth its cost."""

_AUTHENTICATION = frozenset({OpCode.AUTH.value, OpCode.SASL.value})
"""Apache ZooKeeper decodes these requests outside its pipeline and closes the connection if they
are malformed."""


@final
class RequestProcessor(Requests):
    """Processes the requests of all connections and sends the replies.

    Attributes:
        machine: the database.
        sessions: connects clients with sessions.
        ensemble: what is known about the ensemble; None if the server is standalone.
        connections: the open connections, in the order in which they were opened.
        stats: the server's counters.
        inspector: collects the information that operators may see.
        answers: the answers to operators that are in progress.
        logins: authenticates clients.
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
        """Create the parts that process requests.

        ``on_fatal`` is called with an exception that leaves the state unknown; the server must then
        stop.
        """
        super().__init__(
            config.max_frame_bytes,
            scheduler,
            keeps_alive=config.keeps_alive,
            x509=config.x509,
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
        outbox = self._outbox = Outbox(commit, self.stats)
        self.ensemble: EnsembleView | None = None
        self._local: LocalWrites | None = None
        self._forwarded: ForwardedWrites | None = None
        self._writes: Writes
        self.sessions: SessionLife
        auditor = None if config.audit is None else Auditor(clock)
        observer = config.observer
        if observer is None:
            self._local = LocalWrites(
                config, self, machine, commit, outbox, clock, self.stats, next_session_id, auditor
            )
            self._writes, self.sessions = self._local, self._local.sessions
        else:
            self.ensemble = EnsembleView(observer.my_id)
            self._forwarded = ForwardedWrites(
                config, self, machine, commit, outbox, clock, self.stats, self.ensemble, auditor
            )
            self._writes, self.sessions = self._forwarded, self._forwarded.sessions
        sasl: SaslLogins | None = None
        if config.sasl is not None:
            from zoolet.server.sasl.logins import SaslLogins as Sasl  # noqa: PLC0415 -- rare

            sasl = Sasl(config.sasl)
        self.logins = Logins(config, sasl, commit, outbox, clock, self.stats, self.limited)
        self._requires_schemes = bool(config.required_schemes)
        self._may_keep_back = self._requires_schemes or self._forwarded is not None
        self._others = self._handlers()

    def _handlers(self) -> dict[int, Callable[[Connection, int, Reader], None]]:
        """Return the functions for requests that are neither plain reads nor writes."""
        return by_number(
            {
                OpCode.SYNC: self._writes.sync,
                OpCode.AUTH: self.logins.auth,
                OpCode.SASL: self.logins.sasl,
                OpCode.SET_WATCHES: self._set_watches,
                OpCode.SET_WATCHES2: self._set_watches2,
                OpCode.RECONFIG: self._writes.reconfig,
            }
        )

    @property
    def local(self) -> LocalWrites:
        """The part that makes the changes of a standalone server."""
        if self._local is None:
            raise AssertionError("this server is an observer: the leader decides all changes")
        return self._local

    @property
    def forwarded(self) -> ForwardedWrites:
        """The part that forwards the requests of an observer's clients to the leader."""
        if self._forwarded is None:
            raise AssertionError("this server is standalone: there is no leader")
        return self._forwarded

    # --- Connections

    def connection_opened(self, connection: Connection) -> None:
        """Add a connection that has been opened."""
        connection.established_ms = self._clock.monotonic_ms()
        self.connections[connection] = None
        if self._config.skips_acl:
            connection.identities = connection.identities.with_((SKIPS_ACL,))

    def connection_closed(self, connection: Connection) -> None:
        """Remove a closed connection; its session continues until the session expires."""
        self.connections.pop(connection, None)
        self.sessions.leave(connection)
        if self._forwarded is not None:
            self._forwarded.forget(connection)

    def all_connections(self) -> Iterable[Connection]:
        """Return the open connections, in the order in which they were opened."""
        return self.connections

    def malformed(self, connection: Connection, error: MalformedError) -> None:
        """Log that the bytes of a connection are not a valid frame; the caller closes it."""
        self.limited.warning("closing the connection of %s: %s", connection.peer, error)

    def heard(self, connection: Connection) -> None:
        """Record that the client is alive: it sent bytes that are not processed yet."""
        session = connection.session
        if session is not None:
            session.touch(self._clock.monotonic_ms())
            self.sessions.heard(session)

    def failed(self, connection: Connection, error: Exception) -> None:
        """Close a connection whose request failed before it changed anything.

        If a change was in progress, the state is unknown: the server acknowledges nothing more and
        stops.
        """
        if self.machine.is_changing:
            self.change_failed(error)
            return
        connection.abort()
        self.limited.warning(
            "closing the connection of %s: its request failed and changed nothing: %s",
            connection.peer,
            repr(error),
        )

    def change_failed(self, error: Exception) -> None:
        """Acknowledge nothing more and stop: a change failed after it was applied in part."""
        self._commit.stop()
        self.scheduler.stop()
        self._on_fatal(error)

    def answer_word(self, connection: Connection, word: str, argument: bytes) -> None:
        """Answer a four-letter word when the txns that the answer shows are on disk."""
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
        """Call ``callback`` when every txn that is applied now is on disk."""
        self._commit.when_durable(callback)

    def _may_be_asked(self, word: str) -> bool:
        return not {word, "*"}.isdisjoint(self._config.four_letter_words)

    @property
    def outstanding_requests(self) -> int:
        """The number of frames (mostly replies) that wait for the disk."""
        return sum([hold.count for hold in self._outbox.holds()])

    def outstanding_by_connection(self) -> dict[Client, int]:
        """Return the number of frames that wait for the disk, for each connection that has any."""
        counts: dict[Client, int] = {}
        for hold in self._outbox.holds():
            connection = cast("Connection", hold.connection)
            counts[connection] = counts.get(connection, 0) + hold.count
        return counts

    def recent_samples(self) -> tuple[list[Sample], float, int]:
        """Return the samples of the last minute, the seconds that they cover, and the gap."""
        samples, covered_s = self.sampler.recent(self.scheduler.now_s())
        return samples, covered_s, self.sampler.gap

    @property
    def now_ms(self) -> int:
        """The current time on the monotonic clock, in milliseconds."""
        return self._clock.monotonic_ms()

    def wall_ms_of(self, monotonic_ms: int) -> int:
        """Return a time of the monotonic clock as milliseconds since the epoch."""
        return self._clock.wall_ms() + monotonic_ms - self._clock.monotonic_ms()

    # --- Requests

    def expect(self, data: bytes, position: i64) -> None:
        """Load the memory of the znodes that the next frames need, if there are many znodes."""
        if len(data) - position >= _SEVERAL_FRAMES_BYTES:
            self.machine.tree.records.fetch_ahead(data, position)

    def take(self, connection: Connection, data: bytes, start: i64, end: i64) -> None:
        """Process the request in ``data[start:end]``."""
        if connection.session is None:
            self.sessions.connect(connection, data, start, end)
            return
        if end - start < REQUEST_HEADER_BYTES:
            self.limited.warning(
                "closing the connection of %s: a request is shorter than its header",
                connection.peer,
            )
            connection.abort()
            return
        xid: int = read_i32_be(data, start)
        op_code: int = read_i32_be(data, start + 4)
        connection.stats.last_cxid = xid
        connection.stats.last_op_code = op_code
        if self._may_keep_back and self._is_kept_back(connection, xid, op_code, data, start, end):
            return
        reader = Reader(data, start + REQUEST_HEADER_BYTES, end)
        try:
            shown = read(op_code, self.machine, connection, reader)
            if shown is not None and shown.steps is None:
                self._outbox.answer(connection, shown.shows, xid, shown.err, shown.body)
            elif shown is not None:
                self._outbox.answer_in_steps(connection, xid, shown)
            elif op_code in WRITE_OP_CODES:
                self._writes.write(connection, xid, op_code, reader)
            elif (handle := self._others.get(op_code)) is not None:
                handle(connection, xid, reader)
            else:
                self.limited.warning(
                    "closing the connection of %s: the op code %d does not exist",
                    connection.peer,
                    op_code,
                )
                self._turn_away(connection, xid, -1, ErrorCode.UNIMPLEMENTED)
        except RequestError as error:
            self._outbox.answer(connection, error.path or NOTHING, xid, error.code)
        except MalformedError as malformed:  # not "error": in mypyc, a name has only one type
            self._answer_malformed(connection, xid, op_code, malformed)

    def _is_kept_back(
        self, connection: Connection, xid: int, op_code: int, data: bytes, start: i64, end: i64
    ) -> bool:
        """Return whether a request is not processed now: it is refused, or it must wait."""
        if self._requires_schemes and not self._may_ask(connection, op_code):
            self._turn_stranger_away(connection, xid)
            return True
        forwarded = self._forwarded
        return forwarded is not None and not forwarded.admits(connection, op_code, data, start, end)

    def _answer_malformed(
        self, connection: Connection, xid: int, op_code: int, error: MalformedError
    ) -> None:
        self.limited.warning("refusing a malformed request of %s: %s", connection.peer, error)
        if op_code in _AUTHENTICATION:
            connection.finish()
        else:
            self._outbox.answer(connection, NOTHING, xid, ErrorCode.MARSHALLING_ERROR)

    def taken(
        self, connection: Connection, count: int, size_bytes: int, took_s: float, now_s: float
    ) -> None:
        """Count processed requests, and record that the session's client is alive."""
        now_ms, took_ms = int(now_s * MS_PER_S), int(took_s * MS_PER_S)
        self._writes.turn_ended()
        if count and connection.session is not None:
            connection.session.touch(now_ms)
        stats, answered = connection.stats, connection.answered + connection.answered_long
        connection.answered_long = 0
        self.stats.packets_received += count
        self.stats.bytes_received += size_bytes
        self.stats.latency.add(took_ms, answered)
        self.stats.latencies.add(took_ms, answered)
        stats.packets_received += count
        stats.add(took_ms, answered)
        if answered:
            stats.last_zxid = self._commit.synced_zxid
            stats.last_response_ms = now_ms

    def _may_ask(self, connection: Connection, op_code: int) -> bool:
        """Return whether ``enforce.auth.schemes`` allows this request on the connection."""
        required = self._config.required_schemes
        return op_code in _AUTHENTICATION or not required.isdisjoint(connection.identities.schemes)

    def _turn_stranger_away(self, connection: Connection, xid: int) -> None:
        """Refuse a request that requires authentication, and close the connection."""
        self.limited.warning(
            "closing the connection of %s: the client must first authenticate with one of the"
            " schemes %s",
            connection.peer,
            ", ".join(sorted(self._config.required_schemes)),
        )
        self._turn_away(connection, xid, 0, ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH)

    def _turn_away(self, connection: Connection, xid: int, zxid: int, code: ErrorCode) -> None:
        """Refuse a request with an error that does not depend on the tree, and close."""
        batch = self._commit.batch_to_wait_for(connection, NOTHING)
        self._outbox.reply(batch, connection, xid, zxid, code)
        connection.finish()

    def batch_released(self, batch: Batch) -> None:
        """Count the latency of the replies that a batch held."""
        self._outbox.batch_released(batch, self._clock.monotonic_ms())

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is in progress that could append a txn while requests are held."""
        if not self._writes.is_quiet:
            return False
        for connection in self.connections:  # noqa: SIM110 -- any() would create a closure
            if connection.has_job:
                return False
        return True

    # --- Requests that are neither plain reads nor writes

    def _set_watches(self, connection: Connection, xid: int, reader: Reader) -> None:
        self._take_watches_over(connection, xid, decode_set_watches(reader))

    def _set_watches2(self, connection: Connection, xid: int, reader: Reader) -> None:
        self._take_watches_over(connection, xid, decode_set_watches2(reader))

    def _take_watches_over(self, connection: Connection, xid: int, request: SetWatches) -> None:
        if request.num_watches > _WATCHES_AT_ONCE:
            connection.start_job(self._take_watches_steps(connection, xid, request))
        elif self._set_some_watches(connection, xid, request):
            self._outbox.answer(connection, EVERYTHING, xid, 0)

    def _take_watches_steps(
        self, connection: Connection, xid: int, request: SetWatches
    ) -> Iterator[int]:
        for part in request.parts(_WATCHES_AT_ONCE):
            if not self._set_some_watches(connection, xid, part):
                connection.take_deferred()
                return
            yield STEP_COST_US
        self._outbox.answer(connection, EVERYTHING, xid, 0)
        self._outbox.send_deferred(connection)

    def _set_some_watches(self, connection: Connection, xid: int, request: SetWatches) -> bool:
        """Set watches again and send the missed events; return False if there are too many."""
        try:
            events = self.machine.set_watches(request, connection)
        except RequestError as error:
            # Clients ignore an error in this reply, so they would not know that watches are lost.
            self.limited.warning(
                "closing the connection of %s: the client sets watches again, but more than"
                " zoolet.maxWatchesPerConnection allows (%d)",
                connection.peer,
                self.machine.rules.most_watches,
            )
            self._turn_away(connection, xid, 0, error.code)
            return False
        self._outbox.notify(self._commit.newest_batch(), events)
        return True
