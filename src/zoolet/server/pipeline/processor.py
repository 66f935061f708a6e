"""The request processor: what happens to a request between its frame and its reply.

A write is *prepared* into a txn, *appended* to the batch that gathers, *applied* at once, and its
reply and watch events are *released* when the batch is *synced* (``group_commit``). A read looks at
the tree and is answered at once, unless it would show a txn that is not synced yet: then it waits
with that txn. Either way a connection's replies leave in the order of its requests, and an event
before any reply that shows what it tells.
"""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, cast, final

from mypy_extensions import i64

from zoolet.model.big_endian import read_i32_be
from zoolet.model.codes import ErrorCode, OpCode, by_number
from zoolet.model.errors import RequestError
from zoolet.model.requests import SetWatches
from zoolet.server.common.answers import Answers
from zoolet.server.common.clock import MS_PER_S, Clock
from zoolet.server.common.log_limiter import LogLimiter
from zoolet.server.common.scheduler import STEP_COST_US, Scheduler
from zoolet.server.common.stats import ServerStats
from zoolet.server.operator import four_letter_words
from zoolet.server.operator.inspection import Client, Inspector
from zoolet.server.pipeline.batches import EVERYTHING, NOTHING, Batch
from zoolet.server.pipeline.changes import WARNING_INTERVAL_MS, Changes
from zoolet.server.pipeline.connection import Connection, Requests
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.outbox import Outbox
from zoolet.server.pipeline.reads import read
from zoolet.server.pipeline.removal import Removal
from zoolet.server.pipeline.session_life import SessionLife
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine import access
from zoolet.state_machine.identities import SKIPS_ACL
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.view import Requester
from zoolet.wire.frames import REQUEST_HEADER_BYTES
from zoolet.wire.jute import MalformedError, Reader
from zoolet.wire.replies import encode_path, encode_token
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

if TYPE_CHECKING:
    from zoolet.state_machine.sessions import Session

log = logging.getLogger(__name__)


_CLOSE_SESSION: Final = OpCode.CLOSE_SESSION.value
_WATCHES_AT_ONCE: Final = 500

_AUTHENTICATION = frozenset({OpCode.AUTH.value, OpCode.SASL.value})
"""Apache ZooKeeper reads these outside of its pipeline, and closes the connection if it cannot."""


