"""The typed edge to kazoo: every request about a queue's znodes, and what becomes of its reply.

With `zoolet.jobs.znodes.requests` it owns every call to the client. What holds: a call returns what
the server answered, or raises a JobError or an error of this module or of
`zoolet.jobs.znodes.operations`; kazoo's types and errors end here. Many znodes are read in one
request, as many as fit an answer of moderate size. Knows nothing of jobs. Imports zoolet.client,
zoolet.model, and kazoo.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import (
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
    ZookeeperError,
)

from zoolet.client import call, multi_read_async
from zoolet.jobs.errors import UnknownQueueError
from zoolet.jobs.znodes.deadlines import Deadline
from zoolet.jobs.znodes.operations import (
    Create,
    Delete,
    Operation,
    PackedMulti,
    RefusedError,
    needed_permission,
)
from zoolet.jobs.znodes.requests import REPLY_LOST, Requests, refused
from zoolet.jobs.znodes.server_clock import ServerClock
from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, AclList

T = TypeVar("T")

READ_AT_ONCE = 50
"""Znodes in one multiRead. Jobs are a few hundred bytes, so the answer stays under 64 KiB."""
EXIST_AT_ONCE = 500
"""Znodes that are looked for in one multiRead: the answers have no data."""

FORBIDDEN_VERSION: Final = -1
"""Version of a znode that the client may not read, in an answer about many znodes."""

Watch = Callable[[Any], None]
"""Called once, with kazoo's event: the znode changed, or the connection was lost."""


class Znode(NamedTuple):
    """A znode's data, the version it has it in, how many children it has, and when it was made."""

    data: bytes
    version: int
    children: int
    created_ms: int


