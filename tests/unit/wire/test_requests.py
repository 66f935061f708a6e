"""The bodies of requests, right and wrong."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.model.requests import Create, Delete, Multi, PathWatch, SetData
from zoolet.wire import requests
from zoolet.wire.jute import INT, MalformedError, Reader, pack_acl, pack_buffer, pack_ustring

CREATE = pack_ustring("/a") + pack_buffer(b"x") + pack_acl(OPEN_ACL) + INT.pack(3)


def test_a_create_is_read() -> None:
    assert requests.decode_write(
        OpCode.CREATE, Reader(b"??" + CREATE, 2, 2 + len(CREATE))
    ) == Create("/a", b"x", OPEN_ACL, 3)


def test_null_data_is_not_empty_data() -> None:
    for data in (None, b""):
        body = pack_ustring("/a") + pack_buffer(data) + INT.pack(-1)
        assert requests.decode_write(OpCode.SET_DATA, Reader(body, 0, len(body))) == SetData(
            "/a", data, -1
        )


def test_a_multi_is_read_with_its_op_codes() -> None:
    body = b"".join(
        (
            bytes.fromhex("0000000f 00 ffffffff"),
            CREATE,
            bytes.fromhex("00000002 00 ffffffff"),
            pack_ustring("/b") + INT.pack(4),
            bytes.fromhex("ffffffff 01 ffffffff"),
        )
    )
    assert requests.decode_write(OpCode.MULTI, Reader(body, 0, len(body))) == Multi(
        (
            (OpCode.CREATE2, Create("/a", b"x", OPEN_ACL, 3)),
            (OpCode.DELETE, Delete("/b", 4)),
        )
    )


def test_text_that_is_no_utf8_is_replaced_as_java_does() -> None:
    body = pack_buffer(b"/\xff") + b"\x01"
    decoded = requests.decode_path_watch(Reader(body, 0, len(body)))
    assert decoded == PathWatch("/\ufffd", True)


@pytest.mark.parametrize("op_code", sorted(requests.WRITE_OP_CODES))
@given(data=st.binary(max_size=80))
def test_garbage_is_only_ever_malformed(op_code: int, data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        requests.decode_write(op_code, Reader(data, 0, len(data)))


@pytest.mark.parametrize("end", range(len(CREATE)))
def test_a_create_that_is_cut_short_is_malformed(end: int) -> None:
    with pytest.raises(MalformedError):
        requests.decode_write(OpCode.CREATE, Reader(CREATE, 0, end))


def test_a_vector_longer_than_its_bytes_is_malformed() -> None:
    body = pack_ustring("/a") + pack_buffer(b"") + INT.pack(1 << 30)
    with pytest.raises(MalformedError, match="vector"):
        requests.decode_write(OpCode.CREATE, Reader(body, 0, len(body)))
