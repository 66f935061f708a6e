"""Group commit: txns gather in a batch, one write and one sync make the batch durable.

While one batch is being synced by the other thread, the next gathers. Whatever shows a txn of a
batch (a reply, a watch event, an answer to an operator) is held by the batch and released when its
sync has returned: nothing that is not on disk is ever seen. A failed write or sync ends the server,
since nobody can know what is on disk then.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Collection
from typing import Generic, Protocol, TypeVar

from zoolet.storage.txnlog import TxnLog


class Receiver(Protocol):
    """A connection, to which held frames go when they may."""

    def release(self, frames: list[bytes]) -> None:
        """Send the frames; nothing holds them any longer."""
        ...


R = TypeVar("R", bound=Receiver)


class Batch(Generic[R]):
    """Txns that become durable together, and what waits for that.

    Attributes:
        first_zxid: of the first txn; 0 while there is none.
        last_zxid: of the last txn.
        records: the txns as the log holds them.
        touched: the paths about which they say something new.
        opened_ms: when the first txn was added.
        sync_ms: how long it took to write and sync it.
        held: per connection the frames that wait, in order.
        callbacks: what else is to happen once the batch is durable.
    """

    __slots__ = (
        "callbacks",
        "first_zxid",
        "held",
        "last_zxid",
        "opened_ms",
        "records",
        "sync_ms",
        "touched",
    )

    def __init__(self) -> None:
        self.first_zxid = 0
        self.last_zxid = 0
        self.opened_ms = 0
        self.sync_ms = 0
        self.records: list[bytes] = []
        self.touched: set[str] = set()
        self.held: dict[R, list[bytes]] = {}
        self.callbacks: list[Callable[[], None]] = []

    def hold(self, receiver: R, frame: bytes) -> None:
        """Keep a frame back until the batch is durable."""
        self.held.setdefault(receiver, []).append(frame)


class LogThread:
    """Runs calls that may block on the disk, one after another, off the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: queue.SimpleQueue[
            tuple[Callable[[], None], Callable[[Exception | None], None]] | None
        ] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="zoolet-log", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        """Run ``call`` there, then ``done`` here with the exception that it raised, or None."""
        self._calls.put((call, done))

    def stop(self) -> None:
        """Return when everything submitted has run."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._calls.get()) is not None:
            call, done = job
            failure: Exception | None = None
            try:
                call()
            except Exception as error:  # noqa: BLE001 -- the loop's thread decides
                failure = error
            self._loop.call_soon_threadsafe(done, failure)


class GroupCommit(Generic[R]):
    """The batch that gathers, the batch that is being synced, and the zxid up to which all is.

    Attributes:
        collecting: the batch to which the next txn is added.
        syncing: the batch that the other thread has; None while it has none.
        synced_zxid: up to here every txn is on disk.
    """

    def __init__(
        self,
        log: TxnLog,
        thread: LogThread,
        loop: asyncio.AbstractEventLoop,
        synced_zxid: int,
        on_failure: Callable[[Exception], None],
        on_synced: Callable[["Batch[R]"], None],
    ) -> None:
        """Begin with nothing to sync; ``on_synced`` is called behind the release of each batch."""
        self.collecting: Batch[R] = Batch()
        self.syncing: Batch[R] | None = None
        self.synced_zxid = synced_zxid
        self._log = log
        self._thread = thread
        self._loop = loop
        self._on_failure = on_failure
        self._on_synced = on_synced
        self._flush_is_scheduled = False

    @property
    def is_idle(self) -> bool:
        """Whether everything applied is also synced."""
        return self.syncing is None and not self.collecting.records

    def append(self, zxid: int, record: bytes, touched: Collection[str], now_ms: int) -> Batch[R]:
        """Add a txn; returns the batch that holds what shows it."""
        batch = self.collecting
        if not batch.records:
            batch.first_zxid = zxid
            batch.opened_ms = now_ms
            if self.syncing is None and not self._flush_is_scheduled:
                # At the end of this turn of the loop, so that whoever else is ready gets in.
                self._flush_is_scheduled = True
                self._loop.call_soon(self._flush)
        batch.last_zxid = zxid
        batch.records.append(record)
        batch.touched.update(touched)
        return batch

    def batch_to_wait_for(self, receiver: R, path: str | None) -> Batch[R] | None:
        """Return the batch behind which a reply about ``path`` has to wait; None: it need not.

        It waits for what it shows (None shows nothing), and behind what its connection waits for
        already.
        """
        collecting = self.collecting
        if path in collecting.touched or receiver in collecting.held:
            return collecting
        syncing = self.syncing
        if syncing is not None and (path in syncing.touched or receiver in syncing.held):
            return syncing
        return None

    def newest_batch(self) -> Batch[R] | None:
        """Return the batch behind which everything applied so far is durable; None: it is."""
        return self.collecting if self.collecting.records else self.syncing

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back once everything applied so far is on disk; at once where it is."""
        batch = self.newest_batch()
        if batch is None:
            callback()
        else:
            batch.callbacks.append(callback)

    def roll_log(self) -> None:
        """End the log behind the batch that is being synced."""
        self._thread.submit(self._log.roll, self._report)

    def _flush(self) -> None:
        self._flush_is_scheduled = False
        if self.syncing is not None or not self.collecting.records:
            return
        batch = self.syncing = self.collecting
        self.collecting = Batch()
        first_zxid, records = batch.first_zxid, b"".join(batch.records)

        def append() -> None:
            began = time.monotonic()
            self._log.append(first_zxid, records)
            batch.sync_ms = round((time.monotonic() - began) * 1000)

        self._thread.submit(append, self._synced)

    def _synced(self, failure: Exception | None) -> None:
        if failure is not None:
            self._on_failure(failure)
            return
        batch = self.syncing
        if batch is None:
            raise AssertionError("a sync returned that was not under way")
        self.syncing = None
        self.synced_zxid = batch.last_zxid
        self._flush()
        for receiver, frames in batch.held.items():
            receiver.release(frames)
        for callback in batch.callbacks:
            callback()
        self._on_synced(batch)

    def _report(self, failure: Exception | None) -> None:
        if failure is not None:
            self._on_failure(failure)
