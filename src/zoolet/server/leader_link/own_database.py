"""The database of this server: waits until it is durable, and replaces it by the leader's.

Invariant: while the database is replaced, no client is connected, no snapshot is being written, and
every txn is on disk.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from zoolet.model.ensemble import EnsembleConfig
from zoolet.server.common.clock import Clock
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.leader_link.errors import NeedsSnapshotError
from zoolet.server.leader_link.received_database import ReceivedDatabase
from zoolet.server.leader_link.threads import on_thread
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.common_history import LastTxn, has_common_history, last_txn
from zoolet.storage.disk import Disk
from zoolet.storage.files import DataDirectories
from zoolet.storage.replacement import CannotTruncateError, truncate
from zoolet.wire.ensemble_config import decode_config
from zoolet.wire.jute import MalformedError

log = logging.getLogger(__name__)

_CONFIG: Final = "/zookeeper/config"


class Snapshots(Protocol):
    """What writes the snapshots of this server (``Snapshotter``)."""

    def hold(self, held: Callable[[], None]) -> None:
        """Begin no more snapshots; call ``held`` when none is in progress."""

    def let_go(self) -> None:
        """Take snapshots again."""


class OwnDatabase:
    """The database of an observer."""

    def __init__(
        self,
        config: Config,
        disk: Disk,
        directories: DataDirectories,
        clock: Clock,
        processor: RequestProcessor,
        commit: GroupCommit,
        snapshots: Snapshots,
        log_thread: DiskThread,
        snapshot_thread: DiskThread,
        begin_log: Callable[[], None],
    ) -> None:
        self._config = config
        self._disk = disk
        self._directories = directories
        self._clock = clock
        self._processor = processor
        self._commit = commit
        self._snapshots = snapshots
        self._log_thread = log_thread
        self._snapshot_thread = snapshot_thread
        self._begin_log = begin_log

    @property
    def zxid(self) -> int:
        """The zxid of the last txn that is applied."""
        return self._processor.machine.zxid

    def ensemble_config(self) -> EnsembleConfig | None:
        """Return the members that ``/zookeeper/config`` names; None if it names none."""
        znode = self._processor.machine.tree.find(_CONFIG)
        try:
            config = None if znode is None else decode_config(znode.data or b"")
        except MalformedError as error:
            log.warning("%s cannot be read, and is ignored: %s", _CONFIG, error)
            return None
        return config if config is not None and config.members else None

    async def durable(self) -> None:
        """Return when every applied txn is on disk."""
        durable = asyncio.Event()
        self._commit.when_durable(durable.set)
        await durable.wait()

    async def last_txn(self) -> LastTxn:
        """Return the last txn, as the files have it; raises StorageError and OSError."""
        await self.durable()
        zxid = self.zxid
        return await on_thread(
            self._log_thread, lambda: last_txn(self._disk, self._directories, zxid)
        )

    async def has_history_of(self, received: ReceivedDatabase) -> bool:
        """Return whether a complete received database has a common history with this one."""
        own, other = self._processor.machine, received.machine
        return await on_thread(self._snapshot_thread, lambda: has_common_history(own, other))

    async def store(self, call: Callable[[], None]) -> None:
        """Run a call that writes a small file."""
        await on_thread(self._log_thread, call)

    async def receive(self, zxid: int) -> ReceivedDatabase:
        """Begin to receive the leader's snapshot of ``zxid``."""
        return await ReceivedDatabase.begin(
            self._disk,
            self._directories,
            zxid,
            self._snapshot_thread,
            self._config.tick_time_ms,
        )

    async def install(self, received: ReceivedDatabase) -> None:
        """Replace the database by the received one."""
        await self._quiet()
        try:
            folder = await received.install()
            self._switch(received.machine)
        finally:
            self._snapshots.let_go()
        log.info(
            "the leader's snapshot replaces the database: %d znodes and %d sessions at zxid 0x%x;"
            " the old files are in %s",
            len(received.machine.tree),
            len(received.machine.sessions),
            self.zxid,
            folder,
        )

    async def truncate(self, zxid: int) -> None:
        """Cut the log after ``zxid``, and go back to the state of ``zxid``."""
        await self._quiet()
        tick_time_ms = self._config.tick_time_ms
        try:
            recovery = await on_thread(
                self._snapshot_thread,
                lambda: truncate(self._disk, self._directories, zxid, tick_time_ms),
            )
            self._switch(recovery.machine)
        except CannotTruncateError as error:
            raise NeedsSnapshotError(str(error)) from error
        finally:
            self._snapshots.let_go()
        log.warning("the leader does not have the txns after zxid 0x%x: they were set aside", zxid)

    async def _quiet(self) -> None:
        """Disconnect all clients, and wait until no file is being written."""
        self._processor.forwarded.sessions.close_all()
        held = asyncio.Event()
        self._snapshots.hold(held.set)
        await held.wait()
        await self.durable()
        self._begin_log()
        await on_thread(self._log_thread, lambda: None)

    def _switch(self, machine: StateMachine) -> None:
        """Let the server use the state of another machine."""
        own = self._processor.machine
        machine.sessions.restart_clocks(self._clock.monotonic_ms())
        last_zxid, replaced_zxid = own.zxid, own.replaced_zxid
        own.replace(machine.tree, machine.sessions, machine.zxid)
        if machine.zxid >= last_zxid:
            # The history continues, so clients can still compare zxids: see ``replaced_zxid``.
            own.replaced_zxid = replaced_zxid
        self._commit.synced_zxid = machine.zxid
