"""What ``zkTxnLogToolkit.sh`` does with one transaction log: print it, mend checksums, cut it.

The files that it makes are new; the log stays as it is. Source: ``TxnLogToolkit`` and
``LogChopper`` of Apache ZooKeeper 3.9.
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
    encode_payload,
    read_file_header,
    read_raw_records,
    read_records,
)
from zoolet.wire.jute import MalformedError
from zoolet.wire.txns import decode_txn

_HEADER_FIELDS = ("zxid", "time", "session", "cxid", "type")


class Summary(NamedTuple):
    """What was found in a log.

    Attributes:
        txns: how many records it has.
        damaged: how many of them have a wrong checksum.
        torn: what is wrong behind the last record; empty if nothing is.
    """

    txns: int
    damaged: int
    torn: str


def header_line(path: Path, data: bytes) -> str:
    """Return the first line about a log; raises DamagedFileError."""
    header = read_file_header(path, data)
    return (
        f"ZooKeeper Transactional Log File with dbid {header.database_id}"
        f" txnlog format version {header.version}"
    )


def dump(path: Path, data: bytes, show: Callable[[str], None]) -> Summary:
    """Show each txn of a log in a line, and those with a wrong checksum in one more before it."""
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
    """Copy a log to ``FILE.fixed`` with right checksums; returns the new path and how many changed.

    ``shall_mend`` gets the line of a txn with a wrong checksum and says whether to mend it; the
    others stay wrong. Nothing is left behind if it raises. Raises StorageError.
    """
    mended = 0
    content = bytearray(read_file_header(path, data).encoded)

    def take(record: RawRecord) -> None:
        nonlocal mended
        encoded = record.encoded
        if not record.is_sound and shall_mend(txn_line(record)):
            encoded = encode_payload(record.payload)
            mended += 1
        if is_verbose:
            show(txn_line(record))
        content.extend(encoded)

    _, torn = _each(path, data, take)
    if torn:
        show(torn)
    return _write_new(path.with_name(f"{path.name}.fixed"), bytes(content)), mended


def chop(path: Path, data: bytes, zxid: int) -> tuple[Path, int]:
    """Copy a log up to a zxid, this one included; returns the new path and its number of txns.

    Raises StorageError if the log does not hold the zxid, or nothing behind it.
    """
    kept = 0
    last_zxid = 0
    for offset, txn in read_records(path, BytesFile(data)):
        if txn.header.zxid > zxid:
            if last_zxid != zxid:
                break
            new_path = path.with_name(f"{path.name}.chopped{zxid}")
            return _write_new(new_path, data[:offset]), kept
        kept, last_zxid = kept + 1, txn.header.zxid
    if last_zxid == zxid and kept:
        raise StorageError(f"{path} ends with the zxid 0x{zxid:x}: there is nothing to cut off.")
    raise StorageError(f"{path} does not contain the zxid 0x{zxid:x}: name one that it has.")


def txn_line(record: RawRecord) -> str:
    """Return a record as a line: time, session, cxid, zxid, kind, and the fields of its txn."""
    try:
        txn = decode_txn(record.payload)
    except MalformedError as error:
        return f"{len(record.payload)} bytes at byte {record.offset} that are no txn: {error}"
    header = txn.header
    fields = {name: value for name, value in show_txn(txn).items() if name not in _HEADER_FIELDS}
    shown = json.dumps(fields) if fields else ""
    return (
        f"{show_time(header.time_ms)} session 0x{hex64(header.client_id)}"
        f" cxid 0x{header.cxid:x} zxid 0x{header.zxid:x} {_kind(header.type)} {shown}"
    ).rstrip()


def _kind(op_code: int) -> str:
    """Return Apache ZooKeeper's name of a kind of txn: createSession, setData."""
    first, *others = OpCode(op_code).name.lower().split("_")
    known = {"acl": "ACL", "ttl": "TTL"}
    return first + "".join(known.get(word, word.capitalize()) for word in others)


def _each(path: Path, data: bytes, take: Callable[[RawRecord], None]) -> tuple[int, str]:
    """Pass on each record; returns how many there were, and what is wrong behind the last."""
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
    """Write a file that must not exist, all of it or none."""
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
