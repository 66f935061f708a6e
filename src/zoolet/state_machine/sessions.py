"""Sessions: their timeouts, passwords and connections.

Times are milliseconds of a monotonic clock, except in ``next_id``; the caller passes the current
time. When a client sends something, its session is updated with a single assignment. Sessions are
in buckets by expiry time.
When the time of a bucket has come, its sessions have expired, except sessions that were updated
meanwhile, which move to a later bucket.
"""

import struct

from mypy_extensions import mypyc_attr

from zoolet.model.codes import ErrorCode
from zoolet.model.errors import RequestError
from zoolet.state_machine.tables import shrunk

PASSWORD_BYTES = 16
_LARGEST_COUNT = 1 << 62
_SESSION_ID = struct.Struct(">q")

_SERVER_ID = 1
_SECRET = 0xB3415C00
_JAVA_RANDOM_MULTIPLIER = 0x5DEECE66D
_JAVA_RANDOM_ADDEND = 0xB
_JAVA_RANDOM_MASK = (1 << 48) - 1


@mypyc_attr(acyclic=True)
class Session:
    """One session.

    Attributes:
        session_id: the id; it is never 0 and never used for another session.
        timeout_ms: the time after which a session with a silent client expires.
        expires_at_ms: the time at which the session expires; ``touch`` moves it.
        is_closing: whether the session is being closed and its ephemerals are deleted in several
            txns.
        connection: the connection of the session's client; None if the client is not connected. The
            code that sets it must clear it; this package does not use it.
    """

    __slots__ = ("connection", "expires_at_ms", "is_closing", "session_id", "timeout_ms")

    def __init__(self, session_id: int, timeout_ms: int, now_ms: int) -> None:
        self.session_id = session_id
        self.timeout_ms = timeout_ms
        self.expires_at_ms = now_ms + timeout_ms
        self.is_closing = False
        self.connection: object | None = None

    def touch(self, now_ms: int) -> None:
        """Record that the client is alive."""
        self.expires_at_ms = now_ms + self.timeout_ms


