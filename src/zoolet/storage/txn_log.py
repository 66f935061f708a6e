"""The transaction log: txns in the order of their zxids, each with its checksum.

A log contains a file header and records; the part that is not written yet is zero. A batch of
records is written by one append and one sync. Only the process that created a log appends to it.
The zero part is cut off when the log ends, or at the next start if the process died.
Format: docs/formats/txnlog.md; source: ``FileTxnLog`` of Apache ZooKeeper.
"""

import errno
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, final

from mypy_extensions import i64

from zoolet.big_endian.buffers import (
    BytesWriter,
    read_i32_be,
    read_i64_be,
    write_i32_be,
    write_i64_be,
)
from zoolet.model.learner import epoch_of, first_zxid_of
from zoolet.model.txns import Txn
from zoolet.storage.disk import MOST_ZEROS_BYTES, Disk, DiskFile, ReadableFile
from zoolet.storage.errors import DamagedFileError, StorageError
from zoolet.storage.files import log_name
from zoolet.wire.jute import MalformedError
from zoolet.wire.txns import decode_txn, encode_txn

DEFAULT_PREALLOCATE_BYTES = 64 << 20

_LEAST_ZEROS_BYTES: Final = 1 << 16

_FILE_HEADER = struct.Struct(">4siq")
LOG_HEADER_BYTES: Final = 16
"""The size of the header of a log file."""
_MAGIC = b"ZKLG"
_VERSION = 2
_DATABASE_ID = 0

_RECORD_HEADER_BYTES: Final = 12
_END_MARK: Final = 0x42
_ZEROS = bytes(4)
_WINDOW_BYTES: Final = 1 << 20
_ZERO_BLOCK = bytes(_WINDOW_BYTES)
_SMALLEST_TXN_BYTES: Final = 32
_LARGEST_TXN_BYTES: Final = 1 << 30
_adler32: Final = zlib.adler32  # a module constant, because looking it up for every txn is slower


class TxnTooLargeError(Exception):
    """A txn is larger than the maximum size; nothing was written."""


def write_record(writer: BytesWriter, txn: Txn, max_txn_bytes: int = _LARGEST_TXN_BYTES) -> None:
    """Write the record of ``txn``: checksum, length, bytes and end mark.

    Raises TxnTooLargeError if the txn has more than ``max_txn_bytes`` bytes, and MemoryError.
    After any error, ``writer`` is unchanged.
    """
    payload = encode_txn(txn)
    if len(payload) > max_txn_bytes:
        raise TxnTooLargeError(f"a txn of {len(payload)} bytes; the limit is {max_txn_bytes}")
    start = len(writer)
    try:
        write_i64_be(writer, _adler32(payload))
        write_i32_be(writer, len(payload))
        writer.write(payload)
        writer.append(_END_MARK)
    except BaseException:
        writer.truncate(start)
        raise


def encode_record(txn: Txn) -> bytes:
    """Return the record of ``txn`` in the log."""
    writer = BytesWriter()
    write_record(writer, txn)
    return writer.getvalue()


