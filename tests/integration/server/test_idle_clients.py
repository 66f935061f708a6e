"""A real server and clients that do nothing: they are closed, and nobody else notices."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from tests.support.limited import LimitedServer
from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.model.codes import OpCode
from zoolet.testing import ReservedPort
from zoolet.wire.jute import pack_ustring

MAX_CLIENTS = 60
"""The default of maxClientCnxns."""

CLOSED_BY_RULE = "the client has opened no session within 500 ms (nio.sessionlessCnxnTimeout)"
NUM_READS = 64
VALUE_BYTES = 1_000_000


@pytest.fixture
def secure_port() -> Iterator[int]:
    reserved = ReservedPort()
    yield reserved.number
    reserved.release()


@pytest.fixture(params=[True, False])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, secure_port: int
) -> Iterator[LimitedServer]:
    """A server with short timeouts, on uvloop and on asyncio's event loop."""
    authority, store = trustme.CA(), tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(store)
    settings = {
        "nio.sessionlessCnxnTimeout": 500,
        "zoolet.clientReadTimeoutMs": 1500,
        "4lw.commands.whitelist": "*",
        "secureClientPort": secure_port,
        "secureClientPortAddress": "127.0.0.1",
        "ssl.keyStore.location": store,
        "ssl.clientAuth": "none",
    }
    with LimitedServer(tmp_path / "s", settings, has_uvloop=request.param) as running:
        yield running


FIRST_BYTES = {
    "silent": b"",
    "half a length": b"\0\0",
    "half a connect request": bytes.fromhex("0000002d0000000000000000"),
    "half a word": b"rou",
}


@pytest.mark.parametrize("first", FIRST_BYTES)
def test_idle_sockets_do_not_block_their_address(server: LimitedServer, first: str) -> None:
    with ExitStack() as opened:
        idle = [opened.enter_context(RawClient(server.port)) for _ in range(MAX_CLIENTS)]
        for client in idle:
            client.socket.sendall(FIRST_BYTES[first])
        with RawClient(server.port) as refused:
            assert refused.is_closed_by_server()
        assert all(client.is_closed_by_server() for client in idle)
        with RawClient(server.port) as later:
            later.connect()
            assert later.create("/a").err == 0
    wait_until(lambda: CLOSED_BY_RULE in server.log, "the log line")
    assert server.log.count(CLOSED_BY_RULE) < MAX_CLIENTS


def test_handshakes_that_nobody_goes_on_with_do_not_either(
    server: LimitedServer, secure_port: int
) -> None:
    with ExitStack() as opened:
        idle = [opened.enter_context(RawClient(secure_port)) for _ in range(MAX_CLIENTS)]
        for number, client in enumerate(idle):
            client.socket.sendall(b"\x16\x03\x01\x02\x00\x01"[: number % 7])
        with RawClient(server.port) as refused:
            assert refused.is_closed_by_server()
        assert all(client.is_closed_by_server() for client in idle)
        with RawClient(server.port) as later:
            later.connect()
    silence = "the client has not finished the handshake within 500 ms"
    wait_until(lambda: silence in server.log, "the log line")


def test_a_client_that_sends_a_byte_now_and_then_is_closed(server: LimitedServer) -> None:
    with RawClient(server.port) as slow:
        for byte in b"\0\0\3\0" + bytes(0x300):  # a request of 768 bytes
            ready, _, _ = select.select([slow.socket], [], [], 0.02)
            if ready:
                break
            slow.socket.sendall(bytes([byte]))
        assert slow.is_closed_by_server()
    wait_until(lambda: CLOSED_BY_RULE in server.log, "the log line")


def test_a_session_may_be_silent_longer(server: LimitedServer) -> None:
    with RawClient(server.port) as silent, RawClient(server.port) as idle:
        silent.connect(timeout_ms=40_000)
        assert idle.is_closed_by_server()
        assert silent.create("/a").err == 0


def prepare(client: RawClient) -> None:
    client.connect(timeout_ms=40_000)
    assert client.create("/big", bytes(VALUE_BYTES)).err == 0


def ask_for_much(client: RawClient) -> None:
    for _ in range(NUM_READS):
        client.send(OpCode.GET_DATA, pack_ustring("/big") + b"\0")


def test_a_client_that_does_not_read_is_closed_while_others_are_served(
    server: LimitedServer,
) -> None:
    with RawClient(server.port) as bystander, ExitStack() as opened:
        prepare(bystander)
        stuck = [opened.enter_context(RawClient(server.port)) for _ in range(3)]
        for client in stuck:
            client.connect(timeout_ms=40_000)
            ask_for_much(client)
        wait_until(lambda: alive(server) == 1, "the end of those that do not read")
        assert bystander.request(OpCode.GET_DATA, pack_ustring("/big") + b"\0").err == 0
    wait_until(lambda: "it has read nothing for" in server.log, "the log line")


def test_it_is_closed_also_when_its_session_has_ended(server: LimitedServer) -> None:
    with RawClient(server.port) as bystander, RawClient(server.port) as stuck:
        prepare(bystander)
        stuck.connect(timeout_ms=4000)
        ask_for_much(stuck)
        stuck.send(OpCode.CLOSE_SESSION)
        wait_until(lambda: alive(server) == 1, "the end of the one that does not read")


def test_a_client_that_reads_slowly_gets_everything(server: LimitedServer) -> None:
    """Each pause is shorter than the timeout, all of them together are longer."""
    with RawClient(server.port) as slow:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        prepare(slow)
        ask_for_much(slow)
        for _ in range(NUM_READS):
            select.select([], [], [], 0.04)  # nothing can come here: the client is slow
            assert len(slow.read_reply().body) > VALUE_BYTES
    assert "it has read nothing for" not in server.log


def alive(server: LimitedServer) -> int:
    """Return how many connections a server has, without the one that asks."""
    (line,) = [
        line for line in server.ask("mntr").splitlines() if "num_alive_connections\t" in line
    ]
    return int(line.split("\t")[1]) - 1
