"""The life cycle of sessions: opening, resuming, closing and expiring a session."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, cast, final

from mypy_extensions import i64

from zoolet.model.codes import OpCode
from zoolet.model.requests import CloseSession, Connect, CreateSession
from zoolet.server.common.clock import Clock
from zoolet.server.common.scheduler import STEP_COST_US
from zoolet.server.common.stats import ServerStats
from zoolet.server.connections.connection import Connection, Requests
from zoolet.server.pipeline.changes import Changes
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.outbox import Outbox
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.identities import NOBODY
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import PASSWORD_BYTES, Session, is_password, password_of
from zoolet.state_machine.view import Requester
from zoolet.wire.frames import decode_connect, encode_connected
from zoolet.wire.jute import MalformedError

log = logging.getLogger(__name__)

_SESSIONS_AT_ONCE: Final = 1000
_EPHEMERALS_AT_ONCE: Final = 200
_WATCHES_AT_ONCE: Final = 500

LOGGED_EACH: Final = 20
"""At most this number of ended sessions or removed znodes is logged one by one; for the others, the
log has their number."""


@final
class SessionLife:
    """Opens, resumes, closes and expires sessions.

    Attributes:
        is_expiring: whether the server is closing expired sessions.
        machine: the database.
    """

    def __init__(
        self,
        config: Config,
        requests: Requests,
        machine: StateMachine,
        commit: GroupCommit,
        changes: Changes,
        outbox: Outbox,
        clock: Clock,
        stats: ServerStats,
        next_session_id: int,
    ) -> None:
        self.is_expiring = False
        self._config = config
        self._requests = requests
        self.machine = machine
        self._commit = commit
        self._changes = changes
        self._outbox = outbox
        self._clock = clock
        self._stats = stats
        self._next_session_id = next_session_id
        self._secret = config.session_secret.encode()

    def database_replaced(self) -> None:
        """Choose the next session id so that it differs from all ids in the new database."""
        next_id = self.machine.sessions.next_id(self._clock.wall_ms())
        self._next_session_id = max(self._next_session_id, next_id)

    # --- Connecting

    def connect(self, connection: Connection, data: bytes, start: i64, end: i64) -> None:
        """Process a connect request: open a new session or resume an existing session."""
        limited = self._requests.limited
        try:
            request = decode_connect(data, start, end)
        except MalformedError as error:
            limited.warning(
                "closing the connection of %s: its first frame is not a connect request: %s",
                connection.peer,
                error,
            )
            connection.abort()
            return
        self._stats.connection_requests += 1
        if request.last_zxid_seen > self.machine.zxid:
            limited.warning(
                "closing the connection of %s: the client has seen zxid 0x%x, but the last zxid of"
                " this server is 0x%x; the client used another server before, or older data was"
                " restored on this server",
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
            self._resume(connection, request, timeout_ms)
        else:
            self._open(connection, request, timeout_ms)

    def _open(self, connection: Connection, request: Connect, timeout_ms: int) -> None:
        session_id = self._next_session_id
        self._next_session_id += 1
        batch = self._changes.make(
            Requester(session_id, NOBODY), 0, OpCode.CREATE_SESSION, CreateSession(timeout_ms)
        )[1]
        self._attach(connection, self.machine.sessions.by_id[session_id])
        self._outbox.send(batch, connection, self._connected(connection.session, request))

    def _resume(self, connection: Connection, request: Connect, timeout_ms: int) -> None:
        session = self.machine.sessions.by_id.get(request.session_id)
        if session is not None and session.is_closing:
            session = None
        password = request.password or b""
        if session is not None and not is_password(password, request.session_id, self._secret):
            self._requests.limited.warning(
                "refusing to resume session 0x%x for %s: the session password is wrong",
                request.session_id,
                connection.peer,
            )
            session = None
        if session is not None:
            self._stats.sessions_resumed += 1
            session.timeout_ms = timeout_ms
            session.touch(self._clock.monotonic_ms())
            self._attach(connection, session)
        frame = self._connected(session, request)
        self._outbox.send(self._commit.newest_batch(), connection, frame)
        if session is None:
            connection.finish()

    def _connected(self, session: Session | None, request: Connect) -> bytes:
        """Return the reply to a connect request; all zeros if the session does not exist."""
        timeout_ms, session_id, password = 0, 0, bytes(PASSWORD_BYTES)
        if session is not None:
            timeout_ms, session_id = session.timeout_ms, session.session_id
            password = password_of(session_id, self._secret)
        return encode_connected(
            timeout_ms, session_id, password, has_read_only=request.has_read_only
        )

    def _attach(self, connection: Connection, session: Session) -> None:
        """Assign the connection to the session, and close the former connection if one exists."""
        former = _connection_of(session)
        if former is not None:
            former.abort()
            self._forget_watches(former)
        connection.session = session
        session.connection = connection

    def leave(self, connection: Connection) -> None:
        """Detach a closed connection from its session, which continues until it expires."""
        self._forget_watches(connection)
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection = None

    def _forget_watches(self, connection: Connection) -> None:
        """Remove the watches of a closed connection, in several steps if they are many."""
        steps = self.machine.forget_watcher(connection)
        if connection.num_watches > _WATCHES_AT_ONCE:
            self._requests.scheduler.run("removing the watches of a closed connection", steps)
        else:
            for _ in steps:
                pass

    # --- Closing

    def takes_steps_to_close(self, session: Session) -> bool:
        """Return whether a session has more ephemerals than one txn may delete."""
        owned = self.machine.tree.ephemerals.get(session.session_id)
        return owned is not None and len(owned) > _EPHEMERALS_AT_ONCE

    def close_in_steps(self, connection: Connection, session: Session, xid: int) -> Iterator[int]:
        """Close a session with many ephemerals at its client's request."""
        yield from self._delete_ephemerals(session)
        requester = Requester(session.session_id, NOBODY)
        applied, batch = self._changes.make(requester, xid, OpCode.CLOSE_SESSION, CloseSession())
        self._outbox.reply_to_write(batch, connection, xid, applied.result)
        self._outbox.send_deferred(connection)
        self._changes.end()
        connection.finish()

    def _delete_ephemerals(self, session: Session) -> Iterator[int]:
        """Delete ephemerals of a session until one txn can delete the rest.

        Each step is a separate txn (docs/decisions/0054). From the first step on, the session
        cannot be resumed.
        """
        session.is_closing = True
        while self.takes_steps_to_close(session):
            self._changes.delete_ephemerals(session.session_id, _EPHEMERALS_AT_ONCE)
            yield STEP_COST_US

    def _end(self, session: Session) -> Iterator[int]:
        """Close a session that ends without a request; no client receives a reply."""
        yield from self._delete_ephemerals(session)
        self._changes.make_own(session.session_id, OpCode.CLOSE_SESSION, CloseSession())
        connection = _connection_of(session)
        if connection is not None:
            connection.finish()

    def end_ownerless_ephemerals(self) -> None:
        """Delete the ephemerals whose sessions do not exist; called before clients are served.

        A snapshot can contain such ephemerals, and no session end would ever delete them. The
        deletion is a logged txn, so that a replay gives the same tree. Source:
        ``ZooKeeperServer.loadData``.
        """
        sessions = self.machine.sessions.by_id
        owners = [owner for owner in self.machine.tree.ephemerals if owner not in sessions]
        for session_id in owners:
            log.warning("deleting the ephemerals of session 0x%x, which does not exist", session_id)
            for _ in self._end(Session(session_id, 0, 0)):
                pass

    # --- Expiring

    def look_for_expired(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Close, in several steps, the sessions that have expired: their clients sent nothing.

        A ping may have arrived that the server has not read yet. So a session expires only if the
        event loop polls all sockets again after the deadline and finds nothing from its client.
        This takes two calls of ``call_soon``: the first callback may run before that poll.
        """
        now_ms = self._clock.monotonic_ms()
        is_held = self._requests.is_held
        if is_held or self.is_expiring or not self.machine.sessions.has_expired(now_ms):
            return
        self.is_expiring = True

        def look_again() -> None:
            call_soon(partial(self._begin_to_expire, now_ms))

        call_soon(look_again)

    def _begin_to_expire(self, deadline_ms: int) -> None:
        self._requests.scheduler.run("closing expired sessions", self._expire(deadline_ms))

    def expire_now(self) -> None:
        """Close the sessions that have expired, before this call returns."""
        if self._requests.is_held:
            return
        for _ in self._expire(self._clock.monotonic_ms()):
            pass

    def _expire(self, deadline_ms: int) -> Iterator[int]:
        """Close the sessions that had expired at the time ``deadline_ms``."""
        sessions = self.machine.sessions
        count = 0
        while found := sessions.expired(deadline_ms, _SESSIONS_AT_ONCE):
            for session in found:
                connection = _connection_of(session)
                if connection is not None and connection.is_behind:
                    sessions.postpone(session, self._clock.monotonic_ms())
                    continue
                count += 1
                if count <= LOGGED_EACH:
                    log.info(
                        "session 0x%x expired after %d ms", session.session_id, session.timeout_ms
                    )
                yield from self._end(session)
                yield STEP_COST_US
        if count > LOGGED_EACH:
            log.info("%d more sessions expired", count - LOGGED_EACH)
        self.is_expiring = False

    def expire(self, session_id: int) -> bool:
        """Close a session as if it had timed out; return False if it does not exist."""
        session = self.machine.sessions.by_id.get(session_id)
        if session is None:
            return False
        log.info("expiring session 0x%x before its timeout, as requested", session_id)
        for _ in self._end(session):
            pass
        return True


def _connection_of(session: Session) -> Connection | None:
    """Return the connection of a session's client; None if the client is not connected."""
    return cast("Connection | None", session.connection)
