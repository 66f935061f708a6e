"""The server as a whole: recover, listen, serve, stop.

Owns the order in which the parts begin and end, the ticks by which sessions and containers expire,
and the taking of snapshots.
"""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from zoolet.server.common.clock import SYSTEM_CLOCK, Clock
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.errors import HARMLESS_IN_CALLBACKS, ServerError
from zoolet.server.common.log_limiter import LogLimiter
from zoolet.server.common.logs import describe_serving
from zoolet.server.common.memory import LOOK_INTERVAL_MS, FreedBuffers, FreedMemory, give_back
from zoolet.server.common.scheduler import Scheduler, Share
from zoolet.server.endpoints import Endpoints
from zoolet.server.network.listening import is_broken_connection
from zoolet.server.pipeline.batches import Batch
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.server.snapshotter import Snapshotter
from zoolet.server.zoo_cfg.config import Config, Listener
from zoolet.storage.compression import Compression
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories
from zoolet.storage.recovery import recover
from zoolet.storage.retention import Retention
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.storage.txn_log import TxnLog

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from zoolet.server.network.listening import Acceptor
    from zoolet.server.operator.http import Page
    from zoolet.server.zoo_cfg.config import AdminConfig
    from zoolet.state_machine.machine import StateMachine

log = logging.getLogger(__name__)

_CLOSING_DEADLINE_S = 1.0
_MS_PER_H = 3_600_000
_CLOSING_CHECK_S = 0.005


