"""write_record writes a whole record or nothing, also if a write or the encoding fails.

A batch is one buffer for many txns. Half a record in it would damage every txn behind it.
"""

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from zoolet.big_endian import pure_python
from zoolet.big_endian.buffers import BytesWriter
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.txns import CreateTxn, Txn, TxnHeader
from zoolet.storage import txn_log
from zoolet.storage.disk import BytesFile
from zoolet.storage.txn_log import TxnLog, TxnTooLargeError, read_records, write_record
from zoolet.testing.servers.memory_disk import MemoryDisk

WRITES = 4
"""The writes of one record: checksum, length, payload, end mark."""

TXNS_OF_A_SEED = 300


class FailingWriter(pure_python.BytesWriter):
    """A buffer of which one write fails with MemoryError, after a part of its bytes.

    Attributes:
        writes_left: how many writes succeed before the one that fails; -1: none fails.
        part_bytes: how many bytes the failing write leaves behind.
    """

    __slots__ = ("part_bytes", "writes_left")

    def __init__(self) -> None:
        super().__init__()
        self.writes_left = -1
        self.part_bytes = 0

    def append(self, x: int, /) -> None:
        self.write(bytes([x]))

    def write(self, b: bytes | bytearray, /) -> None:
        if self.writes_left == 0:
            self.writes_left = -1
            super().write(b[: self.part_bytes])
            raise MemoryError
        self.writes_left -= self.writes_left > 0
        super().write(b)


NO_UTF_8 = "/" + chr(0xD800)
"""A path that cannot be encoded."""


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The source of txn_log, interpreted and on plain Python's buffers: their writes can fail."""
    path = Path(txn_log.__file__).with_name("txn_log.py")
    spec = importlib.util.spec_from_file_location("txnlog_interpreted", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    for name in ("write_i32_be", "write_i64_be"):
        monkeypatch.setattr(module, name, getattr(pure_python, name))
    return module


def create(zxid: int, size_bytes: int = 10, path: str = "/a") -> Txn:
    body = CreateTxn(path, b"x" * size_bytes, OPEN_ACL, OwnerKind.NOBODY, 1)
    return Txn(TxnHeader(1, 2, zxid, 4, OpCode.CREATE), body)


def txns_in(records: bytes) -> list[Txn]:
    """Return the txns that recovery reads of a batch, once a log has it."""
    disk, directory = MemoryDisk(), Path("/logs")
    TxnLog(disk, directory, 1024).append(1, records)
    (name,) = disk.list_names(directory)
    path = directory / name
    return [record.txn for record in read_records(path, BytesFile(disk.read(path)))]


@pytest.mark.parametrize("part_bytes", [0, 1, 3])
@pytest.mark.parametrize("number", range(WRITES))
def test_a_record_whose_write_fails_leaves_nothing_in_the_batch(
    source: ModuleType, number: int, part_bytes: int
) -> None:
    writer = FailingWriter()
    source.write_record(writer, create(1))
    before = writer.getvalue()
    writer.writes_left, writer.part_bytes = number, part_bytes
    with pytest.raises(MemoryError):
        source.write_record(writer, create(2))
    assert writer.getvalue() == before
    source.write_record(writer, create(3))
    assert txns_in(writer.getvalue()) == [create(1), create(3)]


def test_a_record_has_no_further_write(source: ModuleType) -> None:
    """Otherwise the test above would not let each of them fail."""
    writer = FailingWriter()
    writer.writes_left = WRITES
    source.write_record(writer, create(1))
    assert writer.writes_left == 0


def test_a_txn_whose_encoding_fails_leaves_nothing_in_the_batch() -> None:
    writer = BytesWriter()
    write_record(writer, create(1))
    with pytest.raises(UnicodeEncodeError):
        write_record(writer, create(2, path=NO_UTF_8))
    write_record(writer, create(3))
    assert txns_in(writer.getvalue()) == [create(1), create(3)]


def test_a_txn_that_is_too_large_leaves_nothing_in_the_batch() -> None:
    writer = BytesWriter()
    write_record(writer, create(1), 200)
    with pytest.raises(TxnTooLargeError, match="the limit is 200"):
        write_record(writer, create(2, size_bytes=200), 200)
    write_record(writer, create(3), 200)
    assert txns_in(writer.getvalue()) == [create(1), create(3)]


@pytest.mark.parametrize("seed", range(10))
def test_a_batch_holds_exactly_the_txns_whose_record_was_written(
    source: ModuleType, seed: int
) -> None:
    chance = random.Random(seed)
    writer = FailingWriter()
    written: list[Txn] = []
    failures = 0
    for zxid in range(1, TXNS_OF_A_SEED + 1):
        kind = chance.choice(("sound", "sound", "write", "encoding", "too large"))
        path = NO_UTF_8 if kind == "encoding" else "/a"
        txn = create(zxid, 600 if kind == "too large" else chance.randrange(300), path)
        writer.writes_left = chance.randrange(WRITES) if kind == "write" else -1
        writer.part_bytes = chance.randrange(5)
        try:
            source.write_record(writer, txn, 500)
        except (MemoryError, UnicodeEncodeError, source.TxnTooLargeError):
            failures += 1
        else:
            written.append(txn)
    assert txns_in(writer.getvalue()) == written
    assert len(written) > TXNS_OF_A_SEED / 4
    assert failures > TXNS_OF_A_SEED / 4
