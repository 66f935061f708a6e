"""Finds out whether a state contains changes of later txns.

Apache ZooKeeper writes a snapshot while it applies txns, so the snapshot may contain changes that
came after the moment to restore. The Stats show later changes of data and most changes of children
(``AsOf.may_begin_with``). They do not show which txn set an ACL, or that a child was deleted after
its parent was written, and nothing shows when a session began. This module compares the state with
the txns that follow it.
"""

from contextlib import suppress
from typing import Final

from zoolet.model.txns import (
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    SetAclTxn,
    SubTxn,
    TxnBody,
)
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.znode import AVERSION
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories, by_zxid
from zoolet.storage.open_acls import changes_in
from zoolet.storage.txn_log import read_records

_NO_LIMIT: Final = (1 << 63) - 1


class LaterChanges:
    """Compares a state with the txns after it, which must come in their order, without a gap."""

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        self._replaced: set[str] = set()
        self._closed: set[int] = set()

    def include(self, session_id: int, body: TxnBody) -> bool:
        """Return whether the state already contains a change of this later txn."""
        if isinstance(body, CreateSessionTxn):
            is_known = session_id in self._machine.sessions.by_id
            return is_known and session_id not in self._closed
        if isinstance(body, CloseSessionTxn):
            self._closed.add(session_id)
            return any(self._is_deleted(path) for path in body.paths or ())
        return any(self._includes_part(part) for part in changes_in(body))

    def _includes_part(self, part: SubTxn | TxnBody) -> bool:
        if isinstance(part, SetAclTxn):
            return part.path not in self._replaced and self._has(part)
        if isinstance(part, CreateTxn):
            self._replaced.add(part.path)  # later txns are about another znode
        return isinstance(part, DeleteTxn) and self._is_deleted(part.path)

    def _is_deleted(self, path: str) -> bool:
        """Note that a later txn deletes a znode; return whether the state lacks it already."""
        is_missing = path not in self._replaced and path not in self._machine.tree.records
        self._replaced.add(path)
        return is_missing

    def _has(self, txn: SetAclTxn) -> bool:
        record = self._machine.tree.record_of(txn.path)
        if record is None:
            return False
        end = len(record) - AVERSION
        return int.from_bytes(record[end : end + 4], signed=True) >= txn.version


def has_later_changes(
    disk: Disk, directories: DataDirectories, snapshot_zxid: int, machine: StateMachine
) -> bool:
    """Return whether a state contains changes of txns after it, because of its snapshot.

    ``machine`` is the state of the snapshot of ``snapshot_zxid`` and the txns after it, up to
    ``machine.zxid``. Only txns that are readable are compared.
    """
    names = disk.list_names(directories.snapshots)
    newer = [zxid for zxid, _ in by_zxid(names, "snapshot") if zxid > snapshot_zxid]
    # A server begins a snapshot when the one before it is complete.
    end_zxid = min(newer, default=_NO_LIMIT)
    later = LaterChanges(machine)
    logs = by_zxid(disk.list_names(directories.logs), "log")
    before = [zxid for zxid, _ in logs if zxid <= machine.zxid + 1]
    for _, name in logs[max(0, len(before) - 1) :]:
        # A restore to a moment before the damage must be possible.
        with disk.open(directories.logs / name) as log, suppress(StorageError):
            for _, txn in read_records(directories.logs / name, log):
                zxid = txn.header.zxid
                if zxid > end_zxid:
                    return False
                if zxid > machine.zxid and later.include(txn.header.client_id, txn.body):
                    return True
    return False
