"""An exception in a callback of the event loop ends the server, unless it concerns a connection.

Each test lets a real event loop report an exception to the handler of a real server.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.server.failures import HARMLESS_IN_CALLBACKS
from zoolet.testing import EmbeddedServer
from zoolet.testing.servers.base import ADDRESS
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

FATAL = "a callback of the event loop failed: "

Report = Callable[[EmbeddedServer, BaseException], None]


@pytest.fixture
def server(caplog: pytest.LogCaptureFixture) -> Iterator[EmbeddedServer]:
    caplog.set_level(logging.INFO, "zoolet.server.service")
    with EmbeddedServer() as running:
        yield running


def fail_soon(server: EmbeddedServer, error: BaseException) -> None:
    """Let a callback that was given to ``call_soon`` fail."""

    def fail() -> None:
        raise error

    server._thread.loop.call_soon_threadsafe(fail)


def fail_later(server: EmbeddedServer, error: BaseException) -> None:
    """Let a timer fail."""

    def fail() -> None:
        raise error

    loop = server._thread.loop
    loop.call_soon_threadsafe(loop.call_later, 0.001, fail)


def fail_when_done(server: EmbeddedServer, error: BaseException) -> None:
    """Let the callback of a future that is done fail."""

    def fail(_done: object) -> None:
        raise error

    def begin() -> None:
        future = server._thread.loop.create_future()
        future.add_done_callback(fail)
        future.set_result(None)

    server._thread.call(begin)


def fail_in_protocol(server: EmbeddedServer, error: BaseException) -> None:
    """Let a protocol's ``data_received`` fail: the loop calls it, and no connection catches it."""

    class Failing(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            # A transport of uvloop is no asyncio.Transport.
            self.transport = cast("asyncio.Transport", transport)
            self.transport.write(b"ruok")

        def data_received(self, _data: bytes) -> None:
            self.transport.abort()
            raise error

    async def ask() -> None:
        await server._thread.loop.create_connection(Failing, ADDRESS, server.port)

    server._thread.run(ask())


WAYS = [fail_soon, fail_later, fail_when_done]


@pytest.mark.parametrize("report", [*WAYS, fail_in_protocol])
@pytest.mark.parametrize("error", [MemoryError(), KeyError("/a"), AssertionError("no batch")])
def test_an_unknown_exception_in_a_callback_ends_the_server(
    server: EmbeddedServer, report: Report, error: Exception
) -> None:
    with RawClient(server.port) as client:
        client.connect()
        assert client.create("/a", b"acknowledged").err == 0
        report(server, error)
        server.wait_until_ended()
        assert client.is_closed_by_server()
    assert f"{FATAL}{error!r}" in str(server.failure)
    server.start()
    server.inside.assert_path("/a", b"acknowledged")


@pytest.mark.parametrize("report", WAYS)
@pytest.mark.parametrize(
    "error",
    [
        *[kind("of a connection") for kind in HARMLESS_IN_CALLBACKS],
        ConnectionResetError("of a connection"),
        ssl.SSLError("of a connection"),
        asyncio.IncompleteReadError(b"of a connection", 99),
    ],
    ids=repr,
)
def test_a_harmless_exception_in_a_callback_does_not_end_the_server(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture, report: Report, error: BaseException
) -> None:
    with RawClient(server.port) as client:
        client.connect()
        report(server, error)
        wait_until(lambda: repr(error) in caplog.text, "the report of the exception")
        assert client.create("/a").err == 0
    assert server.is_running
    assert server.failure is None


def test_an_oserror_out_of_a_protocol_ends_the_server(server: EmbeddedServer) -> None:
    """What comes out of a protocol's method is a fault of the server, as asyncio's loop reports it.

    uvloop does not say that an exception came out of a protocol, so the report is made here.
    """
    error = OSError("of a disk")
    message = "Fatal error: protocol.data_received() call failed."
    context = {"message": message, "exception": error}
    loop = server._thread.loop
    loop.call_soon_threadsafe(loop.call_exception_handler, context)
    server.wait_until_ended()
    assert f"{FATAL}{error!r}" in str(server.failure)


def test_nothing_is_acknowledged_after_a_failed_callback(server: EmbeddedServer) -> None:
    with RawClient(server.port) as client:
        client.connect()
        server.disk.hold_syncs()
        body = pack_ustring("/a") + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(0)
        client.send(OpCode.CREATE, body)
        server.disk.wait_for_sync()
        fail_soon(server, MemoryError())
        wait_until(lambda: server.failure is not None, "the server's end")
        server.disk.release_syncs()
        server.wait_until_ended()
        assert client.is_closed_by_server()
