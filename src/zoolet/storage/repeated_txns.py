"""Txns that a log contains again.

A member of an Apache ZooKeeper ensemble can get txns from a leader that its log already has. It
appends them again, and only prints a warning (``FileTxnLog.append``). A range of txns may be there
several times, and in several files. Recovery and the tools pass over a txn that equals the earlier
one with its zxid, and refuse any other txn that comes too late (docs/decisions/0119).

Invariant: logs without repeated txns are not read a second time, and one txn is in memory.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from zoolet.model.codes import OpCode
from zoolet.model.txns import Txn
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError, ways_on
from zoolet.storage.open_acls import changes_in
from zoolet.storage.txn_log import LOG_HEADER_BYTES, read_records

_ERROR: Final = OpCode.ERROR.value
_AFTER_ALL: Final = 1 << 63


def is_too_late(txn: Txn, last_zxid: int) -> bool:
    """Return whether a txn is out of order after ``last_zxid``, the highest zxid before it.

    Only the txn of a request that Apache ZooKeeper could not read may have the last zxid again.
    """
    zxid = txn.header.zxid
    return zxid < last_zxid or (zxid == last_zxid and txn.header.type != _ERROR)


class RepeatedTxns:
    """Compares repeated txns with the earlier ones, for one pass over the logs of a directory.

    Attributes:
        paths: the logs in which repeated txns were found.
    """

    def __init__(self, disk: Disk, logs: list[tuple[int, Path]]) -> None:
        """``logs`` are all logs of the directory, each with the zxid in its name, oldest first."""
        self.paths: dict[Path, None] = {}
        self._disk = disk
        self._logs = logs
        self._begun_again: set[Path] = set()
        self._earlier: Iterator[Txn] = iter(())
        self._equals: list[Txn] = []
        self._zxid = _AFTER_ALL

    def includes(
        self, path: Path, offset: int, txn: Txn, last_zxid: int, applied_zxid: int | None = None
    ) -> bool:
        """Return whether a txn equals an earlier one, and must be passed over.

        The caller calls this for a txn that is not after ``last_zxid``, the highest zxid that it
        has read. Raises StorageError if the txn is out of order. ``applied_zxid`` is the zxid of
        the state before the txn, if it is another one.
        """
        if not is_too_late(txn, last_zxid):
            return False
        if offset == LOG_HEADER_BYTES:
            self._begun_again.add(path)  # the log does not have the earlier txn
        zxid = txn.header.zxid
        # The earlier txn of a log that was removed by a purge is in every snapshot that is left.
        if zxid >= self._logs[0][0] and not self._is_found(path, txn):
            raise StorageError(
                f"{path}: at byte {offset}: the txn 0x{zxid:x} is out of order: it comes after the"
                f" txn 0x{last_zxid:x}, and no log has the same txn before it."
                f" {ways_on(path.parent, last_zxid if applied_zxid is None else applied_zxid)}"
            )
        self.paths[path] = None
        return True

    def notes(self) -> list[str]:
        """Return a note for each log with repeated txns."""
        return [f"passing over txns that {path} contains again" for path in self.paths]

    def _is_found(self, path: Path, txn: Txn) -> bool:
        """Look for an equal txn: after the one that was found last, or else in each log."""
        if self._zxid <= txn.header.zxid and self._advance_to(txn):
            return True
        places = [place for _, place in self._logs]
        for number in range(places.index(path), -1, -1):
            first_zxid, place = self._logs[number]
            if first_zxid > txn.header.zxid or place in self._begun_again:
                continue
            self._earlier, self._equals, self._zxid = self._from(number), [], 0
            if self._advance_to(txn):
                return True
        return False

    def _advance_to(self, txn: Txn) -> bool:
        """Read on until an equal txn; return False at the first one with a higher zxid.

        The earlier txns come in the order of their zxids, so an equal one cannot follow.
        """
        zxid = txn.header.zxid
        while not (self._zxid == zxid and any(_is_same(txn, each) for each in self._equals)):
            found = next(self._earlier, None)
            if found is None:
                self._zxid = _AFTER_ALL
            elif found.header.zxid == self._zxid:
                self._equals.append(found)
            else:
                self._zxid, self._equals = found.header.zxid, [found]
            if self._zxid > zxid:
                return False
        return True

    def _from(self, number: int) -> Iterator[Txn]:
        """Yield the txns of a log and the logs after it, without the repeated ones."""
        last_zxid = 0
        for _, path in self._logs[number:]:
            # The caller reports the damage of a log that it needs.
            with self._disk.open(path) as log, suppress(StorageError):
                for _, txn in read_records(path, log):
                    if not is_too_late(txn, last_zxid):
                        last_zxid = txn.header.zxid
                        yield txn


def _is_same(one: Txn, other: Txn) -> bool:
    """Return whether two txns make the same changes.

    Apache ZooKeeper changes a refused multi when it applies it, so the member that gets it later
    logs other bytes. The digest of the tree, which may follow a txn, is not compared.
    """
    return one.header == other.header and changes_in(one.body) == changes_in(other.body)
