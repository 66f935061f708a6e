"""Decides when snapshots are taken, and writes them in chunks between the requests of clients.

The server takes an image of the database at one moment. The event loop's thread encodes the image
in chunks; each chunk takes about a millisecond. The snapshot thread writes the chunks. While the
event loop is busy, there are pauses between the chunks, so that a snapshot does not slow down the
requests. docs/decisions/0004-snapshots-in-chunks.md explains why the server does not fork for this.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.pace import Pace
from zoolet.server.common.stats import Summary
from zoolet.server.connections.batches import Batch
from zoolet.server.zoo_cfg.config import Config
from zoolet.storage.compression import Compression
from zoolet.storage.disk import Disk
from zoolet.storage.files import UNFINISHED, DataDirectories
from zoolet.storage.snapshots import Image, SnapshotFile

log = logging.getLogger(__name__)

_ZNODES_PER_TXN = 2

_HURRIED_LOGS: Final = 8
"""If the log since the begin of a snapshot is this number of times as long as the log after which a
snapshot is due, the snapshot makes no more pauses: a restart would have to replay too much."""


class Snapshotter:
    """Takes snapshots, and decides whether the log is long enough for the next snapshot.

    Attributes:
        is_busy: whether a snapshot is in progress.
        failures: the number of snapshots that could not be written.
    """

    def __init__(
        self,
        config: Config,
        disk: Disk,
        disk_thread: DiskThread,
        when_durable: Callable[[Callable[[], None]], None],
        monotonic_ms: Callable[[], int],
        durations: Summary,
        pace: Pace | None = None,
    ) -> None:
        """Prepare to take snapshots.

        ``when_durable`` calls a function when every txn applied so far is in the log on disk.
        ``durations`` counts the durations of the snapshots. ``pace`` makes the pauses between
        chunks; if it is None, there are none.
        """
        self._config = config
        self._disk = disk
        self._directory = DataDirectories.of(config.data_dir, config.data_log_dir).snapshots
        self._disk_thread = disk_thread
        self._when_durable = when_durable
        self._monotonic_ms = monotonic_ms
        self._durations = durations
        self._pace = pace
        self._txns = 0
        self._bytes = 0
        self._num_znodes = 0
        self._file: SnapshotFile | None = None
        self._path: Path | None = None
        self._done: Callable[[Path | None], None] = lambda _path: None
        self._waiting: deque[Callable[[], None]] = deque()
        self._image: Image | None = None
        self._chunks: Iterator[bytes] = iter(())
        self.is_busy = False
        self.failures = 0
        self._is_stopped = False
        self._began_ms = 0

    def count(self, txns: int, size_bytes: int = 0) -> None:
        """Count txns and bytes that the log contains since the last snapshot."""
        self._txns += txns
        self._bytes += size_bytes

    def is_due(self, batch: Batch, num_znodes: int) -> bool:
        """Count a batch; return whether a snapshot should be taken now.

        The cost of a snapshot grows with the number of znodes. So a snapshot is due only if the
        number of txns since the last snapshot is at least half the number of znodes.
        """
        self.count(batch.num_txns, len(batch.records))
        self._num_znodes = num_znodes
        return self._is_log_long(1) and not self.is_busy

    def _is_log_long(self, times: int) -> bool:
        """Return whether the log is this number of times as long as when a snapshot is due."""
        storage = self._config.storage
        wanted_txns = max(storage.snap_count, self._num_znodes // _ZNODES_PER_TXN)
        return self._txns >= times * wanted_txns or self._bytes >= times * storage.snap_size_bytes

    def take(
        self,
        image: Image,
        compression: Compression | None = None,
        done: Callable[[Path | None], None] = lambda _path: None,
    ) -> None:
        """Begin to write a snapshot; ``done`` gets its path later, or None if it failed.

        The image may contain txns that are not synced yet. The file gets its final name only after
        they are synced. So all txns in a snapshot are also in the log, and an older snapshot with
        the log can replace it.
        """
        self.forget_log()
        self.is_busy = True
        self._done = done
        if compression is None:
            compression = self._config.storage.compression
        self._began_ms = self._monotonic_ms()
        self._image = image
        self._chunks = image.content() if self._pace is None else image.content(self._pace.has_time)
        self._disk_thread.submit(partial(self._open, image.zxid, compression), self._go_on)

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when no snapshot is in progress; this may be immediately."""
        if self.is_busy:
            self._waiting.append(callback)
        else:
            callback()

    def hold(self, held: Callable[[], None]) -> None:
        """Begin no more snapshots; call ``held`` when none is in progress, perhaps immediately."""

        def begin() -> None:
            self.is_busy = True
            held()

        self.when_free(begin)

    def let_go(self) -> None:
        """Take snapshots again after ``hold``."""
        self._end(None)

    def forget_log(self) -> None:
        """Set the counts to 0: a snapshot contains all txns of the log."""
        self._txns = self._bytes = 0

    def stop(self) -> None:
        """Abandon the snapshot in progress; no data is lost, because the log has every txn."""
        self._is_stopped = True
        self._disk_thread.submit(self._abandon, lambda _failure: None)

    def remove_unfinished(self) -> None:
        """Remove the incomplete snapshot files of earlier servers that were killed."""
        for name in self._disk.list_names(self._directory):
            if name.startswith(UNFINISHED):
                self._disk.remove(self._directory / name)

    # --- One step for each call, on the event loop's thread

    def _go_on(self, failure: Exception | None) -> None:
        if failure is not None:
            self._failed(failure)
        elif self._pace is None or self._is_log_long(_HURRIED_LOGS):
            self._next_chunk()
        else:
            self._pace.go_on(self._next_chunk)

    def _next_chunk(self) -> None:
        if self._is_stopped:
            return
        pace = self._pace
        if pace is not None:
            pace.begin()
        chunk = next(self._chunks, None)
        if pace is not None:
            pace.end()
        if chunk is not None:
            self._disk_thread.submit(partial(self._write, chunk), self._go_on)
        else:
            self._when_durable(partial(self._disk_thread.submit, self._finish, self._finished))

    def _finished(self, failure: Exception | None) -> None:
        if failure is not None:
            self._failed(failure)
            return
        self._chunks, self._image = iter(()), None
        self._durations.add(self._monotonic_ms() - self._began_ms)
        self._end(self._path)

    def _failed(self, failure: Exception) -> None:
        self.failures += 1
        log.error(
            "a snapshot in %s could not be written: %s. No data is lost: the transaction log has"
            " every txn. The server tries again after %d more txns: free disk space before then.",
            self._directory,
            failure,
            self._config.storage.snap_count,
        )
        if self._image is not None:
            self._chunks, self._image = self._image.steps_to_free(), None
        self._disk_thread.submit(self._abandon, self._given_up)

    def _given_up(self, _failure: Exception | None) -> None:
        if next(self._chunks, None) is None:
            self._end(None)
        else:
            self._disk_thread.submit(_do_nothing, self._given_up)

    def _end(self, path: Path | None) -> None:
        self.is_busy = False
        done, self._done = self._done, lambda _path: None
        done(path)
        if self._waiting and not self.is_busy:
            self._waiting.popleft()()

    # --- On the snapshot thread

    def _open(self, zxid: int, compression: Compression) -> None:
        self._file = SnapshotFile(self._disk, self._directory, zxid, compression)
        self._path = self._file.path

    def _write(self, chunk: bytes) -> None:
        if self._file is not None:
            self._file.write(chunk)

    def _finish(self) -> None:
        if self._file is not None:
            self._file.finish()
            self._file = None

    def _abandon(self) -> None:
        if self._file is not None:
            self._file.abandon()
            self._file = None


def _do_nothing() -> None:
    """Let the event loop do other work between two steps."""
