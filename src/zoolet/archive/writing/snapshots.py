"""Periodic work beside the txns: snapshots, merging, retention; in a thread of its own.

A large snapshot may take long, and must not delay the txns.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from zoolet.archive.format.names import SnapshotName
from zoolet.archive.store.archive import Archive
from zoolet.archive.writing.log_tail import MovedError
from zoolet.archive.writing.ownership import Ownership
from zoolet.archive.writing.retention import RemovalClock, Rules, retain
from zoolet.archive.writing.retrying import Retrier, StoppedError
from zoolet.archive.writing.sources import LocalSnapshot, Source
from zoolet.archive.writing.status import Status, log

HOUR_MS: Final = 3_600_000


class Housekeeping:
    """Takes a snapshot each hour, and then removes and merges old objects."""

    def __init__(
        self,
        archive: Archive,
        source: Source,
        ownership: Ownership,
        retrier: Retrier,
        status: Status,
        rules: Rules,
        now_ms: Callable[[], int],
        snapshot_interval_ms: int = HOUR_MS,
    ) -> None:
        self._archive = archive
        self._source = source
        self._ownership = ownership
        self._retrier = retrier
        self._status = status
        self._rules = rules
        self._now_ms = now_ms
        self._removal_clock = RemovalClock(now_ms)
        self._interval_ms = snapshot_interval_ms
        self._pool = ThreadPoolExecutor(1, "zoolet-housekeeping")
        self._running: Future[None] | None = None
        self._period = -1
        self._lock = threading.Lock()
        self._timeline = 0
        self._snapshot_zxid = 0

    def timeline_began(self, number: int, snapshot: SnapshotName) -> None:
        """Use another timeline, whose newest snapshot this is."""
        with self._lock:
            self._timeline, self._snapshot_zxid = number, snapshot.zxid
            self._period = snapshot.time_ms // self._interval_ms

    def look(self, archived_zxid: int, archived_ms: int) -> None:
        """Begin the work if an hour has begun; raises the error of earlier work."""
        removal_ms = self._removal_clock.now_ms(archived_ms)
        if self._running is not None:
            if not self._running.done():
                return
            running, self._running = self._running, None
            running.result()
        period = self._now_ms() // self._interval_ms
        if period != self._period:
            self._period = period
            with self._lock:
                timeline, snapshot_zxid = self._timeline, self._snapshot_zxid
            self._running = self._pool.submit(
                self._work, timeline, snapshot_zxid, archived_zxid, removal_ms
            )

    def end(self) -> None:
        """Wait for the work in progress; raises its error."""
        self._pool.shutdown()
        if self._running is not None:
            self._running.result()

    def _work(self, timeline: int, snapshot_zxid: int, archived_zxid: int, removal_ms: int) -> None:
        try:
            with self._source.snapshot(snapshot_zxid, archived_zxid) as snapshot:
                if snapshot is not None:
                    self._upload(timeline, snapshot)
            self._source.remove_archived(archived_zxid)
            retain(
                self._archive,
                self._ownership,
                self._retrier,
                self._rules,
                self._now_ms(),
                removal_ms,
            )
        except StoppedError:
            pass
        except (FileNotFoundError, MovedError) as error:
            # The server replaced or removed a file meanwhile.
            log.warning("the hourly snapshot failed, and is taken in the next hour: %r", error)

    def _upload(self, timeline: int, snapshot: LocalSnapshot) -> None:
        name = SnapshotName(timeline, snapshot.zxid, snapshot.time_ms)
        upload_snapshot(self._archive, self._ownership, self._retrier, name, snapshot)
        self._status.snapshots += 1
        with self._lock:
            if self._timeline == timeline:
                self._snapshot_zxid = max(self._snapshot_zxid, snapshot.zxid)


def upload_snapshot(
    archive: Archive,
    ownership: Ownership,
    retrier: Retrier,
    name: SnapshotName,
    snapshot: LocalSnapshot,
    *,
    at_start: bool = False,
) -> None:
    """Write a snapshot into the archive; ``at_start`` is that of ``Retrier.call``.

    Raises StoppedError, and MovedError if the server has removed the snapshot.
    """

    def upload() -> None:
        ownership.check()
        try:
            archive.store.write(str(name), retrier.ending(snapshot.pieces()))
        except OSError as error:
            if not snapshot.path.exists():
                raise MovedError from error
            raise

    retrier.call(f"uploading {name}", upload, at_start=at_start)
    log.info("archived the state of zxid 0x%x as %s", snapshot.zxid, name)