class Server:
    """One server on one data directory.

    ``async with`` recovers the data directory and listens; leaving it stops cleanly: what was
    acknowledged is on disk, connections are closed, sessions live on until they expire.
    """

    def __init__(
        self,
        config: Config,
        disk: Disk | None = None,
        clock: Clock = SYSTEM_CLOCK,
        wrap_protocol: Callable[[asyncio.Protocol], asyncio.Protocol] | None = None,
        *,
        owns_process: bool = True,
    ) -> None:
        """Set it up.

        ``wrap_protocol`` puts a protocol between each transport and the server's own. A server that
        does not own its process is a guest in someone's, and leaves the garbage collector alone.
        """
        self._config = config
        self._disk = disk if disk is not None else Disk()
        self._clock = clock
        self._wrap_protocol = wrap_protocol
        self._owns_process = owns_process
        self._directories = DataDirectories.of(config.data_dir, config.data_log_dir)
        self._resources = contextlib.AsyncExitStack()
        self._failure: asyncio.Future[None]
        self._machine: StateMachine
        self._processor: RequestProcessor
        self._commit: GroupCommit
        self._txn_log: TxnLog
        self._thread: DiskThread
        self._snapshotter: Snapshotter
        self._retention = Retention(self._disk, self._directories, config.storage.kept_snapshots)
        self._endpoints: Endpoints
        self._snapshot_thread: DiskThread
        self._txns_replayed = 0
        self._log_bytes = 0
        self._limited = LogLimiter(log, clock.monotonic_ms)

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as started:
            loop = asyncio.get_running_loop()
            self._failure = loop.create_future()
            started.enter_context(self._locked_directories())
            self._recover()
            self._thread = DiskThread(loop, "zoolet-log")
            started.callback(self._thread.stop)
            self._snapshot_thread = DiskThread(loop, "zoolet-snapshot")
            started.callback(self._snapshot_thread.stop)
            self._build(loop, self._thread, self._snapshot_thread)
            self._processor.sessions.end_ownerless_ephemerals()
            started.callback(self._snapshotter.stop)
            started.push_async_callback(self._drain)
            # Clients last: whoever is let in finds everything there.
            self._endpoints.listen_for_operators(started, self._backup_pages)
            started.callback(self._close_connections)
            self._endpoints.listen_for_clients(started)
            processor, idle = self._processor, self._endpoints.idle
            run = processor.scheduler.run
            repetitions: list[tuple[int, Callable[[], None]]] = [
                (
                    self._config.tick_time_ms,
                    lambda: processor.sessions.look_for_expired(loop.call_soon),
                ),
                (self._config.container_check_interval_ms, processor.removal.look),
                (
                    idle.sessionless_interval_ms,
                    lambda: run("closing connections without a session", idle.close_sessionless()),
                ),
                (
                    idle.unread_interval_ms,
                    lambda: run("closing clients that do not read", idle.close_unread()),
                ),
            ]
            if self._config.storage.purge_interval_h:
                self._purge()
                repetitions.append((self._config.storage.purge_interval_h * _MS_PER_H, self._purge))
            if self._owns_process:
                freed = FreedMemory(self._give_memory_back)
                repetitions.append((LOOK_INTERVAL_MS, freed.look))
                repetitions.append((LOOK_INTERVAL_MS, FreedBuffers().look))
            for interval_ms, look in repetitions:
                repeating = loop.create_task(_repeat(interval_ms, look))
                repeating.add_done_callback(self._repetition_ended)
                started.callback(repeating.cancel)
            self._resources = started.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._resources.aclose()

    async def failed(self) -> None:
        """Return never; raises ServerError once the log cannot be written."""
        # Whoever gives up waiting must not take it from the server, which drains until it fails.
        await asyncio.shield(self._failure)

    # -- for whoever has it in hand, on the loop's thread ------------------------------------------

    @property
    def machine(self) -> "StateMachine":
        """The database."""
        return self._processor.machine

    @property
    def description(self) -> str:
        """One line: the version, the directories, and each address on which this server listens."""
        return describe_serving(self._directories, self._endpoints.listening)

    @property
    def is_durable(self) -> bool:
        """Whether everything applied is on disk."""
        return self._commit.is_idle

    def listen_at(self, at: Listener) -> "Acceptor":
        """Serve clients at one more address, until what is returned is closed.

        Raises OSError if the server cannot listen there.
        """
        return self._endpoints.listen_at(at)

    def expire_session(self, session_id: int) -> bool:
        """End a session as if its client had been silent too long; False: there is none."""
        return self._processor.sessions.expire(session_id)

    def look_at_clock(self) -> None:
        """Let expire now what the clock says is over, instead of at the next tick."""
        self._processor.sessions.expire_now()
        self._processor.removal.remove_now()

    # -- start -------------------------------------------------------------------------------------

    @contextmanager
    def _locked_directories(self) -> Iterator[None]:
        if not self._config.creates_directories:
            self._directories.check_exist(self._disk)
        self._directories.prepare(self._disk)
        locks = self._directories.lock(self._disk)
        try:
            self._directories.check_writable(self._disk)
            yield
        finally:
            for lock in locks:
                lock.release()

    def _recover(self) -> None:
        began = time.perf_counter()
        with self._loading():
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

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Keep the garbage collector off what is loaded, then and later.

        None of it is garbage, and looking for some would cost as much as loading it.
        """
        if not self._owns_process:
            yield
            return
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
        gc.freeze()

    def _build(
        self, loop: asyncio.AbstractEventLoop, thread: DiskThread, snapshot_thread: DiskThread
    ) -> None:
        config = self._config
        scheduler = self._scheduler = Scheduler(loop.call_soon)
        self._snapshot_share = Share("beginning a snapshot")
        loop.set_exception_handler(self._callback_failed)
        self._txn_log = TxnLog(
            self._disk,
            self._directories.logs,
            config.storage.preallocate_bytes,
            force_sync=config.storage.force_sync,
        )
        self._commit = GroupCommit(
            self._txn_log,
            thread,
            loop,
            self._machine.zxid,
            self._log_failed,
            self._batch_synced,
            config.rules.max_txn_bytes,
            scheduler,
        )
        self._processor = RequestProcessor(
            config,
            self._machine,
            self._commit,
            self._clock,
            self._machine.sessions.next_id(self._clock.wall_ms()),
            scheduler,
            self._state_unknown,
        )
        self._endpoints = Endpoints(config, self._processor, self._clock, self._wrap_protocol)
        self._snapshotter = Snapshotter(
            config,
            self._disk,
            snapshot_thread,
            self._commit.when_durable,
            self._clock.monotonic_ms,
            self._processor.stats.snapshots,
        )
        self._snapshotter.count(self._txns_replayed)
        self._snapshotter.remove_unfinished()

    # -- while it runs -----------------------------------------------------------------------------

    def _repetition_ended(self, repeating: "asyncio.Task[None]") -> None:
        if not repeating.cancelled() and (failure := repeating.exception()) is not None:
            log.error("nothing can expire any more", exc_info=failure)
            self._fail(f"nothing can expire any more: {failure!r}. Start again, and report this.")

    def _log_failed(self, failure: Exception) -> None:
        """Nothing more may be acknowledged: the log's state is unknown."""
        self._fail(
            f"the transaction log in {self._directories.logs} cannot be written: {failure}."
            " Nothing after the last acknowledged change is certain, so the server stops."
            " Make room or mend the disk, then start again: what was acknowledged is there."
        )

    def _state_unknown(self, failure: Exception) -> None:
        """An exception came out of a change that was under way: nothing more is acknowledged."""
        self._fail(
            f"a change could not be made whole in memory: {failure!r}. The server stops, so that"
            " it acknowledges nothing that it may not have. Start it again: every acknowledged"
            " change is on disk. If memory was short, give the process more."
        )
        log.error("a change could not be made whole in memory", exc_info=failure)

    def _callback_failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """End the server after an exception in a callback of the event loop, or log it.

        This is the only place that decides which of these exceptions are harmless: those that the
        network or a client causes, and that concern one connection.
        """
        failure = context.get("exception")
        message = str(context.get("message", ""))
        is_harmless = isinstance(failure, HARMLESS_IN_CALLBACKS) and "protocol." not in message
        if failure is None or is_harmless or is_broken_connection(context):
            self._limited.info("%s: %r", context.get("message", "a connection failed"), failure)
            return
        if self._failure.done():
            return
        self._commit.stop()
        self._fail(
            f"a callback of the event loop failed: {failure!r}. The server stops, because its state"
            " is unknown. Start it again: every acknowledged change is on disk."
        )
        log.error("a callback of the event loop failed", exc_info=failure)

    def _fail(self, message: str) -> None:
        """End the server; the first reason is the one that is told."""
        if not self._failure.done():
            self._failure.set_exception(ServerError(message))
            # Nobody need have asked for it: a server that is being stopped fails all the same.
            self._failure.exception()

    def _batch_synced(self, batch: Batch) -> None:
        self._processor.batch_released(batch)
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

    def _take_snapshot(self, done: "Callable[[Path | None, int], None]") -> None:
        """Take a snapshot for the admin endpoint, when the one that is under way has ended."""

        def take() -> None:
            image = Image.of(self._machine)
            self._roll_log()
            self._snapshotter.take(image, Compression.NONE, lambda path: done(path, image.zxid))

        self._snapshotter.when_free(take)

    def _backup_pages(self, admin: "AdminConfig") -> "Mapping[str, Page]":
        """Return the pages of the admin commands snapshot and restore."""
        # What only these pages need is loaded here.
        from zoolet.server.database_switch import DatabaseSwitch  # noqa: PLC0415
        from zoolet.server.operator.backup import Backup  # noqa: PLC0415
        from zoolet.server.operator.restore import Restorer  # noqa: PLC0415

        config, run = self._config, self._scheduler.run
        switch = DatabaseSwitch(
            config, self._processor, self._commit, self._clock, run, self._begin_log, self._fail
        )
        return Backup(
            config,
            admin,
            self._machine,
            self._processor.stats,
            self._disk,
            self._take_snapshot,
            Restorer(config, self._disk, self._snapshot_thread, run, switch),
            self._clock.monotonic_ms,
        ).pages()

    def _begin_log(self) -> None:
        """Begin a new log behind a snapshot that holds all before it."""
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
                "writing and syncing %d bytes of the transaction log took %d ms: every write waited"
                " for it. Give dataLogDir a disk of its own (fsync.warningthresholdms is %d)",
                size_bytes,
                sync_ms,
                self._config.storage.sync_warning_ms,
            )

    def _purge(self) -> None:
        """Remove old snapshots and logs, off the loop's thread.

        Snapshots are read to see whether they are whole, so it must not be the log's thread either.
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
        """Write the empty state: Apache opens a data directory only where there is a snapshot."""
        directory = self._directories.snapshots
        try:
            write_snapshot(
                self._disk, directory, Image.of(self._machine), self._config.storage.compression
            )
        except OSError as error:
            raise StorageError(
                f"cannot write a snapshot in {directory}: {error}. Make room, or give this user the"
                " right to write there."
            ) from error

    # -- stop --------------------------------------------------------------------------------------

    def _close_connections(self) -> None:
        for connection in tuple(self._processor.connections):
            connection.finish()

    async def _drain(self) -> None:
        """Return when everything applied is on disk and sent, or can never be."""
        durable = asyncio.Event()
        self._commit.when_durable(durable.set)
        waiting = asyncio.create_task(durable.wait())
        either: tuple[asyncio.Future[Any], ...] = (waiting, self._failure)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        # Transports send what they hold in turns of the loop; a client that does not read is left,
        # and so is everyone where the log has failed: what is held then is never sent.
        deadline = time.monotonic() + (0.0 if self._failure.done() else _CLOSING_DEADLINE_S)
        while self._processor.connections and time.monotonic() < deadline:
            await asyncio.sleep(_CLOSING_CHECK_S)
        for connection in tuple(self._processor.connections):
            connection.abort()
        await asyncio.sleep(0)
        if not self._failure.done():
            await self._end_log()

    async def _end_log(self) -> None:
        """Remove the padding of the log. Its records are on disk: if it fails, nothing is lost."""
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._thread.submit(self._txn_log.roll, ended.set_result)
        if (failure := await ended) is not None:
            log.warning("the padding of the newest log could not be removed: %s", failure)


async def _repeat(interval_ms: int, call: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(interval_ms / 1000)
        call()
