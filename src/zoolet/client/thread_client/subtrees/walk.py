"""Walks over a subtree, with a bounded number of requests and bounded memory.

A walk reads many znodes in one multiRead, before it needs them. For each level of the tree, it
keeps at most about a megabyte of replies. A walk is not a snapshot: each request reads the current
state, and znodes that are deleted in the meantime are left out. Servers before 3.6 have no
multiRead; there, each znode is read by a request of its own.

Made by `release.client_methods` from `asyncio_client/subtrees/walk.py`: change that module.
"""

import heapq
from collections.abc import Iterator, Callable, Iterable
from itertools import islice
from typing import Final

from zoolet.client.thread_client.waiting import (
    FutureRequests,
    Pending,
    forget,
    known,
    result_of,
)
from zoolet.client.errors import NoAuthError, NoNodeError, UnimplementedError, ZooKeeperError
from zoolet.client.protocol.batches import MultiRead
from zoolet.client.transfers import depth_below
from zoolet.model import paths
from zoolet.model.results import Children, Visited, ZnodeData

OnRefused = Callable[[NoAuthError], None]
"""A function of the program for znodes that the client may not read."""

_AHEAD_BYTES: Final = 1024 * 1024
"""How much a walk reads ahead, if its last replies tell the size of the next."""

_FIRST_AHEAD: Final = 32
"""The most znodes that a walk reads ahead before it knows the size of replies."""

_LONGEST_AHEAD: Final = 500
"""With data, a znode takes two operations of a multiRead; servers allow 1,000 operations."""

_STEP: Final = 10_000
"""The most names that are sorted without a pause, so that other tasks of the loop can run."""

_Result = ZnodeData | tuple[str, ...] | ZooKeeperError


def walk(
    requests: FutureRequests,
    root: str,
    *,
    with_data: bool,
    max_depth: int | None,
    on_refused: OnRefused | None,
) -> Iterator[Visited]:
    """Yield ``root`` and the znodes below it, each before its children, in order of name."""

    def descends_from(path: str) -> bool:
        return max_depth is None or depth_below(root, path) < max_depth

    reader = _Reader(requests, descends_from, with_data=with_data)
    waiting = Waiting(root)
    try:
        while (path := waiting.take()) is not None:
            try:
                visited = reader.visit(path, waiting)
            except NoNodeError:
                if path == root:
                    raise
                continue
            except NoAuthError as error:
                if on_refused is None:
                    raise
                on_refused(error)
                continue
            yield visited
            if descends_from(path):
                waiting.add(path, visited.names)
    finally:
        reader.forget_all()


class Waiting:
    """The znodes that a walk visits later, in order.

    Only the names are kept: a list of the paths of a million children needs much more memory.
    """

    def __init__(self, root: str) -> None:
        self._root: str | None = root
        self._levels: list[_Siblings] = []

    def add(self, parent: str, names: tuple[str, ...]) -> None:
        """Add the children of a znode, which come before all others."""
        if names:
            self._levels.append(_Siblings(parent, names))

    def take(self) -> str | None:
        """Remove and return the next path; None after the last one."""
        if self._root is not None:
            root, self._root = self._root, None
            return root
        if not self._levels:
            return None
        level = self._levels[-1]
        path = paths.join(level.parent, level.names[level.position])
        level.position += 1
        if level.position == len(level.names):
            self._levels.pop()
        return path

    def following(self) -> Iterable[str]:
        """Yield the paths in order, without removing them."""
        for level in reversed(self._levels):
            for position in range(level.position, len(level.names)):
                yield paths.join(level.parent, level.names[position])


class _Siblings:
    """The children of a znode; those before ``position`` are visited."""

    def __init__(self, parent: str, names: tuple[str, ...]) -> None:
        self.parent = parent
        self.names = names
        self.position = 0


