"""Elections of both clients, on zoolet and on Apache ZooKeeper."""

import asyncio
from typing import Any

import pytest

from tests.support.both_clients import LIMIT_S, both, clients_of, is_set, run, until_children
from zoolet.client import DeadlineError, LockLostError, WaitCancelledError
from zoolet.testing import EmbeddedServer
from zoolet.testing.servers.process import ExternalServer


@both
def test_one_candidate_is_the_leader(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            one, two = await make(any_server.hosts), await make(any_server.hosts)
            first, second = one.election("/leader", "one"), two.election("/leader", "two")
            assert await first.leader() is None
            async with first:
                assert first.is_leader
                token = first.token
                assert await second.leader() == "one"
                with pytest.raises(DeadlineError):
                    await second.campaign(timeout_s=0.05)
                waiting = asyncio.ensure_future(second.campaign())
                while await first.candidates() != ["one", "two"]:
                    assert not waiting.done()
            assert await waiting > token
            assert await first.leader() == "two"
            assert await second.resign()
            assert not second.is_leader
            assert second.token == 0

    run(scenario())


def function_of(kind: str, function: Any) -> Any:
    """Return a function for the version of the client; it returns without waiting."""

    async def with_await(token: int) -> Any:
        return function(token)

    return with_await if kind == "asyncio" else function


@both
def test_a_function_runs_while_its_candidate_is_the_leader(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            client = await make(any_server.hosts)
            election = client.election("/leader", "one")
            states = []

            def lead(token: int) -> str:
                states.append((election.is_leader, token == election.token))
                return "done"

            def fail(_: int) -> None:
                raise KeyError

            assert await election.run(function_of(kind, lead), timeout_s=LIMIT_S) == "done"
            with pytest.raises(KeyError):
                await election.run(function_of(kind, fail))
            assert states == [(True, True)]
            assert await election.candidates() == []

    run(scenario())


@both
def test_a_candidate_can_give_up(any_server: ExternalServer, kind: str) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            one, two = await make(any_server.hosts), await make(any_server.hosts)
            election = two.election("/leader", "two")
            async with one.election("/leader", "one"):
                waiting = asyncio.ensure_future(election.run(function_of(kind, print)))
                while await election.candidates() != ["one", "two"]:
                    assert not waiting.done()
                election.cancel()
                with pytest.raises(WaitCancelledError):
                    await waiting

    run(scenario())


@both
def test_another_candidate_leads_after_the_session_of_the_leader_has_expired(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                one, two = await make(server.hosts), await make(server.hosts)
                first, second = one.election("/leader", "one"), two.election("/leader", "two")
                token = await first.campaign()
                waiting = asyncio.ensure_future(second.campaign())
                await until_children(server, "/leader", 2)
                server.faults.expire(one.session_id.id)
                assert await is_set(first.lost)
                assert not first.is_leader
                assert await waiting > token
                assert not await first.resign()
                again = asyncio.ensure_future(first.campaign(timeout_s=LIMIT_S))
                await until_children(server, "/leader", 2)
                await second.resign()
                assert await again > token

    run(scenario())


def test_the_function_of_a_leader_is_cancelled_when_the_leadership_is_lost() -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of("asyncio") as make:
                client = await make(server.hosts)

                async def lead(_: int) -> None:
                    server.faults.expire(client.session_id.id)
                    await asyncio.Event().wait()

                with pytest.raises(LockLostError):
                    await client.election("/leader").run(lead)
                await until_children(server, "/leader", 0)

    run(scenario())
