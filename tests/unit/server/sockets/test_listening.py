"""The server accepts by itself: nothing leaks, whatever clients do, and what fails is logged."""

import asyncio
import errno
import gc
import logging
import random
import resource
import socket
import ssl
from collections.abc import Iterator
from typing import cast

import pytest

from tests.support.loops import RunOnLoop, count_descriptors, reset, until
from tests.support.served import (
    UNLIMITED,
    Served,
    count_when_warm,
    echoed,
    is_closed,
)
from zoolet.server.sockets.admission import AcceptedSocket, Limits
from zoolet.server.sockets.listening import ACCEPTS_PER_ITERATION
from zoolet.server.sockets.tls_transport import TlsTransport


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """Let this process open few more descriptors, and return its limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = count_descriptors() + 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


# --- Clients that are gone before they are served


@pytest.mark.parametrize("sent", [b"", b"half a request"])
def test_clients_that_reset_before_they_are_accepted_leave_nothing(
    run: RunOnLoop, logged: pytest.LogCaptureFixture, sent: bytes
) -> None:
    async def scenario() -> None:
        served = Served()
        descriptors = await count_when_warm(served)
        for _ in range(300):
            client = socket.create_connection(("127.0.0.1", served.port))
            client.sendall(sent)
            reset(client)
        with served.connect() as bystander:
            assert await echoed(bystander) == b"hello"
        await until(lambda: not served.admission.open)
        assert count_descriptors() <= descriptors
        assert served.admission.per_address == {}
        served.acceptor.close()

    run(scenario())
    assert len([line for line in logged.messages if "reset before it was served" in line]) == 1


def test_clients_that_close_at_once_leave_nothing(run: RunOnLoop) -> None:
    async def scenario() -> None:
        served = Served()
        descriptors = await count_when_warm(served)
        for _ in range(300):
            served.connect().close()
        await until(lambda: len(served.protocols) == 300 and not served.admission.open)
        assert count_descriptors() <= descriptors
        served.acceptor.close()

    run(scenario())


def test_all_clients_of_one_moment_are_served(run: RunOnLoop) -> None:
    async def scenario() -> None:
        served = Served()
        clients = [served.connect() for _ in range(5 * ACCEPTS_PER_ITERATION)]
        assert await asyncio.gather(*map(echoed, clients)) == [b"hello"] * len(clients)
        for client in clients:
            client.close()
        served.acceptor.close()

    run(scenario())


def test_a_protocol_that_cannot_be_made_costs_one_connection(
    run: RunOnLoop, logged: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        served = Served()
        descriptors = await count_when_warm(served)
        new_protocol = served.acceptor._new_protocol

        def fail(_accepted: AcceptedSocket) -> asyncio.Protocol:
            served.acceptor._new_protocol = new_protocol
            raise MemoryError

        served.acceptor._new_protocol = fail
        with served.connect() as unlucky, served.connect() as bystander:
            assert await is_closed(unlucky)
            assert await echoed(bystander) == b"hello"
        await until(lambda: not served.admission.open)
        assert count_descriptors() <= descriptors
        served.acceptor.close()

    run(scenario())
    assert [line for line in logged.messages if "cannot serve" in line and "MemoryError" in line]


def test_closing_ends_what_is_being_set_up(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Served(tls=tls)
        client = served.connect()
        await until(lambda: len(served.admission.open) == 1)
        served.acceptor.close()
        assert await is_closed(client)
        assert not served.admission.open
        client.close()

    run(scenario())


@pytest.mark.parametrize("iterations", range(6))
def test_closing_leaves_nothing_at_any_moment_of_a_set_up(run: RunOnLoop, iterations: int) -> None:
    async def scenario() -> None:
        served = Served()
        descriptors = await count_when_warm(served)
        clients = [served.connect() for _ in range(3)]
        listening = served.acceptor.sockets[0]
        for _ in clients:
            served.acceptor._accept_some(listening)
        for _ in range(iterations):
            await asyncio.sleep(0)
        served.acceptor.close()
        for client in clients:
            client.close()
        await until(lambda: not served.admission.open)
        assert served.admission.per_address == {}
        await until(lambda: count_descriptors() < descriptors)

    run(scenario())


# --- No descriptors


def test_the_last_descriptors_are_kept_for_files(
    run: RunOnLoop, few_descriptors: int, logged: pytest.LogCaptureFixture
) -> None:
    kept = 40 * min(few_descriptors, 256) // 256

    async def scenario() -> None:
        served = Served(Limits(0, 0, 40))
        clients: list[socket.socket] = []
        while not served.refused:
            clients.append(served.connect())
            await until(lambda: len(served.protocols) + served.refused == len(clients))
        assert await is_closed(clients[-1])
        # Its own files can still be opened, and those that came before are served.
        files = [open("/dev/null", "rb") for _ in range(kept - 1)]  # noqa: PTH123, SIM115
        assert await echoed(clients[0]) == b"hello"
        for file in files:
            file.close()
        for client in clients:
            client.close()
        await until(lambda: not served.admission.open)
        with served.connect() as later:
            assert await echoed(later) == b"hello"
        served.acceptor.close()

    run(scenario())
    (line,) = [line for line in logged.messages if "file descriptors are used up" in line]
    assert f"{kept} of {few_descriptors} are reserved" in line
    assert "LimitNOFILE" in line


@pytest.mark.parametrize(
    ("missing", "whose"), [(errno.EMFILE, "process"), (errno.ENFILE, "system")]
)
def test_without_descriptors_the_newest_are_refused_until_there_are_some(
    run: RunOnLoop, logged: pytest.LogCaptureFixture, missing: int, whose: str
) -> None:
    async def scenario() -> None:
        served = Served()
        listening = served.acceptor.sockets[0]
        failing = FailingSocket(listening.socket, missing)
        served.acceptor._loop.remove_reader(listening.socket.fileno())
        served.acceptor.sockets[0] = listening._replace(socket=cast("socket.socket", failing))
        served.acceptor._resume(served.acceptor.sockets[0])
        with served.connect() as refused:
            assert await is_closed(refused)
        await until(lambda: served.refused == 1)
        failing.is_failing = False
        with served.connect() as later:
            assert await echoed(later) == b"hello"
        served.acceptor.close()

    run(scenario())
    (line,) = [line for line in logged.messages if "no file descriptor left" in line]
    assert f"this {whose}" in line or f"the {whose}" in line


class FailingSocket:
    """A listening socket on which ``accept`` finds no descriptor, unless one was just given up."""

    def __init__(self, sock: socket.socket, missing: int) -> None:
        self._socket = sock
        self._missing = missing
        self.is_failing = True
        self._calls = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        self._calls += 1
        if self.is_failing and self._calls % 2:
            raise OSError(self._missing, "no descriptors")
        return self._socket.accept()


def test_an_error_that_nobody_knows_does_not_end_the_listening(
    run: RunOnLoop, logged: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        served = Served()
        listening = served.acceptor.sockets[0]
        failing = FailingSocket(listening.socket, errno.EIO)
        served.acceptor._loop.remove_reader(listening.socket.fileno())
        served.acceptor.sockets[0] = listening._replace(socket=cast("socket.socket", failing))
        served.acceptor._resume(served.acceptor.sockets[0])
        with served.connect() as client:
            await until(lambda: bool(served.acceptor._pauses))
            failing.is_failing = False
            assert await echoed(client) == b"hello"
        served.acceptor.close()

    run(scenario())
    assert [line for line in logged.messages if "cannot accept connections on 127.0.0.1" in line]


# --- Limits


@pytest.mark.parametrize(
    ("limits", "setting"), [(Limits(3, 0, 8), "maxCnxns"), (Limits(0, 3, 8), "maxClientCnxns")]
)
def test_a_full_server_refuses_the_newest(
    run: RunOnLoop, logged: pytest.LogCaptureFixture, limits: Limits, setting: str
) -> None:
    async def scenario() -> None:
        served = Served(limits)
        clients = [served.connect() for _ in range(4)]
        assert await is_closed(clients[3])
        assert await asyncio.gather(*map(echoed, clients[:3])) == [b"hello"] * 3
        assert served.refused == 1
        clients[0].close()
        await until(lambda: len(served.admission.open) == 2)
        with served.connect() as next_client:
            assert await echoed(next_client) == b"hello"
        for client in clients:
            client.close()
        served.acceptor.close()

    run(scenario())
    assert [line for line in logged.messages if f"3 already ({setting})" in line]


def test_tls_handshakes_count(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Served(Limits(0, 3, 8), tls, handshake_timeout_ms=200)
        clients = [served.connect() for _ in range(3)]
        await until(lambda: len(served.admission.open) == 3)
        with served.connect() as refused:
            assert await is_closed(refused)
        # Handshakes that nobody goes on with end, and make room.
        await until(lambda: not served.admission.open)
        assert served.admission.per_address == {}
        for client in clients:
            assert await is_closed(client)
            client.close()
        served.acceptor.close()

    run(scenario())


@pytest.mark.parametrize("first_bytes", [b"ruok", b"\x16\x03\x01\x00\x05hello", b""])
def test_failed_handshakes_do_not_keep_their_buffers(
    run: RunOnLoop, tls: ssl.SSLContext, first_bytes: bytes
) -> None:
    """A reference cycle would keep them until the next garbage collection."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        served = Served(UNLIMITED, tls)
        gc.collect()
        before = count_handshakes()
        gc.disable()
        try:
            for number in range(1, 33):
                with served.connect() as client:
                    await loop.sock_sendall(client, first_bytes)
                    if first_bytes:
                        await loop.sock_recv(client, 100)  # an alert, or the end

                def has_ended(number: int = number) -> bool:
                    return len(served.protocols) == number and not served.admission.open

                await until(has_ended)
            served.protocols.clear()
            await until(lambda: count_handshakes() == before)
        finally:
            gc.enable()
        served.acceptor.close()

    run(scenario())


