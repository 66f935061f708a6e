"""A data directory as the server writes one, txn by txn."""

from pathlib import Path
from typing import Self

from zoolet.model import requests
from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.txns import Txn
from zoolet.state_machine.identities import NOBODY
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import Requester
from zoolet.storage.disk import Disk, DiskFile
from zoolet.storage.files import DataDirectories
from zoolet.storage.recovery import Recovery, recover
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.storage.txn_log import TxnLog, encode_record

SESSION = 77


class _UnsyncedFile(DiskFile):
    """A file that no test takes the power from."""

    def sync(self) -> None:
        pass


class _UnsyncedDisk(Disk):
    """This machine's files, without waiting for the disk: thousands of txns are written."""

    def create(self, path: Path, *, synced: bool = False) -> DiskFile:
        del synced
        return _UnsyncedFile(path)

    def sync_directory(self, path: Path) -> None:
        pass


DISK = _UnsyncedDisk()


class Writer:
    """Makes txns, and logs them as the server does."""

    def __init__(self, directory: Path, session: int = SESSION) -> None:
        """``session`` is the id of the session that makes all txns."""
        self._session = session
        self.directories = DataDirectories.of(directory)
        self.directories.prepare(DISK)
        self.machine = StateMachine(Tree.fresh(), SessionTable(100))
        write_snapshot(DISK, self.directories.snapshots, Image.of(self.machine))
        self.log = TxnLog(DISK, self.directories.logs, preallocate_bytes=4096)
        self.time_ms = 99
        self.change(OpCode.CREATE_SESSION, requests.CreateSession(5000))

    @classmethod
    def reopened(cls, directory: Path, session: int = SESSION) -> Self:
        """Return a writer that continues with the data in a directory."""
        writer = cls.__new__(cls)
        writer._session = session
        writer.directories = DataDirectories.of(directory)
        writer.machine = recover(DISK, writer.directories, 100).machine
        writer.log = TxnLog(DISK, writer.directories.logs, preallocate_bytes=4096)
        writer.time_ms = 99
        return writer

    def change(self, op_code: OpCode, request: requests.WriteRequest) -> None:
        txn = self.machine.prepare(
            Requester(self._session, NOBODY), 1, op_code, request, time_ms=self.time_ms
        )
        self.machine.apply(txn)
        self.log.append(txn.header.zxid, encode_record(txn))

    def refused(self) -> Txn:
        """Return the next txn, which changes nothing."""
        return self.machine.refuse(self._session, 1, ErrorCode.NO_NODE, time_ms=self.time_ms)

    def create(self, *paths: str, acl: AclList = OPEN_ACL, mode: int = 0) -> None:
        for path in paths:
            self.change(OpCode.CREATE, requests.Create(path, path.encode(), acl, mode))

    def snapshot(self) -> Path:
        """Write a snapshot and begin a new log."""
        self.log.roll()
        return write_snapshot(DISK, self.directories.snapshots, Image.of(self.machine))

    def recover(self) -> Recovery:
        return recover(DISK, self.directories, 100)

    def logs(self) -> list[Path]:
        return sorted(self.directories.logs.glob("log.*"), key=lambda path: int(path.name[4:], 16))
