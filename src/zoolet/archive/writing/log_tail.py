"""Reads the txns in the logs of a data directory, while a server appends to the logs.

The last archived txn is the only position: ``attach`` looks for it in the files. So the archiver
continues after a kill at any point, and finds out whether the server removed txns.

Invariant: every txn that is returned is on disk. The log is synced before, because a server writes
and syncs in one step: what this process can read may not be on disk yet.
"""

import errno
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.log_records import DamagedRecordError, EncodedTxn, record_at
from zoolet.model.learner import epoch_of
from zoolet.storage.disk import Disk, ReadableFile
from zoolet.storage.errors import DamagedFileError
from zoolet.storage.files import DataDirectories, by_zxid
from zoolet.storage.system_calls import sync_data
from zoolet.storage.txn_log import LOG_HEADER_BYTES, end_of_data, may_pass_over, read_file_header

_WINDOW_BYTES: Final = 1 << 20


class Position(NamedTuple):
    """The end of an archive: the last archived txn, or the snapshot at which a timeline begins.

    Attributes:
        zxid: the zxid.
        time_ms: the time of the txn, in ms since the epoch.
        encoded: the record of the txn; None if it is not known.
    """

    zxid: int
    time_ms: int
    encoded: bytes | None


class Attached(Enum):
    """How the files of the server continue the archive."""

    FOLLOWS = "the next txn is in the logs, or it will be appended"
    BEHIND = "the files end before the archive does"
    TRUNCATED = "the files have other txns than the archive"
    GAP = "the next txn was removed before it was archived"


class MovedError(Exception):
    """The log that was read does not exist any more, or it became shorter."""


class _Place(NamedTuple):
    """Where the next record is: a log, the offset in it, and the inode of its file."""

    name: str
    offset: int
    inode: int


