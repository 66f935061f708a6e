"""A client that leaves without the end of its session, which another client continues."""

import random

import pytest

from tests.support.both_clients import both, clients_of, run, until
from zoolet.client import ClientOptions, CreateMode, SessionState
from zoolet.testing import EmbeddedServer, OpCode
from zoolet.testing.servers.process import ExternalServer


@both
@pytest.mark.parametrize("seed", range(4))
def test_a_session_goes_from_client_to_client(kind: str, seed: int) -> None:
    chance = random.Random(seed)

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make, clients_of("asyncio") as make_other:
                other = await make_other(server.hosts)
                client = await make(server.hosts)
                created: list[str] = []
                for number in range(5):
                    made = await client.create(f"/{number}", mode=CreateMode.EPHEMERAL)
                    created.append(made.path)
                    session = client.session_id
                    keeps_session = chance.random() < 0.7
                    await client.close(keeps_session=keeps_session)
                    assert client.state is SessionState.CLOSED
                    assert client.session_id == session
                    closes = [one.op_code for one in server.inside.requests(session.id)]
                    assert (OpCode.CLOSE_SESSION in closes) is not keeps_session
                    await other.sync("/")
                    if not keeps_session:
                        assert server.inside.ephemerals(session.id) == []
                        created.clear()
                        client = await make(server.hosts)
                        continue
                    assert set(server.inside.ephemerals(session.id)) == set(created)
                    resuming = ClientOptions(session=session)
                    client = await make(server.hosts, resuming)
                    assert client.session_id == session
                    assert set(await client.ephemerals()) == set(created)

    run(scenario())


@both
def test_the_ephemerals_end_with_the_session_timeout(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                await client.create("/a", mode=CreateMode.EPHEMERAL)
                server.clock.freeze()
                await client.close(keeps_session=True)
                await until(lambda: server.inside.sessions()[0].peer is None, "the client left")
                assert server.inside.paths("/") == ["/a"]
                server.clock.move(60)
                await until(lambda: server.inside.paths("/") == [], "the session ends")

    run(scenario())


@both
def test_each_server_gives_a_kept_session_to_another_client(
    kind: str, any_server: ExternalServer
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            await client.create("/a", mode=CreateMode.EPHEMERAL)
            await client.close(keeps_session=True)
            other = await make(any_server.hosts, ClientOptions(session=client.session_id))
            assert other.session_id.id == client.session_id.id
            assert await other.ephemerals() == ("/a",)
            await other.close()
            last = await make(any_server.hosts)
            assert await last.exists("/a") is None

    run(scenario())