class SessionTable:
    """All sessions, and the buckets in which expired sessions are found.

    Attributes:
        by_id: session id to session.
    """

    def __init__(self, bucket_ms: int) -> None:
        """Create an empty table that finds expired sessions at most ``bucket_ms`` late."""
        self.by_id: dict[int, Session] = {}
        self._bucket_ms = bucket_ms
        self._buckets: dict[int, list[Session]] = {}
        self._next_bucket: int | None = None

    def __len__(self) -> int:
        return len(self.by_id)

    def shrink(self) -> None:
        """Reduce the table to the memory that its entries need."""
        self.by_id = shrunk(self.by_id)

    def open(self, session_id: int, timeout_ms: int, now_ms: int) -> Session:
        """Open a session, or set the timeout of an existing session."""
        session = self.by_id.get(session_id)
        if session is None:
            session = self.by_id[session_id] = Session(session_id, timeout_ms, now_ms)
            self._put_in_bucket(session)
        else:
            session.timeout_ms = timeout_ms
            session.touch(now_ms)
        return session

    def close(self, session_id: int) -> None:
        """Remove a session; its bucket drops the session when the bucket's time has come."""
        self.by_id.pop(session_id, None)

    def live(self, session_id: int) -> Session:
        """Return the session; raises RequestError (SESSION_EXPIRED) if it is closed or closing."""
        session = self.by_id.get(session_id)
        if session is None or session.is_closing:
            raise RequestError(ErrorCode.SESSION_EXPIRED)
        return session

    def next_id(self, time_ms: int) -> int:
        """Return the id of the first session of a server that starts at ``time_ms``.

        Each later session gets the next number. The layout is that of Apache ZooKeeper's
        ``SessionTrackerImpl.initializeNextSessionId``: the server id in the top byte, then 40 bits
        of the time since the epoch, so that the ids after a restart are new. If the clock was set
        back, the ids continue after the largest id in use.
        """
        by_time = next_session_id(_SERVER_ID, time_ms)
        return max(by_time, 1 + max(self.by_id, default=0))

    def restart_clocks(self, now_ms: int) -> None:
        """Restart the timeout of every session, as after a restart of the server."""
        self._buckets.clear()
        self._next_bucket = None
        for session in self.by_id.values():
            session.touch(now_ms)
            self._put_in_bucket(session)

    def has_expired(self, now_ms: int) -> bool:
        """Return whether there may be expired sessions."""
        return self._next_bucket is not None and self._next_bucket * self._bucket_ms <= now_ms

    def expired(self, now_ms: int, at_most: int = _LARGEST_COUNT) -> list[Session]:
        """Return expired sessions, in order of their buckets; an empty list if there are no more.

        Each session is returned only one time: the caller must close or postpone it. The call looks
        at about ``at_most`` sessions, or at more until it finds an expired session.
        """
        found: list[Session] = []
        while not found and self._next_bucket is not None and self.has_expired(now_ms):
            bucket = self._buckets.pop(self._next_bucket, [])
            if len(bucket) > at_most:
                self._buckets[self._next_bucket] = bucket[at_most:]
                del bucket[at_most:]
            for session in bucket:
                if self.by_id.get(session.session_id) is not session:
                    continue
                if session.expires_at_ms <= now_ms:
                    found.append(session)
                else:
                    self._put_in_bucket(session)
            self._next_bucket = min(self._buckets, default=None)
        return found

    def postpone(self, session: Session, now_ms: int) -> None:
        """Extend a session by one bucket: its client may have sent something meanwhile."""
        session.expires_at_ms = max(session.expires_at_ms, now_ms + self._bucket_ms)
        self._put_in_bucket(session)

    def _put_in_bucket(self, session: Session) -> None:
        bucket = session.expires_at_ms // self._bucket_ms + 1
        self._buckets.setdefault(bucket, []).append(session)
        if self._next_bucket is None or bucket < self._next_bucket:
            self._next_bucket = bucket


def next_session_id(server_id: int, time_ms: int) -> int:
    """Return the id of the first session of a server that starts at ``time_ms``.

    Source: ``SessionTrackerImpl.initializeNextSessionId``. The id is negative if the server id is
    128 or more.
    """
    number = server_id << 56 | (time_ms << 24 & 0xFFFFFFFFFFFFFFFF) >> 8
    return number - (1 << 64) if number >> 63 else number


def password_of(session_id: int, secret: bytes = b"") -> bytes:
    """Return the password with which a client resumes its session.

    With a secret, only a server with the same secret can compute the password. Without a secret,
    everyone who knows the session id can compute it. Then it is the password of Apache ZooKeeper
    (``ZooKeeperServer.generatePasswd``: 16 bytes of Java's ``Random``, seeded with the session id
    and a constant), so that a client keeps its session when its data directory moves between zoolet
    and Apache ZooKeeper.
    """
    if secret:
        import hmac  # noqa: PLC0415 -- only with a secret

        return hmac.digest(secret, _SESSION_ID.pack(session_id), "sha256")[:PASSWORD_BYTES]
    seed = (session_id ^ _SECRET ^ _JAVA_RANDOM_MULTIPLIER) & _JAVA_RANDOM_MASK
    words = []
    for _ in range(PASSWORD_BYTES // 4):
        seed = (seed * _JAVA_RANDOM_MULTIPLIER + _JAVA_RANDOM_ADDEND) & _JAVA_RANDOM_MASK
        words.append(seed >> 16)
    return struct.pack("<4I", *words)


def is_password(given: bytes, session_id: int, secret: bytes = b"") -> bool:
    """Return whether it is the session's password, in a time that does not depend on the result."""
    import hmac  # noqa: PLC0415 -- only when a session is resumed

    return hmac.compare_digest(given, password_of(session_id, secret))
