"""Following the logs of a data directory: where the archive continues, and where it cannot."""

import errno
import os
from pathlib import Path

import pytest

from tests.support.writer import DISK, Writer
from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.log_records import EncodedTxn
from zoolet.archive.writing.log_tail import Attached, LogTail, MovedError, Position
from zoolet.storage.retention import Retention

NOTHING = Position(0, 0, None)
ALL_BYTES = 1 << 30


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    """A server's directory with five txns."""
    writer = Writer(tmp_path / "data")
    writer.create("/a", "/b", "/c", "/d")
    return writer


def position_of(txn: EncodedTxn) -> Position:
    return Position(txn.zxid, txn.time_ms, txn.encoded)


def read_all(writer: Writer) -> list[EncodedTxn]:
    tail = LogTail(writer.directories)
    assert tail.attach(NOTHING) is Attached.FOLLOWS
    return tail.read(ALL_BYTES)


def test_txns_are_read_in_order_while_they_are_written(writer: Writer) -> None:
    tail = LogTail(writer.directories)
    assert tail.attach(NOTHING) is Attached.FOLLOWS
    assert [txn.zxid for txn in tail.read(ALL_BYTES)] == [1, 2, 3, 4, 5]
    assert tail.read(ALL_BYTES) == []
    writer.create("/e")
    writer.snapshot()
    writer.create("/f")
    assert tail.txns_ahead() == 2
    assert [txn.zxid for txn in tail.read(ALL_BYTES)] == [6, 7]
    assert tail.txns_ahead() == 0


def test_a_read_ends_after_the_limit(writer: Writer) -> None:
    tail = LogTail(writer.directories)
    tail.attach(NOTHING)
    assert [txn.zxid for txn in tail.read(1)] == [1]
    assert [txn.zxid for txn in tail.read(ALL_BYTES)] == [2, 3, 4, 5]


@pytest.mark.parametrize("number", range(5))
def test_it_continues_after_each_txn(writer: Writer, number: int) -> None:
    txns = read_all(writer)
    tail = LogTail(writer.directories)
    assert tail.attach(position_of(txns[number])) is Attached.FOLLOWS
    assert tail.read(ALL_BYTES) == txns[number + 1 :]


def test_a_record_that_is_being_written_is_read_later(writer: Writer) -> None:
    log = writer.logs()[0]
    content = log.read_bytes()
    last = read_all(writer)[-1]
    at = content.index(last.encoded)
    for length in range(1, len(last.encoded)):
        log.write_bytes(content[: at + length] + bytes(len(content) - at - length))
        tail = LogTail(writer.directories)
        tail.attach(NOTHING)
        assert [txn.zxid for txn in tail.read(ALL_BYTES)] == [1, 2, 3, 4]
    with log.open("r+b") as file:
        file.write(content)
    assert [txn.zxid for txn in tail.read(ALL_BYTES)] == [5]


def test_damage_with_txns_after_it_is_an_error(writer: Writer) -> None:
    log = writer.logs()[0]
    content = bytearray(log.read_bytes())
    txns = read_all(writer)
    content[content.index(txns[2].encoded) + 20] ^= 1
    writer.snapshot()
    writer.create("/e")
    log.write_bytes(content)
    tail = LogTail(writer.directories)
    tail.attach(NOTHING)
    with pytest.raises(ArchiveError, match="zoolet data check"):
        tail.read(ALL_BYTES)


def test_other_txns_with_the_same_zxids_are_noticed(writer: Writer, tmp_path: Path) -> None:
    last = position_of(read_all(writer)[-1])
    other = Writer(tmp_path / "other")
    other.create("/a", "/b")
    assert LogTail(other.directories).attach(last) is Attached.BEHIND
    other.create("/x", "/y")
    assert LogTail(other.directories).attach(last) is Attached.TRUNCATED
    other.create("/z")
    assert LogTail(other.directories).attach(last) is Attached.TRUNCATED


def test_logs_that_were_removed_too_early_are_a_gap(writer: Writer) -> None:
    archived = position_of(read_all(writer)[-1])
    for name in "efg":
        writer.snapshot()
        writer.create(f"/{name}")
    writer.snapshot()
    Retention(DISK, writer.directories, 1).purge()
    assert LogTail(writer.directories).attach(archived) is Attached.GAP


def test_removed_logs_are_no_gap_if_all_their_txns_are_archived(writer: Writer) -> None:
    archived = position_of(read_all(writer)[-1])
    for path in writer.logs():
        writer.snapshot()
        path.unlink()
    tail = LogTail(writer.directories)
    assert tail.attach(archived) is Attached.FOLLOWS
    assert not tail.has_place
    writer.create("/e")
    assert tail.attach(archived) is Attached.FOLLOWS
    assert [txn.zxid for txn in tail.read(ALL_BYTES)] == [6]


def test_a_log_that_is_replaced_is_noticed(writer: Writer, tmp_path: Path) -> None:
    tail = LogTail(writer.directories)
    tail.attach(NOTHING)
    tail.read(ALL_BYTES)
    log = writer.logs()[0]
    copy = tmp_path / "copy"
    copy.write_bytes(log.read_bytes())
    copy.replace(log)
    with pytest.raises(MovedError):
        tail.read(ALL_BYTES)
    log.unlink()
    with pytest.raises(MovedError):
        tail.read(ALL_BYTES)


def test_the_time_of_a_txn(writer: Writer) -> None:
    first_ms = writer.time_ms
    tail = LogTail(writer.directories)
    assert tail.time_of(3) == first_ms
    assert tail.time_of(99) is None
    writer.snapshot()
    writer.time_ms += 100
    writer.create("/later")
    writer.logs()[0].unlink()
    assert tail.time_of(5) == writer.time_ms


def test_a_log_that_becomes_shorter_while_it_is_read_is_read_again(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = LogTail(writer.directories)
    assert tail.attach(NOTHING) is Attached.FOLLOWS
    log = writer.logs()[0]
    read = os.pread

    def cut(fd: int, size_bytes: int, offset: int) -> bytes:
        os.truncate(log, read_end)
        return read(fd, size_bytes, offset)

    content = log.read_bytes()
    read_end = len(content.rstrip(b"\0")) + 4
    assert read_end < len(content)
    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", cut)
        with pytest.raises(MovedError):
            tail.read(ALL_BYTES)
    assert tail.attach(NOTHING) is Attached.FOLLOWS
    assert [txn.zxid for txn in tail.read(ALL_BYTES)] == [1, 2, 3, 4, 5]


def test_an_error_of_the_disk_is_no_shorter_log(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "the disk fails")

    tail = LogTail(writer.directories)
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(OSError, match="the disk fails"):
        tail.attach(NOTHING)
