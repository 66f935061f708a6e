"""When snapshots are taken, and how: a chunk at a time, between the turns of the clients.

The image of a moment is taken at once; its chunks are made on the loop's thread, each in a fraction
of a millisecond, and written by a thread that waits for the disk. So nothing but the image holds
the clients up. Why not by a fork: docs/decisions/0004-snapshots-in-chunks.md.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.stats import Summary
from zoolet.server.pipeline.batches import Batch
from zoolet.server.zoo_cfg.config import Config
from zoolet.storage.compression import Compression
from zoolet.storage.disk import Disk
from zoolet.storage.files import DataDirectories
from zoolet.storage.snapshots import UNFINISHED, Image, SnapshotFile

log = logging.getLogger(__name__)

_ZNODES_PER_TXN = 2


class Snapshotter:
    """Takes a snapshot when the log since the last one has become long enough.

    Attributes:
        is_busy: whether one is under way.
        failures: how many could not be written.
    """

    def __init__(
        self,
        config: Config,
        disk: Disk,
        disk_thread: DiskThread,
        when_durable: Callable[[Callable[[], None]], None],
        monotonic_ms: Callable[[], int],
        durations: Summary,
    ) -> None:
        """Begin to count.

        ``when_durable`` calls back once everything applied so far is in the log and on disk;
        ``durations`` is told how long each snapshot took.
        """
        self._config = config
        self._disk = disk
        self._directory = DataDirectories.of(config.data_dir, config.data_log_dir).snapshots
        self._disk_thread = disk_thread
        self._when_durable = when_durable
        self._monotonic_ms = monotonic_ms
        self._durations = durations
        self._txns = 0
        self._bytes = 0
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
        """Note what the log holds since the last snapshot."""
        self._txns += txns
        self._bytes += size_bytes

    def is_due(self, batch: Batch, num_znodes: int) -> bool:
        """Count a batch; say whether a snapshot should be taken now.

        A snapshot costs as much as there are znodes, so it has to be worth it: there are at least
        half as many txns to replay.
        """
        self.count(batch.num_txns, len(batch.records))
        config = self._config
        wanted_txns = max(config.storage.snap_count, num_znodes // _ZNODES_PER_TXN)
        is_long = self._txns >= wanted_txns or self._bytes >= config.storage.snap_size_bytes
        return is_long and not self.is_busy

    def take(
        self,
        image: Image,
        compression: Compression | None = None,
        done: Callable[[Path | None], None] = lambda _path: None,
    ) -> None:
        """Write a snapshot; returns at once. ``done`` is given its path, or None if it failed.

        The image may hold txns that are not synced yet. The snapshot gets its name only when they
        are: so a snapshot never holds what the log does not, and an older one can stand in for it.
        """
        self.forget_log()
        self.is_busy = True
        self._done = done
        if compression is None:
            compression = self._config.storage.compression
        self._began_ms = self._monotonic_ms()
        self._image = image
        self._chunks = image.content()
        self._disk_thread.submit(partial(self._open, image.zxid, compression), self._go_on)

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call back when no snapshot is under way; at once if none is."""
        if self.is_busy:
            self._waiting.append(callback)
        else:
            callback()

    def forget_log(self) -> None:
        """Note that a snapshot holds all that the log holds."""
        self._txns = self._bytes = 0

    def stop(self) -> None:
        """Give up a snapshot that is under way: the log keeps every txn."""
        self._is_stopped = True
        self._disk_thread.submit(self._abandon, lambda _failure: None)

    def remove_unfinished(self) -> None:
        """Remove what a server that died has left of its last snapshot."""
        for name in self._disk.list_names(self._directory):
            if name.startswith(UNFINISHED):
                self._disk.remove(self._directory / name)

    # -- a step each, on the loop's thread ---------------------------------------------------------

    def _go_on(self, failure: Exception | None) -> None:
        if failure is not None:
            self._failed(failure)
        elif self._is_stopped:
            return
        elif (chunk := next(self._chunks, None)) is not None:
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
            "a snapshot in %s could not be written: %s. The log keeps every txn, and the next"
            " snapshot is tried after %d more: make room until then.",
            self._directory,
            failure,
            self._config.storage.snap_count,
        )
        self._chunks = iter(())
        if self._image is not None:
            self._image.release()
        self._disk_thread.submit(self._abandon, self._given_up)

    def _given_up(self, _failure: Exception | None) -> None:
        self._end(None)

    def _end(self, path: Path | None) -> None:
        self.is_busy = False
        done, self._done = self._done, lambda _path: None
        done(path)
        if self._waiting and not self.is_busy:
            self._waiting.popleft()()

    # -- on the disk's thread ----------------------------------------------------------------------

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
