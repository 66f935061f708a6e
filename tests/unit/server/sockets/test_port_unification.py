"""One port for clients with and without TLS: the first byte decides."""

import asyncio
import logging
import random
import socket
import ssl

import pytest
import trustme

from tests.support.loops import RunOnLoop, reset, until
from tests.support.served import UNLIMITED, Served, count_when_warm, echoed, is_closed
from zoolet.server.sockets.admission import Limits

NOT_TLS = [bytes([first]) for first in range(256) if first != 22]


async def until_empty(served: Served) -> None:
    await until(lambda: not served.admission.open)


async def echo_with_tls(port: int, authority: trustme.CA, data: bytes) -> bytes:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    writer.write(data)
    received = await reader.readexactly(len(data))
    writer.close()
    return received


def test_the_first_byte_decides_and_is_not_lost(
    run: RunOnLoop, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        served = Served(tls=tls, accepts_plain=True)
        for first in NOT_TLS:
            with served.connect() as client:
                assert await echoed(client, first + b"rest") == first + b"rest"
        assert await echo_with_tls(served.port, authority, b"hello") == b"hello"
        await until(lambda: not served.admission.open)
        served.acceptor.close()

    run(scenario())


def test_a_byte_at_a_time(run: RunOnLoop, authority: trustme.CA, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        served = Served(tls=tls, accepts_plain=True)
        with served.connect() as word:
            for letter in (b"r", b"u", b"o", b"k"):
                assert await echoed(word, letter) == letter
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        authority.configure_trust(context)
        client_side = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            client_side.do_handshake()
        with served.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in outgoing.read():
                await loop.sock_sendall(client, bytes([byte]))
            incoming.write(await loop.sock_recv(client, 65536))
            client_side.do_handshake()
            assert client_side.version() == "TLSv1.3"
        served.acceptor.close()

    run(scenario())


def test_silent_clients_count_and_block_nobody(
    run: RunOnLoop, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        served = Served(Limits(0, 4, 8), tls, accepts_plain=True)
        silent = [served.connect() for _ in range(3)]
        await until(lambda: len(served.admission.open) == 3)
        assert await echo_with_tls(served.port, authority, b"hello") == b"hello"
        await until(lambda: len(served.admission.open) == 3)
        with served.connect() as client, served.connect() as refused:
            assert await echoed(client) == b"hello"
            assert await is_closed(refused)
            assert served.refused == 1
        for each in silent:
            assert await echoed(each) == b"hello"
            each.close()
        await until(lambda: not served.admission.open)
        assert served.admission.per_address == {}
        served.acceptor.close()

    run(scenario())


def test_silent_clients_are_closed(
    run: RunOnLoop, tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        served = Served(UNLIMITED, tls, handshake_timeout_ms=50, accepts_plain=True)
        silent = [served.connect() for _ in range(3)]
        for each in silent:
            assert await is_closed(each)
            each.close()
        await until(lambda: not served.admission.open)
        served.acceptor.close()

    run(scenario())
    assert any("has sent nothing within 50 ms" in message for message in caplog.messages)


@pytest.mark.parametrize("is_reset", [False, True])
def test_clients_that_leave_before_they_send_anything(
    run: RunOnLoop, tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture, *, is_reset: bool
) -> None:
    async def scenario() -> None:
        served = Served(UNLIMITED, tls, accepts_plain=True)
        for _ in range(20):
            client = served.connect()
            await until(lambda: len(served.admission.open) == 1)
            reset(client) if is_reset else client.close()
            await until(lambda: not served.admission.open)
        served.acceptor.close()

    caplog.set_level(logging.INFO)
    run(scenario())
    assert any("reset before it was served" in message for message in caplog.messages)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize("seed", range(8))
def test_closing_leaves_nothing_at_any_moment(
    run: RunOnLoop, tls: ssl.SSLContext, seed: int
) -> None:
    chance = random.Random(seed)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        served = Served(tls=tls, accepts_plain=True)
        await count_when_warm(served)
        clients = [served.connect() for _ in range(8)]
        for client in clients:
            await loop.sock_sendall(client, chance.choice([b"", b"ruok", b"\x16\x03\x01"]))
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(0)
        served.acceptor.close()
        for client in clients:
            await is_closed(client)  # it may be served already, and have an answer
            client.close()
        await until(lambda: not served.admission.open)
        assert served.admission.per_address == {}

    run(scenario())


def test_closing_before_a_set_up_has_begun(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        for accepts_plain in (False, True):
            served = Served(tls=tls, accepts_plain=accepts_plain)
            with served.connect() as client:
                served.acceptor._accept_some(served.acceptor.sockets[0])
                assert len(served.admission.open) == 1
                served.acceptor.close()
                assert await is_closed(client)
                await until_empty(served)

    run(scenario())
