"""The records of segments are those of log files."""

import random
from pathlib import Path

import pytest

from zoolet.archive.format.log_records import (
    LOG_FILE_HEADER,
    DamagedRecordError,
    record_at,
    split_records,
)
from zoolet.model.codes import OpCode
from zoolet.model.txns import SetDataTxn, Txn, TxnHeader
from zoolet.storage.disk import BytesFile
from zoolet.storage.txn_log import encode_record, read_records
from zoolet.wire.txns import decode_txn


def txn(zxid: int, data: bytes = b"data") -> Txn:
    return Txn(TxnHeader(1, 2, zxid, 1000 + zxid, OpCode.SET_DATA.value), SetDataTxn("/a", data, 1))


TXNS = [txn(zxid, bytes(zxid)) for zxid in range(1, 20)]
CONTENT = b"".join(encode_record(each) for each in TXNS)


def test_records_in_pieces_of_any_size() -> None:
    for size_bytes in (1, 7, 64, len(CONTENT)):
        pieces = [CONTENT[at : at + size_bytes] for at in range(0, len(CONTENT), size_bytes)]
        found = list(split_records(pieces))
        assert [(each.zxid, each.time_ms) for each in found] == [
            (each.header.zxid, each.header.time_ms) for each in TXNS
        ]
        assert [decode_txn(each.payload) for each in found] == TXNS
        assert b"".join(each.encoded for each in found) == CONTENT


def test_behind_the_header_they_are_a_log() -> None:
    log = BytesFile(LOG_FILE_HEADER + CONTENT)
    assert [each.txn for each in read_records(Path("log.1"), log)] == TXNS


def test_each_changed_byte_is_found() -> None:
    record = encode_record(txn(1))
    for position in range(len(record)):
        changed = bytearray(record)
        changed[position] ^= 1
        with pytest.raises(DamagedRecordError):
            list(split_records([bytes(changed)]))


def test_a_record_that_is_cut_short_is_found() -> None:
    generator = random.Random(2)
    for _ in range(50):
        end = generator.randrange(1, len(CONTENT))
        whole = {len(CONTENT[: _end_of(number)]) for number in range(len(TXNS) + 1)}
        if end not in whole:
            with pytest.raises(DamagedRecordError):
                list(split_records([CONTENT[:end]]))


def _end_of(number: int) -> int:
    return sum(len(encode_record(each)) for each in TXNS[:number])


def test_the_zeros_of_a_log_in_use_are_no_record() -> None:
    with pytest.raises(DamagedRecordError):
        record_at(bytes(100), 0)
    assert record_at(b"", 0) is None
