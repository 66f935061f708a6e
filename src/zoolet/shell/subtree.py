"""Walking over a subtree and deleting one, with bounded requests and bounded memory.

A walk reads many znodes in one request (multiRead), as many as make about a megabyte, and holds no
more than that for each level of the tree. It is no snapshot: each request sees the tree of its own
moment, and a znode that goes meanwhile is passed over. Imports ``model`` and ``client``.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from kazoo.exceptions import (
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
    ZookeeperError,
)
from kazoo.protocol.serialization import Delete
from kazoo.protocol.states import ZnodeStat

from zoolet.client import full_path, multi_async, multi_read
from zoolet.model import paths
from zoolet.shell.errors import CommandError, describe
from zoolet.shell.formatting import counted
from zoolet.shell.interrupts import held_back

Item = TypeVar("Item")

MULTI_BYTES = 512 * 1024
"""What one multi may hold, well below the least jute.maxbuffer in use (1 MiB)."""

MULTIS_IN_FLIGHT = 8

_OPERATION_BYTES = 64
"""What an operation has beside its path, data and ACL, and more."""

_READ_BYTES = 1024 * 1024
_FIRST_READ = 32
_LONGEST_READ = 500
"""A znode takes two operations of a multiRead where its data is read; servers allow 1,000."""

_DELETE_ROUNDS = 10


class Visited(NamedTuple):
    """A znode that a walk has come to.

    Attributes:
        path: its path.
        children: the names of its children, sorted; none where ``error`` is set.
        data: its data, where the walk reads data.
        stat: its Stat, where the walk reads data.
        error: why it could not be read.
    """

    path: str
    children: list[str]
    data: bytes | None = None
    stat: ZnodeStat | None = None
    error: ZookeeperError | None = None


def walk(
    client: Any, root: str, *, with_data: bool = False, max_depth: int | None = None
) -> Iterator[Visited]:
    """Yield ``root`` and the znodes below it, each before its children, in order of name.

    Raises NoNodeError where there is no ``root``. Below ``max_depth`` nothing is read: the znodes
    there come with their children's names, which are not visited.
    """
    reader = _Reader(client, with_data=with_data)
    waiting = [root]
    while waiting:
        path = waiting.pop()
        visited = reader.visit(path, waiting)
        if isinstance(visited.error, NoNodeError):
            if path == root:
                raise visited.error
            continue
        yield visited
        if max_depth is None or depth_below(root, path) < max_depth:
            waiting += [paths.join(path, name) for name in reversed(visited.children)]


def depth_below(root: str, path: str) -> int:
    """Return how many levels ``path``, which is in the subtree, stands below ``root``."""
    return 0 if path == root else path.count("/") - (0 if root == paths.ROOT else root.count("/"))


class _Reader:
    """Reads the znode that is next together with those that come soon."""

    def __init__(self, client: Any, *, with_data: bool) -> None:
        self._client = client
        self._with_data = with_data
        self._read: dict[str, Visited] = {}
        self._count = _FIRST_READ

    def visit(self, path: str, waiting: Sequence[str]) -> Visited:
        """Return what there is at ``path``; ``waiting`` are those to come, the next one last."""
        if path not in self._read:
            soon = waiting[max(len(waiting) - self._count + 1, 0) :]
            self._read_together([path, *(other for other in soon if other not in self._read)])
        return self._read.pop(path)

    def _read_together(self, together: list[str]) -> None:
        found = multi_read(self._client, together if self._with_data else (), together)
        data = found[: len(together)] if self._with_data else [(None, None)] * len(together)
        children = found[len(found) - len(together) :]
        size_bytes = 1
        for path, read, names in zip(together, data, children, strict=True):
            error = next((part for part in (read, names) if isinstance(part, Exception)), None)
            if error is not None:
                self._read[path] = Visited(path, [], error=error)
                continue
            self._read[path] = Visited(path, sorted(names), *read)
            size_bytes += len(read[0] or b"") + sum(map(len, names)) + len(path)
        fitting = _READ_BYTES * len(together) // size_bytes
        self._count = max(1, min(fitting, self._count * 2, _LONGEST_READ))


def delete_subtree(client: Any, root: str, batch_size: int, advance: Callable[[int], None]) -> int:
    """Delete ``root`` and everything below it, the deepest first; returns how many were deleted.

    Each batch is a multi. What someone else deletes meanwhile is passed over, what someone adds is
    met in a further round. Raises NoNodeError where there is no ``root``, CommandError where
    something could not be deleted.
    """
    found = _listed(client, root)
    deleted = 0
    for _ in range(_DELETE_ROUNDS):
        deleting = _Deleting(client, advance)
        deleting.delete(found[::-1], batch_size)
        deleted += deleting.count
        if deleting.refusal:
            told = f"{deleting.refusal}; {counted(deleted, 'znode')} had been deleted"
            is_all = deleting.count == len(found)
            raise CommandError(told if is_all else f"{told}, the rest of {root} stays")
        try:
            found = _listed(client, root)
        except NoNodeError:
            return deleted
    raise CommandError(f"{root}: children are created faster than they can be deleted")


def _listed(client: Any, root: str) -> list[str]:
    """Return the paths of a subtree; raises CommandError where not all can be seen."""
    found = []
    for visited in walk(client, root):
        if visited.error is not None:
            raise CommandError(
                f"{describe(visited.error, visited.path)}: what is below it cannot be listed"
            )
        found.append(visited.path)
    return found


class _Deleting:
    """One round of deletes.

    Attributes:
        count: how many znodes it has deleted.
        refusal: why it ended, where no further round will mend that; "" where it came to its end.
    """

    def __init__(self, client: Any, advance: Callable[[int], None]) -> None:
        self.count = 0
        self.refusal = ""
        self._client = client
        self._advance = advance

    def delete(self, found: Sequence[str], batch_size: int) -> None:
        """Delete paths in this order, so many in a multi."""
        sent: deque[tuple[Sequence[str], Any]] = deque()
        try:
            for batch in in_batches(found, batch_size, lambda path: len(path.encode())):
                operations = [Delete(full_path(self._client, path), -1) for path in batch]
                with held_back():
                    sent.append((batch, multi_async(self._client, operations)))
                if len(sent) >= MULTIS_IN_FLIGHT:
                    self._settle_next(sent)
                if self.refusal:
                    break
        except KeyboardInterrupt as interrupt:
            self.refusal = describe(interrupt, "")
        while sent:
            try:
                self._settle_next(sent)
            except KeyboardInterrupt as interrupt:
                if self.refusal:
                    raise
                self.refusal = describe(interrupt, "")

    def _settle_next(self, sent: deque[tuple[Sequence[str], Any]]) -> None:
        """Wait for the answer that comes next, and count it before a Ctrl-C ends the round."""
        with held_back():
            self._settle(*sent.popleft())

    def _settle(self, batch: Sequence[str], result: Any) -> None:
        """See what became of a batch; delete one by one where one spoilt it for the others."""
        answers = result.get()
        error = first_error(answers)
        if error is None:
            self._note(len(batch))
        elif not isinstance(error, (NoNodeError, NotEmptyError)):
            self._refuse(error, batch[answers.index(error)])
        else:
            singles = [(path, self._client.delete_async(path)) for path in batch]
            for path, single in singles:
                self._settle_one(path, single)

    def _settle_one(self, path: str, single: Any) -> None:
        try:
            single.get()
        except (NoNodeError, NotEmptyError):
            return
        except ZookeeperError as error:
            self._refuse(error, path)
        else:
            self._note(1)

    def _note(self, count: int) -> None:
        self.count += count
        self._advance(count)

    def _refuse(self, error: ZookeeperError, path: str) -> None:
        self.refusal = self.refusal or describe(error, path)


def in_batches(
    items: Iterable[Item], most: int, size_of: Callable[[Item], int]
) -> Iterator[list[Item]]:
    """Yield the items in batches that a multi can hold, of at most so many."""
    batch: list[Item] = []
    size_bytes = 0
    for item in items:
        item_bytes = size_of(item) + _OPERATION_BYTES
        if batch and (len(batch) >= most or size_bytes + item_bytes > MULTI_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(item)
        size_bytes += item_bytes
    if batch:
        yield batch


def first_error(answers: Sequence[Any]) -> ZookeeperError | None:
    """Return the error for which a multi was refused, not those of its other operations."""
    for answer in answers:
        is_error = isinstance(answer, ZookeeperError)
        if is_error and not isinstance(answer, (RolledBackError, RuntimeInconsistency)):
            error: ZookeeperError = answer
            return error
    return None
