"""Moves a subtree: in one multi if it fits, otherwise with a copy and deletes.

Made by `release.client_methods` from `asyncio_client/subtrees/moving.py`: change that module.
"""

from collections.abc import Iterator

from zoolet.client.thread_client.interruption import Uninterrupted
from zoolet.client.thread_client.subtrees.writing import Writer
from zoolet.client.thread_client.waiting import FutureRequests
from zoolet.client.errors import MovedEphemeralError
from zoolet.client.protocol.batches import Multi
from zoolet.client.transfers import (
    MULTI_BYTES,
    ZNODES_IN_MULTI,
    OnTransferred,
    Splitter,
    Transferred,
    add_creation,
    is_ephemeral,
    moved,
    size_of,
)
from zoolet.exports.lines import ExportedZnode


class Mover:
    """Moves the subtree ``source`` to the path ``target``."""

    def __init__(
        self,
        source: str,
        target: str,
        *,
        with_acl: bool,
        keeps_ephemerals: bool,
        progress: OnTransferred | None,
    ) -> None:
        self._source = source
        self._target = target
        self._with_acl = with_acl
        self._keeps_ephemerals = keeps_ephemerals
        self._progress = progress
        self._done = Transferred()
        self._versions: list[tuple[str, int]] = []

    def move(
        self, znodes: Iterator[ExportedZnode], origin: FutureRequests, goal: FutureRequests
    ) -> Transferred:
        """Move the znodes of the source from the server ``origin`` to the server ``goal``."""
        first: list[ExportedZnode] = []
        movable = self._movable(znodes)
        if origin is goal:
            size_bytes = 0
            for znode in movable:
                first.append(znode)
                size_bytes += size_of(znode)
                if len(first) > ZNODES_IN_MULTI or size_bytes * 2 >= MULTI_BYTES:
                    break
            else:
                return self._move_at_once(first, origin)
        writer = Writer(
            goal,
            replaces=False,
            with_acl=self._with_acl,
            keeps_ephemerals=True,
            progress=self._progress,
        )
        self._done = writer.write(self._noting(first, movable))
        self._delete_copied(origin)
        return self._done

    def _movable(self, znodes: Iterator[ExportedZnode]) -> Iterator[ExportedZnode]:
        for znode in znodes:
            if is_ephemeral(znode) and not self._keeps_ephemerals:
                raise MovedEphemeralError("move_subtree", znode.path)
            yield znode

    def _move_at_once(self, znodes: list[ExportedZnode], requests: FutureRequests) -> Transferred:
        """Create and delete in one multi, which fails if a znode was changed after the read."""
        multi = Multi()
        for znode in znodes:
            add_creation(multi, moved(znode, self._source, self._target))
        for znode in reversed(znodes):
            multi.delete(znode.path, version=znode.stat.version)
        with Uninterrupted() as block:
            block.result_of(requests.multi(multi))
            count = len(znodes)
            self._done = Transferred(count, is_copied=True, deleted=count)
            self._report()
        return self._done

    def _noting(
        self, first: list[ExportedZnode], znodes: Iterator[ExportedZnode]
    ) -> Iterator[ExportedZnode]:
        """Yield the copies, and note the copied version of each znode."""
        for znode in first:
            yield self._noted(znode)
        for znode in znodes:
            yield self._noted(znode)

    def _noted(self, znode: ExportedZnode) -> ExportedZnode:
        self._versions.append((znode.path, znode.stat.version))
        return moved(znode, self._source, self._target)

    def _delete_copied(self, requests: FutureRequests) -> None:
        """Delete the copied znodes; fail at a znode whose version changed after the copy."""
        splitter = Splitter(ZNODES_IN_MULTI)
        multi = Multi()
        for path, version in reversed(self._versions):
            if splitter.ends_before(len(path.encode())):
                self._delete_batch(multi, requests)
                multi = Multi()
            multi.delete(path, version=version)
        self._delete_batch(multi, requests)

    def _delete_batch(self, multi: Multi, requests: FutureRequests) -> None:
        with Uninterrupted() as block:
            block.result_of(requests.multi(multi))
            self._done = self._done._replace(deleted=self._done.deleted + len(multi))
            self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._done)
