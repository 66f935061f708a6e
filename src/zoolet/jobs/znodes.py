"""The typed edge to kazoo: reads that are tried again, and multis whose reply may be lost.

Owns every call to the client. What holds: a call returns what the server answered, or raises what
the server refused; a lost connection is waited out by the client's own retry policy
(``client.retry``). Knows nothing of jobs. Imports zoolet.model.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from kazoo.client import KazooClient
from kazoo.exceptions import (
    ConnectionLoss,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    RolledBackError,
    RuntimeInconsistency,
    SessionExpiredError,
)

from zoolet.model import paths

REPLY_LOST = (ConnectionLoss, OperationTimeoutError, SessionExpiredError)
"""After these, a request may have been done or not."""

Watch = Callable[[Any], None]
"""Called once, with kazoo's event: the znode changed, or the connection was lost."""


class Znode(NamedTuple):
    """A znode's data, and the version it has it in."""

    data: bytes
    version: int


class Create(NamedTuple):
    """Create a znode; with ``sequence`` the server appends the parent's counter to its name."""

    path: str
    data: bytes
    sequence: bool = False

    def add_to(self, transaction: Any) -> None:
        """Make this the next operation of a multi."""
        transaction.create(self.path, self.data, sequence=self.sequence)


class Delete(NamedTuple):
    """Delete a znode that has this version."""

    path: str
    version: int

    def add_to(self, transaction: Any) -> None:
        """Make this the next operation of a multi."""
        transaction.delete(self.path, self.version)


class SetData(NamedTuple):
    """Replace the data of a znode that has this version."""

    path: str
    data: bytes
    version: int

    def add_to(self, transaction: Any) -> None:
        """Make this the next operation of a multi."""
        transaction.set_data(self.path, self.data, self.version)


class Exists(NamedTuple):
    """Refuse the multi unless this znode exists."""

    path: str

    def add_to(self, transaction: Any) -> None:
        """Make this the next operation of a multi."""
        transaction.check(self.path, -1)


Operation = Create | Delete | SetData | Exists


class RefusedError(Exception):
    """The server refused a multi, and did nothing of it.

    Attributes:
        position: which of its operations could not be done, from 0.
        error: kazoo's error for that one.
    """

    def __init__(self, position: int, error: Exception) -> None:
        super().__init__(f"operation {position}: {error!r}")
        self.position = position
        self.error = error


class Znodes:
    """The znodes under ``root`` of what ``client`` is connected to."""

    def __init__(self, client: KazooClient, root: str) -> None:
        self._client = client
        self._root = root

    def path(self, *names: str) -> str:
        """Return the path of a znode under the root."""
        path = self._root
        for name in names:
            path = paths.join(path, name)
        return path

    def ensure(self, *directories: str) -> None:
        """Create these children of the root where they do not exist."""
        for directory in directories:
            self._client.retry(self._client.ensure_path, self.path(directory))

    def get(self, path: str) -> Znode | None:
        """Return a znode, None where there is none."""
        return self.get_all([path])[0]

    def get_all(self, wanted: Sequence[str]) -> list[Znode | None]:
        """Return the znodes of these paths, read in this order, in one round trip."""

        def attempt() -> list[Znode | None]:
            asked = [self._client.get_async(path) for path in wanted]
            return [_znode_or_none(answer) for answer in asked]

        found: list[Znode | None] = self._client.retry(attempt)
        return found

    def exists_all(self, wanted: Sequence[tuple[str, Watch | None]]) -> list[bool]:
        """Say which of these paths exist, in one round trip, and set their watches."""

        def attempt() -> list[bool]:
            asked = [self._client.exists_async(path, watch) for path, watch in wanted]
            return [answer.get() is not None for answer in asked]

        found: list[bool] = self._client.retry(attempt)
        return found

    def children(self, path: str, watch: Watch | None = None) -> list[str]:
        """Return the names of a znode's children, and set a watch on them."""
        names: list[str] = self._client.retry(self._client.get_children, path, watch)
        return names

    def create_ephemeral(self, path: str, data: bytes) -> bool:
        """Create a znode that goes with this session; False where it is another session's."""
        try:
            self._client.retry(self._client.create, path, data, ephemeral=True)
        except NodeExistsError:
            # Either it is another session's, or this is the second try and the first was done.
            stat = self._client.retry(self._client.exists, path)
            session = self._client.client_id
            return stat is not None and session is not None and stat.ephemeralOwner == session[0]
        return True

    def multi(
        self, operations: Iterable[Operation], landed: Callable[[], bool]
    ) -> list[Any] | None:
        """Do all of these or none, whatever becomes of the reply.

        A multi whose reply was lost may have been done. ``landed`` finds out, by reading: where it
        says so, the multi is not tried again and the results are None. It is asked once more when
        the second try is refused, since the first may have been done in the meantime.

        Raises:
            RefusedError: nothing of it was done.
        """
        operations = list(operations)
        reply_lost = False

        def attempt() -> list[Any] | None:
            nonlocal reply_lost
            if reply_lost and landed():
                return None
            try:
                return self._commit(operations)
            except REPLY_LOST:
                reply_lost = True
                raise
            except RefusedError:
                if reply_lost and landed():
                    return None
                raise

        results: list[Any] | None = self._client.retry(attempt)
        return results

    def _commit(self, operations: Sequence[Operation]) -> list[Any]:
        transaction = self._client.transaction()
        for operation in operations:
            operation.add_to(transaction)
        results: list[Any] = transaction.commit()
        for position, result in enumerate(results):
            # Of a refused multi, what stands before the culprit is rolled back, and what stands
            # after it was not looked at.
            if isinstance(result, Exception) and not isinstance(
                result, RolledBackError | RuntimeInconsistency
            ):
                raise RefusedError(position, result)
        return results


def _znode_or_none(answer: Any) -> Znode | None:
    try:
        data, stat = answer.get()
    except NoNodeError:
        return None
    return Znode(data, stat.version)
