"""Sessions: which clients are connected or may come back, and until when.

Times are milliseconds of a clock that only rises; whoever calls says what time it is. A session is
touched with one assignment per read from its connection, and found to have expired by a look at the
bucket whose time has come: sessions that were touched since move to a later bucket.
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
        session_id: never 0, never given twice.
        timeout_ms: how long it may be silent.
        expires_at_ms: when its silence will have been too long; a touch moves it.
        is_closing: whether its ephemerals are being deleted, in several txns, because it ends.
        connection: through which its client is served now; None: the client is away. Whoever sets
            it clears it, and no other module of this package looks at it.
    """

    __slots__ = ("connection", "expires_at_ms", "is_closing", "session_id", "timeout_ms")

    def __init__(self, session_id: int, timeout_ms: int, now_ms: int) -> None:
        self.session_id = session_id
        self.timeout_ms = timeout_ms
        self.expires_at_ms = now_ms + timeout_ms
        self.is_closing = False
        self.connection: object | None = None

    def touch(self, now_ms: int) -> None:
        """Note that its client was heard."""
        self.expires_at_ms = now_ms + self.timeout_ms


class SessionTable:
    """All sessions, and the buckets in which their expiry is looked for.

    Attributes:
        by_id: session id to session.
    """

    def __init__(self, bucket_ms: int) -> None:
        """Make an empty table whose expiry is found at most ``bucket_ms`` late."""
        self.by_id: dict[int, Session] = {}
        self._bucket_ms = bucket_ms
        self._buckets: dict[int, list[Session]] = {}
        self._next_bucket: int | None = None

    def __len__(self) -> int:
        return len(self.by_id)

    def shrink(self) -> None:
        """Let the table need no more memory than for what it holds."""
        self.by_id = shrunk(self.by_id)

    def open(self, session_id: int, timeout_ms: int, now_ms: int) -> Session:
        """Begin a session, or note another timeout of one that there is."""
        session = self.by_id.get(session_id)
        if session is None:
            session = self.by_id[session_id] = Session(session_id, timeout_ms, now_ms)
            self._put_in_bucket(session)
        else:
            session.timeout_ms = timeout_ms
            session.touch(now_ms)
        return session

    def close(self, session_id: int) -> None:
        """Forget a session; its bucket drops it when its time comes."""
        self.by_id.pop(session_id, None)

    def live(self, session_id: int) -> Session:
        """Return the session; raises RequestError (SESSION_EXPIRED) where it is over."""
        session = self.by_id.get(session_id)
        if session is None or session.is_closing:
            raise RequestError(ErrorCode.SESSION_EXPIRED)
        return session

    def next_id(self, time_ms: int) -> int:
        """Return the id of the first session of a server that starts at ``time_ms``.

        The next session's is one more. The layout is that of Apache ZooKeeper's
        ``SessionTrackerImpl.initializeNextSessionId``: the server in the top byte, then 40 bits of
        the time since the epoch, so that no restart gives an id again. Should the clock have been
        set back, the ids go on behind those that are in use.
        """
        by_time = _SERVER_ID << 56 | (time_ms << 24 & 0xFFFFFFFFFFFFFFFF) >> 8
        return max(by_time, 1 + max(self.by_id, default=0))

    def restart_clocks(self, now_ms: int) -> None:
        """Give every session its whole timeout again, as after a restart."""
        self._buckets.clear()
        self._next_bucket = None
        for session in self.by_id.values():
            session.touch(now_ms)
            self._put_in_bucket(session)

    def has_expired(self, now_ms: int) -> bool:
        """Say whether there may be sessions whose time is up."""
        return self._next_bucket is not None and self._next_bucket * self._bucket_ms <= now_ms

    def expired(self, now_ms: int, at_most: int = _LARGEST_COUNT) -> list[Session]:
        """Return sessions whose time is up, in order of their buckets; none: there are no more.

        Each is returned once: the caller closes or postpones it. The call looks at about
        ``at_most`` sessions, or at more until it finds one.
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
        """Let a session live for one more tick: its client may have been heard meanwhile."""
        session.expires_at_ms = max(session.expires_at_ms, now_ms + self._bucket_ms)
        self._put_in_bucket(session)

    def _put_in_bucket(self, session: Session) -> None:
        bucket = session.expires_at_ms // self._bucket_ms + 1
        self._buckets.setdefault(bucket, []).append(session)
        if self._next_bucket is None or bucket < self._next_bucket:
            self._next_bucket = bucket


def password_of(session_id: int, secret: bytes = b"") -> bytes:
    """Return the password with which a client comes back to its session.

    With a secret, only a server with the same secret can compute it. Without one, anyone can who
    knows the session id: it is Apache ZooKeeper's (``ZooKeeperServer.generatePasswd``: 16 bytes of
    Java's ``Random`` seeded with the session id and a constant), so that a client keeps its session
    when its data directory moves between zoolet and Apache ZooKeeper.
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
    """Say whether it is the session's password; how long that takes tells nothing about it."""
    import hmac  # noqa: PLC0415 -- not before a session is resumed

    return hmac.compare_digest(given, password_of(session_id, secret))
