"""The transaction log: what is written, what is read, what is damage and what is a torn tail."""

import errno
import fcntl
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import TXNS
from zoolet.model.codes import OpCode
from zoolet.model.txns import DeleteTxn, Txn, TxnHeader
from zoolet.storage.disk import BytesFile, Disk, DiskFile
from zoolet.storage.errors import DamagedFileError
from zoolet.storage.system_calls import overwrites_in_place
from zoolet.storage.txn_log import TxnLog, encode_record, end_of_data, is_torn, read_records
from zoolet.testing.servers.memory_disk import MemoryDisk

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


@pytest.mark.parametrize("seed", range(5))
def test_zeros_are_written_ahead_of_the_records(tmp_path: Path, seed: int) -> None:
    """So later records replace data: the file system records only the first write of a block."""
    chance = random.Random(seed)
    disk = MemoryDisk()
    logs = (TxnLog(disk, tmp_path, 1 << 18), TxnLog(Disk(), tmp_path, 1 << 18))
    records = HEADER
    written: list[int] = []
    for zxid in range(1, 200):
        batch = encode_record(delete(zxid)) * chance.choice([1, 1, 10, 1000])
        records += batch
        for log in logs:
            zero_bytes = log.zeros_after(len(batch))
            assert zero_bytes <= 1 << 20
            log.append(1, batch)
            assert log.zeros_after(0) == 0
        if zero_bytes:
            written.append(zero_bytes)
        for content in (disk.read(tmp_path / "log.1"), (tmp_path / "log.1").read_bytes()):
            assert content == records + bytes(-len(records) % (1 << 18))
    assert len(written) < 100
    for log in logs:
        log.roll()
    assert disk.read(tmp_path / "log.1") == (tmp_path / "log.1").read_bytes() == records


@pytest.mark.parametrize("force_sync", [True, False])
def test_only_synced_writes_are_followed_by_zeros(tmp_path: Path, force_sync: bool) -> None:
    log = TxnLog(Disk(), tmp_path, 1 << 20, force_sync=force_sync)
    log.append(1, encode_record(delete(1)))
    with (tmp_path / "log.1").open("rb") as file:
        if not overwrites_in_place(file.fileno()):
            pytest.skip(f"the file system of {tmp_path} may copy on write")
        written_bytes = os.lseek(file.fileno(), 0, os.SEEK_HOLE)
    assert (written_bytes >= 1 << 16) == force_sync


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
        def preallocate(self, size_bytes: int) -> bool:
            raise OSError(errno.ENOSPC, f"No space left for {size_bytes} bytes")

    class NarrowDisk(Disk):
        def create(self, path: Path, *, synced: bool = False) -> DiskFile:
            return NarrowFile(path, synced=synced)

    log = TxnLog(NarrowDisk(), tmp_path, preallocate_bytes=1024)
    for zxid in (1, 2, 3):
        log.append(zxid, encode_record(delete(zxid)))
    assert (tmp_path / "log.1").read_bytes() == content(3)


def test_a_file_system_without_preallocation_is_asked_once(tmp_path: Path) -> None:
    asked = []

    class PlainFile(DiskFile):
        def preallocate(self, size_bytes: int) -> bool:
            asked.append(size_bytes)
            return False

    class PlainDisk(Disk):
        def create(self, path: Path, *, synced: bool = False) -> DiskFile:
            return PlainFile(path, synced=synced)

    log = TxnLog(PlainDisk(), tmp_path, preallocate_bytes=1024)
    for zxid in (1, 2, 3):
        log.append(zxid, encode_record(delete(zxid)))
        assert (tmp_path / "log.1").read_bytes() == content(zxid)
    log.roll()
    log.append(4, encode_record(delete(4)))
    log.roll()
    assert asked == [1024]
    assert (tmp_path / "log.1").read_bytes() == content(3)
    assert read((tmp_path / "log.4").read_bytes()) == [delete(4)]


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
        (b"no log at all, but long enough", "a log must begin with b'ZKLG'"),
        (HEADER[:4] + bytes.fromhex("00000003") + HEADER[8:], "version 3"),
        (HEADER + bytes(40) + b"x", "with data after it"),
    ],
)
def test_what_is_no_log_is_said(data: bytes, reason: str) -> None:
    with pytest.raises(DamagedFileError, match=reason):
        read(data)


