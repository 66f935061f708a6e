"""Group commit: txns are collected in a batch; one write and one sync make the batch durable.

While the log thread syncs one batch, the event loop collects the next batch. Every output that
shows a txn of a batch (a reply, a watch event, an answer to an operator) is held by the batch and
sent after the sync, so a client never sees a change that is not on disk. A failed write or sync
stops the server, because the content of the log on disk is then unknown.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, final

from zoolet.model.txns import Txn
from zoolet.server.common.scheduler import Scheduler
from zoolet.server.connections.batches import EVERYTHING, Batch, Receiver, Shows
from zoolet.server.pipeline.releases import Releases
from zoolet.storage.txn_log import TxnLog, write_record

if TYPE_CHECKING:
    from zoolet.server.audit.records import AuditRecord
    from zoolet.server.common.disk_thread import DiskThread

WriteUnlocked = Callable[[int, bytes, int, Callable[[Exception | None, float], None]], bool]
"""The type of ``LogThread.write``."""


@final
class GroupCommit:
    """Collects txns in batches, has each batch synced, and then releases its frames.

    Attributes:
        collecting: the batch to which the next txn is added.
        syncing: the batch that the log thread writes and syncs; None if there is none.
        synced_zxid: the zxid of the last txn that is on disk.
        before_release: called before the frames of a batch are released; None if nothing must be
            called.
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
        write_audit: "Callable[[list[AuditRecord]], None] | None" = None,
        write_unlocked: WriteUnlocked | None = None,
    ) -> None:
        """Begin with an empty batch.

        Args:
            log: the transaction log.
            log_thread: the thread that writes and syncs the log.
            loop: the event loop.
            synced_zxid: the zxid of the last txn that is on disk.
            on_failure: called with the exception if a write or sync fails.
            on_synced: called after the release of each batch.
            max_txn_bytes: the maximum size of a txn; a larger txn is refused.
            scheduler: is told of the time that releases take.
            write_audit: writes the records of a synced batch to the audit log, on the log thread;
                an exception is passed to ``on_failure``. None if there is no audit log.
            write_unlocked: ``LogThread.write``; None if the log thread must do all writes.
        """
        self.collecting = Batch(0)
        self.syncing: Batch | None = None
        self.synced_zxid = synced_zxid
        self.before_release: Callable[[], None] | None = None
        self._log = log
        self._log_thread = log_thread
        self._loop = loop
        self._on_failure = on_failure
        self._on_synced = on_synced
        self._max_txn_bytes = max_txn_bytes
        self._flush_is_scheduled = False
        self._is_stopped = False
        self._write_audit = write_audit
        self._write_unlocked = write_unlocked
        self._releases = Releases(loop, scheduler)

    @property
    def is_idle(self) -> bool:
        """Whether every applied txn is on disk."""
        return self.syncing is None and self.collecting.num_txns == 0

    def append(self, txn: Txn, now_ms: Callable[[], int]) -> Batch:
        """Add a txn that is not applied yet; returns its batch.

        The caller applies the txn next and calls ``touch``. Raises TxnTooLargeError or MemoryError;
        then the batch is unchanged.
        """
        batch = self.collecting
        if batch.num_txns == 0:
            batch.opened_ms = now_ms()
            if self.syncing is None and not self._flush_is_scheduled:
                # Not immediately, so that other ready connections can add their txns to the batch.
                self._loop.call_soon(self._flush)
                self._flush_is_scheduled = True
        write_record(batch.records, txn, self._max_txn_bytes)
        # The batch contains the txn now. The statements below cannot fail.
        zxid = txn.header.zxid
        if batch.num_txns == 0:
            batch.first_zxid = zxid
        batch.last_zxid = zxid
        batch.num_txns += 1
        return batch

    @staticmethod
    def touch(batch: Batch, touched: list[str]) -> None:
        """Add to ``batch`` the paths for which an applied txn changes the result of a read."""
        for path in touched:  # faster than update(): most txns touch two paths
            batch.touched.add(path)

    def stop(self) -> None:
        """Write and release nothing more: the state in memory is unknown after a failed apply."""
        self._is_stopped = True
        self._releases.stop()

    def close(self) -> None:
        """End the thread that helps to send."""
        self._releases.close()

    def batch_to_wait_for(self, connection: Receiver, shows: Shows) -> Batch | None:
        """Return the batch that must be durable before a reply is sent; None if there is none.

        A reply waits for the txns that it shows, and for the batch that earlier replies of its
        connection wait for.
        """
        collecting, syncing, hold = self.collecting, self.syncing, connection.hold
        if syncing is None and collecting.num_txns == 0:
            return None  # the outbox keeps the order of frames that are synced, but not released
        if shows is EVERYTHING:
            return self.newest_batch()
        if (hold is not None and hold.batch is collecting) or shows in collecting.touched:
            return collecting
        if syncing is not None and (hold is not None or shows in syncing.touched):
            return syncing
        return None

    def zxid_seen_with(self, batch: Batch | None) -> int:
        """Return the zxid for the header of a reply that waits for ``batch`` (None: no wait)."""
        return self.synced_zxid if batch is None else batch.last_zxid

    def newest_batch(self) -> Batch | None:
        """Return the batch that has the last applied txn; None if that txn is durable."""
        return self.collecting if self.collecting.num_txns else self.syncing

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when every txn that is applied now is on disk, perhaps immediately."""
        batch = self.newest_batch()
        if batch is None:
            callback()
        else:
            batch.callbacks.append(callback)

    def roll_log(self) -> None:
        """End the log file after the batch that is being synced; the next batch begins a file."""
        self._log_thread.submit(self._log.roll, self._report)

    def _flush(self) -> None:
        self._flush_is_scheduled = False
        batch = self.collecting
        if self.syncing is not None or batch.num_txns == 0 or self._is_stopped:
            return
        self.syncing = batch
        self.collecting = Batch(batch.number + 1)
        if not self._begin_write(batch):
            self._log_thread.submit(functools.partial(self._append, batch), self._synced)

    def _begin_write(self, batch: Batch) -> bool:
        """Have a batch written without the interpreter lock; return False if this is impossible.

        Only the log thread can do more than one write, as for the first batch of a file.
        """
        if self._write_unlocked is None or batch.audited:
            return False
        size_bytes = len(batch.records)
        file = self._log.file_for(size_bytes)
        if file is None or file.writable_fd is None:
            return False
        done = functools.partial(self._written, file.path)
        zero_bytes = self._log.zeros_after(size_bytes)
        if not self._write_unlocked(file.writable_fd, batch.records.getvalue(), zero_bytes, done):
            return False
        self._log.count_written(size_bytes, zero_bytes)
        return True

    def _written(self, path: Path, failure: Exception | None, took_s: float) -> None:
        if isinstance(failure, OSError):
            failure.filename = str(path)
        if self.syncing is not None:
            self.syncing.sync_ms = round(took_s * 1000)
        self._synced(failure)

    def _append(self, batch: Batch) -> None:
        """Write and sync a batch; runs on the log thread."""
        began = time.monotonic()
        self._log.append(batch.first_zxid, batch.records.getvalue())
        batch.sync_ms = round((time.monotonic() - began) * 1000)
        write_audit = self._write_audit
        if write_audit is not None and batch.audited:
            write_audit(batch.audited)

    def _synced(self, failure: Exception | None) -> None:
        if failure is not None:
            self._on_failure(failure)
            return
        if self._is_stopped:
            return
        batch = self.syncing
        if batch is None:
            raise AssertionError("a sync returned, but no batch was being synced")
        self.syncing = None
        self.synced_zxid = batch.last_zxid
        batch.is_released = True
        self._flush()
        if self.before_release is not None:
            self.before_release()
        self._releases.add(batch)
        if not self._call_back(batch):
            return
        self._on_synced(batch)
        # The holds refer to the batch. Without this, only the garbage collector would free it.
        batch.holds.clear()

    def _call_back(self, batch: Batch) -> bool:
        """Call the callbacks of a batch; return whether the server continues.

        If a callback raises an exception, the loop's exception handler decides whether the server
        stops. If the server continues, the other callbacks are called.
        """
        for callback in batch.callbacks:
            try:
                callback()
            except Exception as error:  # noqa: BLE001 -- the handler decides
                message = "a callback after a sync failed"
                self._loop.call_exception_handler({"message": message, "exception": error})
                if self._is_stopped:
                    return False
        return True

    def _report(self, failure: Exception | None) -> None:
        if failure is not None:
            self._on_failure(failure)