class _Batch:
    """Znodes that are read together: with one multiRead, or with a request for each.

    Attributes:
        is_multi_read: whether they are read with one multiRead.
    """

    def __init__(
        self, requests: FutureRequests, together: list[str], *, with_data: bool, multi_read: bool
    ) -> None:
        self.is_multi_read = multi_read
        self._with_data = with_data
        self._count = len(together)
        self._results: tuple[_Result, ...] = ()
        self._sorted: dict[int, tuple[str, ...]] = {}
        self._multi: Pending[tuple[_Result, ...]] | None = None
        self._data: list[Pending[ZnodeData]] = []
        self._children: list[Pending[Children]] = []
        if not multi_read:
            self._children = [requests.children(path) for path in together]
            self._data = [requests.get(path) for path in together if with_data]
            return
        batch = MultiRead()
        for path in together:
            batch.children(path)
        for path in together if with_data else ():
            batch.get(path)
        self._multi = requests.multi_read(batch)

    def visited(self, path: str, number: int) -> Visited:
        """Wait for the reply, and return the znode with this number."""
        if self._multi is None:
            return self._visited_singly(path, number)
        self._results = self._results or result_of(self._multi)
        names = self._results[number]
        found = self._results[self._count + number] if self._with_data else None
        for result in (names, found):
            if isinstance(result, ZooKeeperError):
                raise result
        data = found if isinstance(found, ZnodeData) else None
        in_order = self._sorted.pop(number, ()) or _in_order(_names_in(names))
        return Visited(path, in_order, data)

    def _visited_singly(self, path: str, number: int) -> Visited:
        try:
            names = (result_of(self._children[number])).names
        except ZooKeeperError:
            if self._data:
                forget(self._data[number])
            raise
        in_order = _in_order(names)
        if not self._data:
            return Visited(path, in_order)
        data = result_of(self._data[number])
        return Visited(path, in_order, data)

    def known_names(self, number: int) -> tuple[str, ...]:
        """Return the sorted names of children; () if they are not known yet, or very many."""
        if number in self._sorted:
            return self._sorted[number]
        names: tuple[str, ...] = ()
        if self._multi is None:
            children = known(self._children[number])
            names = () if children is None else children.names
        else:
            self._results = self._results or known(self._multi) or ()
            names = _names_in(self._results[number]) if self._results else ()
        if not names or len(names) > _STEP:
            return ()
        return self._sorted.setdefault(number, _sorted(names))

    def forget(self) -> None:
        """Do not wait for the replies."""
        if self._multi is not None:
            forget(self._multi)
        for listing in self._children:
            forget(listing)
        for reading in self._data:
            forget(reading)


def _names_in(result: _Result) -> tuple[str, ...]:
    """Return the names in the result of a read; () for another result."""
    return () if isinstance(result, (ZnodeData, ZooKeeperError)) else result


def _sorted(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of children in order; long lists are sorted in steps."""
    if len(names) <= _STEP:
        return _sorted(names)
    runs: list[list[str]] = []
    for start in range(0, len(names), _STEP):
        runs += [sorted(names[start : start + _STEP])]
    merged = heapq.merge(*runs)
    in_order: list[str] = []
    while part := list(islice(merged, _STEP)):
        in_order += part
    return tuple(in_order)


class _Reader:
    """Reads the next znode of a walk, and sends the reads of znodes that follow it."""

    def __init__(
        self,
        requests: FutureRequests,
        descends_from: Callable[[str], bool],
        *,
        with_data: bool,
    ) -> None:
        self._requests = requests
        self._descends_from = descends_from
        self._with_data = with_data
        self._has_multi_read = True
        self._ahead = _FIRST_AHEAD
        self._sent: dict[str, tuple[_Batch, int]] = {}
        self._read_bytes = self._read_znodes = 0

    def visit(self, path: str, waiting: Waiting) -> Visited:
        """Return the znode at ``path``; ``waiting`` has the later paths."""
        if path not in self._sent or len(self._sent) <= self._ahead // 2:
            self._read_ahead(path, waiting)
        batch, number = self._sent.pop(path)
        try:
            visited = batch.visited(path, number)
        except UnimplementedError:
            if not batch.is_multi_read:
                raise
            batch.forget()
            self.forget_all()
            self._has_multi_read = False
            return self.visit(path, waiting)
        except (NoNodeError, NoAuthError):
            raise
        except BaseException:
            batch.forget()
            raise
        self._read_znodes += 1
        self._read_bytes += len(path) + sum(map(len, visited.names))
        if visited.found is not None:
            self._read_bytes += len(visited.found.data or b"")
        return visited

    def forget_all(self) -> None:
        """Do not wait for the replies that the walk does not need any more."""
        for batch in {batch for batch, _ in self._sent.values()}:
            batch.forget()
        self._sent.clear()

    def _read_ahead(self, path: str, waiting: Waiting) -> None:
        """Send the reads of a znode and of those after it, as far as they are known."""
        if self._read_znodes:
            fitting = _AHEAD_BYTES * self._read_znodes // (self._read_bytes + 1)
            self._ahead = max(1, min(fitting, self._ahead * 2, _LONGEST_AHEAD))
            self._read_bytes = self._read_znodes = 0
        following = islice(self._following(path, waiting), self._ahead)
        together = [each for each in following if each not in self._sent]
        if not together:
            return
        batch = _Batch(
            self._requests,
            together,
            with_data=self._with_data,
            multi_read=self._has_multi_read,
        )
        for number, each in enumerate(together):
            self._sent[each] = (batch, number)

    def _following(self, path: str, waiting: Waiting) -> Iterable[str]:
        """Yield the next paths of the walk, as far as the replies that have come tell them."""
        yield path
        for following in waiting.following():
            yield following
            if following in self._sent and self._descends_from(following):
                batch, number = self._sent[following]
                for name in batch.known_names(number):
                    yield paths.join(following, name)