def count_handshakes() -> int:
    return sum(type(found) is TlsTransport for found in gc.get_objects())


class RandomClients:
    """Clients that do what chance says; the model is the sockets that they have open."""

    def __init__(self, served: Served, chance: random.Random, *, is_secure: bool) -> None:
        self.served = served
        self.chance = chance
        self.is_secure = is_secure
        self.clients: list[socket.socket] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def act(self) -> None:
        actions = [self.connect, self.connect, self.reset, self.close, self.send, self.abort]
        action = self.chance.randrange(len(actions) + self.is_secure)
        if action == len(actions):
            await self.shake_hands()
        else:
            actions[action]()
        if self.chance.random() < 0.3:
            await asyncio.sleep(0)

    def connect(self) -> None:
        self.clients.append(self.served.connect())

    def pop(self) -> list[socket.socket]:
        """Take one of the clients, if there is one."""
        return [self.clients.pop(self.chance.randrange(len(self.clients)))] if self.clients else []

    def reset(self) -> None:
        for client in self.pop():
            reset(client)

    def close(self) -> None:
        for client in self.pop():
            client.close()

    def send(self) -> None:
        for client in self.pop():
            try:
                client.send(self.chance.choice([b"\x16\x03\x01", b"ruok", b"\xff" * 50]))
            except OSError:
                client.close()
            else:
                self.clients.append(client)

    def abort(self) -> None:
        for accepted in list(self.served.admission.open)[:1]:
            accepted.abort()

    async def shake_hands(self) -> None:
        """Connect with TLS, half of the time as one that does not trust the server."""
        context = ssl.create_default_context()
        if self.chance.random() < 0.5:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", self.served.port, ssl=context, server_hostname="localhost"
            )
        except OSError:
            return
        self.writers.append(writer)

    def end(self) -> None:
        while self.clients:
            self.close() if self.chance.random() < 0.5 else self.reset()
        for writer in self.writers:
            writer.transport.abort()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("is_secure", "accepts_plain"), [(False, False), (True, False), (True, True)]
)
def test_nothing_is_left_whatever_clients_do(
    run: RunOnLoop, tls: ssl.SSLContext, seed: int, is_secure: bool, accepts_plain: bool
) -> None:
    async def scenario() -> None:
        limits = Limits(30, 20, 8)
        context = tls if is_secure else None
        served = Served(limits, context, handshake_timeout_ms=1000, accepts_plain=accepts_plain)
        admission = served.admission
        descriptors = await count_when_warm(served)
        clients = RandomClients(served, random.Random(seed), is_secure=is_secure)
        for _ in range(300):
            await clients.act()
            assert len(admission.open) <= limits.max_per_address
            assert sum(admission.per_address.values()) == len(admission.open)
        clients.end()
        await until(lambda: not admission.open and count_descriptors() <= descriptors)
        assert admission.per_address == {}
        with served.connect():
            await until(lambda: len(admission.open) == 1)
        served.acceptor.close()
        await until(lambda: not admission.open)

    run(scenario())
