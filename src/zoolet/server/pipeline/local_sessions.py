"""The sessions of a standalone server, which itself opens, resumes, closes and expires them."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, final

from zoolet.model.codes import OpCode
from zoolet.model.requests import CloseSession, Connect, CreateSession
from zoolet.server.common.clock import Clock
from zoolet.server.common.scheduler import STEP_COST_US
from zoolet.server.common.stats import ServerStats
from zoolet.server.connections.connection import Connection, Requests
from zoolet.server.pipeline.changes import Changes
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.outbox import Outbox
from zoolet.server.pipeline.session_life import SessionLife, connection_of
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.identities import NOBODY
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import Session
from zoolet.state_machine.view import Requester

log = logging.getLogger(__name__)

_SESSIONS_AT_ONCE: Final = 1000
_EPHEMERALS_AT_ONCE: Final = 200

LOGGED_EACH: Final = 20
"""At most this number of ended sessions or removed znodes is logged one by one; for the others, the
log has their number."""


@final
class LocalSessions(SessionLife):
    """Opens, resumes, closes and expires sessions.

    Attributes:
        is_expiring: whether the server is closing expired sessions.
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
        super().__init__(config, requests, machine, stats)
        self.is_expiring = False
        self._commit = commit
        self._changes = changes
        self._outbox = outbox
        self._clock = clock
        self._next_session_id = next_session_id

    def database_replaced(self) -> None:
        """Choose the next session id so that it differs from all ids in the new database."""
        next_id = self.machine.sessions.next_id(self._clock.wall_ms())
        self._next_session_id = max(self._next_session_id, next_id)

    # --- Connecting

    def _open(self, connection: Connection, request: Connect, timeout_ms: int) -> None:
        session_id = self._next_session_id
        self._next_session_id += 1
        batch = self._changes.make(
            Requester(session_id, NOBODY), 0, OpCode.CREATE_SESSION, CreateSession(timeout_ms)
        )[1]
        self._attach(connection, self.machine.sessions.by_id[session_id])
        self._outbox.send(batch, connection, self._connected(connection.session, request))
        self._changes.end()

    def _resume(self, connection: Connection, request: Connect, timeout_ms: int) -> None:
        session = self._proven(connection, request)
        if session is not None:
            self._stats.sessions_resumed += 1
            session.timeout_ms = timeout_ms
            session.touch(self._clock.monotonic_ms())
            self._attach(connection, session)
        frame = self._connected(session, request)
        self._outbox.send(self._commit.newest_batch(), connection, frame)
        if session is None:
            connection.finish()

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
        connection = connection_of(session)
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
                connection = connection_of(session)
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
