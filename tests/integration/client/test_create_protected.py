"""A protected create: exactly one znode, also after lost replies, and on another server."""

import pytest

from tests.support.both_clients import both, clients_of, run
from zoolet.client import ConnectionLossError, CreateMode, DeadlineError
from zoolet.testing import EmbeddedServer, OpCode


@both
def test_a_lost_reply_creates_no_second_znode(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                server.faults.on(OpCode.CREATE2).drop_reply()
                path = await client.create_protected("/a-", mode=CreateMode.PERSISTENT_SEQUENTIAL)
                assert server.inside.paths("/") == [path]

    run(scenario())


@both
def test_the_search_after_a_lost_reply_begins_with_a_sync(kind: str) -> None:
    """Another server of the ensemble may not have applied the create yet."""

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                server.faults.on(OpCode.CREATE2).drop_reply()
                await client.create_protected("/a-")
                asked = [OpCode(request.op_code) for request in server.inside.requests()]
                asked = [code for code in asked if code is not OpCode.CREATE_SESSION]
                assert asked == [OpCode.CREATE2, OpCode.SYNC, OpCode.GET_CHILDREN2]

    run(scenario())


@both
def test_a_program_can_choose_the_id_and_the_time_limit(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                path = await client.create_protected("/a-", protection="mine", timeout_s=0)
                assert path == "/_c_mine-a-0000000000"
                assert await client.find_child("/", "_c_mine-") == path[1:]
                assert await client.find_child("/", "_c_other-") is None
                with server.faults.on(OpCode.CREATE2, times=None).lose_request():
                    with pytest.raises(DeadlineError):
                        await client.create_protected("/b-", tries=1 << 31, timeout_s=0.2)
                    with pytest.raises(ConnectionLossError):
                        await client.create_protected("/b-", tries=2)
                assert server.inside.paths("/") == [path]

    run(scenario())