@final
class RequestProcessor(Requests):
    """Takes requests from connections and sees to their answers.

    Attributes:
        machine: the database.
        sessions: opens, closes and expires sessions.
        removal: removes containers and TTL znodes.
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
            limited=LogLimiter(log, clock.monotonic_ms, WARNING_INTERVAL_MS),
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
        changes = self._changes = Changes(machine, commit, outbox, clock, self.limited)
        self.removal = Removal(config, self, machine, changes, clock)
        self.sessions = SessionLife(
            config, self, machine, commit, changes, outbox, clock, self.stats, next_session_id
        )
        self._requires_schemes = bool(config.required_schemes)
        self._others: dict[int, Callable[[Connection, int, Reader], None]] = by_number(
            {
                OpCode.SYNC: self._sync,
                OpCode.AUTH: self._auth,
                OpCode.SASL: self._sasl,
                OpCode.SET_WATCHES: self._set_watches,
                OpCode.SET_WATCHES2: self._set_watches2,
                OpCode.RECONFIG: self._refuse_reconfig,
            }
        )

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
        self.sessions.leave(connection)

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
        return sum([hold.count for hold in self._outbox.holds()])

    def outstanding_by_connection(self) -> dict[Client, int]:
        """Return how many of them wait for each connection that has any."""
        counts: dict[Client, int] = {}
        for hold in self._outbox.holds():
            connection = cast("Connection", hold.connection)
            counts[connection] = counts.get(connection, 0) + hold.count
        return counts

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
            self.sessions.connect(connection, data, start, end)
            self._changes.end()
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
        reader = Reader(data, start + REQUEST_HEADER_BYTES, end)
        try:
            shown = read(op_code, self.machine, connection, reader)
            if shown is not None and shown.steps is None:
                self._outbox.answer(connection, shown.shows, xid, shown.err, shown.body)
            elif shown is not None:
                connection.start_job(self._outbox.answer_in_steps(connection, xid, shown))
            elif op_code in WRITE_OP_CODES:
                self._write(connection, xid, op_code, reader)
                self._changes.end()
            elif (handle := self._others.get(op_code)) is not None:
                handle(connection, xid, reader)
            else:
                self.limited.warning(
                    "%s asked for op code %d, which is none", connection.peer, op_code
                )
                self._turn_away(connection, xid, -1, ErrorCode.UNIMPLEMENTED)
        except RequestError as error:
            self._outbox.answer(connection, error.path or NOTHING, xid, error.code)
        except MalformedError as malformed:  # one name for both would have one type in mypyc
            self._answer_malformed(connection, xid, op_code, malformed)

    def _answer_malformed(
        self, connection: Connection, xid: int, op_code: int, error: MalformedError
    ) -> None:
        self.limited.warning("a malformed request of %s: %s", connection.peer, error)
        if op_code in _AUTHENTICATION:
            connection.finish()
        else:
            self._outbox.answer(connection, NOTHING, xid, ErrorCode.MARSHALLING_ERROR)

    def taken(
        self, connection: Connection, count: int, size_bytes: int, took_s: float, now_s: float
    ) -> None:
        """Note what came in one read, and that its session's client was heard."""
        now_ms, took_ms = int(now_s * MS_PER_S), int(took_s * MS_PER_S)
        self._changes.begin_moment()
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
        self._outbox.reply(batch, connection, xid, zxid, code)
        connection.finish()

    def batch_released(self, batch: Batch) -> None:
        """Count how long the replies waited that a batch held."""
        self._outbox.batch_released(batch, self._clock.monotonic_ms())

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way that could append a txn while requests are held."""
        if self.sessions.is_expiring or self.removal.is_under_way:
            return False
        for connection in self.connections:  # noqa: SIM110 -- compiled code makes no closure
            if connection.has_job:
                return False
        return True

    # -- writes ------------------------------------------------------------------------------------

    def _write(self, connection: Connection, xid: int, op_code: int, reader: Reader) -> None:
        session = cast("Session", connection.session)
        requester = Requester(session.session_id, connection.identities)
        try:
            request = decode_write(op_code, reader)
        except MalformedError as error:
            self.limited.warning("a malformed request of %s: %s", connection.peer, error)
            if op_code == OpCode.MULTI:
                self._refuse(connection, session.session_id, xid, ErrorCode.MARSHALLING_ERROR)
            else:
                # Apache ZooKeeper reads any other request before it takes a zxid for it.
                self._outbox.answer(connection, EVERYTHING, xid, ErrorCode.MARSHALLING_ERROR)
            return
        if op_code == _CLOSE_SESSION and self.sessions.takes_steps_to_close(session):
            connection.start_job(self.sessions.close_in_steps(connection, session, xid))
            return
        applied, batch = self._changes.make(requester, xid, op_code, request)
        self._outbox.reply_to_write(batch, connection, xid, applied.result)
        if op_code == _CLOSE_SESSION:
            connection.finish()

    def _refuse(self, connection: Connection, session_id: int, xid: int, code: ErrorCode) -> None:
        """Commit that a request is refused, whatever the state, and say so."""
        batch = self._changes.refuse(session_id, xid, code)[1]
        self._outbox.reply(batch, connection, xid, batch.last_zxid, code)
        self._changes.end()

    # -- what is neither a plain read nor a write --------------------------------------------------

    def _sync(self, connection: Connection, xid: int, reader: Reader) -> None:
        """Answer once everything applied so far is durable: what follows shows it all."""
        path = decode_path_or_null(reader).path
        batch = self._commit.newest_batch()
        zxid = self._commit.zxid_seen_with(batch)
        self._outbox.reply(batch, connection, xid, zxid, 0, encode_path(path))

    def _auth(self, connection: Connection, xid: int, reader: Reader) -> None:
        request = decode_auth(reader)
        proven = access.authenticate(
            request.scheme, request.auth, connection.address, self._config.digests
        )
        identities = connection.identities.with_(proven)
        most = self.machine.rules.most_identities
        is_one_too_many = identities is not connection.identities and identities.num_proven > most
        accepted = bool(proven) and not is_one_too_many
        batch = self._commit.batch_to_wait_for(connection, NOTHING)
        self._outbox.reply(batch, connection, xid, 0, 0 if accepted else ErrorCode.AUTH_FAILED)
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

    def _refuse_reconfig(self, connection: Connection, xid: int, reader: Reader) -> None:
        """Refuse a reconfig, as a standalone server does: it takes a zxid all the same."""
        check_reconfig(reader)
        session = cast("Session", connection.session)
        self._refuse(connection, session.session_id, xid, ErrorCode.RECONFIG_DISABLED)

    def _sasl(self, connection: Connection, xid: int, reader: Reader) -> None:
        """Answer as a server without a SASL mechanism: no token, and nobody is authenticated."""
        if decode_sasl(reader) is None:
            self.limited.warning("closing the connection of %s: a null SASL token", connection.peer)
            connection.abort()
            return
        batch = self._commit.batch_to_wait_for(connection, NOTHING)
        self._outbox.reply(batch, connection, xid, 0, 0, encode_token(None))

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
        self._outbox.notify(self._commit.newest_batch(), events)
        return True
