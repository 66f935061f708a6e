"""Sessions of `AsyncClient`: watches and calls over lost connections and expiries, logins."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.async_clients import (
    Calls,
    Inbox,
    on_loops,
    outcome,
    started,
    until_sent,
    watches_of,
)
from tests.support.loops import RunOnLoop, until
from tests.support.proxy import Proxy
from zoolet.client import (
    ACL,
    AddWatchMode,
    AsyncClient,
    AuthFailedError,
    ClientOptions,
    ConnectionLossError,
    CreateMode,
    Credential,
    EventType,
    Id,
    NoAuthError,
    Permission,
    Resynced,
    SessionExpiredError,
    SessionId,
    SessionState,
)
from zoolet.model.codes import OpCode
from zoolet.testing import EmbeddedServer
from zoolet.testing.servers.process import ExternalServer

CONNECTED, SUSPENDED, EXPIRED = (
    SessionState.CONNECTED,
    SessionState.SUSPENDED,
    SessionState.EXPIRED,
)


@pytest.fixture
def embedded() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@on_loops
def test_watches_outlive_a_lost_connection(run: RunOnLoop, any_server: ExternalServer) -> None:
    async def scenario() -> None:
        with Proxy(any_server.port) as proxy:
            async with started(proxy.hosts) as client, started(any_server.hosts) as other:
                await client.create("/data")
                await client.create("/parent")
                states, data, new, child, same, steady, deep = (Inbox() for _ in range(7))
                client.add_listener(states)
                await client.get("/data", watch=data)
                await client.exists("/new", watch=new)
                await client.children("/parent", watch=child)
                await client.exists("/same", watch=same)
                await client.add_watch("/steady", steady)
                await client.add_watch("/deep", deep, mode=AddWatchMode.PERSISTENT_RECURSIVE)
                with proxy.cut_off():
                    assert await states.next() is SUSPENDED
                    await other.set("/data", b"x")
                    await other.create("/new")
                    await other.create("/parent/child")
                    await other.create("/steady")
                    await other.create("/deep")
                assert await states.next() is CONNECTED
                assert await data.next() == (EventType.NODE_DATA_CHANGED, "/data")
                assert await new.next() == (EventType.NODE_CREATED, "/new")
                assert await child.next() == (EventType.NODE_CHILDREN_CHANGED, "/parent")
                assert await steady.next() == Resynced("/steady")
                assert await deep.next() == Resynced("/deep")
                await other.set("/steady", b"x")
                await other.create("/deep/er")
                await other.create("/same")
                assert await steady.next() == (EventType.NODE_DATA_CHANGED, "/steady")
                assert await deep.next() == (EventType.NODE_CREATED, "/deep/er")
                assert await same.next() == (EventType.NODE_CREATED, "/same")
                await other.set("/data", b"y")
                await client.sync("/")
                assert all(box.is_empty() for box in (states, data, new, child, same))

    run(scenario())


@on_loops
def test_a_session_that_expires_is_renewed(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        auth = (Credential("digest", "ann:secret"),)
        async with started(embedded.hosts, auth=auth) as client:
            first = client.session_id
            await client.create("/mine", mode=CreateMode.EPHEMERAL)
            states, once, steady = Inbox(), Inbox(), Inbox()
            client.add_listener(states)
            await client.exists("/once", watch=once)
            await client.add_watch("/steady", steady)
            embedded.pause()
            calls = [client.get("/mine") for _ in range(5)]
            await until_sent(client)
            embedded.resume()
            await asyncio.gather(*calls)
            with embedded.faults.on(OpCode.SET_DATA).expire():
                sent, waits = client.set("/mine", b"x"), client.set("/mine", b"y")
                for call in (sent, waits):
                    assert await outcome(call) is not None
                await states.until(EXPIRED)
            assert await once.next() == Resynced("/once")
            assert await states.next() is SessionState.CONNECTING
            assert await states.next() is CONNECTED
            assert await steady.next() == Resynced("/steady")
            assert client.session_id.id != first.id
            assert await client.exists("/mine") is None
            assert "ann" in {identity.id for identity in await client.who_am_i()}
            assert watches_of(embedded, client) == {"/steady"}
            await client.create("/steady")
            assert await steady.next() == (EventType.NODE_CREATED, "/steady")
            await client.create("/once")
            assert once.is_empty()

    run(scenario())


@on_loops
def test_a_session_that_expires_is_not_renewed(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts, renews_session=False) as client:
            states, steady = Inbox(), Inbox()
            client.add_listener(states)
            await client.add_watch("/a", steady)
            expired = client.session_id
            embedded.faults.expire(client.session_id.id)
            await states.until(EXPIRED)
            assert isinstance(await outcome(client.get("/")), SessionExpiredError)
            login = client.add_auth("digest", "a:b")
            assert isinstance(await outcome(login), SessionExpiredError)
            assert client.state is EXPIRED
        assert client.state is SessionState.CLOSED
        assert embedded.inside.sessions() == []
        late = AsyncClient(embedded.hosts, ClientOptions(session=expired, renews_session=False))
        with pytest.raises(SessionExpiredError):
            await late.start()
        async with started(embedded.hosts, session=expired) as renewed:
            assert renewed.session_id.id != expired.id

    run(scenario())


@on_loops
def test_a_session_that_expires_while_calls_wait(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            address = embedded.addresses[0]
            address.stop()
            await until(lambda: client.state is SUSPENDED)
            embedded.faults.expire(client.session_id.id)
            waits: Calls = [client.create(f"/{number}") for number in range(3)]
            waits.append(client.add_auth("digest", "a:b"))
            address.start()
            for call in waits:
                assert isinstance(await outcome(call), SessionExpiredError)
            assert (await client.create("/later")).path == "/later"
            assert await client.exists("/0") is None

    run(scenario())


@on_loops
def test_a_login(run: RunOnLoop, any_server: ExternalServer) -> None:
    async def scenario() -> None:
        auth = (Credential("digest", "ann:secret"), Credential("digest", "bob:secret"))
        only_ann = (ACL(Permission.ALL, Id("auth", "")),)
        with Proxy(any_server.port) as proxy:
            async with started(proxy.hosts, auth=auth) as client:
                await client.create("/mine", b"x", acl=only_ann)
                states = Inbox()
                client.add_listener(states)
                proxy.cut()
                await states.until(CONNECTED)
                assert (await client.get("/mine")).data == b"x"
        async with started(any_server.hosts) as other:
            with pytest.raises(NoAuthError, match="get /mine"):
                await other.get("/mine")
            await other.add_auth("digest", b"ann:secret")
            assert (await other.get("/mine")).data == b"x"

    run(scenario())


@on_loops
def test_a_refused_login(run: RunOnLoop, any_server: ExternalServer) -> None:
    async def scenario() -> None:
        auth = (Credential("nonsense", "a"), Credential("digest", "ann:secret"))
        wrong = AsyncClient(any_server.hosts, ClientOptions(auth=auth))
        with pytest.raises(AuthFailedError):
            await wrong.start()
        assert wrong.state is SessionState.CLOSED
        async with started(any_server.hosts) as client:
            states = Inbox()
            client.add_listener(states)
            refused, after = client.add_auth("nonsense", "a"), client.get("/")
            assert isinstance(await outcome(refused), AuthFailedError)
            assert isinstance(await outcome(after), (AuthFailedError, ConnectionLossError))
            assert await states.next() is SessionState.AUTH_FAILED
            for call in (client.get("/"), client.add_auth("digest", "ann:secret")):
                assert isinstance(await outcome(call), AuthFailedError)
            await until(lambda: client._engine._link is None)

    run(scenario())


@on_loops
def test_a_session_that_another_client_continues(
    run: RunOnLoop, any_server: ExternalServer
) -> None:
    async def scenario() -> None:
        with Proxy(any_server.port) as proxy:
            async with started(proxy.hosts, session_timeout_ms=8000) as client:
                await client.create("/mine", mode=CreateMode.EPHEMERAL)
                with proxy.cut_off():
                    await until(lambda: client.state is SUSPENDED)
                    session = client.session_id
                    async with started(any_server.hosts, session=session) as other:
                        assert other.session_id == session
                        assert await other.ephemerals() == ("/mine",)
            wrong = SessionId(session.id, b"wrong password..")
            async with started(any_server.hosts, session=wrong) as other:
                assert other.session_id.id != session.id
                assert await other.exists("/mine") is None

    run(scenario())


@on_loops
def test_a_server_that_is_silent_loses_the_connection(
    run: RunOnLoop, embedded: EmbeddedServer
) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts, session_timeout_ms=1000) as client:
            states = Inbox()
            client.add_listener(states)
            session = client.session_id
            embedded.clock.freeze()  # the session does not expire
            embedded.pause()
            assert await states.next() is SUSPENDED
            embedded.resume()
            assert await states.next() is CONNECTED
            assert client.session_id == session
            embedded.clock.run()
            assert await client.exists("/") is not None

    run(scenario())


@on_loops
def test_a_client_without_a_session_timeout_of_its_own(
    run: RunOnLoop, embedded: EmbeddedServer
) -> None:
    """The server limits the wanted timeout, and the client uses the server's."""

    async def scenario() -> None:
        async with started(embedded.hosts, session_timeout_ms=1) as client:
            assert client.session_timeout_ms == 200
            states = Inbox()
            client.add_listener(states)
            embedded.faults.expire(client.session_id.id)
            await states.until(CONNECTED)
            assert await client.exists("/") is not None
            assert client.session_timeout_ms == 200

    run(scenario())
