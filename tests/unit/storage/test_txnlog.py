"""The transaction log: what is written, what is read, what is damage and what is a torn tail."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import TXNS
from zoolet.model.codes import OpCode
from zoolet.model.txns import DeleteTxn, Txn, TxnHeader
from zoolet.storage.disk import BytesFile, Disk, DiskFile
from zoolet.storage.errors import DamagedFileError
from zoolet.storage.txnlog import TxnLog, encode_record, is_torn, read_records

PATH = Path("log.1")
HEADER = bytes.fromhex("5a4b4c47 00000002 0000000000000000")  # "ZKLG", version 2, database 0


def delete(zxid: int) -> Txn:
    return Txn(TxnHeader(1, 2, zxid, 4, OpCode.DELETE), DeleteTxn(f"/{zxid}"))


def content(count: int) -> bytes:
    return HEADER + b"".join(encode_record(delete(zxid)) for zxid in range(1, count + 1))


def read(data: bytes) -> list[Txn]:
    return [record.txn for record in read_records(PATH, BytesFile(data))]


def test_a_log_is_the_original_s_bytes(tmp_path: Path) -> None:
    """By hand after FileTxnLog: header; checksum, length, txn and "B"; zeros."""
    log = TxnLog(Disk(), tmp_path, preallocate_bytes=1024)
    log.append(0x1A, encode_record(delete(0x1A)))
    written = (tmp_path / "log.1a").read_bytes()
    payload = bytes.fromhex(
        "0000000000000001 00000002 000000000000001a 0000000000000004 00000002 00000003 2f3236"
    )
    record = bytes.fromhex("00000000 03fa00be 00000027") + payload + b"B"
    assert written == HEADER + record + bytes(1024 - len(HEADER) - len(record))
    log.roll()
    assert (tmp_path / "log.1a").read_bytes() == HEADER + record


@pytest.mark.parametrize("preallocate_bytes", [0, 1, 64, 1 << 20])
@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_log_that_has_ended_has_no_padding(
    tmp_path: Path, preallocate_bytes: int, batches: int
) -> None:
    log = TxnLog(Disk(), tmp_path, preallocate_bytes)
    for zxid in range(1, batches + 1):
        log.append(zxid, encode_record(delete(zxid)))
    log.roll()
    log.roll()
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == ({"log.1": content(batches)} if batches else {})


@pytest.mark.parametrize(("code", "is_passed_over"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_padding_that_cannot_be_removed(tmp_path: Path, code: int, is_passed_over: bool) -> None:
    """A full copy-on-write file system has no room even to cut a file; other errors are told."""

    class StubbornFile(DiskFile):
        def truncate(self, size_bytes: int) -> None:
            raise OSError(code, f"not to {size_bytes} bytes")

    class StubbornDisk(Disk):
        def create(self, path: Path, *, synced: bool = False) -> DiskFile:
            return StubbornFile(path, synced=synced)

    log = TxnLog(StubbornDisk(), tmp_path, preallocate_bytes=1024)
    log.append(1, encode_record(delete(1)))
    if is_passed_over:
        log.roll()
        log.append(2, encode_record(delete(2)))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["log.1", "log.2"]
    else:
        with pytest.raises(OSError, match="not to"):
            log.roll()
    assert read((tmp_path / "log.1").read_bytes()) == [delete(1)]


def test_batches_are_read_as_they_were_written(tmp_path: Path) -> None:
    log = TxnLog(Disk(), tmp_path, preallocate_bytes=64)
    for first in (1, 4, 7):
        log.append(first, b"".join(encode_record(delete(zxid)) for zxid in range(first, first + 3)))
        if first == 4:
            log.roll()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.1", "log.7"]
    for name, zxids in (("log.1", range(1, 7)), ("log.7", range(7, 10))):
        assert read((tmp_path / name).read_bytes()) == [delete(zxid) for zxid in zxids]


def test_a_disk_without_room_for_a_step_is_filled_to_its_end(tmp_path: Path) -> None:
    class NarrowFile(DiskFile):
        def preallocate(self, size_bytes: int) -> None:
            raise OSError(errno.ENOSPC, f"No space left for {size_bytes} bytes")

    class NarrowDisk(Disk):
        def create(self, path: Path, *, synced: bool = False) -> DiskFile:
            return NarrowFile(path, synced=synced)

    log = TxnLog(NarrowDisk(), tmp_path, preallocate_bytes=1024)
    for zxid in (1, 2, 3):
        log.append(zxid, encode_record(delete(zxid)))
    assert (tmp_path / "log.1").read_bytes() == content(3)


@pytest.mark.parametrize("force_sync", [True, False])
def test_each_write_is_on_disk_when_it_returns_unless_that_is_not_wanted(
    tmp_path: Path, force_sync: bool
) -> None:
    log = TxnLog(Disk(), tmp_path, preallocate_bytes=1024, force_sync=force_sync)
    log.append(1, encode_record(delete(1)))
    opened = {
        path.readlink(): path.name for path in Path("/proc/self/fd").iterdir() if path.exists()
    }
    flags = fcntl.fcntl(int(opened[tmp_path / "log.1"]), fcntl.F_GETFL)
    assert bool(flags & os.O_DSYNC) == force_sync


@given(st.lists(TXNS, max_size=5), st.integers(0, 100))
def test_what_is_written_is_read(txns: list[Txn], padding: int) -> None:
    assert read(HEADER + b"".join(map(encode_record, txns)) + bytes(padding)) == txns


@given(st.integers(0, len(content(3)) - 1), st.sampled_from([0, 1, 5000]))
def test_a_log_cut_anywhere_gives_its_whole_records(cut: int, padding: int) -> None:
    """Every cut either ends between records, or is found and told to be a torn tail."""
    data = content(3)[:cut] + bytes(padding)
    found: list[Txn] = []
    damage: DamagedFileError | None = None
    try:
        found.extend(record.txn for record in read_records(PATH, BytesFile(data)))
    except DamagedFileError as error:
        damage = error
    assert damage is None or is_torn(BytesFile(data), damage.offset)
    assert found == [delete(zxid) for zxid in range(1, len(found) + 1)]


@given(st.integers(len(HEADER), len(content(2)) - 1), st.integers(0, 7))
def test_a_flipped_bit_before_another_record_is_damage(position: int, bit: int) -> None:
    data = bytearray(content(3) + bytes(100))
    data[position] ^= 1 << bit
    with pytest.raises(DamagedFileError) as damaged:
        read(bytes(data))
    assert len(HEADER) <= damaged.value.offset <= position
    assert not is_torn(BytesFile(bytes(data)), damaged.value.offset)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut short"),
        (b"no log at all, but long enough", "a log begins with b'ZKLG'"),
        (HEADER[:4] + bytes.fromhex("00000003") + HEADER[8:], "version 3"),
        (HEADER + bytes(40) + b"x", "more behind it"),
    ],
)
def test_what_is_no_log_is_said(data: bytes, reason: str) -> None:
    with pytest.raises(DamagedFileError, match=reason):
        read(data)
