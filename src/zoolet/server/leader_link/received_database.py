"""The database that a leader sends as a snapshot: stored and parsed while it arrives.

Until ``install``, the old files stay valid. The state of the server does not change here.
"""

import asyncio
from typing import Final

from zoolet.big_endian.buffers import BytesWriter
from zoolet.model.txns import Txn
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.leader_link.errors import LinkError
from zoolet.server.leader_link.threads import on_thread
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.storage.disk import Disk
from zoolet.storage.files import DataDirectories
from zoolet.storage.open_acls import OpenAcls
from zoolet.storage.received_snapshot import ReceivedSnapshot
from zoolet.storage.snapshot_parser import SnapshotParser
from zoolet.storage.snapshots import SNAPSHOT_HEADER
from zoolet.storage.txn_log import TxnLog, write_record
from zoolet.wire.jute import MalformedError

_LOGGED_AT_ONCE_BYTES: Final = 1 << 20


class ReceivedDatabase:
    """A snapshot of the leader, and the txns after it.

    Attributes:
        machine: the state; only after ``complete``.
    """

    def __init__(
        self, disk: Disk, zxid: int, file: ReceivedSnapshot, thread: DiskThread, tick_time_ms: int
    ) -> None:
        """Receive the snapshot of ``zxid`` into ``file``; ``thread`` writes the files."""
        self.machine: StateMachine
        self._zxid = zxid
        self._thread = thread
        self._tick_time_ms = tick_time_ms
        self._file = file
        self._log = TxnLog(disk, self._file.logs, 0)
        self._records = BytesWriter()
        self._first_zxid = 0
        self._open_acls: OpenAcls
        self._parser = SnapshotParser(is_sealed=False)
        self._parser.feed(SNAPSHOT_HEADER)
        self._steps = self._parser.steps()

    @classmethod
    async def begin(
        cls,
        disk: Disk,
        directories: DataDirectories,
        zxid: int,
        thread: DiskThread,
        tick_time_ms: int,
    ) -> "ReceivedDatabase":
        """Create the files, and return the database to which the snapshot is added."""
        file = await on_thread(thread, lambda: ReceivedSnapshot(disk, directories, zxid))
        return cls(disk, zxid, file, thread, tick_time_ms)

    async def add(self, piece: bytes) -> None:
        """Store and parse the next bytes; raises MalformedError and OSError."""
        # The thread writes while this thread parses.
        writing = asyncio.create_task(on_thread(self._thread, lambda: self._file.write(piece)))
        try:
            self._parser.feed(piece)
            await self._parse()
        finally:
            await writing

    async def _parse(self) -> None:
        # A step takes about 1 ms; other work is done between two steps.
        while next(self._steps, False):
            await asyncio.sleep(0)

    async def complete(self) -> None:
        """Make the state, after the last bytes."""
        await on_thread(self._thread, self._file.seal)
        await self._parse()
        if next(self._steps, None) is not None:
            raise MalformedError("the leader's snapshot is cut short")
        parser = self._parser
        sessions = SessionTable(self._tick_time_ms)
        for session_id, timeout_ms in parser.sessions.items():
            sessions.open(session_id, timeout_ms, 0)
        self.machine = StateMachine(parser.tree, sessions, self._zxid)
        self._open_acls = OpenAcls(parser.tree, parser.open_acls)

    async def apply(self, txn: Txn) -> None:
        """Log and apply a txn that follows the snapshot."""
        if not len(self._records):
            self._first_zxid = txn.header.zxid
        write_record(self._records, txn)
        self.machine.apply(txn)
        if self._open_acls.are_open:
            self._open_acls.settle(txn.body)
        if len(self._records) >= _LOGGED_AT_ONCE_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        if not len(self._records):
            return
        records, self._records = self._records.getvalue(), BytesWriter()
        first_zxid = self._first_zxid
        await on_thread(self._thread, lambda: self._log.append(first_zxid, records))

    async def install(self) -> str:
        """Make the received files the valid ones; return the folder with the old files.

        Raises LinkError if the snapshot is not consistent; then the old files stay valid.
        """
        reason = self._open_acls.reason_unusable()
        if reason is not None:
            await self.abandon()
            raise LinkError(f"the leader's snapshot cannot be used: {reason}")
        await self._flush()
        await on_thread(self._thread, self._log.roll)
        return str(await on_thread(self._thread, self._file.install))

    async def abandon(self) -> None:
        """Remove the received files."""
        await on_thread(self._thread, self._log.roll)
        await on_thread(self._thread, self._file.abandon)
