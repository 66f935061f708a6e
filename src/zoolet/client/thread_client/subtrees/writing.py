"""Writes a subtree in multis, parents before children, with a bounded number of multis in progress.

Each multi is atomic. The first refused multi ends the writing. After an error or an interrupt, the
writer waits for the multis in progress, so that it counts all that is written.

Made by `release.client_methods` from `asyncio_client/subtrees/writing.py`: change that module.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from zoolet.client.thread_client.interruption import Uninterrupted
from zoolet.client.thread_client.subtrees.in_progress import MultisInProgress
from zoolet.client.thread_client.waiting import FutureRequests, Pending, forget, result_of
from zoolet.client.protocol.batches import Multi
from zoolet.client.transfers import (
    MULTIS_IN_PROGRESS,
    ZNODES_IN_MULTI,
    OnTransferred,
    Splitter,
    Transferred,
    add_creation,
    is_ephemeral,
    mode_of,
    size_of,
)
from zoolet.exports.lines import ExportedZnode
from zoolet.model.acl import OPEN_ACL


class _Sent(NamedTuple):
    """A batch that was sent; the znodes in ``present`` existed already."""

    batch: list[ExportedZnode]
    present: frozenset[str]
    future: Pending[Any]


class Writer(MultisInProgress[_Sent]):
    """Writes znodes to a server.

    With ``replaces``, the writer overwrites the data of existing znodes, and with ``with_acl`` also
    their ACLs. Without ``replaces``, the first existing znode ends the writing. Without
    ``with_acl``, created znodes have an open ACL. With ``keeps_ephemerals``, ephemerals become
    persistent znodes; otherwise they are left out.
    """

    def __init__(
        self,
        requests: FutureRequests,
        *,
        replaces: bool,
        with_acl: bool,
        keeps_ephemerals: bool,
        progress: OnTransferred | None,
    ) -> None:
        super().__init__()
        self._requests = requests
        self._replaces = replaces
        self._with_acl = with_acl
        self._keeps_ephemerals = keeps_ephemerals
        self._progress = progress
        self._done = Transferred()

    def write(self, znodes: Iterator[ExportedZnode]) -> Transferred:
        """Write the znodes, which must be in an order with parents before children."""
        with Uninterrupted() as block:
            try:
                self._write_all(znodes, block)
            except BaseException:
                self._settle_rest(block)
                raise
            self._done = self._done._replace(is_copied=True)
            self._report()
        return self._done

    def _write_all(self, znodes: Iterator[ExportedZnode], block: Uninterrupted) -> None:
        splitter = Splitter(ZNODES_IN_MULTI)
        batch: list[ExportedZnode] = []
        for znode in znodes:
            block.check()
            if is_ephemeral(znode) and not self._keeps_ephemerals:
                self._done = self._done._replace(left_out=self._done.left_out + 1)
                continue
            copy = znode if self._with_acl else znode._replace(acl=OPEN_ACL)
            if splitter.ends_before(size_of(copy)):
                self._write_batch(batch, block)
                batch = []
            batch.append(copy)
        if batch:
            self._write_batch(batch, block)
        self._settle_all(block)

    def _write_batch(self, batch: list[ExportedZnode], block: Uninterrupted) -> None:
        present = self._present(batch) if self._replaces else frozenset[str]()
        self._sent.append(self._send(batch, present))
        # The first batch contains the root: no other batch may be sent before the server has
        # accepted the first.
        while len(self._sent) >= (MULTIS_IN_PROGRESS if self._done.written else 1):
            self._settle_next(block)
            block.check()

    def _send(self, batch: list[ExportedZnode], present: frozenset[str]) -> _Sent:
        """Send a batch.

        A batch of one znode is not sent as a multi, whose additional bytes could exceed the
        server's limit.
        """
        requests = self._requests
        if len(batch) == 1:
            znode = batch[0]
            if present:
                return _Sent(batch, present, requests.set(znode.path, znode.data))
            mode, ttl_ms = mode_of(znode)
            created = requests.create(
                znode.path, znode.data, mode=mode, acl=znode.acl, ttl_ms=ttl_ms
            )
            return _Sent(batch, present, created)
        multi = Multi()
        for znode in batch:
            if znode.path in present:
                multi.set(znode.path, znode.data)
            else:
                add_creation(multi, znode)
        return _Sent(batch, present, requests.multi(multi))

    def _present(self, batch: list[ExportedZnode]) -> frozenset[str]:
        """Return the paths of the znodes that exist already."""
        sent = [(znode.path, self._requests.exists(znode.path)) for znode in batch]
        try:
            return frozenset([path for path, future in sent if result_of(future) is not None])
        finally:
            for _, future in sent:
                forget(future)

    def _settle_next(self, block: Uninterrupted) -> None:
        """Wait for the next reply, and count it; then set the ACLs of znodes that existed."""
        batch, present, future = self._sent.popleft()
        block.result_of(future)
        self._done = self._done._replace(
            created=self._done.created + len(batch) - len(present),
            replaced=self._done.replaced + len(present),
        )
        self._report()
        if self._with_acl and present:
            self._set_acls([znode for znode in batch if znode.path in present], block)

    def _set_acls(self, znodes: list[ExportedZnode], block: Uninterrupted) -> None:
        """Set ACLs one by one, because a multi cannot contain setACL."""
        sent = [self._requests.set_acl(znode.path, znode.acl) for znode in znodes]
        try:
            for future in sent:
                block.result_of(future)
        finally:
            for future in sent:
                forget(future)

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._done)
