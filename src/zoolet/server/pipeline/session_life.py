"""The life of sessions: a client opens one, comes back to it, and it is closed or expires."""

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
from zoolet.server.pipeline.changes import Changes
from zoolet.server.pipeline.connection import Connection, Requests
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
"""If more sessions or znodes end together, the log has their number."""


@final
class SessionLife:
    """Opens, resumes, closes and expires sessions.

    Attributes:
        is_expiring: whether sessions that have expired are being closed.
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
        """Give no session id that the machine's new state has; the old sessions are gone."""
        next_id = self.machine.sessions.next_id(self._clock.wall_ms())
        self._next_session_id = max(self._next_session_id, next_id)

    # -- connecting --------------------------------------------------------------------------------

    def connect(self, connection: Connection, data: bytes, start: i64, end: i64) -> None:
        """Give a connection its session: a new one, or the one it left."""
        limited = self._requests.limited
        try:
            request = decode_connect(data, start, end)
        except MalformedError as error:
            limited.warning(
                "closing the connection of %s: no connect request: %s", connection.peer, error
            )
            connection.abort()
            return
        self._stats.connection_requests += 1
        if request.last_zxid_seen > self.machine.zxid:
            limited.warning(
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
                "refusing session 0x%x to %s: the password is wrong",
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
        """Return the answer to a Connect; zeros where there is no such session, or no longer."""
        timeout_ms, session_id, password = 0, 0, bytes(PASSWORD_BYTES)
        if session is not None:
            timeout_ms, session_id = session.timeout_ms, session.session_id
            password = password_of(session_id, self._secret)
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

    def leave(self, connection: Connection) -> None:
        """Note that a connection is gone; its session goes on until it expires."""
        self._forget_watches(connection)
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection = None

    def _forget_watches(self, connection: Connection) -> None:
        """Drop the watches of a connection that is gone; many of them in several steps."""
        steps = self.machine.forget_watcher(connection)
        if connection.num_watches > _WATCHES_AT_ONCE:
            self._requests.scheduler.run("removing the watches of a closed connection", steps)
        else:
            for _ in steps:
                pass

    # -- closing -----------------------------------------------------------------------------------

    def takes_steps_to_close(self, session: Session) -> bool:
        """Say whether a session has more ephemerals than one txn deletes."""
        owned = self.machine.tree.ephemerals.get(session.session_id)
        return owned is not None and len(owned) > _EPHEMERALS_AT_ONCE

    def close_in_steps(self, connection: Connection, session: Session, xid: int) -> Iterator[int]:
        """Close a session with many ephemerals, as its client asks."""
        yield from self._delete_ephemerals(session)
        requester = Requester(session.session_id, NOBODY)
        applied, batch = self._changes.make(requester, xid, OpCode.CLOSE_SESSION, CloseSession())
        self._outbox.reply_to_write(batch, connection, xid, applied.result)
        self._outbox.send_deferred(connection)
        self._changes.end()
        connection.finish()

    def _delete_ephemerals(self, session: Session) -> Iterator[int]:
        """Delete a session's ephemerals, until few enough are left for one txn.

        Each step is a txn of its own (docs/decisions/0054). From the first one on, the session
        can do nothing more.
        """
        session.is_closing = True
        while self.takes_steps_to_close(session):
            self._changes.delete_ephemerals(session.session_id, _EPHEMERALS_AT_ONCE)
            yield STEP_COST_US

    def _end(self, session: Session) -> Iterator[int]:
        """Close a session of which nobody is to be told."""
        yield from self._delete_ephemerals(session)
        self._changes.make_own(session.session_id, OpCode.CLOSE_SESSION, CloseSession())
        connection = _connection_of(session)
        if connection is not None:
            connection.finish()

    def end_ownerless_ephemerals(self) -> None:
        """Close the sessions that own ephemerals and do not exist, before anyone is served.

        A snapshot may hold such ephemerals; nothing else would ever delete them. As every change
        it is logged, so that a replay gives the same tree. Source: ``ZooKeeperServer.loadData``.
        """
        sessions = self.machine.sessions.by_id
        owners = [owner for owner in self.machine.tree.ephemerals if owner not in sessions]
        for session_id in owners:
            log.warning("deleting the ephemerals of session 0x%x, which does not exist", session_id)
            for _ in self._end(Session(session_id, 0, 0)):
                pass

    # -- expiring ----------------------------------------------------------------------------------

    def look_for_expired(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Close, in several steps, the sessions whose clients were silent for too long.

        A ping may have arrived that is not read yet. So a session ends only if it is still silent
        after the event loop has looked at every socket once more, later than the deadline. Two
        calls of ``call_soon`` are needed for that: the first one may come before the look.
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
        """Close now the sessions whose clients were silent for too long."""
        if self._requests.is_held:
            return
        for _ in self._expire(self._clock.monotonic_ms()):
            pass

    def _expire(self, deadline_ms: int) -> Iterator[int]:
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
        """Close a session as if its client had been silent too long; False: there is none."""
        session = self.machine.sessions.by_id.get(session_id)
        if session is None:
            return False
        log.info("session 0x%x is made to expire", session_id)
        for _ in self._end(session):
            pass
        return True


def _connection_of(session: Session) -> Connection | None:
    """Return the connection of a session's client; None: the client is away."""
    return cast("Connection | None", session.connection)
