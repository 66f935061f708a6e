"""Set partitioners of both clients, on zoolet and on Apache ZooKeeper."""

import asyncio
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.both_clients import LIMIT_S, both, clients_of, is_set, run, until
from zoolet.client import DeadlineError
from zoolet.testing import EmbeddedServer
from zoolet.testing.servers.process import ExternalServer

ITEMS = ("a", "b", "c", "d", "e")
SETTLE_S = 0.02


class Member:
    """A member that takes its share again whenever the members change."""

    def __init__(self, client: Any, name: str) -> None:
        self.partitioner = client.set_partitioner("/set", ITEMS, identifier=name, settle_s=SETTLE_S)
        self.items: tuple[str, ...] = ()
        self.task = asyncio.ensure_future(self._work())

    async def _work(self) -> None:
        async for items in self.partitioner:
            self.items = items

    async def stop(self) -> None:
        await self.partitioner.stop()
        await self.task
        self.items = ()

    @property
    def share(self) -> tuple[str, ...]:
        """The items, if they need not be shared again."""
        return () if self.partitioner.changed.is_set() else self.items


async def until_shared(members: list[Member], counts: list[int]) -> None:
    def is_shared() -> bool:
        shares = [member.share for member in members]
        has_all = sorted(item for share in shares for item in share) == list(ITEMS)
        return has_all and sorted(len(share) for share in shares) == counts

    await until(is_shared, f"{counts} items")


@both
def test_items_are_shared_among_the_members(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            clients = [await make(any_server.hosts) for _ in range(3)]
            members = [Member(clients[0], "0")]
            await until_shared(members, [5])
            members.append(Member(clients[1], "1"))
            await until_shared(members, [2, 3])
            members.append(Member(clients[2], "2"))
            await until_shared(members, [1, 2, 2])
            assert {item for one in members for item in one.partitioner.tokens} == set(ITEMS)
            await members.pop(0).stop()
            await until_shared(members, [2, 3])
            await members.pop(0).stop()
            await until_shared(members, [5])
            await members[0].stop()
            while (await clients[0].children("/set/party")).names:
                pass

    run(scenario())


@both
def test_a_wait_for_a_share_ends_in_time(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            partitioner = client.set_partitioner("/set", ITEMS, settle_s=SETTLE_S)
            async with partitioner:
                with pytest.raises(DeadlineError):
                    await partitioner.next(timeout_s=0.001)
                async with client.lock("/set/locks/c"):
                    with pytest.raises(DeadlineError):
                        await partitioner.next(timeout_s=0.3)
                assert await partitioner.next(timeout_s=LIMIT_S) == ITEMS
                with pytest.raises(DeadlineError):
                    await partitioner.next(timeout_s=0.05)

            def last_only(*members_and_items: Any) -> list[str]:
                return [members_and_items[2][-1]]

            async with client.set_partitioner(
                "/set", ITEMS, settle_s=SETTLE_S, share=last_only
            ) as other:
                assert await other.next(timeout_s=LIMIT_S) == ("e",)

    run(scenario())


@both
def test_kazoo_and_zoolet_share_the_items(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            kazoo = KazooClient(any_server.hosts)
            await asyncio.to_thread(kazoo.start, 10)
            try:
                theirs = await asyncio.to_thread(
                    lambda: kazoo.SetPartitioner(
                        "/set", ITEMS, identifier="kazoo", time_boundary=0.3
                    )
                )
                member = Member(client, "zoolet")
                await until(lambda: len(member.share) == 2, "a share")
                await until(lambda: theirs.acquired or theirs.release, "a share of kazoo")
                if theirs.release:
                    await asyncio.to_thread(theirs.release_set)
                await until(lambda: theirs.acquired, "a share of kazoo")
                assert sorted([*member.share, *theirs]) == list(ITEMS)
                await asyncio.to_thread(theirs.finish)
                await until_shared([member], [5])
                await member.stop()
            finally:
                await asyncio.to_thread(kazoo.stop)
                await asyncio.to_thread(kazoo.close)

    run(scenario())


@both
def test_items_are_shared_again_after_a_session_has_expired(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                clients = [await make(server.hosts) for _ in range(2)]
                members = [Member(client, str(at)) for at, client in enumerate(clients)]
                await until_shared(members, [2, 3])
                for client in (*clients, clients[0]):
                    tokens = max(
                        token for one in members for token in one.partitioner.tokens.values()
                    )
                    server.faults.expire(client.session_id.id)
                    await until(
                        lambda tokens=tokens: any(  # type: ignore[misc]
                            token > tokens
                            for one in members
                            for token in one.partitioner.tokens.values()
                        ),
                        "another lock",
                    )
                    await until_shared(members, [2, 3])
                for member in members:
                    await member.stop()

    run(scenario())


@both
def test_a_deleted_lock_is_noticed(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                async with client.set_partitioner("/set", ITEMS, settle_s=SETTLE_S) as one:
                    assert await one.next(timeout_s=LIMIT_S) == ITEMS
                    await client.delete_recursive("/set/locks/b")
                    assert await is_set(one.changed)
                    assert len(one.tokens) == 4
                    assert await one.next(timeout_s=LIMIT_S) == ITEMS
                    assert len(one.tokens) == 5

    run(scenario())
