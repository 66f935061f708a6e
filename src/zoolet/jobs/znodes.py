"""The typed edge to kazoo: reads that are tried again, and multis whose reply may be lost.

Owns every call to the client. What holds: a call returns what the server answered, or raises what
the server refused; a lost connection is waited out by the client's own retry policy
(``client.retry``). Many znodes are read in one request, as many as fit an answer of moderate size.
Knows nothing of jobs. Imports zoolet.client and zoolet.model.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

from kazoo.client import KazooClient
from kazoo.exceptions import (
    ConnectionLoss,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    RolledBackError,
    RuntimeInconsistency,
    SessionExpiredError,
    ZookeeperError,
)
from kazoo.protocol import serialization
from kazoo.security import ACL, OPEN_ACL_UNSAFE

from zoolet.client import call, multi_read
from zoolet.client.requests import Multi
from zoolet.model import paths
from zoolet.model.codes import OpCode

REPLY_LOST = (ConnectionLoss, OperationTimeoutError, SessionExpiredError)
"""After these, a request may have been done or not."""

READ_AT_ONCE = 50
"""Znodes in one multiRead. Jobs are a few hundred bytes, so the answer stays under 64 KiB."""

_SEQUENTIAL = 2
_INT = struct.Struct("!i")
_HEADER = struct.Struct("!ibii")
"""Of an operation: its code, not the end, no error; then how many bytes its path has."""
_END = struct.pack("!ibi", -1, 1, -1)

Watch = Callable[[Any], None]
"""Called once, with kazoo's event: the znode changed, or the connection was lost."""


class Znode(NamedTuple):
    """A znode's data, the version it has it in, how many children it has, and when it was made."""

    data: bytes
    version: int
    children: int
    created_ms: int


class Create(NamedTuple):
    """Create a znode; with ``sequence`` the server appends the parent's counter to its name."""

    path: str
    data: bytes
    sequence: bool = False


class Delete(NamedTuple):
    """Delete a znode that has this version; -1 is any."""

    path: str
    version: int


class SetData(NamedTuple):
    """Replace the data of a znode that has this version; -1 is any."""

    path: str
    data: bytes
    version: int


class Exists(NamedTuple):
    """Refuse the multi unless this znode exists."""

    path: str


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

    @property
    def lacks_parent(self) -> bool:
        """Whether the znode that it is about, or the parent of one to create, is not there."""
        return isinstance(self.error, NoNodeError)


class PackedMulti(Multi):
    """A multi that is packed at once, operation by operation.

    kazoo makes an object and ten small pieces of bytes of each operation, which is half of what a
    job costs its submitter; the bytes are the same.
    """

    packed: bytes

    def __new__(
        cls, operations: Sequence[Operation], chroot: str, acl: Sequence[ACL] | None
    ) -> Self:
        """Pack the operations, whose paths are under the chroot."""
        request: Self = super().__new__(cls, operations)
        request.packed = b"".join(_pack(operations, chroot.encode(), acl or OPEN_ACL_UNSAFE))
        return request

    def serialize(self) -> bytes:
        """Return the request's body."""
        return self.packed


def _pack(operations: Sequence[Operation], chroot: bytes, acl: Sequence[ACL]) -> Iterator[bytes]:
    created = serialization.Create("", b"", acl, 0).serialize()
    acls = bytes(created[2 * _INT.size : -_INT.size])
    for operation in operations:
        path = chroot + operation.path.encode()
        if isinstance(operation, Create):
            yield _HEADER.pack(OpCode.CREATE, 0, -1, len(path))
            yield path
            yield _INT.pack(len(operation.data)) + operation.data + acls
            yield _INT.pack(_SEQUENTIAL if operation.sequence else 0)
        elif isinstance(operation, Delete):
            yield _HEADER.pack(OpCode.DELETE, 0, -1, len(path))
            yield path + _INT.pack(operation.version)
        elif isinstance(operation, SetData):
            yield _HEADER.pack(OpCode.SET_DATA, 0, -1, len(path))
            yield path + _INT.pack(len(operation.data)) + operation.data
            yield _INT.pack(operation.version)
        else:
            yield _HEADER.pack(OpCode.CHECK, 0, -1, len(path))
            yield path + _INT.pack(-1)
    yield _END