class TxnLog:
    """Appends to the logs in a directory; each call returns when its data are on disk.

    After an OSError of any method, the state of the file is unknown: the log must not be used any
    more.
    """

    def __init__(
        self, disk: Disk, directory: Path, preallocate_bytes: int, *, force_sync: bool = True
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._preallocate_bytes = preallocate_bytes
        self._force_sync = force_sync
        self._file: DiskFile | None = None
        self._position = 0
        self._allocated_bytes = 0
        # The end of what was written, with the zeros after the records.
        self._zeros_end = 0
        self._writes_zeros: bool | None = None  # not known before the first file

    def append(self, first_zxid: int, records: bytes) -> None:
        """Append whole records, of which ``first_zxid`` is the first zxid, and sync them."""
        is_new = self._file is None
        if self._file is None:
            path = self._directory / log_name(first_zxid)
            self._file = self._disk.create(path, synced=self._force_sync)
            self._position = self._allocated_bytes = self._zeros_end = 0
            if self._writes_zeros is None:
                self._writes_zeros = self._force_sync and self._file.overwrites_in_place()
            records = _FILE_HEADER.pack(_MAGIC, _VERSION, _DATABASE_ID) + records
        needed_bytes = self._position + len(records)
        if needed_bytes > self._allocated_bytes and self._preallocate_bytes:
            self._allocated_bytes = self._preallocate(self._file, needed_bytes)
        zero_bytes = self.zeros_after(len(records))
        self._file.write(records, zero_bytes)
        self.count_written(len(records), zero_bytes)
        if is_new:
            self._disk.sync_directory(self._directory)

    def file_for(self, size_bytes: int) -> DiskFile | None:
        """Return the file if one write of this number of bytes does all that ``append`` would do.

        The caller writes whole records to its ``writable_fd`` instead, with the zeros of
        ``zeros_after``, and calls ``count_written``. None if ``append`` would also make the file or
        let it grow.
        """
        needed_bytes = self._position + size_bytes
        must_grow = needed_bytes > self._allocated_bytes and self._preallocate_bytes > 0
        return None if must_grow else self._file

    def zeros_after(self, size_bytes: int) -> int:
        """Return how many zeros to write after the next records, of this number of bytes.

        Reserved room is not written yet, so the file system must record each write into it, which
        takes a third of a sync. Where zeros were written before, a sync writes only the records.
        Files with few records get few zeros.
        """
        end = self._position + size_bytes
        if end <= self._zeros_end or not self._writes_zeros:
            return 0
        wanted_bytes = min(max(end, _LEAST_ZEROS_BYTES), MOST_ZEROS_BYTES)
        return max(0, min(wanted_bytes, self._allocated_bytes - end))

    def count_written(self, size_bytes: int, zero_bytes: int) -> None:
        """Count what the caller writes to the file of ``file_for``: records, and zeros."""
        self._position += size_bytes
        self._zeros_end = max(self._zeros_end, self._position + zero_bytes)

    def _preallocate(self, file: DiskFile, needed_bytes: int) -> int:
        """Grow the file to a multiple of the step; return the new size.

        If the disk has no room for a step, it may still have room for the records: then the file is
        not grown. If the file system cannot preallocate, this log never tries again.
        """
        step = self._preallocate_bytes
        wanted_bytes = -(-needed_bytes // step) * step
        try:
            if file.preallocate(wanted_bytes):
                return wanted_bytes
            self._preallocate_bytes = 0
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        return needed_bytes

    def roll(self) -> None:
        """End this log without its zero padding; the next append creates a new log.

        If the process dies during this call, the log may keep the padding; recovery cuts it off.
        """
        file = self._file
        if file is None:
            return
        if self._position < self._allocated_bytes:
            self._remove_padding(file)
        file.close()
        self._file = None

    def _remove_padding(self, file: DiskFile) -> None:
        """Cut the file after the records; some full file systems have no room even for this."""
        try:
            file.truncate(self._position)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


class FileHeader(NamedTuple):
    """The header of a log file; ``encoded`` has its bytes."""

    encoded: bytes
    version: int
    database_id: int


class RawRecord(NamedTuple):
    """A record whose txn is not decoded.

    Attributes:
        offset: the position of the record in the file, in bytes.
        payload: the bytes of the txn.
        is_sound: whether the checksum of the payload is correct.
        encoded: all bytes of the record.
    """

    offset: int
    payload: bytes
    is_sound: bool
    encoded: bytes


class LogRecord(NamedTuple):
    """One txn of a log, and the position of its record in the file, in bytes."""

    offset: int
    txn: Txn


@final
class _Window:
    """A part of a log that is in memory; the part moves forward as records are read.

    Attributes:
        data: the bytes in memory.
        start: the position of these bytes in the file.
        size_bytes: the size of the file.
    """

    def __init__(self, log: ReadableFile) -> None:
        self._log = log
        self.size_bytes: i64 = log.size_bytes
        self.start: i64 = 0
        self.data = b""

    def position(self, offset: i64, size_bytes: i64) -> i64:
        """Return the index of ``offset`` in ``data``; first load ``size_bytes`` bytes if needed."""
        at = offset - self.start
        if at < 0 or at + size_bytes > len(self.data):
            self.data = self._log.read_at(offset, max(size_bytes, _WINDOW_BYTES))
            self.start = offset
            at = 0
        return at

    def byte_at(self, offset: i64) -> i64:
        """Return one byte, which must be in the file; the window does not move."""
        at = offset - self.start
        if 0 <= at < len(self.data):
            return self.data[at]
        return self._log.read_at(offset, 1)[0]


def read_records(path: Path, log: ReadableFile) -> Iterator[LogRecord]:
    """Yield the records of a log up to its zero tail or its end.

    Raises DamagedFileError at the first bytes that are neither a record nor the tail, and
    StorageError at an undamaged record whose txn cannot be decoded.
    """
    read_file_header(path, log.read_at(0, _FILE_HEADER.size))
    window = _Window(log)
    offset: i64 = _FILE_HEADER.size
    while offset < window.size_bytes:
        payload = _payload_at(path, log, window, offset)
        if payload is None:
            return
        try:
            txn = decode_txn(payload)
        except MalformedError as error:
            raise StorageError(
                f"{path}: at byte {offset}: a whole record holds a txn that this release cannot"
                f" read: {error}. Open the data directory with the release that wrote it; nothing"
                " was changed."
            ) from error
        yield LogRecord(offset, txn)
        offset += _RECORD_HEADER_BYTES + len(payload) + 1


def read_file_header(path: Path, data: bytes) -> FileHeader:
    """Return the header of a log; raises DamagedFileError if it is not a supported log."""
    if len(data) < _FILE_HEADER.size:
        raise DamagedFileError(path, 0, "the file header is cut short")
    magic, version, database_id = _FILE_HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise DamagedFileError(path, 0, f"a log must begin with {_MAGIC!r}, not {magic!r}")
    if version != _VERSION:
        raise DamagedFileError(path, 4, f"version {version} of the log format is not supported")
    return FileHeader(data[: _FILE_HEADER.size], version, database_id)


def read_raw_records(path: Path, data: bytes) -> Iterator[RawRecord]:
    """Yield the records in the content of a log, including records with a wrong checksum.

    Raises DamagedFileError at the first bytes that are neither a record nor the zero tail.
    """
    offset = len(read_file_header(path, data).encoded)
    while (begin := offset + _RECORD_HEADER_BYTES) <= len(data):
        checksum = int.from_bytes(data[offset : offset + 8])
        size_bytes = int.from_bytes(data[begin - 4 : begin], signed=True)
        if size_bytes == 0:
            return
        end = begin + size_bytes
        if size_bytes < 0 or end >= len(data):
            raise DamagedFileError(path, offset, f"a record of {size_bytes} bytes is cut short")
        if data[end] != _END_MARK:
            raise DamagedFileError(path, offset, "the record's end mark is missing")
        payload = data[begin:end]
        yield RawRecord(offset, payload, _adler32(payload) == checksum, data[offset : end + 1])
        offset = end + 1


def encode_log_record(payload: bytes) -> bytes:
    """Return a record of the transaction log with this payload and its checksum."""
    head = _adler32(payload).to_bytes(8) + len(payload).to_bytes(4)
    return head + payload + bytes([_END_MARK])


def is_torn(log: ReadableFile, offset: i64) -> bool:
    """Return whether the damage at ``offset`` is an unfinished write: no record follows it.

    If a record follows, it was written later. So the bytes at ``offset`` were synced before it, and
    were damaged afterwards.
    """
    window = _Window(log)
    end = end_of_data(log, offset)
    # A checksum has 32 bits in a field of 64 bits, so it begins with four zeros.
    begin = offset + 1
    while begin < end:
        size_bytes = min(_WINDOW_BYTES, end - begin)
        block = log.read_at(begin, size_bytes)
        found: i64 = block.find(_ZEROS)
        while found != -1:
            if _has_record_at(window, begin + found):
                return False
            found = block.find(_ZEROS, found + 1)
        # The blocks overlap, because the four zeros may begin in one and end in the next.
        begin += size_bytes if begin + size_bytes >= end else size_bytes - len(_ZEROS) + 1
    return True


def may_pass_over(log: ReadableFile, offset: i64, last_zxid: int, next_zxid: int) -> bool:
    """Return whether the damage at ``offset`` of an older log hides no txn of the history.

    A killed member of an ensemble leaves an unfinished write at the end of its log, and continues
    with the next log. No txn is missing if that log begins with the next zxid. If it begins with a
    new epoch, the bytes must be an unfinished write, because the zxids prove nothing then.

    Args:
        log: the log that contains the damage.
        offset: the offset of the damage.
        last_zxid: the zxid of the last txn before the damage.
        next_zxid: the zxid with which the next log begins.
    """
    if not is_torn(log, offset):
        return False
    if next_zxid == last_zxid + 1:
        return True
    epoch = epoch_of(next_zxid)
    begins_epoch = epoch > epoch_of(last_zxid) and next_zxid == first_zxid_of(epoch) + 1
    return begins_epoch and _is_unfinished(log, offset)


def _is_unfinished(log: ReadableFile, offset: i64) -> bool:
    """Return whether the data end before the record at ``offset`` does.

    False if the record is complete, and only its length is wrong.
    """
    begin = offset + _RECORD_HEADER_BYTES
    end = end_of_data(log, offset)
    if end <= begin:
        return True
    header = log.read_at(offset, _RECORD_HEADER_BYTES)
    size_bytes = i64(read_i32_be(header, 8))
    if not 0 <= size_bytes <= _LARGEST_TXN_BYTES or end > begin + size_bytes:
        return False
    written = log.read_at(begin, end - begin)
    is_complete = written[-1] == _END_MARK and _adler32(written[:-1]) == read_i64_be(header, 0)
    return not is_complete


def end_of_data(log: ReadableFile, offset: i64) -> i64:
    """Return the position of the zeros at the end of a log; at least ``offset``."""
    end = offset
    position: i64 = log.next_data(offset)
    while position < log.size_bytes:
        block = log.read_at(position, _WINDOW_BYTES)
        if block != _ZERO_BLOCK:
            stripped: i64 = len(block.rstrip(b"\0"))
            if stripped:
                end = position + stripped
        position = log.next_data(position + len(block))
    return end


def _payload_at(path: Path, log: ReadableFile, window: _Window, offset: i64) -> bytes | None:
    """Return the payload of the record at ``offset``; None if the zero tail begins there."""
    header_end = offset + _RECORD_HEADER_BYTES
    if header_end > window.size_bytes:
        if end_of_data(log, offset) == offset:
            return None
        raise DamagedFileError(path, offset, "the record is cut short")
    at = window.position(offset, _RECORD_HEADER_BYTES)
    checksum = read_i64_be(window.data, at)
    size_bytes = i64(read_i32_be(window.data, at + 8))
    if size_bytes == 0 and checksum == 0:
        if end_of_data(log, offset) == offset:
            return None
        raise DamagedFileError(path, offset, "an empty record, with data after it")
    end = header_end + size_bytes
    if size_bytes < 0 or end + 1 > window.size_bytes:
        raise DamagedFileError(path, offset, f"a record of {size_bytes} bytes is cut short")
    at = window.position(offset, _RECORD_HEADER_BYTES + size_bytes + 1) + _RECORD_HEADER_BYTES
    payload = window.data[at : at + size_bytes]
    if _adler32(payload) != checksum:
        raise DamagedFileError(path, offset, "the record's checksum is wrong")
    if window.data[at + size_bytes] != _END_MARK:
        raise DamagedFileError(path, offset, "the record's end mark is missing")
    return payload


def _has_record_at(window: _Window, offset: i64) -> bool:
    """Return whether a whole record with a correct checksum begins at ``offset``."""
    header_end = offset + _RECORD_HEADER_BYTES
    if header_end > window.size_bytes:
        return False
    at = window.position(offset, _RECORD_HEADER_BYTES)
    size_bytes = i64(read_i32_be(window.data, at + 8))
    if not _SMALLEST_TXN_BYTES <= size_bytes <= _LARGEST_TXN_BYTES:
        return False
    end = header_end + size_bytes
    if end + 1 > window.size_bytes or window.byte_at(end) != _END_MARK:
        return False
    checksum = read_i64_be(window.data, at)
    at = window.position(offset, _RECORD_HEADER_BYTES + size_bytes + 1) + _RECORD_HEADER_BYTES
    return _adler32(window.data[at : at + size_bytes]) == checksum
