"""How `AsyncClient` finds its servers: failures and their reasons, host names, TLS, read-only."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from tests.support.async_clients import Inbox, on_loops, outcome, started
from tests.support.loops import RunOnLoop, until
from zoolet.client import (
    AsyncClient,
    Client,
    ClientClosedError,
    ClientOptions,
    ConnectionLossError,
    DeadlineError,
    NoNodeError,
    NoServerError,
    SessionState,
    TlsFiles,
    ZooKeeperError,
)
from zoolet.model.codes import OpCode
from zoolet.testing import EmbeddedServer, ServerProcess
from zoolet.testing.servers.base import ReservedPort
from zoolet.testing.servers.process import ExternalServer

REFUSED = "127.0.0.1:1"


@pytest.fixture
def embedded() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that accepts connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def reason_of_failure(hosts: str, **options: Any) -> str:
    client = AsyncClient(hosts, ClientOptions(**{"connect_timeout_s": 0.5, **options}))
    with pytest.raises(NoServerError) as caught:
        await client.start()
    assert client.state is SessionState.CLOSED
    with pytest.raises(ClientClosedError):
        await client.get("/")
    return str(caught.value)


@on_loops
def test_the_error_names_each_address_with_its_reason(run: RunOnLoop, silent: str) -> None:
    async def scenario() -> None:
        hosts = f"{REFUSED},no-such-host.invalid:2181,{silent},a..b:5,[::1]:1"
        reason = await reason_of_failure(hosts, connect_timeout_s=2.0)
        assert f"{REFUSED}: Connection refused" in reason
        assert "no-such-host.invalid:2181: the host name 'no-such-host.invalid' cannot" in reason
        assert f"{silent}: " in reason
        assert "a..b:5: the host name 'a..b' cannot be resolved" in reason
        assert "[::1]:1: " in reason

    run(scenario())


@on_loops
def test_a_server_that_says_nothing(run: RunOnLoop, silent: str) -> None:
    async def scenario() -> None:
        assert f"{silent}: it accepted the connection, but" in await reason_of_failure(silent)

    run(scenario())


@on_loops
def test_a_server_that_says_nothing_keeps_no_client_from_another(
    run: RunOnLoop, silent: str, embedded: EmbeddedServer
) -> None:
    async def scenario() -> None:
        for _ in range(4):
            async with started(f"{silent},{embedded.hosts}", connect_timeout_s=1.0) as client:
                assert str(client.address) == embedded.hosts

    run(scenario())


@on_loops
def test_what_is_no_server(run: RunOnLoop) -> None:
    async def scenario() -> None:
        talks: list[asyncio.Future[None]] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talks.append(ended := asyncio.get_running_loop().create_future())
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            try:
                await reader.read()
            finally:
                writer.close()
                ended.set_result(None)

        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            hosts = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            assert hosts in await reason_of_failure(hosts)
            await asyncio.gather(*talks)

    run(scenario())


@on_loops
def test_a_server_that_starts_later(run: RunOnLoop) -> None:
    async def scenario() -> None:
        server = EmbeddedServer()
        client = AsyncClient(server.hosts)
        starting = asyncio.create_task(client.start())
        await until(lambda: bool(client._engine.failures))
        server.start()
        await starting
        assert await client.exists("/") is not None
        await client.close()
        server.close()

    run(scenario())


@on_loops
def test_addresses_with_ipv6(run: RunOnLoop, tmp_path: Path) -> None:
    reserved = ReservedPort()
    with ServerProcess(tmp_path, {"clientPortAddress": "::", "ipv6Only": "false"}) as server:
        assert reserved.number

        async def scenario() -> None:
            async with started(f"[::1]:{server.port}") as client:
                assert client.address == ("::1", server.port)
                assert await client.exists("/") is not None

        run(scenario())


@on_loops
def test_a_host_with_several_addresses(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    """One address refuses connections, one says nothing, and one serves."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        port = embedded.port
        tried: list[str] = []

        async def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
            tried.append(host)
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))
                for ip in ("127.0.0.2", "127.0.0.3", "127.0.0.1")
            ]

        with socket.create_server(("127.0.0.3", port)):
            loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign, assignment]
            for _ in range(4):
                async with started(f"many.example:{port}", connect_timeout_s=2.0) as client:
                    assert await client.exists("/") is not None
            assert tried == ["many.example"] * 4
            async with started(f"many.example:{port}", connect_timeout_s=2.0) as client:
                embedded.faults.cut(client.session_id.id)
                await until(lambda: len(tried) == 6)  # the name is resolved again
                assert await client.exists("/") is not None

    run(scenario())


