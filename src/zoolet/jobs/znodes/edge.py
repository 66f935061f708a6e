"""Sends all requests about a queue's znodes, and returns the replies.

Invariants: a call returns the content of the server's reply, or raises a JobError or an error of
`zoolet.jobs.znodes.operations`. Callers do not see the errors of the client. One request reads as
many znodes as fit into a reply of moderate size. This module does not know the content of jobs, and
does not know the client: it uses a `Link`. It imports this package, the errors of the job system,
`zoolet.client.errors` and ``model``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

from zoolet.client.errors import (
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistencyError,
    ZooKeeperError,
)
from zoolet.jobs.errors import UnknownQueueError
from zoolet.jobs.znodes.deadlines import Deadline
from zoolet.jobs.znodes.job_znodes import Znode, znode_of, znodes_of
from zoolet.jobs.znodes.link import Events, Link, Watch
from zoolet.jobs.znodes.operations import (
    Create,
    Delete,
    Operation,
    RefusedError,
    needed_permission,
)
from zoolet.jobs.znodes.requests import REPLY_LOST, Requests, refused
from zoolet.jobs.znodes.server_clock import ServerClock
from zoolet.model import paths
from zoolet.model.acl import AclList
from zoolet.model.stat import Stat

T = TypeVar("T")

READ_AT_ONCE = 50
"""Znodes in one multiRead. A job has a few hundred bytes, so the reply stays under 64 KiB."""
EXIST_AT_ONCE = 500
"""Znodes whose existence one multiRead checks; its reply has no data."""


class MissingError(UnknownQueueError):
    """A znode that every queue must have does not exist."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"the znode {path} does not exist: was the queue removed? Create the queue again with"
            " zoolet jobs create"
        )


