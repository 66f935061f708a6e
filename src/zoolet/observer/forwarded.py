"""The requests that were forwarded to the leader and are not answered yet.

The leader prepares the requests of one observer in the order in which the observer sent them, and
each of them becomes one txn; a refused request becomes an ErrorTxn. So the txn of the oldest write
comes first. All other txns are those of other servers. Syncs and revalidations are answered in
their own orders. Source: ``CommitProcessor`` and ``LearnerSyncRequest`` of Apache ZooKeeper.
"""

from collections import deque
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class OrderError(Exception):
    """The leader has answered a request that was not sent; the connection must end."""


class Lost(NamedTuple, Generic[T]):
    """The waiters whose requests have no answer, because the connection to the leader ended.

    Attributes:
        writes: the leader may have committed these requests or not.
        syncs: these requests change nothing.
        revalidations: the leader may have given these sessions to this server or not.
    """

    writes: list[T]
    syncs: list[T]
    revalidations: list[T]


class Forwarded(Generic[T]):
    """The requests on one connection to a leader; T is what the server needs to answer a request.

    If a client's connection ends, its requests stay here, because the leader answers them too.
    """

    def __init__(self) -> None:
        self._writes: deque[tuple[int, int, T]] = deque()
        self._syncs: deque[T] = deque()
        self._revalidations: deque[tuple[int, T]] = deque()

    @property
    def num_writes(self) -> int:
        """The number of writes without an answer."""
        return len(self._writes)

    @property
    def num_syncs(self) -> int:
        """The number of syncs without an answer."""
        return len(self._syncs)

    def add_write(self, session_id: int, cxid: int, waiter: T) -> None:
        """Add a request that changes something; also createSession, whose cxid is 0.

        The server must add the requests in the order in which it sends them.
        """
        self._writes.append((session_id, cxid, waiter))

    def add_sync(self, waiter: T) -> None:
        """Add a sync."""
        self._syncs.append(waiter)

    def add_revalidation(self, session_id: int, waiter: T) -> None:
        """Add the question whether a session exists."""
        self._revalidations.append((session_id, waiter))

    def take_write(self, session_id: int, cxid: int) -> T | None:
        """Return the waiter for a txn with these values; None if another server forwarded it.

        The server must call this for each txn that it applies, in order.
        """
        if not self._writes:
            return None
        oldest_session_id, oldest_cxid, waiter = self._writes[0]
        if session_id != oldest_session_id or cxid != oldest_cxid:
            return None
        self._writes.popleft()
        return waiter

    def take_sync(self) -> T:
        """Return the waiter of the oldest sync; raises OrderError if there is none."""
        if not self._syncs:
            raise OrderError("the leader has answered a sync that was not sent")
        return self._syncs.popleft()

    def take_revalidation(self, session_id: int) -> T:
        """Return the waiter of the oldest question, which must be about this session.

        Raises OrderError if it is not, or if there is none.
        """
        if not self._revalidations or self._revalidations[0][0] != session_id:
            raise OrderError(f"the leader was not asked about the session 0x{session_id:x}")
        return self._revalidations.popleft()[1]

    def end(self) -> Lost[T]:
        """Return all waiters, and forget them: the connection to the leader has ended."""
        lost = Lost(
            [waiter for _, _, waiter in self._writes],
            list(self._syncs),
            [waiter for _, waiter in self._revalidations],
        )
        self._writes.clear()
        self._syncs.clear()
        self._revalidations.clear()
        return lost