@on_loops
def test_change_hosts(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        here, there = embedded.open_addresses(2).split(",")
        async with started(here) as client:
            session = client.session_id
            await client.create("/here")
            client.change_hosts(f"{here},{REFUSED}")
            assert client.state is SessionState.CONNECTED
            client.change_hosts(there)
            assert await client.exists("/here") is not None
            assert str(client.address) == there
            assert client.session_id == session
            with pytest.raises(ValueError, match="names no server"):
                client.change_hosts("")

    run(scenario())


async def until_tried(client: AsyncClient) -> None:
    await until(lambda: client._engine._link is not None or bool(client._engine.failures))


@on_loops
def test_change_hosts_while_no_server_replies(
    run: RunOnLoop, embedded: EmbeddedServer, silent: str
) -> None:
    async def scenario() -> None:
        for hosts in (REFUSED, silent):
            client = AsyncClient(hosts, ClientOptions(connect_timeout_s=60.0))
            starting = asyncio.create_task(client.start())
            await until_tried(client)
            client.change_hosts(embedded.hosts)
            await starting
            assert str(client.address) == embedded.hosts
            await client.close()

    run(scenario())


@on_loops
def test_calls_while_the_server_restarts(run: RunOnLoop, tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:

        async def scenario() -> None:
            stops = asyncio.Event()
            done = lost = 0

            async def call(client: AsyncClient, number: int) -> None:
                nonlocal done, lost
                while not stops.is_set():
                    found = await outcome(client.set(f"/{number % 10}", b"x"))
                    lost += isinstance(found, ConnectionLossError)
                    done += not isinstance(found, ZooKeeperError)
                    assert isinstance(found, ConnectionLossError) or not isinstance(
                        found, ZooKeeperError
                    ), found

            async def more_are_done() -> None:
                wanted = done + 500
                await until(lambda: done > wanted)

            async with started(server.hosts, session_timeout_ms=8000) as client:
                session = client.session_id
                for number in range(10):
                    await client.create(f"/{number}")
                async with asyncio.TaskGroup() as group:
                    for number in range(100):
                        group.create_task(call(client, number))
                    for _ in range(2):
                        await more_are_done()
                        await asyncio.to_thread(server.restart)
                    await more_are_done()
                    stops.set()
                assert lost
                assert client.session_id == session

        run(scenario())


@on_loops
def test_deadlines(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            embedded.pause()
            calls = [client.create(f"/sent-{n}", timeout_s=0.05) for n in range(10)]
            for call in calls:
                with pytest.raises(DeadlineError, match="may have applied"):
                    await call
            embedded.resume()
            assert await client.exists("/sent-9") is not None  # the replies were ignored
            await asyncio.to_thread(embedded.stop)
            await until(lambda: client.state is SessionState.SUSPENDED)
            calls = [client.create(f"/unsent-{n}", timeout_s=0.05) for n in range(10)]
            for call in calls:
                with pytest.raises(DeadlineError, match="not sent"):
                    await call
            with pytest.raises(TimeoutError):
                await client.add_auth("digest", "a:b", timeout_s=0.05)
            await asyncio.to_thread(embedded.start)
            assert await client.exists("/unsent-0") is None
            assert not client._engine.session.has_outstanding

    run(scenario())


class Certificates(NamedTuple):
    authority: Path
    client: Path
    stranger: Path
    hosts: str


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Certificates]:
    """The files of a server that serves TLS at ``hosts`` and requires a client certificate."""
    authority, stranger, reserved = trustme.CA(), trustme.CA(), ReservedPort()
    names = ("authority", "client", "stranger", "server")
    files = {name: tmp_path / f"{name}.pem" for name in names}
    authority.cert_pem.write_to_path(files["authority"])
    stranger.cert_pem.write_to_path(files["stranger"])
    for name in ("client", "server"):
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(files[name])
    settings = {
        "secureClientPort": reserved.number,
        "secureClientPortAddress": "127.0.0.1",
        "ssl.keyStore.location": files["server"],
        "ssl.trustStore.location": files["authority"],
        "ssl.clientAuth": "need",
    }
    with ServerProcess(tmp_path / "server", settings) as server:
        hosts = [f"localhost:{reserved.number}", server.hosts]
        yield Certificates(files["authority"], files["client"], files["stranger"], ",".join(hosts))


@on_loops
def test_tls(run: RunOnLoop, secure: Certificates) -> None:
    secured, plain = secure.hosts.split(",")

    async def scenario() -> None:
        async with started(secured, tls=TlsFiles(secure.authority, secure.client)) as client:
            assert "x509" in {identity.scheme for identity in await client.who_am_i()}
            await client.create("/large", bytes(1_000_000))
            found = await asyncio.gather(*(client.get("/large") for _ in range(5)))
            assert {len(each.data or b"") for each in found} == {1_000_000}
        cases = {
            "no certificate": (secured, TlsFiles(secure.authority), "tlsv13 alert certificate req"),
            "unknown authority": (
                secured,
                TlsFiles(secure.stranger, secure.client),
                "certificate v",
            ),
            "no such file": (
                secured,
                TlsFiles(Path("/missing.pem")),
                "the client's certificate fi",
            ),
            "TLS against plain": (
                plain,
                TlsFiles(secure.authority),
                "the server ended the TLS hand",
            ),
            "plain against TLS": (secured, None, "the server closed the connection"),
        }
        for case, (hosts, tls, expected) in cases.items():
            reason = await reason_of_failure(hosts, tls=tls)
            assert f"{hosts}: {expected}" in reason, case

    run(scenario())


@on_loops
def test_a_chroot(run: RunOnLoop, any_server: ExternalServer) -> None:
    async def scenario() -> None:
        async with started(any_server.hosts) as above:
            client = AsyncClient(f"{any_server.hosts}/apps/one")
            with pytest.raises(NoNodeError, match=r"start /apps/one: the chroot does not exist"):
                await client.start()
            assert client.state is SessionState.CLOSED
            await above.create("/apps")
            async with started(f"{any_server.hosts}/apps/one", checks_chroot=False) as client:
                with pytest.raises(NoNodeError, match=r"create /a:"):
                    await client.create("/a")
                assert (await client.create("/")).path == "/"
            async with started(f"{any_server.hosts}/apps/one") as client:
                seen, deep = Inbox(), Inbox()
                assert await client.exists("/a", watch=seen) is None
                assert (await client.create("/a")).path == "/a"
                assert (await seen.next())[1] == "/a"
                assert (await client.children("/")).names == ("a",)
                assert await client.sync("/a") == "/a"
                assert await above.exists("/apps/one/a") is not None
                await above.set("/apps/one", b"x")
                assert (await client.get("/")).data == b"x"
                assert deep.is_empty()

    run(scenario())


@on_loops
def test_the_check_of_the_chroot_outlives_a_lost_connection(
    run: RunOnLoop, embedded: EmbeddedServer
) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as above:
            await above.create("/root")
        embedded.faults.on(OpCode.EXISTS, "/root", times=3).lose_request()
        async with started(f"{embedded.hosts}/root") as client:
            assert await client.exists("/") is not None

    run(scenario())


@on_loops
def test_the_check_of_the_chroot_outlives_an_expired_session(
    run: RunOnLoop, embedded: EmbeddedServer
) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as above:
            await above.create("/root")
        embedded.faults.on(OpCode.EXISTS, "/root").expire()
        async with started(f"{embedded.hosts}/root") as client:
            assert await client.exists("/") is not None
        embedded.faults.on(OpCode.EXISTS, "/root").expire()
        with Client(f"{embedded.hosts}/root") as other:
            assert other.exists("/") is not None

    run(scenario())


def test_a_chroot_of_the_client_for_threads(any_server: ExternalServer) -> None:
    with pytest.raises(NoNodeError, match=r"start /apps: the chroot does not exist"):
        Client(f"{any_server.hosts}/apps").start()
    with Client(f"{any_server.hosts}/apps", ClientOptions(checks_chroot=False)) as client:
        client.create("/")
    with Client(f"{any_server.hosts}/apps") as client:
        assert client.children("/").names == ()
