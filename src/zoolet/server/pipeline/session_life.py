"""The life cycle of sessions: the part that does not depend on who decides about sessions.

``LocalSessions`` opens, resumes, closes and expires the sessions of a standalone server. For an
observer, the leader decides (``LeaderSessions``).
"""

from typing import Final, cast

from mypy_extensions import i64

from zoolet.model.requests import Connect
from zoolet.server.common.stats import ServerStats
from zoolet.server.connections.connection import Connection, Requests
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import PASSWORD_BYTES, Session, is_password, password_of
from zoolet.wire.frames import decode_connect, encode_connected
from zoolet.wire.jute import MalformedError

_WATCHES_AT_ONCE: Final = 500


class SessionLife:
    """Connects clients with sessions.

    Attributes:
        machine: the database.
    """

    def __init__(
        self, config: Config, requests: Requests, machine: StateMachine, stats: ServerStats
    ) -> None:
        self.machine = machine
        self._config = config
        self._requests = requests
        self._stats = stats
        self._secret = config.session_secret.encode()

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
        """Open a new session for a client."""
        raise NotImplementedError

    def _resume(self, connection: Connection, request: Connect, timeout_ms: int) -> None:
        """Resume the session that a client names, or refuse the request."""
        raise NotImplementedError

    def heard(self, session: Session) -> None:
        """Record that the client of a session is alive."""

    def _proven(self, connection: Connection, request: Connect) -> Session | None:
        """Return the session that a client names; None without the right password."""
        session = self.machine.sessions.by_id.get(request.session_id)
        if session is None or session.is_closing:
            return None
        return session if self._is_proven(connection, request) else None

    def _is_proven(self, connection: Connection, request: Connect) -> bool:
        """Return whether a client has the password of the session that it names."""
        if is_password(request.password or b"", request.session_id, self._secret):
            return True
        self._requests.limited.warning(
            "refusing to resume session 0x%x for %s: the session password is wrong",
            request.session_id,
            connection.peer,
        )
        return False

    def _connected(
        self,
        session: Session | None,
        request: Connect,
        timeout_ms: int = 0,
        *,
        is_read_only: bool = False,
    ) -> bytes:
        """Return the reply to a connect request; all zeros if the session does not exist.

        ``timeout_ms`` is the session timeout; if it is 0, that of the session.
        """
        session_id, password = 0, bytes(PASSWORD_BYTES)
        if session is not None:
            timeout_ms = timeout_ms or session.timeout_ms
            session_id = session.session_id
            password = password_of(session_id, self._secret)
        return encode_connected(
            timeout_ms,
            session_id,
            password,
            has_read_only=request.has_read_only,
            is_read_only=is_read_only,
        )

    def _attach(self, connection: Connection, session: Session) -> None:
        """Assign the connection to the session, and close the former connection if one exists."""
        former = connection_of(session)
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


def connection_of(session: Session) -> Connection | None:
    """Return the connection of a session's client; None if the client is not connected."""
    return cast("Connection | None", session.connection)
