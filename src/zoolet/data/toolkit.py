"""The functions of ``zkTxnLogToolkit.sh``: print a log, correct its checksums, cut it.

They write new files and never change the log. Source: ``TxnLogToolkit`` and ``LogChopper`` of
Apache ZooKeeper 3.9.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from zoolet.data.json_form import show_time, show_txn
from zoolet.model.codes import OpCode
from zoolet.model.numbers import hex64
from zoolet.storage.disk import BytesFile, Disk
from zoolet.storage.errors import DamagedFileError, StorageError
from zoolet.storage.txn_log import (
    RawRecord,
    encode_log_record,
    read_file_header,
    read_raw_records,
    read_records,
)
from zoolet.wire.jute import MalformedError
from zoolet.wire.txns import decode_txn

_HEADER_FIELDS = ("zxid", "time", "session", "cxid", "type")


class Summary(NamedTuple):
    """The result of reading a log.

    Attributes:
        txns: the number of records.
        damaged: the number of records with a wrong checksum.
        torn: the description of the damage after the last record; "" if there is no damage.
    """

    txns: int
    damaged: int
    torn: str


def header_line(path: Path, data: bytes) -> str:
    """Return the line that describes a log's file header; raises DamagedFileError."""
    header = read_file_header(path, data)
    return (
        f"ZooKeeper Transactional Log File with dbid {header.database_id}"
        f" txnlog format version {header.version}"
    )


def dump(path: Path, data: bytes, show: Callable[[str], None]) -> Summary:
    """Show a line for each txn of a log, and one more line before it if its checksum is wrong."""
    damaged = 0

    def take(record: RawRecord) -> None:
        nonlocal damaged
        if not record.is_sound:
            damaged += 1
            show(f"CRC ERROR - {txn_line(record)}")
        show(txn_line(record))

    txns, torn = _each(path, data, take)
    return Summary(txns, damaged, torn)


def mend(
    path: Path,
    data: bytes,
    shall_mend: Callable[[str], bool],
    show: Callable[[str], None],
    *,
    is_verbose: bool,
) -> tuple[Path, int]:
    """Copy a log to ``FILE.fixed`` with correct checksums.

    Returns the new path and the number of corrected checksums. ``shall_mend`` gets the line of a
    txn with a wrong checksum and returns whether to correct it. If it raises, no file is written.
    Raises StorageError.
    """
    mended = 0
    content = bytearray(read_file_header(path, data).encoded)

    def take(record: RawRecord) -> None:
        nonlocal mended
        encoded = record.encoded
        if not record.is_sound and shall_mend(txn_line(record)):
            encoded = encode_log_record(record.payload)
            mended += 1
        if is_verbose:
            show(txn_line(record))
        content.extend(encoded)

    _, torn = _each(path, data, take)
    if torn:
        show(torn)
    return _write_new(path.with_name(f"{path.name}.fixed"), bytes(content)), mended


def chop(path: Path, data: bytes, zxid: int) -> tuple[Path, int]:
    """Copy a log up to and including a zxid; return the new path and its number of txns.

    Raises StorageError if the log does not contain the zxid, or ends with it.
    """
    kept = 0
    last_zxid = 0
    for offset, txn in read_records(path, BytesFile(data)):
        if txn.header.zxid > zxid:
            if last_zxid != zxid:
                break
            new_path = path.with_name(f"{path.name}.chopped{zxid}")
            return _write_new(new_path, data[:offset]), kept
        kept, last_zxid = kept + 1, max(last_zxid, txn.header.zxid)  # txns may be there again
    if last_zxid == zxid and kept:
        raise StorageError(f"{path} ends with the zxid 0x{zxid:x}: there is nothing to cut off.")
    raise StorageError(f"{path} does not contain the zxid 0x{zxid:x}: name a zxid of this log.")


def txn_line(record: RawRecord) -> str:
    """Return a line with a record's time, session, cxid, zxid, kind and the fields of its txn."""
    try:
        txn = decode_txn(record.payload)
    except MalformedError as error:
        return f"{len(record.payload)} bytes at byte {record.offset} are not a txn: {error}"
    header = txn.header
    fields = {name: value for name, value in show_txn(txn).items() if name not in _HEADER_FIELDS}
    shown = json.dumps(fields) if fields else ""
    return (
        f"{show_time(header.time_ms)} session 0x{hex64(header.client_id)}"
        f" cxid 0x{header.cxid:x} zxid 0x{header.zxid:x} {_kind(header.type)} {shown}"
    ).rstrip()


def _kind(op_code: int) -> str:
    """Return Apache ZooKeeper's name of a kind of txn, for example createSession."""
    first, *others = OpCode(op_code).name.lower().split("_")
    known = {"acl": "ACL", "ttl": "TTL"}
    return first + "".join(known.get(word, word.capitalize()) for word in others)


def _each(path: Path, data: bytes, take: Callable[[RawRecord], None]) -> tuple[int, str]:
    """Call ``take`` with each record; return their number and the damage after the last one."""
    count = 0
    records: Iterator[RawRecord] = read_raw_records(path, data)
    while True:
        try:
            record = next(records)
        except StopIteration:
            return count, ""
        except DamagedFileError as error:
            if not count and error.offset == 0:
                raise
            return count, str(error)
        take(record)
        count += 1


def _write_new(path: Path, content: bytes) -> Path:
    """Write a new file, completely or not at all; raises StorageError if it exists already."""
    disk = Disk()
    try:
        file = disk.create(path)
    except FileExistsError as error:
        raise StorageError(f"{path} exists already: remove it, or move it away.") from error
    try:
        file.write(content)
        file.sync()
    except OSError:
        disk.remove(path)
        raise
    finally:
        file.close()
    return path
