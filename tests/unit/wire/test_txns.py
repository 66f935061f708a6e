"""Txns as bytes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import TXNS
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.txns import CreateTxn, MultiTxn, SetDataTxn, Txn, TxnHeader
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.wire.jute import MalformedError
from zoolet.wire.txns import decode_txn, encode_txn


@given(TXNS)
def test_what_is_written_is_read(txn: Txn) -> None:
    assert decode_txn(encode_txn(txn)) == txn


def test_a_create_is_the_original_s_bytes() -> None:
    """Taken apart by hand after zookeeper.jute: TxnHeader, then CreateTxn."""
    txn = Txn(
        TxnHeader(0x0100, 2, 3, 4, OpCode.CREATE),
        CreateTxn("/a", b"x", OPEN_ACL, OwnerKind.SESSION, 1),
    )
    assert encode_txn(txn) == bytes.fromhex(
        "0000000000000100 00000002 0000000000000003 0000000000000004 00000001"
        "00000002 2f61  00000001 78"
        "00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65"
        "01 00000001"
    )


def test_a_create_from_before_parents_counted_is_read() -> None:
    txn = Txn(
        TxnHeader(1, 2, 3, 4, OpCode.CREATE), CreateTxn("/a", b"", OPEN_ACL, OwnerKind.NOBODY, -1)
    )
    assert decode_txn(encode_txn(txn)[:-4]) == txn


DIGEST = bytes.fromhex("00000002 0123456789abcdef")


@given(TXNS)
def test_a_digest_behind_a_txn_is_passed_over(txn: Txn) -> None:
    assert decode_txn(encode_txn(txn) + DIGEST) == txn


def test_a_reconfig_is_the_new_data_of_the_config_znode() -> None:
    """An ensemble logs it as type 16, with the body of a setData (``SerializeUtils``)."""
    body = SetDataTxn("/zookeeper/config", b"server.1=a:1:2;3", -1)
    txn = Txn(TxnHeader(1, 2, 3, 4, OpCode.RECONFIG), body)
    assert decode_txn(encode_txn(txn) + DIGEST) == txn
    assert encode_txn(txn)[28:32] == bytes.fromhex("00000010")
    tree = Tree.fresh()
    machine = StateMachine(tree, SessionTable(100))
    machine.apply(txn)
    found = tree.find("/zookeeper/config")
    assert found is not None
    assert found.data == b"server.1=a:1:2;3"
    assert (found.stat.mzxid, found.stat.mtime, found.stat.version) == (3, 4, -1)


def test_a_logged_multi_has_create_instead_of_create2() -> None:
    """Apache ZooKeeper 3.8.0 would read a create2 there, and apply nothing of the multi."""
    create = CreateTxn("/a", b"x", OPEN_ACL, OwnerKind.NOBODY, 1)
    header = TxnHeader(1, 2, 3, 4, OpCode.MULTI)
    written = encode_txn(Txn(header, MultiTxn(((OpCode.CREATE2, create),))))
    expected = Txn(header, MultiTxn(((OpCode.CREATE, create),)))
    assert written == encode_txn(expected)
    assert decode_txn(written) == expected
    of_apache_39 = written[:36] + OpCode.CREATE2.to_bytes(4) + written[40:]
    assert decode_txn(of_apache_39) == Txn(header, MultiTxn(((OpCode.CREATE2, create),)))


@given(st.binary(max_size=100))
def test_garbage_is_only_ever_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        decode_txn(data)


def test_a_type_that_is_not_known_is_said() -> None:
    txn = Txn(
        TxnHeader(1, 2, 3, 4, OpCode.CREATE), CreateTxn("/a", b"", OPEN_ACL, OwnerKind.NOBODY, 0)
    )
    data = bytearray(encode_txn(txn))
    data[31] = 77
    with pytest.raises(MalformedError, match="type 77"):
        decode_txn(bytes(data))
