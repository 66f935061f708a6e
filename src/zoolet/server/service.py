"""The server as a whole: it recovers the database, listens, serves clients, and stops.

This module decides the order in which the parts start and stop. It runs the periodic tasks, such as
the search for expired sessions, and takes snapshots.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from zoolet.process.loading import loading
from zoolet.process.memory import LOOK_INTERVAL_MS, FreedBuffers, FreedMemory, give_back
from zoolet.server.auditing import Auditing
from zoolet.server.common.clock import SYSTEM_CLOCK, Clock
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.log_thread import LogThread
from zoolet.server.common.pace import Pace
from zoolet.server.common.scheduler import Scheduler, Share
from zoolet.server.connections.batches import Batch
from zoolet.server.endpoints import Endpoints
from zoolet.server.failures import Failures
from zoolet.server.logs.log_limiter import LogLimiter
from zoolet.server.logs.logs import describe_serving
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.server.snapshotter import Snapshotter
from zoolet.server.zoo_cfg.config import Config, Listener
from zoolet.storage.compression import Compression
from zoolet.storage.disk import Disk
from zoolet.storage.ensemble_marker import check_not_marked
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories
from zoolet.storage.recovery import recover
from zoolet.storage.replacement import finish_replacement
from zoolet.storage.retention import Retention
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.storage.txn_log import TxnLog

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from zoolet.server.common.ensemble_view import EnsembleView
    from zoolet.server.operator.http import Page
    from zoolet.server.sockets.listening import Acceptor
    from zoolet.server.zoo_cfg.config import AdminConfig
    from zoolet.state_machine.machine import StateMachine

log = logging.getLogger(__name__)

_CLOSING_DEADLINE_S = 1.0
_MS_PER_H = 3_600_000
_CLOSING_CHECK_S = 0.005
_LARGEST_TXN_BYTES = 1 << 30

Repetition = tuple[int, Callable[[], None]]


class Server:
    """One server on one data directory.

    ``async with`` recovers the data directory and listens. At its end, the server stops cleanly:
    every acknowledged change is on disk, connections are closed, and sessions are not closed, so
    clients can resume them on the next start.
    """

    def __init__(
        self,
        config: Config,
        disk: Disk | None = None,
        clock: Clock = SYSTEM_CLOCK,
        wrap_protocol: Callable[[asyncio.Protocol], asyncio.Protocol] | None = None,
        *,
        owns_process: bool = True,
        discards_local_data: bool = False,
    ) -> None:
        """Prepare a server without starting it.

        Args:
            config: the settings.
            disk: the interface to the disk; None for the disk of this machine.
            clock: the clock of the server.
            wrap_protocol: gets the server's protocol of a connection, and returns the protocol to
                connect to the transport in its place. If None, nothing is put between the two.
            owns_process: whether the process runs only this server. If False, the server does not
                change the settings of the garbage collector.
            discards_local_data: whether an observer moves the files of an earlier standalone server
                to another folder, instead of refusing to start.
        """
        self._config = config
        self._disk = disk if disk is not None else Disk()
        self._clock = clock
        self._wrap_protocol = wrap_protocol
        self._owns_process = owns_process
        self._discards_local_data = discards_local_data
        self._directories = DataDirectories.of(config.data_dir, config.data_log_dir)
        self._resources = contextlib.AsyncExitStack()
        self._failures: Failures
        self._machine: StateMachine
        self._processor: RequestProcessor
        self._commit: GroupCommit
        self._txn_log: TxnLog
        self._thread: LogThread
        self._snapshotter: Snapshotter
        self._retention = Retention(self._disk, self._directories, config.storage.kept_snapshots)
        self._endpoints: Endpoints
        self._auditing = Auditing(config.audit, clock)
        self._snapshot_thread: DiskThread
        self._txns_replayed = 0
        self._log_bytes = 0
        self._limited = LogLimiter(log, clock.monotonic_ms)

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as started:
            loop = asyncio.get_running_loop()
            self._failures = Failures(loop, self._directories.logs, self._limited)
            started.enter_context(self._locked_directories())
            self._prepare_files()
            self._auditing.begin(started)
            self._recover()
            self._thread = LogThread(loop)
            started.callback(self._thread.stop)
            self._snapshot_thread = DiskThread(loop, "zoolet-snapshot")
            started.callback(self._snapshot_thread.stop)
            self._build(loop)
            if self._config.observer is None:
                self._processor.local.sessions.end_ownerless_ephemerals()
            started.callback(self._snapshotter.stop)
            started.push_async_callback(self._drain)
            # Clients are last: when the first client connects, all other parts have started.
            self._endpoints.listen_for_operators(started, self._backup_pages)
            started.callback(self._close_connections)
            if self._config.observer is not None:
                await self._observe(started)
            self._endpoints.listen_for_clients(started)
            for interval_ms, look in self._repetitions(loop):
                self._failures.start_repeating(started, interval_ms, look)
            self._auditing.server_started(self._thread, self._failures.log_failed)
            self._resources = started.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._resources.aclose()

    def _repetitions(self, loop: asyncio.AbstractEventLoop) -> "list[Repetition]":
        """Return the periodic tasks, each with its interval in ms."""
        config, processor, idle = self._config, self._processor, self._endpoints.idle
        run = processor.scheduler.run
        found: list[Repetition] = [
            (
                idle.sessionless_interval_ms,
                lambda: run("closing connections without a session", idle.close_sessionless()),
            ),
            (
                idle.unread_interval_ms,
                lambda: run("closing clients that do not read", idle.close_unread()),
            ),
        ]
        if config.observer is None:
            local = processor.local
            look = partial(local.sessions.look_for_expired, loop.call_soon)
            found.append((config.tick_time_ms, look))
            found.append((config.container_check_interval_ms, local.removal.look))
        found += processor.logins.repetitions(self._snapshot_thread)
        found += self._endpoints.repetitions(self._snapshot_thread)
        if config.storage.purge_interval_h:
            self._purge()
            found.append((config.storage.purge_interval_h * _MS_PER_H, self._purge))
        if self._owns_process:
            freed = FreedMemory(self._give_memory_back)
            found.append((LOOK_INTERVAL_MS, freed.look))
            found.append((LOOK_INTERVAL_MS, FreedBuffers().look))
        return found

    async def _observe(self, started: contextlib.AsyncExitStack) -> None:
        """Begin to follow the leader; return when clients may connect."""
        # Imported here, because only an observer needs this module.
        from zoolet.server.observing import CHECK_INTERVAL_MS, Observing  # noqa: PLC0415

        observing = Observing(
            self._config,
            self._disk,
            self._directories,
            self._clock,
            self._processor,
            self._commit,
            self._snapshotter,
            self._scheduler,
            self._thread,
            self._snapshot_thread,
            self._begin_log,
            self._failures.fail,
        )
        self._failures.start_repeating(started, CHECK_INTERVAL_MS, observing.check)
        await observing.begin(started, self._failures.first)

    async def failed(self) -> None:
        """Never return; raises ServerError when the server fails, e.g. cannot write its log."""
        # shield: a caller that cancels its wait must not cancel the future, which _drain needs.
        await asyncio.shield(self._failures.first)

    # --- For the owner of the server, on the event loop's thread

    @property
    def machine(self) -> "StateMachine":
        """The database."""
        return self._processor.machine

    @property
    def ensemble(self) -> "EnsembleView | None":
        """What an observer knows of its ensemble; None for a standalone server."""
        return self._processor.ensemble

    @property
    def description(self) -> str:
        """One line with the version, the directories, and each address at which it listens."""
        return describe_serving(self._directories, self._endpoints.listening)

    @property
    def is_durable(self) -> bool:
        """Whether every applied txn is on disk."""
        return self._commit.is_idle

    def listen_at(self, at: Listener) -> "Acceptor":
        """Serve clients at one more address until the returned acceptor is closed.

        Raises OSError if the server cannot listen at the address.
        """
        return self._endpoints.listen_at(at)

    def expire_session(self, session_id: int) -> bool:
        """Close a session as if it had timed out; return False if it does not exist."""
        return self._processor.local.sessions.expire(session_id)

    def look_at_clock(self) -> None:
        """Close expired sessions and remove due znodes now, instead of at the next tick."""
        self._processor.local.sessions.expire_now()
        self._processor.local.removal.remove_now()

    # --- Start

    @contextmanager
    def _locked_directories(self) -> Iterator[None]:
        if not self._config.creates_directories:
            self._directories.check_exist(self._disk)
        self._directories.prepare(self._disk)
        locks = self._directories.lock(self._disk)
        try:
            self._directories.check_writable(self._disk)
            check_not_marked(self._disk, self._directories)
            yield
        finally:
            for lock in locks:
                lock.release()

    def _prepare_files(self) -> None:
        """Complete what an earlier server has not finished, and check who wrote the files."""
        for note in finish_replacement(self._disk, self._directories):
            log.warning("%s", note)
        if self._config.observer is not None:
            from zoolet.server.observing import check_history  # noqa: PLC0415 -- as in _observe

            discards = self._discards_local_data
            check_history(self._disk, self._directories, discards=discards)

    def _recover(self) -> None:
        began = time.perf_counter()
        with loading() if self._owns_process else contextlib.nullcontext():
            recovery = recover(self._disk, self._directories, self._config.tick_time_ms)
        for note in recovery.notes:
            log.warning("%s", note)
        machine = self._machine = recovery.machine
        machine.rules = self._config.rules
        machine.sessions.restart_clocks(self._clock.monotonic_ms())
        if recovery.snapshot_zxid is None:
            self._write_first_snapshot()
        self._txns_replayed = recovery.txns_replayed
        log.info(
            "recovered %d znodes and %d sessions at zxid 0x%x from %s in %.0f ms"
            " (%d txns replayed)",
            len(machine.tree),
            len(machine.sessions),
            machine.zxid,
            self._directories.snapshots,
            (time.perf_counter() - began) * 1000,
            recovery.txns_replayed,
        )

    def _build(self, loop: asyncio.AbstractEventLoop) -> None:
        config = self._config
        scheduler = self._scheduler = Scheduler(loop.call_soon)
        self._snapshot_share = Share("beginning a snapshot")
        self._txn_log = TxnLog(
            self._disk,
            self._directories.logs,
            config.storage.preallocate_bytes,
            force_sync=config.storage.force_sync,
        )
        self._commit = GroupCommit(
            self._txn_log,
            self._thread,
            loop,
            self._machine.zxid,
            self._failures.log_failed,
            self._batch_synced,
            # The leader of an ensemble has its own limit.
            _LARGEST_TXN_BYTES if config.observer else config.rules.max_txn_bytes,
            scheduler,
            self._auditing.write,
            self._thread.write,
        )
        self._failures.handle_callbacks(self._commit.stop)
        self._processor = RequestProcessor(
            config,
            self._machine,
            self._commit,
            self._clock,
            self._machine.sessions.next_id(self._clock.wall_ms()),
            scheduler,
            self._failures.state_unknown,
        )
        self._processor.stats.audit = self._auditing.counts
        self._endpoints = Endpoints(config, self._processor, self._clock, self._wrap_protocol)
        self._snapshotter = Snapshotter(
            config,
            self._disk,
            self._snapshot_thread,
            self._commit.when_durable,
            self._clock.monotonic_ms,
            self._processor.stats.snapshots,
            Pace(loop.call_later),
        )
        self._snapshotter.count(self._txns_replayed)
        self._snapshotter.remove_unfinished()

    # --- Operation

    def _batch_synced(self, batch: Batch) -> None:
        self._processor.batch_released(batch)
        if (ensemble := self._processor.ensemble) is not None:
            ensemble.release_ms.add(self._clock.monotonic_ms() - batch.opened_ms, batch.num_txns)
        config, size_bytes = self._config, len(batch.records)
        self._count_sync(batch.sync_ms, size_bytes)
        self._log_bytes += size_bytes
        if self._snapshotter.is_due(batch, len(self._machine.tree)):
            began_s = self._scheduler.now_s()
            self._roll_log()
            self._snapshotter.take(Image.of(self._machine))
            self._scheduler.used(self._snapshot_share, began_s)
        elif 0 < config.storage.log_size_bytes <= self._log_bytes:
            self._roll_log()

    def _give_memory_back(self) -> None:
        self.machine.shrink()
        give_back()

    def take_snapshot(self, done: "Callable[[Path | None, int], None]") -> None:
        """Take a snapshot; ``done`` gets its path and zxid later, or None if it failed."""

        def take() -> None:
            image = Image.of(self._machine)
            self._roll_log()
            self._snapshotter.take(image, Compression.NONE, lambda path: done(path, image.zxid))

        self._snapshotter.when_free(take)

    def _backup_pages(self, admin: "AdminConfig") -> "Mapping[str, Page]":
        """Return the pages of the admin commands snapshot and restore."""
        # Imported here, because only these pages need these modules.
        from zoolet.server.database_switch import DatabaseSwitch  # noqa: PLC0415
        from zoolet.server.operator.backup import Backup  # noqa: PLC0415
        from zoolet.server.operator.restore import Restorer  # noqa: PLC0415

        config, run = self._config, self._scheduler.run
        switch = DatabaseSwitch(
            config,
            self._processor,
            self._commit,
            self._clock,
            run,
            self._begin_log,
            self._failures.fail,
        )
        return Backup(
            config,
            admin,
            self._machine,
            self._processor.stats,
            self._disk,
            self.take_snapshot,
            Restorer(config, self._disk, self._snapshot_thread, run, switch),
            self._clock.monotonic_ms,
        ).pages()

    def _begin_log(self) -> None:
        """Begin a new log file after a snapshot that contains all earlier txns."""
        self._roll_log()
        self._snapshotter.forget_log()

    def _roll_log(self) -> None:
        self._log_bytes = 0
        self._commit.roll_log()

    def _count_sync(self, sync_ms: int, size_bytes: int) -> None:
        stats = self._processor.stats
        stats.syncs.add(sync_ms)
        stats.sync_latencies.add(sync_ms)
        if sync_ms > self._config.storage.sync_warning_ms:
            stats.slow_syncs += 1
            log.warning(
                "writing and syncing %d bytes of the transaction log took %d ms: all write requests"
                " waited. Put dataLogDir on a separate disk (fsync.warningthresholdms is %d)",
                size_bytes,
                sync_ms,
                self._config.storage.sync_warning_ms,
            )

    def _purge(self) -> None:
        """Remove old snapshots and logs on the snapshot thread.

        The check whether snapshots are complete reads them. This would block the event loop's
        thread or the log thread for too long.
        """
        kept_snapshots = self._config.storage.kept_snapshots

        def purge_files() -> None:
            for name in self._retention.purge():
                log.info("removed %s: %d newer snapshots are kept", name, kept_snapshots)

        self._snapshot_thread.submit(purge_files, self._purged)

    def _purged(self, failure: Exception | None) -> None:
        if failure is not None:
            log.warning("old snapshots and logs could not be removed: %s", failure)

    def _write_first_snapshot(self) -> None:
        """Write a first snapshot: Apache ZooKeeper opens no data directory without a snapshot."""
        directory, image = self._directories.snapshots, Image.of(self._machine)
        try:
            write_snapshot(self._disk, directory, image, self._config.storage.compression)
        except OSError as error:
            raise StorageError(
                f"cannot write a snapshot in {directory}: {error}. Free disk space, or give the"
                " server's user write permission for the directory."
            ) from error

    # --- Stop

    def _close_connections(self) -> None:
        for connection in tuple(self._processor.connections):
            connection.finish()

    async def _drain(self) -> None:
        """Return when all applied txns are on disk and all replies are sent, or after a failure."""
        durable = asyncio.Event()
        self._commit.when_durable(durable.set)
        waiting = asyncio.create_task(durable.wait())
        either: tuple[asyncio.Future[Any], ...] = (waiting, self._failures.first)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        # The transports need turns of the event loop to send. A client that does not read has until
        # the deadline. That is now after a failure of the log: held replies are never sent then.
        deadline = time.monotonic() + (0.0 if self._failures.first.done() else _CLOSING_DEADLINE_S)
        while self._processor.connections and time.monotonic() < deadline:
            await asyncio.sleep(_CLOSING_CHECK_S)
        for connection in tuple(self._processor.connections):
            connection.abort()
        self._commit.close()
        await asyncio.sleep(0)
        if not self._failures.first.done():
            await self._end_log()

    async def _end_log(self) -> None:
        """Remove the padding of the log. A failure loses no data: all records are on disk."""
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._thread.submit(self._txn_log.roll, ended.set_result)
        if (failure := await ended) is not None:
            log.warning("the padding of the newest log could not be removed: %s", failure)
