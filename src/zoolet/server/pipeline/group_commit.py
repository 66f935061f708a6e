"""Group commit: txns gather in a batch, one write and one sync make the batch durable.

While one batch is being synced by the other thread, the next gathers. Whatever shows a txn of a
batch (a reply, a watch event, an answer to an operator) is held by the batch and released when its
sync has returned: nothing that is not on disk is ever seen. A failed write or sync ends the server,
since nobody can know what is on disk then.
"""

import asyncio
import functools
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from zoolet.model.txns import Txn
from zoolet.server.common.scheduler import Scheduler, Share
from zoolet.server.pipeline.batches import EVERYTHING, Batch, Hold, Receiver, Shows
from zoolet.storage.txn_log import TxnLog, write_record

if TYPE_CHECKING:
    from zoolet.server.common.disk_thread import DiskThread

_RELEASED_AT_ONCE_BYTES: Final = 1 << 20
"""What a batch holds above this is sent in several steps."""

_RELEASED_BYTES_PER_US: Final = 1024


@final
class GroupCommit:
    """The batch that gathers, the batch that is being synced, and the zxid up to which all is.

    Attributes:
        collecting: the batch to which the next txn is added.
        syncing: the batch that the other thread has; None while it has none.
        synced_zxid: up to here every txn is on disk.
    """

    def __init__(
        self,
        log: TxnLog,
        log_thread: "DiskThread",
        loop: asyncio.AbstractEventLoop,
        synced_zxid: int,
        on_failure: Callable[[Exception], None],
        on_synced: Callable[[Batch], None],
        max_txn_bytes: int,
        scheduler: Scheduler,
    ) -> None:
        """Begin with nothing to sync.

        Args:
            log: the transaction log.
            log_thread: the thread that writes and syncs the log.
            loop: the event loop.
            synced_zxid: up to here every txn is on disk.
            on_failure: called if a write or sync fails.
            on_synced: called after the release of each batch.
            max_txn_bytes: a txn with more bytes is refused.
            scheduler: shares the loop's thread; much that is released at once is sent in steps.
        """
        self.collecting = Batch(0)
        self.syncing: Batch | None = None
        self.synced_zxid = synced_zxid
        self._log = log
        self._log_thread = log_thread
        self._loop = loop
        self._on_failure = on_failure
        self._on_synced = on_synced
        self._max_txn_bytes = max_txn_bytes
        self._flush_is_scheduled = False
        self._is_stopped = False
        self._scheduler = scheduler
        self._share = Share("sending replies")
        self._to_release: deque[Hold] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether everything applied is also synced."""
        return self.syncing is None and self.collecting.num_txns == 0

    def append(self, txn: Txn, now_ms: Callable[[], int]) -> Batch:
        """Add a txn that is not applied yet; returns its batch. Add all of it or nothing.

        The caller applies the txn next and calls ``touch``. Raises TxnTooLargeError, MemoryError.
        """
        batch = self.collecting
        if batch.num_txns == 0:
            batch.opened_ms = now_ms()
            if self.syncing is None and not self._flush_is_scheduled:
                # At the end of this turn of the loop, so that whoever else is ready gets in.
                self._loop.call_soon(self._flush)
                self._flush_is_scheduled = True
        write_record(batch.records, txn, self._max_txn_bytes)
        # From here on nothing can fail: the batch holds the txn.
        zxid = txn.header.zxid
        if batch.num_txns == 0:
            batch.first_zxid = zxid
        batch.last_zxid = zxid
        batch.num_txns += 1
        return batch

    @staticmethod
    def touch(batch: Batch, touched: list[str]) -> None:
        """Note the paths about which an applied txn of ``batch`` says something new."""
        for path in touched:  # not update: most have two, and are as many as there are requests
            batch.touched.add(path)

    def stop(self) -> None:
        """Release nothing more: the state in memory is unknown after a failed apply."""
        self._is_stopped = True

    def batch_to_wait_for(self, connection: Receiver, shows: Shows) -> Batch | None:
        """Return the batch behind which a reply has to wait; None: it need not.

        It waits for what it shows, and behind what its connection waits for already.
        """
        collecting, syncing, hold = self.collecting, self.syncing, connection.hold
        if syncing is None and collecting.num_txns == 0:
            return None  # what is synced and not released yet is in order: see Release
        if shows is EVERYTHING:
            return self.newest_batch()
        if (hold is not None and hold.batch is collecting) or shows in collecting.touched:
            return collecting
        if syncing is not None and (hold is not None or shows in syncing.touched):
            return syncing
        return None

    def zxid_seen_with(self, batch: Batch | None) -> int:
        """Return the zxid of a reply that waits for ``batch``: the last one that it may show."""
        return self.synced_zxid if batch is None else batch.last_zxid

    def newest_batch(self) -> Batch | None:
        """Return the batch behind which everything applied so far is durable; None: it is."""
        return self.collecting if self.collecting.num_txns else self.syncing

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back once everything applied so far is on disk; at once where it is."""
        batch = self.newest_batch()
        if batch is None:
            callback()
        else:
            batch.callbacks.append(callback)

    def roll_log(self) -> None:
        """End the log behind the batch that is being synced."""
        self._log_thread.submit(self._log.roll, self._report)

    def _flush(self) -> None:
        self._flush_is_scheduled = False
        batch = self.collecting
        if self.syncing is not None or batch.num_txns == 0 or self._is_stopped:
            return
        self.syncing = batch
        self.collecting = Batch(batch.number + 1)
        self._log_thread.submit(functools.partial(self._append, batch), self._synced)

    def _append(self, batch: Batch) -> None:
        """Write and sync a batch: this is what the other thread does."""
        began = time.monotonic()
        self._log.append(batch.first_zxid, batch.records.getvalue())
        batch.sync_ms = round((time.monotonic() - began) * 1000)

    def _synced(self, failure: Exception | None) -> None:
        if failure is not None:
            self._on_failure(failure)
            return
        if self._is_stopped:
            return
        batch = self.syncing
        if batch is None:
            raise AssertionError("a sync returned that was not under way")
        self.syncing = None
        self.synced_zxid = batch.last_zxid
        batch.is_released = True
        self._flush()
        self._release(batch)
        if not self._call_back(batch):
            return
        self._on_synced(batch)
        # The holds point back: without this a batch would stay until cycles are collected.
        batch.holds.clear()

    def _call_back(self, batch: Batch) -> bool:
        """Call the callbacks of a batch; say whether the server goes on.

        If one raises, the loop's exception handler decides whether the server stops. If it does
        not, the other callbacks are called.
        """
        for callback in batch.callbacks:
            try:
                callback()
            except Exception as error:  # noqa: BLE001 -- the handler decides
                message = "a callback behind a sync failed"
                self._loop.call_exception_handler({"message": message, "exception": error})
                if self._is_stopped:
                    return False
        return True

    def _release(self, batch: Batch) -> None:
        """Send what the batch held; much of it in several steps, behind what waits already."""
        began_s = self._scheduler.now_s()
        queue = self._to_release
        if not queue:
            size_bytes: i64 = 0
            released = 0
            for hold in batch.holds:
                size_bytes += hold.size_bytes
                if size_bytes > _RELEASED_AT_ONCE_BYTES:
                    break
                hold.connection.release(hold)
                released += 1
            self._scheduler.used(self._share, began_s)
            if released == len(batch.holds):
                return
            queue.extend(batch.holds[released:])
            self._scheduler.run("sending replies", self._release_steps())
        else:
            queue.extend(batch.holds)

    def _release_steps(self) -> Iterator[int]:
        queue = self._to_release
        while queue:
            hold = queue.popleft()
            size_bytes = hold.size_bytes
            hold.connection.release(hold)
            yield 1 + size_bytes // _RELEASED_BYTES_PER_US

    def _report(self, failure: Exception | None) -> None:
        if failure is not None:
            self._on_failure(failure)