class MissingError(UnknownQueueError):
    """A znode that every queue has is not there."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"the znode {path} is not there: was the queue removed? Create it again with zoolet"
            " jobs create"
        )


class Znodes:
    """The znodes under ``root`` of what ``client`` is connected to.

    Attributes:
        acl: returns the ACL of the znodes that are created at or below the root; None: the client's
            default.
    """

    def __init__(self, client: KazooClient, root: str) -> None:
        self._client = client
        self._root = root
        self._prefix = "" if root == paths.ROOT else root
        self._requests = Requests(client)
        self.acl: Callable[[], AclList | None] = lambda: None

    def path(self, *names: str) -> str:
        """Return the path of a znode under the root."""
        return "/".join((self._prefix, *names)) or paths.ROOT

    @property
    def within(self) -> Callable[..., AbstractContextManager[Deadline]]:
        """Gives all requests of a block one deadline; see `Requests.within`."""
        return self._requests.within

    def check_process(self) -> None:
        """Raise ForkedError in a child process that was forked from the one that connected."""
        self._requests.home.check()

    @property
    def is_in_own_process(self) -> bool:
        """Whether this is the process that connected, and no child that was forked from it."""
        return self._requests.home.is_here

    def pause(self, tries: int, first_s: float) -> None:
        """Wait a moment before what was tried before is tried again; see `Requests.pause`."""
        self._requests.pause(tries, first_s)

    # --- Reading

    def get(self, path: str, watch: Watch | None = None) -> Znode | None:
        """Return a znode, None where there is none; a watch is set only where there is one."""
        try:
            return _znode(
                self._requests.until_answered(
                    lambda: self._requests.answer(self._client.get_async(path, watch), path)
                )
            )
        except NoNodeError:
            return None

    def get_all(self, wanted: Sequence[str]) -> list[Znode | None]:
        """Return the znodes of these paths, None for each that is not there.

        A znode that this client may not read is empty and has the version -1.
        """
        found: list[Znode | None] = []
        for some in _parts(wanted, READ_AT_ONCE):
            answers = self._requests.until_answered(partial(self._multi_read, some, ()))
            found += [_znode_read(answer) for answer in answers]
        return found

    def children_of_all(self, wanted: Sequence[str]) -> list[list[str]]:
        """Return the names of the children of each of these paths, none of one that is not there.

        Only for znodes that have few children: all answers come in one.
        """
        answers = self._requests.until_answered(lambda: self._multi_read((), wanted))
        for path, answer in zip(wanted, answers, strict=True):
            if isinstance(answer, ZookeeperError) and not isinstance(answer, NoNodeError):
                raise refused(answer, path, "READ")
        return [[] if isinstance(answer, NoNodeError) else answer for answer in answers]

    def which_exist(self, wanted: Sequence[str]) -> list[bool]:
        """Say which of these paths exist, and read none of their data."""
        found: list[bool] = []
        for some in _parts(wanted, EXIST_AT_ONCE):
            answers = self._requests.until_answered(partial(self._multi_read, (), some))
            found += [not isinstance(answer, NoNodeError) for answer in answers]
        return found

    def _multi_read(self, data_of: Sequence[str], children_of: Sequence[str]) -> list[Any]:
        """Return the answer to each part, an error where it was refused."""
        sent = multi_read_async(self._client, data_of, children_of)
        return [part for answer in sent for part in self._requests.answer(answer)]

    def exists(self, path: str, watch: Watch | None = None) -> bool:
        """Say whether a path exists; the watch is set in either case."""
        return self._stat(path, watch) is not None

    def _stat(self, path: str, watch: Watch | None = None) -> Any:
        return self._requests.until_answered(
            lambda: self._requests.answer(self._client.exists_async(path, watch), path)
        )

    def exists_all(self, wanted: Sequence[tuple[str, Watch | None]]) -> list[bool]:
        """Say which of these paths exist, and set their watches."""
        found: list[bool] = []
        for some in _parts(wanted, READ_AT_ONCE):
            found += self._requests.until_answered(partial(self._exist, some))
        return found

    def _exist(self, wanted: Sequence[tuple[str, Watch | None]]) -> list[bool]:
        asked = [(path, self._client.exists_async(path, watch)) for path, watch in wanted]
        return [self._requests.answer(answer, path) is not None for path, answer in asked]

    def watch_all(
        self, wanted: Sequence[tuple[str, Watch]], others: Sequence[str] = ()
    ) -> tuple[list[Znode | None], list[bool]]:
        """Return the znodes of these paths, and set a watch on each: it may not be there yet.

        Says too which of the ``others`` exist. In one round trip, so for no more than
        `READ_AT_ONCE` paths.
        """

        def attempt() -> list[Any]:
            asked = [(path, self._client.exists_async(path, watch)) for path, watch in wanted]
            found = self._multi_read([path for path, _ in wanted], others)
            for path, answer in asked:
                self._requests.answer(answer, path)
            return found

        answers = self._requests.until_answered(attempt)
        znodes = [_znode_read(answer) for answer in answers[: len(wanted)]]
        return znodes, [not isinstance(found, NoNodeError) for found in answers[len(wanted) :]]

    def count_children(self, path: str) -> int:
        """Return how many children a znode has; 0 where there is none."""
        stat = self._stat(path)
        return 0 if stat is None else int(stat.numChildren)

    def children(self, path: str, watch: Watch | None = None) -> list[str]:
        """Return the names of a znode's children, and set a watch on them.

        Raises:
            MissingError: it is not there, and no watch was set.
        """
        try:
            names: list[str] = self._requests.until_answered(
                lambda: self._requests.answer(self._client.get_children_async(path, watch), path)
            )
        except NoNodeError:
            raise MissingError(path) from None
        return names

    def acl_of(self, path: str) -> AclList:
        """Return the ACL of a znode.

        Raises:
            MissingError: it is not there.
        """
        try:
            entries, _ = self._requests.until_answered(
                lambda: self._requests.answer(
                    self._client.get_acls_async(path), path, "READ or ADMIN"
                )
            )
        except NoNodeError:
            raise MissingError(path) from None
        return tuple(entries)

    # --- Writing

    def ensure(self, *wanted: str) -> None:
        """Create these paths, and what they stand in, where they do not exist."""
        for path in wanted:
            if not self.exists(path):
                if path != paths.ROOT:
                    self.ensure(paths.parent_of(path))
                self.create(path, b"")

    def create(self, path: str, data: bytes) -> bool:
        """Create a znode; False where it exists."""
        try:
            self._create(path, data)
        except NodeExistsError:
            return False
        except NoNodeError:
            raise MissingError(paths.parent_of(path)) from None
        return True

    def create_ephemeral(self, path: str, data: bytes) -> bool:
        """Create a znode that goes with this session; False where it is another session's."""
        try:
            self._create(path, data, ephemeral=True)
        except NodeExistsError:
            # Either it is another session's, or this is the second try and the first was done.
            stat = self._stat(path)
            return stat is not None and stat.ephemeralOwner == self.session_id
        except NoNodeError:
            raise MissingError(paths.parent_of(path)) from None
        return True

    @property
    def session_id(self) -> int | None:
        """The id of the client's session; None if it has none yet."""
        session = self._client.client_id
        return None if session is None else int(session[0])

    def create_in_line(self, path: str, token: str) -> str:
        """Create an ephemeral whose name the server ends with a sequence; return its name.

        ``token`` is unique. By it the znode is found if the reply was lost: a second one of this
        session would stand in line before the first, for ever.
        """
        has_sent = False

        def attempt() -> str:
            nonlocal has_sent
            if has_sent and (name := self._with_data(paths.parent_of(path), token)) is not None:
                return name
            has_sent = True
            return paths.name_of(
                self._send_create(path, token.encode(), ephemeral=True, sequence=True)
            )

        try:
            return self._requests.until_answered(attempt, writes=True)
        except NoNodeError:
            raise MissingError(paths.parent_of(path)) from None

    def _with_data(self, parent: str, token: str) -> str | None:
        names = self.children(parent)
        found = self.get_all([f"{parent}/{name}" for name in names])
        for name, znode in zip(names, found, strict=True):
            if znode is not None and znode.data == token.encode():
                return name
        return None

    def _create(self, path: str, data: bytes, *, ephemeral: bool = False) -> None:
        self._requests.until_answered(
            lambda: self._send_create(path, data, ephemeral=ephemeral), writes=True
        )

    def _send_create(
        self, path: str, data: bytes, *, ephemeral: bool = False, sequence: bool = False
    ) -> str:
        created = self._client.create_async(
            path, data, acl=self._acl_for(path), ephemeral=ephemeral, sequence=sequence
        )
        return str(self._requests.answer(created, paths.parent_of(path), "CREATE"))

    def _acl_for(self, path: str) -> AclList:
        """Return the ACL of a znode to create: what the root stands in is no part of the queue."""
        if path == self._root or path.startswith(f"{self._prefix}/"):
            return self.acl() or self._client.default_acl or OPEN_ACL
        return self._client.default_acl or OPEN_ACL

    def set(self, path: str, data: bytes) -> bool:
        """Replace a znode's data, whatever its version; False where it is not there."""
        try:
            self._requests.until_answered(
                lambda: self._requests.answer(self._client.set_async(path, data), path, "WRITE"),
                writes=True,
            )
        except NoNodeError:
            return False
        return True

    def set_with_time(self, path: str, data: bytes, clock: ServerClock) -> bool:
        """Replace a znode's data as `set`, and add the server's time of it to a clock."""

        def attempt() -> int:
            sent_s = clock.monotonic_s()
            stat = self._requests.answer(self._client.set_async(path, data), path, "WRITE")
            clock.add(sent_s, clock.monotonic_s(), int(stat.mtime))
            return int(stat.version)

        try:
            self._requests.until_answered(attempt, writes=True)
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
            names = self.children(path)
        except MissingError:
            return
        for some in _parts([f"{path}/{name}" for name in names], READ_AT_ONCE):
            for parent in self._requests.until_answered(
                partial(self._delete_leaves, some), writes=True
            ):
                self.delete_tree(parent)
        self.delete(path)

    def _delete_leaves(self, wanted: Sequence[str]) -> list[str]:
        """Delete those of these znodes that have no children; return the others."""
        sent = [(path, self._client.delete_async(path)) for path in wanted]
        parents = []
        for path, answer in sent:
            try:
                self._requests.answer(answer, paths.parent_of(path), "DELETE")
            except NoNodeError:
                continue
            except NotEmptyError:
                parents.append(path)
        return parents

    def multi(
        self, operations: Iterable[Operation], landed: Callable[[], bool]
    ) -> list[Any] | None:
        """Do all of these or none, whatever becomes of the reply.

        A multi whose reply was lost may have been done. ``landed`` finds out, by reading: where it
        says so, the multi is not tried again and the results are None. It is asked once more when
        the second try is refused, since the first may have been done in the meantime.

        Raises:
            RefusedError: nothing of it was done.
            AccessDeniedError: a permission is missing; nothing of it was done.
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

        return self._requests.until_answered(attempt, writes=True)

    def _commit(self, operations: Sequence[Operation]) -> list[Any]:
        creates = any(isinstance(operation, Create) for operation in operations)
        acl = (creates and self.acl()) or self._client.default_acl or OPEN_ACL
        request = PackedMulti(operations, self._client.chroot, acl)
        results: list[Any] = self._requests.answer(call(self._client, request))
        for position, result in enumerate(results):
            # Of a refused multi, what stands before the culprit is rolled back, and what stands
            # after it was not looked at.
            if isinstance(result, NoAuthError):
                raise refused(result, *needed_permission(operations[position]))
            if isinstance(result, ZookeeperError) and not isinstance(
                result, RolledBackError | RuntimeInconsistency
            ):
                raise RefusedError(position, result)
        return results


def _parts(wanted: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(wanted), size):
        yield wanted[start : start + size]


def _znode(answer: Any) -> Znode:
    data, stat = answer
    # A znode without data, which other programs create, has None.
    return Znode(data or b"", stat.version, stat.numChildren, stat.ctime)


def _znode_read(answer: Any) -> Znode | None:
    """Return a znode from a part of a multiRead: one that may not be read is empty."""
    if isinstance(answer, NoNodeError):
        return None
    if isinstance(answer, ZookeeperError):
        return Znode(b"", FORBIDDEN_VERSION, 0, 0)
    return _znode(answer)
