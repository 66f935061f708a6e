"""The observer that feeds an archiver: a server without a port for clients, in this process."""

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.records import Reason
from zoolet.archive.writing.archiver import Archiver
from zoolet.archive.writing.log_tail import LogTail, MovedError
from zoolet.archive.writing.retrying import Retrier, StoppedError, Stopping
from zoolet.archive.writing.seeding import claim, seed
from zoolet.archive.writing.sources import LocalSnapshot
from zoolet.server.service import Server
from zoolet.server.zoo_cfg.config import Config
from zoolet.storage.disk import Disk
from zoolet.storage.files import DataDirectories, by_zxid
from zoolet.storage.retention import LEAST_SNAPSHOTS, Retention

if TYPE_CHECKING:
    from pathlib import Path

_SNAPSHOT_TIMEOUT_S = 600.0
_REPLACED_KEPT_S = 86_400.0


class ObserverSource:
    """The files of an observer in this process. The methods are called in other threads."""

    gap_reason = Reason.SNAPSHOT

    def __init__(
        self, server: Server, directories: DataDirectories, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.directories = directories
        self._server = server
        self._loop = loop

    def is_current(self) -> bool:
        """Return whether the observer follows a leader and has its whole history."""
        ensemble = self._server.ensemble
        return ensemble is not None and ensemble.is_serving

    @contextmanager
    def first_snapshot(self, common_zxid: int | None) -> Iterator[LocalSnapshot]:
        """Give the newest state of the server: a snapshot of the leader is not exact."""
        del common_zxid
        yield self._taken()

    @contextmanager
    def snapshot(self, after_zxid: int, zxid: int) -> Iterator[LocalSnapshot | None]:
        """Give the newest state of the server, also if it is after ``zxid``.

        A snapshot of the server's own would be older, and a snapshot of the leader is not exact.
        """
        if zxid <= after_zxid or not self.is_current():
            yield None
        else:
            yield self._taken()

    def _taken(self) -> LocalSnapshot:
        try:
            return asyncio.run_coroutine_threadsafe(self._take(), self._loop).result(
                _SNAPSHOT_TIMEOUT_S
            )
        except TimeoutError:
            raise ArchiveError(
                f"the observer has not written a snapshot within {_SNAPSHOT_TIMEOUT_S:.0f} s: see"
                " its messages before this one. Free disk space, then start again."
            ) from None

    async def _take(self) -> LocalSnapshot:
        links = self._links()
        taken: asyncio.Future[tuple[Path | None, int]] = self._loop.create_future()
        self._server.take_snapshot(lambda path, zxid: taken.set_result((path, zxid)))
        path, zxid = await taken
        if links is None or links != self._links():
            # While a new link begins, the state may contain txns after its zxid.
            raise MovedError
        if path is None:
            raise ArchiveError(
                f"the observer cannot write a snapshot in {self.directories.snapshots}. Free disk"
                " space, then start again."
            )
        time_ms = await asyncio.to_thread(LogTail(self.directories).time_of, zxid)
        return LocalSnapshot(path, zxid, int(time.time() * 1000) if time_ms is None else time_ms)

    def _links(self) -> int | None:
        """Return the number of links that this server had; None if it follows no leader."""
        ensemble = self._server.ensemble
        return ensemble.links if ensemble is not None and ensemble.is_serving else None

    def remove_archived(self, zxid: int) -> None:
        """Keep the newest snapshots, and the logs after the oldest of them.

        Files that a snapshot of the leader replaced are kept for a day.
        """
        for folder in self.directories.snapshots.glob("replaced-*"):
            if time.time() - folder.stat().st_mtime > _REPLACED_KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)
        names = by_zxid(Disk().list_names(self.directories.snapshots), "snapshot")
        if len(names) > LEAST_SNAPSHOTS and names[-LEAST_SNAPSHOTS][0] <= zxid:
            Retention(Disk(), self.directories, LEAST_SNAPSHOTS).purge()


async def archive_ensemble(
    archiver: Archiver, config: Config, retrier: Retrier, stopping: Stopping
) -> None:
    """Archive an ensemble until SIGTERM or SIGINT.

    Raises ArchiveError, ServerError and StorageError if the archiver cannot continue.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.ask)
    directories = DataDirectories.of(config.data_dir, config.data_log_dir)
    with contextlib.suppress(StoppedError):
        async with contextlib.AsyncExitStack() as opened:
            context = archiver.opened()
            archive, ownership = await asyncio.to_thread(context.__enter__)
            opened.push_async_exit(lambda *error: asyncio.to_thread(context.__exit__, *error))
            await asyncio.to_thread(claim, archive, config.data_dir)
            await asyncio.to_thread(
                retrier.call, "reading the newest state", lambda: seed(archive, directories)
            )
            async with Server(config) as server:
                source = ObserverSource(server, directories, loop)
                uploading = asyncio.create_task(
                    asyncio.to_thread(archiver.upload, archive, ownership, source)
                )
                failing = asyncio.create_task(server.failed())
                await asyncio.wait({uploading, failing}, return_when=asyncio.FIRST_COMPLETED)
                stopping.ask()
                try:
                    await uploading
                finally:
                    if failing.done():
                        failing.result()
                    failing.cancel()
