"""Txns as bytes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import TXNS
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.model.txns import CreateTxn, Txn, TxnHeader
from zoolet.wire.jute import MalformedError
from zoolet.wire.txns import decode_txn, encode_txn


@given(TXNS)
def test_what_is_written_is_read(txn: Txn) -> None:
    assert decode_txn(encode_txn(txn)) == txn


def test_a_create_is_the_original_s_bytes() -> None:
    """Taken apart by hand after zookeeper.jute: TxnHeader, then CreateTxn."""
    txn = Txn(TxnHeader(0x0100, 2, 3, 4, OpCode.CREATE), CreateTxn("/a", b"x", OPEN_ACL, True, 1))
    assert encode_txn(txn) == bytes.fromhex(
        "0000000000000100 00000002 0000000000000003 0000000000000004 00000001"
        "00000002 2f61  00000001 78"
        "00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65"
        "01 00000001"
    )


def test_a_create_from_before_parents_counted_is_read() -> None:
    txn = Txn(TxnHeader(1, 2, 3, 4, OpCode.CREATE), CreateTxn("/a", b"", OPEN_ACL, False, -1))
    assert decode_txn(encode_txn(txn)[:-4]) == txn


@given(st.binary(max_size=100))
def test_garbage_is_only_ever_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        decode_txn(data)


def test_a_type_that_is_not_known_is_said() -> None:
    txn = Txn(TxnHeader(1, 2, 3, 4, OpCode.CREATE), CreateTxn("/a", b"", OPEN_ACL, False, 0))
    data = bytearray(encode_txn(txn))
    data[31] = 77
    with pytest.raises(MalformedError, match="type 77"):
        decode_txn(bytes(data))