class Znodes:
    """The znodes at and below ``root``, which ``link`` reads and writes.

    Attributes:
        acl: a function that returns the ACL for znodes that are created at or below the root; None
            stands for the default ACL of the link.
    """

    def __init__(self, link: Link, root: str) -> None:
        self._link = link
        self._root = root
        self._prefix = "" if root == paths.ROOT else root
        self._requests = Requests(link)
        self.acl: Callable[[], AclList | None] = lambda: None

    def path(self, *names: str) -> str:
        """Return the path of a znode under the root."""
        return "/".join((self._prefix, *names)) or paths.ROOT

    @property
    def whole_root(self) -> str:
        """The path of the root, also the part above it that the client's chroot hides."""
        return f"{self._link.chroot}{self._prefix}" or paths.ROOT

    @property
    def within(self) -> Callable[..., AbstractContextManager[Deadline]]:
        """A context manager that gives all requests of a block one deadline (`Requests.within`)."""
        return self._requests.within

    def check_process(self) -> None:
        """Raise ForkedError if this is a forked child of the process that connected."""
        self._requests.home.check()

    @property
    def is_in_own_process(self) -> bool:
        """Whether this is the process that connected, not a forked child of that process."""
        return self._requests.home.is_here

    def pause(self, tries: int, first_s: float) -> None:
        """Wait before the next try of an operation; see `Requests.pause`."""
        self._requests.pause(tries, first_s)

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds``, as the callers of this link wait."""
        self._link.sleep(seconds)

    def new_events(self) -> Events:
        """Return an empty queue of events, for which the callers of this link can wait."""
        return self._link.new_events()

    def blocking(self, function: Callable[[], T]) -> T:
        """Call a function that waits for something else, for example a database."""
        return self._link.blocking(function)

    # --- Reading

    def get(self, path: str, watch: Watch | None = None) -> Znode | None:
        """Return a znode and set a watch; None, without a watch, if the znode does not exist."""
        try:
            return znode_of(self._requests.ask(lambda s: self._link.get(path, watch, s), path))
        except NoNodeError:
            return None

    def get_all(self, wanted: Sequence[str]) -> list[Znode | None]:
        """Return the znodes at these paths, None for each znode that does not exist.

        A znode without READ permission is returned without data, with the version -1.
        """
        found: list[Znode | None] = []
        for some in _parts(wanted, READ_AT_ONCE):
            answers = self._requests.ask(partial(self._link.read_many, some, ()))
            found += znodes_of(answers.data)
        return found

    def children_of_all(self, wanted: Sequence[str]) -> list[list[str]]:
        """Return the names of each znode's children; [] for a znode that does not exist.

        Only for znodes that have few children, because one reply has the children of all znodes.
        """
        answers = self._requests.ask(partial(self._link.read_many, (), wanted))
        found: list[list[str]] = []
        for path, answer in zip(wanted, answers.children, strict=True):
            if not isinstance(answer, ZooKeeperError):
                found.append(list(answer))
            elif isinstance(answer, NoNodeError):
                found.append([])
            else:
                raise refused(answer, path, "READ")
        return found

    def which_exist(self, wanted: Sequence[str]) -> list[bool]:
        """Return for each path whether the znode exists, without reading data."""
        found: list[bool] = []
        for some in _parts(wanted, EXIST_AT_ONCE):
            answers = self._requests.ask(partial(self._link.read_many, (), some))
            found += [not isinstance(answer, NoNodeError) for answer in answers.children]
        return found

    def exists(self, path: str, watch: Watch | None = None) -> bool:
        """Return whether a znode exists; the watch is set in either case."""
        return self._stat(path, watch) is not None

    def _stat(self, path: str, watch: Watch | None = None) -> Stat | None:
        return self._requests.ask(lambda s: self._link.exists(path, watch, s), path)

    def exists_all(self, wanted: Sequence[tuple[str, Watch | None]]) -> list[bool]:
        """Return for each path whether the znode exists, and set the watches."""
        found: list[bool] = []
        for some in _parts(wanted, READ_AT_ONCE):
            stats = self._requests.ask(partial(self._link.exist_all, some))
            found += [stat is not None for stat in stats]
        return found

    def watch_all(
        self, wanted: Sequence[tuple[str, Watch]], others: Sequence[str] = ()
    ) -> tuple[list[Znode | None], list[bool]]:
        """Return the znodes at these paths, None if one does not exist, and set a watch on each.

        Also returns for each of the ``others`` whether it exists. All requests are sent in one
        round trip, so ``wanted`` must not have more than `READ_AT_ONCE` paths.
        """
        data_of = [path for path, _ in wanted]
        answers = self._requests.ask(
            lambda s: self._link.read_many(data_of, others, s, watched=wanted)
        )
        return znodes_of(answers.data), [
            not isinstance(found, NoNodeError) for found in answers.children
        ]

    def count_children(self, path: str) -> int:
        """Return the number of a znode's children; 0 if the znode does not exist."""
        stat = self._stat(path)
        return 0 if stat is None else stat.num_children

    def children(self, path: str, watch: Watch | None = None) -> list[str]:
        """Return the names of a znode's children, and set a watch on them.

        Raises:
            MissingError: the znode does not exist; no watch was set.
        """
        try:
            names = self._requests.ask(lambda s: self._link.children(path, watch, s), path)
        except NoNodeError:
            raise MissingError(path) from None
        return list(names)

    def acl_of(self, path: str) -> AclList:
        """Return the ACL of a znode.

        Raises:
            MissingError: the znode does not exist.
        """
        try:
            return self._requests.ask(partial(self._link.acl_of, path), path, "READ or ADMIN")
        except NoNodeError:
            raise MissingError(path) from None

    # --- Writing

    def ensure(self, *wanted: str) -> None:
        """Create the znodes at these paths, and their parents, if they do not exist."""
        for path in wanted:
            if not self.exists(path):
                if path != paths.ROOT:
                    self.ensure(paths.parent_of(path))
                self.create(path, b"")

    def create(self, path: str, data: bytes) -> bool:
        """Create a znode; return False if the znode exists already."""
        try:
            self._create(Create(path, data))
        except NodeExistsError:
            return False
        except NoNodeError:
            raise MissingError(paths.parent_of(path)) from None
        return True

    def create_ephemeral(self, path: str, data: bytes) -> bool:
        """Create an ephemeral; return False if the znode exists and another session owns it."""
        try:
            self._create(Create(path, data, ephemeral=True))
        except NodeExistsError:
            # Another session owns the znode, or a first try, whose reply was lost, created it.
            stat = self._stat(path)
            return stat is not None and stat.ephemeral_owner == self.session_id
        except NoNodeError:
            raise MissingError(paths.parent_of(path)) from None
        return True

    @property
    def session_id(self) -> int | None:
        """The id of the client's session; None if the client has no session yet."""
        return self._link.session_id

    def create_in_line(self, path: str, token: str) -> str:
        """Create an ephemeral to whose name the server appends a sequence; return the name.

        ``token`` is a unique text and becomes the znode's data. If the reply is lost, the
        znode is found by this token. Without a token, this session would create a second znode, and
        wait for ever behind its own first znode.
        """
        wanted = Create(path, token.encode(), sequence=True, ephemeral=True)
        has_sent = False

        def attempt() -> str:
            nonlocal has_sent
            if has_sent and (name := self._with_data(paths.parent_of(path), token)) is not None:
                return name
            has_sent = True
            return paths.name_of(self._send_create(wanted))

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

    def _create(self, wanted: Create) -> None:
        self._requests.until_answered(lambda: self._send_create(wanted), writes=True)

    def _send_create(self, wanted: Create) -> str:
        acl = self._acl_for(wanted.path)
        return self._requests.send(
            lambda s: self._link.create(wanted, acl, s), paths.parent_of(wanted.path), "CREATE"
        )

    def _acl_for(self, path: str) -> AclList:
        """Return the ACL for a new znode; znodes above the root do not get the queue's ACL."""
        is_below = path == self._root or path.startswith(f"{self._prefix}/")
        return (is_below and self.acl()) or self._link.default_acl

    def set(self, path: str, data: bytes) -> bool:
        """Set a znode's data at any version; return False if the znode does not exist."""
        try:
            self._requests.ask(partial(self._link.set, path, data), path, "WRITE", writes=True)
        except NoNodeError:
            return False
        return True

    def set_with_time(self, path: str, data: bytes, clock: ServerClock) -> bool:
        """Set a znode's data like `set`, and add the server's time of the write to ``clock``."""

        def attempt(timeout_s: float | None) -> None:
            sent_s = clock.monotonic_s()
            stat = self._link.set(path, data, timeout_s)
            clock.add(sent_s, clock.monotonic_s(), stat.mtime)

        try:
            self._requests.ask(attempt, path, "WRITE", writes=True)
        except NoNodeError:
            return False
        return True

    def delete(self, path: str, version: int = -1) -> bool:
        """Delete a znode; return False if it has another version, has children or is missing."""
        try:
            self.multi([Delete(path, version)], landed=lambda: not self.exists(path))
        except RefusedError:
            return False
        return True

    def delete_tree(self, path: str) -> None:
        """Delete a znode and all znodes below it; no program may create znodes there meanwhile."""
        try:
            names = self.children(path)
        except MissingError:
            return
        for child in self.delete_each([f"{path}/{name}" for name in names]):
            self.delete_tree(child)
        self.delete(path)

    def delete_each(self, wanted: Sequence[str]) -> list[str]:
        """Delete the znodes at these paths, and return the paths of those that have children."""
        left: list[str] = []
        for some in _parts(wanted, READ_AT_ONCE):
            results = self._requests.ask(partial(self._link.delete_all, some), writes=True)
            for path, error in zip(some, results, strict=True):
                if isinstance(error, NotEmptyError):
                    left.append(path)
                elif error is not None and not isinstance(error, NoNodeError):
                    raise refused(error, paths.parent_of(path), "DELETE")
        return left

    def multi(
        self, operations: Iterable[Operation], landed: Callable[[], bool]
    ) -> list[str | None] | None:
        """Execute all operations or none of them, even if a reply is lost.

        If the reply to a multi is lost, the server may have executed the multi. ``landed`` reads
        znodes and returns whether the multi was executed. If so, the multi is not sent again, and
        the result is None. ``landed`` is called again if a second try is refused, because the
        server may have executed the first try in the meantime.

        Raises:
            RefusedError: the server refused the multi and executed no operation.
            AccessDeniedError: a permission is missing; the server executed no operation.
        """
        operations = list(operations)
        reply_lost = False

        def attempt() -> list[str | None] | None:
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

    def _commit(self, operations: Sequence[Operation]) -> list[str | None]:
        creates = any(isinstance(operation, Create) for operation in operations)
        acl = (creates and self.acl()) or self._link.default_acl
        try:
            return self._requests.send(partial(self._link.multi, operations, acl))
        except ZooKeeperError as error:
            # In a refused multi, the operations before the failed one are rolled back, and the
            # operations after it are not executed.
            for position, result in enumerate(error.results):
                if isinstance(result, NoAuthError):
                    needed = needed_permission(operations[position])
                    raise refused(result, *needed) from None
                if not isinstance(result, RolledBackError | RuntimeInconsistencyError):
                    raise RefusedError(position, result) from None
            raise


def _parts(wanted: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(wanted), size):
        yield wanted[start : start + size]
