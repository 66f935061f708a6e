"""`Client` and read-only servers, with fake servers: real ones need an ensemble."""

import random
import threading

import pytest

from tests.support.both_clients import both, clients_of, run, until
from tests.support.outcomes import Noted
from tests.support.read_only_server import FakeZooKeeper, fake_zookeeper
from zoolet.client import ClientOptions, SessionState, ZooKeeperError

OPTIONS = ClientOptions(connect_timeout_s=20, call_timeout_s=20, takes_read_only_server=True)


def searches() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "zoolet-client-search"]


@both
def test_a_client_changes_to_a_read_write_server(kind: str) -> None:
    async def scenario() -> None:
        async with (
            fake_zookeeper(is_read_only=True) as one,
            fake_zookeeper(is_read_only=True) as two,
            clients_of(kind) as make,
        ):
            client = await make(f"{one.hosts},{two.hosts}", OPTIONS)
            assert client.state is SessionState.READ_ONLY
            states = Noted()
            client.add_listener(states)
            with pytest.raises(ZooKeeperError, match="only reads"):
                await client.create("/a")
            reads_at, other = (one, two) if str(client.address) == one.hosts else (two, one)
            await until(lambda: len(other.words) >= 2, "the client asks the other server")
            assert states.all == []
            other.is_read_only = False
            await until(lambda: SessionState.CONNECTED in states.all, "the client changes")
            assert str(client.address) == other.hosts
            assert set(other.words) == {b"isro"}
            assert not reads_at.words

    run(scenario())


def test_the_search_ends_with_the_client() -> None:
    async def scenario() -> None:
        async with (
            fake_zookeeper(is_read_only=True) as one,
            fake_zookeeper(is_read_only=True) as two,
        ):
            async with clients_of("threads") as make:
                await make(f"{one.hosts},{two.hosts}", OPTIONS)
                assert len(searches()) == 1
            await until(lambda: not searches(), "the search ends")

    run(scenario())


@both
@pytest.mark.parametrize("seed", range(3))
def test_a_client_finds_the_read_write_server_among_random_servers(kind: str, seed: int) -> None:
    chance = random.Random(seed)

    async def scenario() -> None:
        async with (
            fake_zookeeper(is_read_only=True) as one,
            fake_zookeeper(is_read_only=True) as two,
            fake_zookeeper(is_read_only=True) as three,
            clients_of(kind) as make,
        ):
            servers: list[FakeZooKeeper] = [one, two, three]
            client = await make(",".join(server.hosts for server in servers), OPTIONS)
            for _ in range(5):
                chosen = chance.choice(servers)
                for server in servers:
                    was_read_only, server.is_read_only = server.is_read_only, server is not chosen
                    # Apache ZooKeeper closes its connections when it changes.
                    if server.is_read_only is not was_read_only or chance.random() < 0.5:
                        server.cut()
                await until(
                    lambda chosen=chosen: (  # type: ignore[misc]
                        client.state is SessionState.CONNECTED
                        and str(client.address) == chosen.hosts
                    ),
                    "the client is at the read-write server",
                )
            await client.close()
        await until(lambda: not searches(), "no search goes on")

    run(scenario())
