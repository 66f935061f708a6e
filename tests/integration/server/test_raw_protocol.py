"""What no well-behaved client sends: the server answers or closes, and no other client notices."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.testing import ServerProcess
from zoolet.wire.jute import INT, pack_ustring


@pytest.fixture
def raw(server: ServerProcess, client: Any) -> Iterator[RawClient]:
    """A raw client, beside which a well-behaved one goes on undisturbed."""
    client.create("/undisturbed", ephemeral=True)
    with RawClient(server.port) as connected:
        connected.connect()
        yield connected
    assert client.exists("/undisturbed").ephemeralOwner == client.client_id[0]


def test_a_check_outside_a_multi_is_refused(raw: RawClient) -> None:
    reply = raw.request(OpCode.CHECK, pack_ustring("/") + INT.pack(-1))
    assert (reply.err, reply.body) == (ErrorCode.UNIMPLEMENTED, b"")
    assert raw.is_closed_by_server()


def test_an_unknown_op_code_is_refused_and_ends_the_connection(raw: RawClient) -> None:
    assert raw.request(9999).err == ErrorCode.UNIMPLEMENTED
    assert raw.is_closed_by_server()


@pytest.mark.parametrize("op_code", [OpCode.CREATE, OpCode.GET_DATA, OpCode.MULTI, OpCode.SYNC])
@pytest.mark.parametrize("body", [b"", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xfe", b"\0\0\0\1"])
def test_a_malformed_body_is_a_marshalling_error(
    raw: RawClient, op_code: OpCode, body: bytes
) -> None:
    assert raw.request(op_code, body).err == ErrorCode.MARSHALLING_ERROR
    assert raw.create("/fine").err == 0


@pytest.mark.parametrize("length", [-1, 0xFFFFF + 1, (1 << 31) - 1])
def test_a_frame_that_is_too_long_ends_the_connection(raw: RawClient, length: int) -> None:
    raw.socket.sendall(INT.pack(length) + b"x")
    assert raw.is_closed_by_server()


def test_a_frame_too_short_for_a_header_ends_the_connection(raw: RawClient) -> None:
    raw.send_frame(b"1234567")
    assert raw.is_closed_by_server()


def test_the_longest_frame_is_taken(raw: RawClient) -> None:
    fields = len(pack_ustring("/long")) + 4 + 4 + 4 + 4 + len("worldanyone") + 8 + 4 + 8
    data = b"x" * (0xFFFFF - fields)
    assert raw.create("/long", data[:-8]).err == 0


def test_a_connection_that_does_not_begin_with_connect_is_closed(server: ServerProcess) -> None:
    with RawClient(server.port) as raw:
        raw.send_frame(b"hello")
        assert raw.is_closed_by_server()


def test_bytes_may_come_one_at_a_time(server: ServerProcess) -> None:
    with RawClient(server.port) as raw:
        raw.connect()
        request = INT.pack(1) + INT.pack(OpCode.GET_CHILDREN) + pack_ustring("/") + b"\0"
        for byte in INT.pack(len(request)) + request:
            raw.socket.sendall(bytes([byte]))
        assert raw.read_reply().err == 0


def test_a_client_that_saw_the_future_is_sent_away(server: ServerProcess) -> None:
    with RawClient(server.port) as raw:
        raw.send_frame(
            INT.pack(0) + (1 << 40).to_bytes(8, "big") + INT.pack(5000) + bytes(8) + INT.pack(-1)
        )
        assert raw.is_closed_by_server()
    refusal = "the client has seen zxid 0x10000000000"
    wait_until(lambda: refusal in server.log, "the log line")


def test_an_old_client_may_leave_read_only_out(server: ServerProcess) -> None:
    with RawClient(server.port) as raw:
        assert raw.connect(read_only=b"").rest == b""
    with RawClient(server.port) as raw:
        assert raw.connect(read_only=b"\0").rest == b"\0"


def test_a_session_moves_to_its_newest_connection(server: ServerProcess) -> None:
    with RawClient(server.port) as old, RawClient(server.port) as new:
        session = old.connect()
        moved = new.connect(4000, session.session_id, session.password)
        assert moved.session_id == session.session_id
        assert old.is_closed_by_server()
        assert new.create("/a").err == 0


def test_replies_come_in_the_order_of_the_requests(raw: RawClient) -> None:
    sent = []
    for number in range(50):
        sent.append(raw.send(OpCode.GET_CHILDREN, pack_ustring("/") + b"\0"))
        body = pack_ustring(f"/{number}") + INT.pack(-1)
        sent.append(raw.send(OpCode.DELETE, body))
        sent.append(raw.send(OpCode.PING, xid=-2))
    assert [raw.read_reply().xid for _ in sent] == sent


def test_a_client_that_does_not_read_holds_up_only_itself(
    server: ServerProcess, raw: RawClient, client: Any
) -> None:
    """It asks for far more than the server keeps for it, and gets it all once it reads."""
    data = b"x" * 500_000
    assert raw.create("/large", data).err == 0
    before = resident_bytes(server)
    body = pack_ustring("/large") + b"\0"
    sent = [raw.send(OpCode.GET_DATA, body) for _ in range(400)]
    for _ in range(50):
        client.create("/others-", sequence=True)
    assert resident_bytes(server) - before < 100_000_000 < len(sent) * len(data)
    assert [raw.read_reply().xid for _ in sent] == sent


def resident_bytes(server: ServerProcess) -> int:
    fields = Path(f"/proc/{server.pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