# --- Zeros at the end

PADDING_BYTES = 8 << 20
WINDOW_BYTES = 1 << 20


class CountingFile(BytesFile):
    """A file whose reads are noted; behind ``data_end`` the file system knows of a hole."""

    def __init__(self, content: bytes, data_end: int | None = None) -> None:
        super().__init__(content)
        self.reads: list[tuple[int, int]] = []
        self._data_end = len(content) if data_end is None else data_end

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        data = super().read_at(offset, size_bytes)
        self.reads.append((offset, len(data)))
        return data

    def next_data(self, offset: int) -> int:
        return self.size_bytes if offset >= self._data_end else offset

    @property
    def bytes_read(self) -> int:
        return sum(size_bytes for _, size_bytes in self.reads)


@pytest.mark.parametrize("is_hole", [True, False])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_the_zeros_behind_the_records_are_read_once_at_most(count: int, is_hole: bool) -> None:
    """A hole is not read, written zeros are read once."""
    data = content(count)
    log = CountingFile(data + bytes(PADDING_BYTES), len(data) if is_hole else None)
    assert [record.txn for record in read_records(PATH, log)] == [
        delete(zxid) for zxid in range(1, count + 1)
    ]
    # The window in which the last record stands is read whole, a hole or not.
    assert log.bytes_read <= len(HEADER) + WINDOW_BYTES + (0 if is_hole else PADDING_BYTES)


@pytest.mark.parametrize("is_hole", [True, False])
def test_a_torn_tail_before_zeros_is_found_without_reading_a_hole(is_hole: bool) -> None:
    data = content(3)
    torn = data[:-1]
    log = CountingFile(torn + bytes(PADDING_BYTES), len(torn) if is_hole else None)
    with pytest.raises(DamagedFileError) as damaged:
        list(read_records(PATH, log))
    assert damaged.value.offset == len(content(2))
    log.reads.clear()
    assert end_of_data(log, damaged.value.offset) == len(torn)
    assert log.bytes_read <= (WINDOW_BYTES if is_hole else PADDING_BYTES + len(torn))
    log.reads.clear()
    assert is_torn(log, damaged.value.offset)
    # Only what is before the end of the data is searched for records.
    assert log.bytes_read <= 3 * WINDOW_BYTES + (0 if is_hole else PADDING_BYTES)


@pytest.mark.parametrize(
    "position", [len(HEADER), WINDOW_BYTES - 1, WINDOW_BYTES, 3 * WINDOW_BYTES + 7]
)
@pytest.mark.parametrize("behind", [0, 1, WINDOW_BYTES - 1, WINDOW_BYTES, 5_000_000])
def test_the_data_end_behind_the_last_byte_that_is_not_zero(position: int, behind: int) -> None:
    log = CountingFile(bytes(position) + b"B" + bytes(behind))
    assert end_of_data(log, 0) == position + 1
    assert end_of_data(log, position) == position + 1
    assert end_of_data(log, position + 1) == position + 1
    assert log.bytes_read <= 2 * (position + 1 + behind) + behind


@pytest.mark.parametrize("gap", [0, 1, WINDOW_BYTES - 3, WINDOW_BYTES, PADDING_BYTES])
def test_a_record_far_behind_the_damage_means_that_nothing_is_torn(gap: int) -> None:
    damaged = bytearray(content(1))
    damaged[-3] ^= 1
    data = bytes(damaged) + bytes(gap)
    assert is_torn(CountingFile(data), len(HEADER))
    assert not is_torn(CountingFile(data + encode_record(delete(2)) + bytes(100)), len(HEADER))


@given(st.integers(0, 3), st.integers(0, 3 * 60), st.sampled_from([0, 1, 5000]))
def test_the_end_of_data_is_that_of_a_file_without_its_zeros(
    count: int, cut: int, padding: int
) -> None:
    data = content(count)[: len(HEADER) + cut] + bytes(padding)
    wanted = max(len(HEADER), len(data.rstrip(b"\0")))
    assert end_of_data(BytesFile(data), len(HEADER)) == wanted
