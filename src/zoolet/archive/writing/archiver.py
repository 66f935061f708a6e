"""An archiver as a whole: opens the archive, becomes its owner, uploads, and stops."""

import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.names import OWNERS
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.store import Store
from zoolet.archive.writing.ownership import BEAT_S, Ownership
from zoolet.archive.writing.retention import Rules
from zoolet.archive.writing.retrying import Retrier, StoppedError, Stopping
from zoolet.archive.writing.snapshots import HOUR_MS, Housekeeping
from zoolet.archive.writing.sources import Source
from zoolet.archive.writing.status import Status, log
from zoolet.archive.writing.uploader import Uploader, wall_ms


class Options(NamedTuple):
    """The options of an archiver.

    Attributes:
        interval_s: the time between two uploads.
        rules: how long the archive keeps its objects.
        snapshot_interval_ms: the time between two snapshots.
        failing_limit_s: how long a request to the store is repeated; None means for ever.
    """

    interval_s: float
    rules: Rules
    snapshot_interval_ms: int = HOUR_MS
    failing_limit_s: float | None = None


class Archiver:
    """Writes into the archive in a store until it stops."""

    def __init__(self, store: Store, options: Options, status: Status, stopping: Stopping) -> None:
        self._options = options
        self._store = store
        self._status = status
        self._stopping = stopping
        self._retrier = Retrier(stopping, status, limit_s=options.failing_limit_s)
        store.pause = stopping.pause
        status.uploaded_bytes = lambda: store.uploaded_bytes

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[Archive, Ownership]]:
        """Open the archive, or create it, and be its owner.

        Raises ArchiveError if another archiver is the owner, and StoppedError.
        """
        retrier = self._retrier
        url = self._store.url
        archive = retrier.call(
            f"opening {url}", lambda: Archive.open_or_create(self._store), at_start=True
        )
        ownership = retrier.call(
            f"writing {OWNERS} in {url}", lambda: Ownership.take(archive), at_start=True
        )
        ended = threading.Event()
        beating = threading.Thread(
            target=self._beat, args=(ownership, ended), name="zoolet-owner", daemon=True
        )
        beating.start()
        self._store.remove_unfinished()
        log.info("archive %s, id %s", self._store.url, archive.identity.id)
        try:
            yield archive, ownership
        finally:
            ended.set()
            beating.join()
            try:
                ownership.release()
            except (OSError, ArchiveError) as error:
                log.warning("the end of this archiver could not be stored: %s", error)

    def upload(
        self, archive: Archive, ownership: Ownership, source: Source, *, once: bool = False
    ) -> None:
        """Upload what the source has until the archiver stops; with ``once``, what it has now."""
        options = self._options
        housekeeping = Housekeeping(
            archive,
            source,
            ownership,
            self._retrier,
            self._status,
            options.rules,
            wall_ms,
            options.snapshot_interval_ms,
        )
        Uploader(
            archive,
            source,
            ownership,
            housekeeping,
            self._retrier,
            self._status,
            self._stopping,
            options.interval_s,
        ).run(once=once)

    def run(self, source: Source, *, once: bool = False) -> None:
        """Open the archive and upload; raises ArchiveError."""
        with contextlib.suppress(StoppedError), self.opened() as (archive, ownership):
            self.upload(archive, ownership, source, once=once)

    def _beat(self, ownership: Ownership, ended: threading.Event) -> None:
        """Write the owner's object regularly, and stop the archiver if there is a newer owner."""
        while not ended.wait(BEAT_S):
            try:
                ownership.refresh()
            except OSError as error:
                log.warning("the object of this archiver could not be written: %s", error)
            except ArchiveError as error:
                log.error("%s", error)
                self._stopping.ask()
                return