class LogTail:
    """The logs of a data directory after a position.

    Attributes:
        is_proven: after ``FOLLOWS``, whether the logs have the last archived txn. If not, another
            server may have made them.
        last_ms: the time of the txn in the logs that has the zxid of the position; -1 if none has.
    """

    def __init__(self, directories: DataDirectories) -> None:
        self._directories = directories
        self._place: _Place | None = None
        self._zxid = 0
        self.is_proven = False
        self.last_ms = -1

    def attach(self, last: Position) -> Attached:
        """Find the txn after ``last``; ``read`` returns it only after ``FOLLOWS``."""
        self._place, self._zxid = None, last.zxid
        # The state before the first txn is always the same.
        self.is_proven, self.last_ms = last.zxid == 0, -1
        logs = self._logs()
        num_begun = sum(zxid <= last.zxid for zxid, _ in logs)
        before = False
        for _, name in logs[max(0, num_begun - 1) :]:
            for offset, txn in self._records(name, LOG_HEADER_BYTES):
                if txn.zxid < last.zxid:
                    before = True
                elif txn.zxid == last.zxid:
                    if last.encoded is not None and last.encoded != txn.encoded:
                        return Attached.TRUNCATED
                    self.is_proven, self.last_ms = last.encoded is not None, txn.time_ms
                    self._set_place(name, offset + len(txn.encoded))
                    return Attached.FOLLOWS
                elif before:
                    return Attached.TRUNCATED
                else:
                    if not self._is_next(last.zxid, txn.zxid):
                        return Attached.GAP
                    self._set_place(name, offset)
                    return Attached.FOLLOWS
        return self._without_later_txns(last.zxid, has_earlier=before)

    def _without_later_txns(self, zxid: int, *, has_earlier: bool) -> Attached:
        newest = max((each for each, _ in self._snapshots()), default=-1)
        if newest > zxid:
            return Attached.GAP
        if newest == zxid and not has_earlier:
            return Attached.FOLLOWS
        return Attached.BEHIND

    def _is_next(self, last_zxid: int, zxid: int) -> bool:
        """Return whether the first txn in the files follows the last archived one.

        The counter of a new epoch begins again. Then a snapshot of the last archived txn proves
        that no txn is missing.
        """
        if epoch_of(zxid) == epoch_of(last_zxid):
            return zxid == last_zxid + 1
        return any(each == last_zxid for each, _ in self._snapshots())

    @property
    def has_place(self) -> bool:
        """Whether ``read`` can return txns; if not, ``attach`` must look again."""
        return self._place is not None

    def read(self, limit_bytes: int) -> list[EncodedTxn]:
        """Return the next txns, up to about ``limit_bytes``; none if there is no new one yet.

        Raises MovedError if the position must be found again, and ArchiveError if a log is damaged.
        """
        found: list[EncodedTxn] = []
        place = self._place
        if place is None:
            return found
        size_bytes = 0
        for name in self._names_from(place):
            offset = place.offset if name == place.name else LOG_HEADER_BYTES
            for at, txn in self._records(name, offset, syncs=True):
                offset = at + len(txn.encoded)
                if txn.zxid > self._zxid:
                    self._check_follows(name, at, txn.zxid)
                    self._zxid = txn.zxid
                    found.append(txn)
                    size_bytes += len(txn.encoded)
                if size_bytes >= limit_bytes:
                    break
            self._set_place(name, offset)
            if size_bytes >= limit_bytes:
                break
        return found

    def txns_ahead(self) -> int:
        """Return the number of txns that ``read`` has not returned yet."""
        kept = self._place, self._zxid
        count = 0
        try:
            while txns := self.read(_WINDOW_BYTES):
                count += len(txns)
        except (MovedError, ArchiveError, OSError):
            pass
        finally:
            self._place, self._zxid = kept
        return count

    def time_of(self, zxid: int) -> int | None:
        """Return the time of a txn in the logs, in ms since the epoch.

        If the txn is not there, return the time of the txn after it; None if there is none either.
        """
        logs = self._logs()
        num_begun = sum(first_zxid <= zxid for first_zxid, _ in logs)
        for _, name in logs[max(0, num_begun - 1) :]:
            for _, txn in self._records(name, LOG_HEADER_BYTES):
                if txn.zxid >= zxid:
                    return txn.time_ms
        return None

    def between(self, after_zxid: int, until_zxid: int) -> Iterator[EncodedTxn]:
        """Yield the txns in the logs after a zxid, up to another one."""
        logs = self._logs()
        num_begun = sum(first_zxid <= after_zxid for first_zxid, _ in logs)
        for first_zxid, name in logs[max(0, num_begun - 1) :]:
            if first_zxid > until_zxid:
                return
            for _, txn in self._records(name, LOG_HEADER_BYTES):
                if after_zxid < txn.zxid <= until_zxid:
                    yield txn
                    after_zxid = txn.zxid

    def _set_place(self, name: str, offset: int) -> None:
        self._place = _Place(name, offset, _inode(self._directories.logs / name))

    def _names_from(self, place: _Place) -> list[str]:
        names = [name for _, name in self._logs()]
        if place.name not in names or _inode(self._directories.logs / place.name) != place.inode:
            raise MovedError
        return names[names.index(place.name) :]

    def _check_follows(self, name: str, offset: int, zxid: int) -> None:
        if epoch_of(zxid) == epoch_of(self._zxid) and zxid != self._zxid + 1:
            raise ArchiveError(
                f"{self._directories.logs / name}: at byte {offset}: the txn 0x{zxid:x} comes after"
                f" 0x{self._zxid:x}: the txns between them are missing. Run: zoolet data check"
                f" {self._directories.logs.parent}"
            )

    def _records(
        self, name: str, offset: int, *, syncs: bool = False
    ) -> Iterator[tuple[int, EncodedTxn]]:
        """Yield the records of a log from an offset on, each with its own offset."""
        path = self._directories.logs / name
        size_bytes = 0
        try:
            with Disk().open(path) as log:
                size_bytes = log.size_bytes
                if log.size_bytes < offset:
                    if offset == LOG_HEADER_BYTES:
                        return  # the file was created, and nothing is written yet
                    raise MovedError
                if offset == LOG_HEADER_BYTES and log.size_bytes > LOG_HEADER_BYTES:
                    read_file_header(path, log.read_at(0, LOG_HEADER_BYTES))
                if syncs:
                    _sync(path)
                yield from self._records_in(path, log, offset, self._zxid if syncs else 0)
        except FileNotFoundError:
            raise MovedError from None
        except DamagedFileError as error:
            raise ArchiveError(str(error)) from error
        except OSError as error:
            # A server cuts the zeros at the end of its log when it begins the next log.
            if error.errno == errno.EIO and _size_bytes(path) < size_bytes:
                raise MovedError from error
            raise

    def _records_in(
        self, path: Path, log: ReadableFile, offset: int, zxid: int
    ) -> Iterator[tuple[int, EncodedTxn]]:
        window_bytes = _WINDOW_BYTES
        while offset < log.size_bytes:
            window = log.read_at(offset, window_bytes)
            at = 0
            try:
                while (record := record_at(window, at)) is not None:
                    yield offset + at, record
                    at += len(record.encoded)
                    zxid = max(zxid, record.zxid)  # a log may contain txns again
            except DamagedRecordError as error:
                self._check_end(path, log, offset + at, zxid or self._zxid, str(error))
                return
            if at == 0:
                if offset + window_bytes >= log.size_bytes:
                    reason = "a record is cut short"
                    self._check_end(path, log, offset, zxid or self._zxid, reason)
                    return
                window_bytes *= 4  # a record larger than the window
            else:
                offset, window_bytes = offset + at, _WINDOW_BYTES

    def _check_end(
        self, path: Path, log: ReadableFile, offset: int, zxid: int, reason: str
    ) -> None:
        """Raise ArchiveError if bytes that are no record may hide txns.

        In the newest log, the server may be writing a record now. In an older log, the bytes may be
        an unfinished write of a killed server.
        """
        names = [name for _, name in self._logs()]
        newer = self._logs()[names.index(path.name) + 1 :] if path.name in names else []
        if not newer or end_of_data(log, offset) == offset:
            return
        if not may_pass_over(log, offset, zxid, newer[0][0]):
            raise ArchiveError(
                f"{path}: at byte {offset}: {reason}. The archive ends before this txn. Run: zoolet"
                f" data check {self._directories.logs.parent}"
            )

    def _logs(self) -> list[tuple[int, str]]:
        return by_zxid(Disk().list_names(self._directories.logs), "log")

    def _snapshots(self) -> list[tuple[int, str]]:
        return by_zxid(Disk().list_names(self._directories.snapshots), "snapshot")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        raise MovedError from None


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise MovedError from None


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        sync_data(file.fileno())