class Znodes:
    """The znodes under ``root`` of what ``client`` is connected to."""

    def __init__(self, client: KazooClient, root: str) -> None:
        self._client = client
        self._prefix = "" if root == paths.ROOT else root

    def path(self, *names: str) -> str:
        """Return the path of a znode under the root."""
        return "/".join((self._prefix, *names)) or paths.ROOT

    def ensure(self, *wanted: str) -> None:
        """Create these paths, and what they stand in, where they do not exist."""
        for path in wanted:
            self._client.retry(self._client.ensure_path, path)

    def get(self, path: str, watch: Watch | None = None) -> Znode | None:
        """Return a znode, None where there is none; a watch is set only where there is one."""
        try:
            return _znode(self._client.retry(self._client.get, path, watch))
        except NoNodeError:
            return None

    def get_all(self, wanted: Sequence[str]) -> list[Znode | None]:
        """Return the znodes of these paths, None for each that is not there."""
        found: list[Znode | None] = []
        for start in range(0, len(wanted), READ_AT_ONCE):
            answers = self._multi_read(wanted[start : start + READ_AT_ONCE], ())
            found += [None if answer is None else _znode(answer) for answer in answers]
        return found

    def children_of_all(self, wanted: Sequence[str]) -> list[list[str]]:
        """Return the names of the children of each of these paths, none of one that is not there.

        Only for znodes that have few children: all answers come in one.
        """
        return [answer or [] for answer in self._multi_read((), wanted)]

    def _multi_read(self, data_of: Sequence[str], children_of: Sequence[str]) -> list[Any]:
        answers = self._client.retry(multi_read, self._client, data_of, children_of)
        for answer in answers:
            if isinstance(answer, ZookeeperError) and not isinstance(answer, NoNodeError):
                raise answer
        return [None if isinstance(answer, NoNodeError) else answer for answer in answers]

    def exists(self, path: str, watch: Watch | None = None) -> bool:
        """Say whether a path exists; the watch is set in either case."""
        return self._client.retry(self._client.exists, path, watch) is not None

    def exists_all(self, wanted: Sequence[tuple[str, Watch | None]]) -> list[bool]:
        """Say which of these paths exist, in one round trip, and set their watches."""

        def attempt() -> list[bool]:
            asked = [self._client.exists_async(path, watch) for path, watch in wanted]
            return [answer.get() is not None for answer in asked]

        found: list[bool] = self._client.retry(attempt)
        return found

    def watch_all(self, wanted: Sequence[tuple[str, Watch]]) -> list[Znode | None]:
        """Return the znodes of these paths, and set a watch on each: it may not be there yet.

        In one round trip, so for no more than `READ_AT_ONCE` paths.
        """

        def attempt() -> list[Any]:
            asked = [self._client.exists_async(path, watch) for path, watch in wanted]
            found = multi_read(self._client, [path for path, _ in wanted], ())
            for answer in asked:
                answer.get()
            return found

        answers = self._client.retry(attempt)
        return [_znode(answer) if isinstance(answer, tuple) else None for answer in answers]

    def count_children(self, path: str) -> int:
        """Return how many children a znode has; 0 where there is none."""
        stat = self._client.retry(self._client.exists, path)
        return 0 if stat is None else int(stat.numChildren)

    def children(self, path: str, watch: Watch | None = None) -> list[str]:
        """Return the names of a znode's children, and set a watch on them.

        Raises:
            NoNodeError: it is not there, and no watch was set.
        """
        names: list[str] = self._client.retry(self._client.get_children, path, watch)
        return names

    def create(self, path: str, data: bytes) -> bool:
        """Create a znode; False where it exists."""
        try:
            self._client.retry(self._client.create, path, data)
        except NodeExistsError:
            return False
        return True

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

    def create_in_line(self, path: str) -> str:
        """Create an ephemeral whose name the server ends with a sequence; return its name."""
        created = self._client.retry(self._client.create, path, b"", ephemeral=True, sequence=True)
        return paths.name_of(created)

    def set(self, path: str, data: bytes) -> bool:
        """Replace a znode's data, whatever its version; False where it is not there."""
        try:
            self._client.retry(self._client.set, path, data)
        except NoNodeError:
            return False
        return True

    def delete(self, path: str, version: int = -1) -> bool:
        """Delete a znode that has this version; False where it has not, or is not there."""
        try:
            self.multi([Delete(path, version)], landed=lambda: not self.exists(path))
        except RefusedError:
            return False
        return True

    def delete_tree(self, path: str) -> None:
        """Delete a znode and all below it, which nobody adds to any more."""
        try:
            self._client.retry(self._client.delete, path, recursive=True)
        except NoNodeError:
            return

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
        request = PackedMulti(operations, self._client.chroot, self._client.default_acl)
        results: list[Any] = call(self._client, request).get()
        for position, result in enumerate(results):
            # Of a refused multi, what stands before the culprit is rolled back, and what stands
            # after it was not looked at.
            if isinstance(result, ZookeeperError) and not isinstance(
                result, RolledBackError | RuntimeInconsistency
            ):
                raise RefusedError(position, result)
        return results


def _znode(answer: Any) -> Znode:
    data, stat = answer
    return Znode(data, stat.version, stat.numChildren, stat.ctime)
