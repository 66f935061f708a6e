"""Parties of both clients, on zoolet and on Apache ZooKeeper."""

import asyncio

from kazoo.client import KazooClient

from tests.support.both_clients import LIMIT_S, both, clients_of, run, until, until_children
from zoolet.testing import EmbeddedServer, OpCode
from zoolet.testing.servers.process import ExternalServer


@both
def test_members_come_and_go(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            one, two = await make(any_server.hosts), await make(any_server.hosts)
            party = one.party("/party", "one")
            assert await party.members() == []
            async with party:
                await party.join()
                assert party.is_member
                async with two.party("/party", "two") as other:
                    assert sorted(await party.members()) == ["one", "two"]
                    assert sorted(await other.members()) == ["one", "two"]
                assert await party.members() == ["one"]
            assert not party.is_member
            await party.leave()
            assert await party.members() == []
            await party.join()
            assert await party.members() == ["one"]

    run(scenario())


@both
def test_members_of_kazoo_and_of_zoolet_see_each_other(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            kazoo = KazooClient(any_server.hosts)
            await asyncio.to_thread(kazoo.start, 10)
            try:
                theirs = kazoo.Party("/party", "kazoo")
                await asyncio.to_thread(theirs.join)
                async with client.party("/party", "zoolet") as ours:
                    assert sorted(await ours.members()) == ["kazoo", "zoolet"]
                    assert sorted(await asyncio.to_thread(list, theirs)) == ["kazoo", "zoolet"]
            finally:
                await asyncio.to_thread(kazoo.stop)
                await asyncio.to_thread(kazoo.close)

    run(scenario())


@both
def test_a_member_joins_again_after_its_session_has_expired(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                party = client.party("/party", "one")
                with server.faults.on(OpCode.CREATE2).drop_reply():
                    await party.join(timeout_s=LIMIT_S)
                for fault in ("expire", "delete", "expire"):
                    (before,) = await until_children(server, "/party", 1)
                    if fault == "expire":
                        server.faults.expire(client.session_id.id)
                    else:
                        await client.delete(before)
                    await until(
                        lambda before=before: (  # type: ignore[misc]
                            server.inside.paths("/party") not in ([], [before])
                        ),
                        "another znode",
                    )
                    await until(lambda: party.is_member, "the member")
                with server.faults.on(OpCode.DELETE).drop_reply():
                    await party.leave(timeout_s=LIMIT_S)
                await until_children(server, "/party", 0)
                inner = getattr(client, "inner", client)
                await until(lambda: inner._engine.listeners == [], "no listener")

    run(scenario())
