"""The sessions of an observer's clients: the leader creates, moves, closes and expires them.

While there is no leader, this server can serve read-only sessions, which only it knows.
"""

from typing import Final, final

from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.requests import Connect
from zoolet.server.common.clock import Clock
from zoolet.server.common.stats import ServerStats
from zoolet.server.connections.batches import NOTHING
from zoolet.server.connections.connection import Connection, Requests
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.leader import Leader, Waiter
from zoolet.server.pipeline.outbox import Outbox
from zoolet.server.pipeline.session_life import SessionLife, connection_of
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import Session, next_session_id

_CREATE_SESSION: Final = OpCode.CREATE_SESSION.value
_CLOSE_SESSION: Final = OpCode.CLOSE_SESSION.value


@final
class LeaderSessions(SessionLife):
    """Connects clients with sessions about which the leader decides."""

    def __init__(
        self,
        config: Config,
        requests: Requests,
        machine: StateMachine,
        commit: GroupCommit,
        outbox: Outbox,
        clock: Clock,
        stats: ServerStats,
        leader: Leader,
    ) -> None:
        super().__init__(config, requests, machine, stats)
        self._commit = commit
        self._outbox = outbox
        self._clock = clock
        self._leader = leader
        self._next_id = next_session_id(leader.view.my_id, clock.wall_ms())
        self._awaited: dict[int, Waiter] = {}
        self._read_only: dict[int, Session] = {}

    def _new_id(self) -> int:
        while (session_id := self._next_id) in self.machine.sessions.by_id:
            self._next_id += 1  # the clock was set back
        self._next_id += 1
        return session_id

    # --- Connecting

    def _open(self, connection: Connection, request: Connect, timeout_ms: int) -> None:
        if not self._leader.is_serving:
            self._open_read_only(connection, request, timeout_ms)
        elif self._leader.is_silent(timeout_ms):
            connection.abort()
        else:
            connection.is_paused = True
            waiter = Waiter(connection, 0, _CREATE_SESSION, "", request, timeout_ms)
            self._leader.create_session(self._new_id(), waiter)

    def _resume(self, connection: Connection, request: Connect, timeout_ms: int) -> None:
        if not self._leader.is_serving:
            self._open_read_only(connection, request, timeout_ms)
        elif self._leader.is_silent(timeout_ms):
            connection.abort()
        elif self._is_proven(connection, request):
            connection.is_paused = True
            waiter = Waiter(connection, 0, _CREATE_SESSION, "", request, timeout_ms)
            self._leader.revalidate(request.session_id, waiter)
        else:
            self._refuse(connection, request)

    def _refuse(self, connection: Connection, request: Connect) -> None:
        """Tell a client that its session does not exist, and close."""
        frame = self._connected(None, request)
        self._outbox.send(self._commit.newest_batch(), connection, frame)
        connection.finish()

    def created(self, session_id: int, waiter: Waiter | None) -> None:
        """Connect the client that waits for a session, after the txn that creates the session."""
        if waiter is None:
            waiter = self._awaited.pop(session_id, None)
        if waiter is not None:
            self._accept(waiter, session_id)

    def revalidated(self, session_id: int, is_valid: bool) -> None:
        """Connect the client that resumes a session, or refuse it, as the leader has decided."""
        waiter = self._leader.forwarded.take_revalidation(session_id)
        if is_valid and session_id not in self.machine.sessions.by_id:
            # The leader knows the session before its txn has arrived here.
            self._awaited[session_id] = waiter
        elif is_valid:
            self._stats.sessions_resumed += 1
            self._accept(waiter, session_id)
        else:
            connection, request = waiter.connection, waiter.connect
            self._forget(session_id)
            if connection.is_open and request is not None:
                self._refuse(connection, request)
                connection.flush()

    def _accept(self, waiter: Waiter, session_id: int) -> None:
        connection, request = waiter.connection, waiter.connect
        session = self.machine.sessions.by_id.get(session_id)
        is_late = self._leader.is_silent(waiter.timeout_ms, waiter.sent_ms)
        if is_late or not connection.is_open or session is None or request is None:
            self._forget(session_id)
            connection.abort()
            return
        self._attach(connection, session)
        # The txn's timeout stays in the table: only a txn may change the state.
        frame = self._connected(session, request, waiter.timeout_ms)
        self._outbox.send(self._commit.newest_batch(), connection, frame)
        connection.flush()
        connection.resume()

    def _forget(self, session_id: int) -> None:
        """Serve a session no longer, unless a client has it on another connection."""
        session = self.machine.sessions.by_id.get(session_id)
        if session is None or session.connection is None:
            self._leader.contact.forget(session_id)

    # --- Ending

    def ended(self, session: Session) -> None:
        """Close the connection of a session that the leader has closed."""
        self._leader.contact.forget(session.session_id)
        connection = connection_of(session)
        if connection is not None:
            connection.finish()

    def leave(self, connection: Connection) -> None:
        """Detach a closed connection from its session."""
        session = connection.session
        if session is not None and session.connection is connection:
            self._leader.contact.forget(session.session_id)
        super().leave(connection)

    def heard(self, session: Session) -> None:
        """Record that the client of a session is alive."""
        self._leader.contact.touch(session.session_id)

    def close_unrenewed(self, now_ms: int) -> None:
        """Close the connections of sessions that the leader may have ended."""
        for session_id in self._leader.contact.due(now_ms):
            session = self.machine.sessions.by_id.get(session_id)
            connection = None if session is None else connection_of(session)
            if connection is not None:
                self._requests.limited.warning(
                    "closing the connection of %s: the leader may have expired session 0x%x, and"
                    " this server would not know",
                    connection.peer,
                    session_id,
                )
                connection.abort()
        if not self._read_only:
            return
        for session in tuple(self._read_only.values()):
            if session.expires_at_ms <= now_ms:
                del self._read_only[session.session_id]
                connection = connection_of(session)
                if connection is not None:
                    connection.abort()

    def link_lost(self) -> None:
        """Close the connections that wait for a session."""
        for waiter in self._awaited.values():
            waiter.connection.abort()
        self._awaited.clear()

    def close_all(self) -> None:
        """Close all connections with sessions, before clients are served with a new link.

        A client that resumes its session is then asked for at the leader. The server does not ask
        for sessions itself: the client may have moved to another server meanwhile.
        """
        self._read_only.clear()
        for connection in tuple(self._requests.all_connections()):
            if connection.session is not None:
                connection.abort()

    # --- Read-only sessions

    def _open_read_only(self, connection: Connection, request: Connect, timeout_ms: int) -> None:
        """Open a session that only this server knows, or close the connection.

        As in Apache ZooKeeper, a session of the ensemble cannot be resumed in this mode.
        """
        session = self._read_only.get(request.session_id)
        if not (self._leader.view.is_read_only and request.read_only) or (
            request.session_id and session is None
        ):
            connection.abort()
            return
        if session is None:
            session_id = self._new_id()
            session = Session(session_id, timeout_ms, self._clock.monotonic_ms())
            self._read_only[session_id] = session
        elif not self._is_proven(connection, request):
            self._refuse(connection, request)
            return
        session.touch(self._clock.monotonic_ms())
        self._attach(connection, session)
        frame = self._connected(session, request, is_read_only=True)
        self._outbox.send(self._commit.newest_batch(), connection, frame)

    def is_read_only_session(self, session: Session) -> bool:
        """Return whether a session is known only here."""
        return bool(self._read_only) and self._read_only.get(session.session_id) is session

    def refuse_write(self, connection: Connection, waiter: Waiter) -> None:
        """Answer a request of a read-only session that only a leader could process."""
        xid, code = waiter.xid, ErrorCode.NOT_READ_ONLY.value
        session = connection.session
        if waiter.op_code == _CLOSE_SESSION and session is not None:
            del self._read_only[session.session_id]
            code = 0
        batch = self._commit.batch_to_wait_for(connection, NOTHING)
        zxid = self._commit.zxid_seen_with(batch)
        self._outbox.reply(batch, connection, xid, zxid, code)
        if not code:
            connection.finish()
