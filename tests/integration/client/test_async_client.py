"""`AsyncClient` on real servers: each request, the life of a client, its order and its limits."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.support.async_clients import Calls, Inbox, on_loops, outcome, started, until_sent
from tests.support.loops import RunOnLoop, until
from zoolet.client import (
    ACL,
    OPEN_ACL,
    AddWatchMode,
    AsyncClient,
    BadVersionError,
    ClientClosedError,
    ConnectionLossError,
    CreateMode,
    EventType,
    Id,
    Multi,
    MultiRead,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    NoWatcherError,
    Permission,
    ReconfigDisabledError,
    SessionState,
    Stat,
    ZnodeData,
    ZooKeeperError,
)
from zoolet.model.codes import OpCode
from zoolet.testing import EmbeddedServer
from zoolet.testing.servers.process import ExternalServer


@pytest.fixture
def embedded() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@on_loops
def test_each_request_once(run: RunOnLoop, any_server: ExternalServer) -> None:
    async def scenario() -> None:
        async with started(any_server.hosts) as client:
            created = await client.create("/a", b"one")
            assert created.path == "/a"
            data, stat = await client.get("/a")
            assert (data, stat) == (b"one", created.stat)
            assert (await client.set("/a", b"two", version=0)).version == 1
            with pytest.raises(BadVersionError, match=r"set /a"):
                await client.set("/a", b"three", version=0)
            assert (await client.set("/a", None)).data_length == 0
            assert (await client.get("/a")).data is None
            found = await client.exists("/a")
            assert found is not None
            assert found.version == 2
            assert await client.exists("/missing") is None
            kinds = {
                "/a/box": (CreateMode.CONTAINER, 0),
                "/a/mine": (CreateMode.EPHEMERAL, 0),
                "/a/s-": (CreateMode.PERSISTENT_SEQUENTIAL, 0),
                "/a/ttl": (CreateMode.PERSISTENT_WITH_TTL, 60_000),
            }
            for path, (mode, ttl_ms) in kinds.items():
                made = await client.create(path, mode=mode, ttl_ms=ttl_ms)
                assert made.path.startswith(path)
            names, parent = await client.children("/a")
            assert sorted(names) == ["box", "mine", "s-0000000002", "ttl"]
            assert parent.num_children == 4
            assert await client.count_descendants("/a") == 4
            assert await client.ephemerals() == ("/a/mine",)
            assert await client.ephemerals("/b") == ()
            assert await client.sync("/a") == "/a"
            with pytest.raises(NotEmptyError, match=r"delete /a:"):
                await client.delete("/a")
            with pytest.raises(NodeExistsError):
                await client.create("/a")
            for path in sorted(names):
                await client.delete(f"/a/{path}")
            with pytest.raises(NoNodeError, match=r"delete /a/box"):
                await client.delete("/a/box")

    run(scenario())


@on_loops
def test_each_request_about_access_and_members(run: RunOnLoop, any_server: ExternalServer) -> None:
    async def scenario() -> None:
        async with started(any_server.hosts) as client:
            await client.add_auth("digest", "ann:secret")
            assert Id("digest", "ann") in await client.who_am_i()
            await client.create("/a", acl=(ACL(Permission.ALL, Id("auth", "")),))
            acl, stat = await client.get_acl("/a")
            assert [entry.id.scheme for entry in acl] == ["digest"]
            assert (await client.set_acl("/a", OPEN_ACL, version=stat.aversion)).aversion == 1
            assert (await client.get_acl("/a")).acl == OPEN_ACL
            with pytest.raises(BadVersionError):
                await client.set_acl("/a", OPEN_ACL, version=0)
            assert isinstance((await client.config()).data, bytes)
            with pytest.raises((ReconfigDisabledError, ZooKeeperError)):
                await client.reconfig(leaving="7")
            assert await client.exists("/") is not None

    run(scenario())


@on_loops
def test_each_batch_once(run: RunOnLoop, any_server: ExternalServer) -> None:
    async def scenario() -> None:
        async with started(any_server.hosts) as client:
            created, changed, _, checked = await client.multi(
                Multi().create("/a", b"x").set("/a", b"y").delete("/a").check("/")
            )
            assert isinstance(changed, Stat)
            assert (created, changed.version, checked) == ("/a", 1, None)
            with pytest.raises(NoNodeError, match="/missing"):
                await client.multi(Multi().create("/b").delete("/missing"))
            found, names, missing = await client.multi_read(
                MultiRead().get("/").children("/").get("/b")
            )
            assert isinstance(found, ZnodeData)
            assert names == ("zookeeper",)
            assert isinstance(missing, NoNodeError)

    run(scenario())


@on_loops
def test_each_kind_of_watch(run: RunOnLoop, any_server: ExternalServer) -> None:
    async def scenario() -> None:
        async with started(any_server.hosts) as client:
            await client.create("/a")
            data, new, child, steady, deep = (Inbox() for _ in range(5))
            await client.get("/a", watch=data)
            await client.exists("/new", watch=new)
            await client.children("/a", watch=child)
            await client.add_watch("/a", steady)
            await client.create("/deep")
            await client.add_watch("/deep", deep, mode=AddWatchMode.PERSISTENT_RECURSIVE)
            await client.check_watches("/a")
            await client.set("/a", b"x")
            await client.create("/a/b")
            await client.create("/new")
            await client.set("/deep", b"x")
            await client.create("/deep/b")
            assert await data.next() == (EventType.NODE_DATA_CHANGED, "/a")
            assert await child.next() == (EventType.NODE_CHILDREN_CHANGED, "/a")
            assert await new.next() == (EventType.NODE_CREATED, "/new")
            assert await steady.next() == (EventType.NODE_DATA_CHANGED, "/a")
            assert await steady.next() == (EventType.NODE_CHILDREN_CHANGED, "/a")
            assert await deep.next() == (EventType.NODE_DATA_CHANGED, "/deep")
            assert await deep.next() == (EventType.NODE_CREATED, "/deep/b")
            await client.remove_watches("/a")
            await client.remove_watches("/deep")
            with pytest.raises(NoWatcherError):
                await client.remove_watches("/a")
            with pytest.raises(NoWatcherError):
                await client.check_watches("/a")
            await client.set("/a", b"y")
            await client.sync("/a")
            assert all(box.is_empty() for box in (data, new, child, steady, deep))

    run(scenario())


@on_loops
def test_a_client_before_its_start_and_after_its_end(
    run: RunOnLoop, embedded: EmbeddedServer
) -> None:
    async def scenario() -> None:
        client = AsyncClient(embedded.hosts)
        with pytest.raises(ClientClosedError, match="not started"):
            await client.get("/")
        await client.close()  # does nothing
        await client.start()
        with pytest.raises(RuntimeError, match="started already"):
            await client.start()
        assert await client.exists("/") is not None
        await asyncio.gather(client.close(), client.close())
        await client.close()
        assert client.state is SessionState.CLOSED
        with pytest.raises(ClientClosedError, match=r"get /"):
            await client.get("/")
        with pytest.raises(ClientClosedError):
            await client.add_auth("digest", "a:b")
        with pytest.raises(RuntimeError, match="make another"):
            await client.start()
        assert embedded.inside.sessions() == []

    run(scenario())


@on_loops
def test_invalid_arguments_are_refused_before_they_are_sent(
    run: RunOnLoop, embedded: EmbeddedServer
) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            for path in ("", "a", "/a/", "/a//b", "/a/../b", "/\0"):
                with pytest.raises(ValueError, match="not a valid path"):
                    await client.get(path)
            with pytest.raises(TypeError, match="bytes"):
                await client.set("/a", "text")  # type: ignore[arg-type]
            seen = embedded.inside.requests(client.session_id.id)
            assert [request.op_code for request in seen] == [OpCode.CREATE_SESSION]

    run(scenario())


@on_loops
def test_two_clients_in_two_loops(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    failed: list[BaseException] = []

    async def scenario(name: str) -> None:
        async with started(embedded.hosts) as client:
            await client.create(f"/{name}", b"0")
            for _ in range(100):
                data, stat = await client.get(f"/{name}")
                await client.set(f"/{name}", b"%d" % (int(data or b"0") + 1), version=stat.version)
            assert (await client.get(f"/{name}")).data == b"100"

    def in_thread() -> None:
        try:
            run(scenario("other"))
        except BaseException as error:  # noqa: BLE001 -- the test fails with it
            failed.append(error)

    thread = threading.Thread(target=in_thread)
    thread.start()
    run(scenario("one"))
    thread.join()
    assert not failed


@on_loops
def test_a_watch_that_raises_or_starts_calls(
    run: RunOnLoop, embedded: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client:
            await client.create("/a")
            read: Calls = []

            def fails(_what: object) -> None:
                raise LookupError("of the program")

            await client.get("/a", watch=fails)
            await client.get("/a", watch=lambda _: read.append(client.get("/a")))
            client.add_listener(fails)
            await client.set("/a", b"x")
            assert (await read[0])[0] == b"x"
            assert caplog.text.count("LookupError: of the program") == 1
            client.remove_listener(fails)
            assert await client.exists("/") is not None

    run(scenario())


@on_loops
def test_an_event_comes_before_the_reply_that_shows_its_change(
    run: RunOnLoop, any_server: ExternalServer
) -> None:
    async def scenario() -> None:
        async with started(any_server.hosts) as client, started(any_server.hosts) as other:
            await client.create("/a", b"0")
            seen = 0

            def on_event(_what: object) -> None:
                nonlocal seen
                seen += 1

            await client.add_watch("/a", on_event)
            writes = [other.set("/a", b"%d" % number) for number in range(1, 200)]
            shown = 0
            while shown < 199:
                shown = int((await client.get("/a")).data or b"")
                assert seen >= shown, "a reply showed a change before its event"
            await asyncio.gather(*writes)
            assert seen == 199

    run(scenario())


@on_loops
def test_large_requests_and_replies(run: RunOnLoop, any_server: ExternalServer) -> None:
    async def scenario() -> None:
        async with started(any_server.hosts) as client:
            large = bytes(range(256)) * 3900  # just below jute.maxbuffer
            await client.create("/large", large)
            found = await asyncio.gather(*(client.get("/large") for _ in range(20)))
            assert all(each.data == large for each in found)
            await client.create("/many")
            names = [f"{number:04d}-{'n' * 200}" for number in range(2000)]
            await asyncio.gather(*(client.create(f"/many/{name}") for name in names))
            assert sorted((await client.children("/many")).names) == names

    run(scenario())


@on_loops
def test_a_request_above_the_servers_limit_ends(run: RunOnLoop, any_server: ExternalServer) -> None:
    async def scenario() -> None:
        async with started(any_server.hosts) as client:
            session = client.session_id
            error = await outcome(client.create("/huge", bytes(2 << 20)))
            assert isinstance(error, ConnectionLossError)
            assert await client.exists("/huge") is None
            assert client.session_id == session

    run(scenario())


@on_loops
def test_calls_wait_when_too_many_bytes_are_outstanding(
    run: RunOnLoop, embedded: EmbeddedServer
) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts, max_outstanding_bytes=4000) as client:
            await client.create("/a")
            session = client._engine.session
            embedded.pause()
            calls = [client.set("/a", bytes(1000)) for _ in range(50)]
            await until_sent(client)
            await asyncio.sleep(0)
            assert 4000 <= session.outstanding_bytes < 5500
            embedded.resume()
            stats = await asyncio.gather(*calls)
            assert [stat.version for stat in stats] == list(range(1, 51))
            assert session.outstanding_bytes == 0

    run(scenario())


@on_loops
def test_an_idle_client_keeps_its_session(run: RunOnLoop, embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        # A shorter timeout would end the session when the machine is busy for a moment.
        async with started(embedded.hosts, session_timeout_ms=1000) as client:
            assert client.session_timeout_ms == 1000
            session = client.session_id
            states = Inbox()
            client.add_listener(states)
            began_ms = embedded.clock.now_ms()
            await until(lambda: embedded.clock.now_ms() - began_ms > 2000)
            assert states.is_empty()
            assert await client.exists("/") is not None
            assert client.session_id == session

    run(scenario())


@on_loops
def test_a_program_that_blocks_the_loop_keeps_its_connection(
    run: RunOnLoop, embedded: EmbeddedServer
) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts, session_timeout_ms=1000) as client:
            states = Inbox()
            client.add_listener(states)
            began_ms = embedded.clock.now_ms()
            while embedded.clock.now_ms() - began_ms < 800:
                pass  # this is the program's fault
            for _ in range(5):
                assert await client.exists("/") is not None
            assert states.is_empty()

    run(scenario())
