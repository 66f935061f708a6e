"""Malformed bytes: the answer of Apache ZooKeeper, or a closed connection."""

import random
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.test_differential import dialect_of, fresh_servers
from tests.support.differential.play import first_difference
from tests.support.differential.steps import malformed
from tests.support.rawclient import RawClient
from zoolet.model.codes import OpCode
from zoolet.testing import ServerProcess
from zoolet.testing.received_requests.frames import REQUEST_HEADER
from zoolet.wire.jute import INT, LONG, pack_buffer, pack_ustring

CONNECT = (
    INT.pack(0) + LONG.pack(0) + INT.pack(4000) + LONG.pack(0) + pack_buffer(bytes(16)) + b"\0"
)
GET_ROOT = REQUEST_HEADER.pack(1, OpCode.GET_DATA) + pack_ustring("/") + b"\0"


def test_a_request_cut_or_glued_is_answered_as_by_the_original(
    tmp_path: Path, apache_jars: Path
) -> None:
    dialect = dialect_of(apache_jars)
    servers = fresh_servers(tmp_path, apache_jars, {"extendedTypesEnabled": "true"})
    difference = first_difference(servers, list(malformed(1, dialect)), dialect)
    assert difference is None, str(difference)


def test_garbage_closes_its_own_connection_and_troubles_nobody(server: ServerProcess) -> None:
    with RawClient(server.port) as bystander:
        bystander.connect()
        for garbage in _garbage():
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
                connection.sendall(garbage)
                connection.shutdown(socket.SHUT_WR)
                _read_to_the_end(connection)
            assert bystander.request(OpCode.PING, xid=-2).err == 0
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log


def _garbage() -> Iterator[bytes]:
    """Yield what may come instead of frames: pieces, lengths that cannot be, noise."""
    whole = b"".join(INT.pack(len(content)) + content for content in (CONNECT, GET_ROOT))
    for position in range(len(whole)):
        yield whole[:position]
        yield whole[position:]
    for length in (-1, -(2**31), 0, 1, 7, 2**31 - 1):
        yield INT.pack(length)
        yield INT.pack(len(CONNECT)) + CONNECT + INT.pack(length) + bytes(8)
    chance = random.Random(1)
    for size_bytes in (1, 3, 4, 5, 50, 5000):
        yield chance.randbytes(size_bytes)
        yield INT.pack(len(CONNECT)) + CONNECT + chance.randbytes(size_bytes)
    yield from (b"ruok\n", b"RUOK", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01")


def _read_to_the_end(connection: socket.socket) -> None:
    """Return when the server has closed the connection."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
