"""The content of a segment: records as in a transaction log (docs/formats/txnlog.md).

Only the header of a txn is read here. The records keep their bytes, so a restore writes them behind
the header of a log file. No I/O.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct(">qi")
_TXN_HEADER: Final = struct.Struct(">qiqqi")
_END_MARK: Final = 0x42
_MOST_TXN_BYTES: Final = 1 << 30
LOG_FILE_HEADER: Final = struct.pack(">4siq", b"ZKLG", 2, 0)
"""The header of a log file, behind which the records of segments can be written."""


class EncodedTxn(NamedTuple):
    """A txn as a log stores it.

    Attributes:
        zxid: the zxid of the txn.
        time_ms: the time of the txn, in ms since the epoch.
        encoded: all bytes of the record: checksum, length, payload, end mark.
    """

    zxid: int
    time_ms: int
    encoded: bytes

    @property
    def payload(self) -> bytes:
        """The bytes that ``wire.txns.decode_txn`` reads."""
        return self.encoded[_HEADER.size : -1]


class DamagedRecordError(ValueError):
    """The bytes at this place are no complete record with a correct checksum."""


def record_at(data: bytes | bytearray, offset: int) -> EncodedTxn | None:
    """Return the record at an offset; None if ``data`` ends before the record does.

    Raises DamagedRecordError, also for the zeros at the end of a log that is in use.
    """
    begin = offset + _HEADER.size
    if len(data) < begin:
        return None
    checksum, size_bytes = _HEADER.unpack_from(data, offset)
    if not _TXN_HEADER.size <= size_bytes <= _MOST_TXN_BYTES:
        raise DamagedRecordError(f"a record cannot have {size_bytes} bytes")
    end = begin + size_bytes
    if len(data) < end + 1:
        return None
    if data[end] != _END_MARK or zlib.adler32(memoryview(data)[begin:end]) != checksum:
        raise DamagedRecordError("the checksum or the end mark of a record is wrong")
    _, _, zxid, time_ms, _ = _TXN_HEADER.unpack_from(data, begin)
    return EncodedTxn(zxid, time_ms, bytes(data[offset : end + 1]))


def split_records(pieces: Iterable[bytes]) -> Iterator[EncodedTxn]:
    """Yield the records in the content of a segment; raises DamagedRecordError."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        offset = 0
        while (record := record_at(waiting, offset)) is not None:
            yield record
            offset += len(record.encoded)
        del waiting[:offset]
    if waiting:
        raise DamagedRecordError("the last record is cut short")
