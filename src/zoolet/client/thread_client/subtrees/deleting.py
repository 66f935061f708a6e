"""Deletes a subtree in multis, with a bounded number of multis in progress.

Made by `release.client_methods` from `asyncio_client/subtrees/deleting.py`: change that module.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from zoolet.client.thread_client.interruption import Uninterrupted
from zoolet.client.thread_client.subtrees.in_progress import MultisInProgress
from zoolet.client.thread_client.waiting import FutureRequests, Pending, forget
from zoolet.client.errors import NoNodeError, NotEmptyError, ZooKeeperError
from zoolet.client.protocol.batches import Multi
from zoolet.client.transfers import MULTIS_IN_PROGRESS, Splitter

OnDeleted = Callable[[int], None]
"""A function of the program that is called with the number of znodes deleted until now."""

ZNODES_IN_DELETE: Final = 1000
"""The default number of znodes that one multi deletes."""


class _Sent(NamedTuple):
    """The paths of a multi that was sent."""

    batch: list[str]
    future: Pending[Any]


class Deleter(MultisInProgress[_Sent]):
    """Deletes lists of znodes.

    Attributes:
        count: the number of znodes that are deleted.
    """

    def __init__(self, requests: FutureRequests, batch_size: int, progress: OnDeleted | None):
        super().__init__()
        self.count = 0
        self._requests = requests
        self._batch_size = batch_size
        self._progress = progress

    def delete(self, found: list[str]) -> None:
        """Delete paths in this order; leave out znodes that are missing or not empty.

        After an error or an interrupt, wait for the multis in progress and count them.
        """
        with Uninterrupted() as block:
            try:
                self._delete_all(found, block)
            except BaseException:
                self._settle_rest(block)
                raise

    def _delete_all(self, found: list[str], block: Uninterrupted) -> None:
        splitter = Splitter(self._batch_size)
        batch: list[str] = []
        for path in found:
            if splitter.ends_before(len(path.encode())):
                self._delete_batch(batch, block)
                batch = []
            batch.append(path)
        self._delete_batch(batch, block)
        self._settle_all(block)

    def _delete_batch(self, batch: list[str], block: Uninterrupted) -> None:
        block.check()
        multi = Multi()
        for path in batch:
            multi.delete(path)
        self._sent.append(_Sent(batch, self._requests.multi(multi)))
        while len(self._sent) >= MULTIS_IN_PROGRESS:
            self._settle_next(block)

    def _settle_next(self, block: Uninterrupted) -> None:
        """Wait for the next reply, and count it.

        If a missing or non-empty znode made the multi fail, delete its znodes one by one.
        """
        batch, future = self._sent.popleft()
        try:
            block.result_of(future)
        except (NoNodeError, NotEmptyError):
            self._delete_singly(batch, block)
        else:
            self._note(len(batch))

    def _delete_singly(self, batch: list[str], block: Uninterrupted) -> None:
        sent = [self._requests.delete(path) for path in batch]
        refusal: ZooKeeperError | None = None
        try:
            for future in sent:
                try:
                    block.result_of(future)
                except (NoNodeError, NotEmptyError):
                    continue
                except ZooKeeperError as error:
                    refusal = refusal or error
                else:
                    self._note(1)
        finally:
            for future in sent:
                forget(future)
        if refusal is not None:
            raise refusal

    def _note(self, count: int) -> None:
        self.count += count
        if self._progress is not None:
            self._progress(self.count)
