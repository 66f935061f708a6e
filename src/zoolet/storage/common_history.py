"""Whether two copies of data have a common history: whether one is a later state of the other.

Two histories may use the same zxids, so zxids alone prove nothing. The time in ms of a txn and the
random or time-based ids of sessions are different in every history.
"""

from contextlib import suppress
from typing import NamedTuple

from zoolet.state_machine.machine import StateMachine
from zoolet.storage.disk import Disk
from zoolet.storage.errors import DamagedFileError
from zoolet.storage.files import DataDirectories, by_zxid
from zoolet.storage.txn_log import read_records
from zoolet.wire.txns import encode_txn

_COUNTER = (1 << 32) - 1


class LastTxn(NamedTuple):
    """The last txn of a server, with which another server can be compared.

    Attributes:
        zxid: the zxid of the txn.
        payload: the encoded txn; None if only a snapshot contains it.
        before_zxid: the zxid of the txn before it; 0 if it is not known.
    """

    zxid: int
    payload: bytes | None
    before_zxid: int


def last_txn(disk: Disk, directories: DataDirectories, zxid: int) -> LastTxn:
    """Return the txn with this zxid, which is the last one of a data directory.

    The caller has recovered this state, so bytes that are no txn are an unfinished write. Raises
    OSError.
    """
    payload: bytes | None = None
    before = 0
    for _, name in reversed(by_zxid(disk.list_names(directories.logs), "log")):
        path = directories.logs / name
        with disk.open(path) as log, suppress(DamagedFileError):
            for _, txn in read_records(path, log):
                if txn.header.zxid < zxid:
                    before = max(before, txn.header.zxid)
                elif txn.header.zxid == zxid:
                    payload = encode_txn(txn)
        # A log that contains earlier txns again may be newer than the log with the last txn.
        if payload is not None and before:
            break
    if payload is None:
        return LastTxn(zxid, None, 0)
    older = [at for at, _ in by_zxid(disk.list_names(directories.snapshots), "snapshot")]
    before = max([before, *(at for at in older if at < zxid)])
    # A leader treats a zxid without a counter as the end of an epoch, not as a txn.
    return LastTxn(zxid, payload, before if before & _COUNTER else 0)


def has_common_history(one: StateMachine, other: StateMachine) -> bool:
    """Return whether two states have a session or the creation of a znode in common.

    A creation is the same if the path, the czxid and the ctime are equal.
    """
    if not one.sessions.by_id.keys().isdisjoint(other.sessions.by_id):
        return True
    for path, znode in one.tree.znodes():
        stat = znode.stat
        if not stat.czxid:
            continue  # each new database has these znodes
        found = other.tree.find(path)
        if found is not None and (found.stat.czxid, found.stat.ctime) == (stat.czxid, stat.ctime):
            return True
    return False
