"""The observer's part of a server: its files at the start, and its link to the leader."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from zoolet.server.common.clock import Clock
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.errors import ServerError
from zoolet.server.common.scheduler import Scheduler
from zoolet.server.leader_link.connecting import quorum_context
from zoolet.server.leader_link.errors import FatalLinkError
from zoolet.server.leader_link.link import LeaderLink
from zoolet.server.leader_link.own_database import OwnDatabase
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.server.snapshotter import Snapshotter
from zoolet.server.zoo_cfg.config import Config
from zoolet.storage.disk import Disk
from zoolet.storage.epochs import EpochFiles, has_standalone_history
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories
from zoolet.storage.replacement import set_all_aside

log = logging.getLogger(__name__)

CHECK_INTERVAL_MS: Final = 100
"""The time between two looks at the clock: for silence of the leader and for expired sessions."""

_FIRST_CONTACT_S: Final = 30.0
"""A starting server waits up to this time for the leader's data, before it listens for clients."""


def check_history(disk: Disk, directories: DataDirectories, *, discards: bool) -> None:
    """Raise StorageError if the leader could remove the history of a standalone server.

    With ``discards``, the files are moved to another folder instead.
    """
    if discards:
        folder = set_all_aside(disk, directories)
        log.warning("the local data is discarded: the files are in %s", folder)
    elif has_standalone_history(disk, directories):
        raise StorageError(
            f"{directories.snapshots} has the data of a standalone server, and an observer would"
            " replace it by the data of the ensemble. To create an ensemble from this data, run"
            " zoolet ensemble create with the standalone server's zoo.cfg. To discard the data,"
            " start with --discard-local-data: the files are moved to another folder."
        )


class Observing:
    """The link of one server to the leader of its ensemble."""

    def __init__(
        self,
        config: Config,
        disk: Disk,
        directories: DataDirectories,
        clock: Clock,
        processor: RequestProcessor,
        commit: GroupCommit,
        snapshotter: Snapshotter,
        scheduler: Scheduler,
        log_thread: DiskThread,
        snapshot_thread: DiskThread,
        begin_log: Callable[[], None],
        fail: Callable[[str], None],
    ) -> None:
        """Prepare the link; ``fail`` stops the server with a message. Raises ServerError."""
        settings = config.observer
        if settings is None:
            raise AssertionError("the server is not an observer")
        self._fail = fail
        self._processor = processor
        database = OwnDatabase(
            config,
            disk,
            directories,
            clock,
            processor,
            commit,
            snapshotter,
            log_thread,
            snapshot_thread,
            begin_log,
        )
        self._link = LeaderLink(
            settings,
            None if settings.tls is None else quorum_context(settings.tls),
            database,
            EpochFiles(disk, directories),
            processor.forwarded,
            clock,
            scheduler,
            config.tick_time_ms,
        )

    async def begin(
        self, started: contextlib.AsyncExitStack, failure: "asyncio.Future[None]"
    ) -> None:
        """Look for a leader until ``started`` is closed.

        Returns when the database is up to date, or when no member is the leader, at the latest
        after ``_FIRST_CONTACT_S``. Raises ServerError if the server cannot join the ensemble.
        """
        tried = asyncio.Event()
        self._link.when_first_tried(tried.set)
        task = asyncio.get_running_loop().create_task(self._link.run())
        task.add_done_callback(self._ended)
        started.callback(task.cancel)
        waiting = asyncio.create_task(tried.wait())
        first: tuple[asyncio.Future[Any], ...] = (waiting, failure)
        await asyncio.wait(first, timeout=_FIRST_CONTACT_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if failure.done():
            failure.result()
        if not self._processor.forwarded.leader.is_serving:
            log.warning("clients are refused until this server has the data of a leader")

    def check(self) -> None:
        """Look at the clock, every ``CHECK_INTERVAL_MS``."""
        self._link.check()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._processor.machine.is_changing:
            self._processor.change_failed(
                error if isinstance(error, Exception) else ServerError(repr(error))
            )
        elif isinstance(error, (FatalLinkError, StorageError, ServerError)):
            self._fail(str(error))
        elif isinstance(error, OSError):
            self._fail(
                f"a file of the ensemble's data cannot be written: {error}. Free disk space or"
                " repair the disk, then start the server again."
            )
        else:
            log.error("following the leader failed", exc_info=error)
            self._fail(
                f"following the leader failed: {error!r}. Start the server again, and report this"
                " error. Every acknowledged change is on disk."
            )
