"""The error of a recipe whose time ends while a request has no reply, for both clients."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.support.both_clients import LIMIT_S, OPTIONS, both, clients_of, run
from zoolet.client import DeadlineError
from zoolet.testing import EmbeddedServer, OpCode

CREATE, CHILDREN, MULTI = OpCode.CREATE2, OpCode.GET_CHILDREN2, OpCode.MULTI
EXISTS, GET, SET, DELETE = OpCode.EXISTS, OpCode.GET_DATA, OpCode.SET_DATA, OpCode.DELETE

Call = Callable[[Any, str, float], Any]

RECIPES: Final[dict[str, tuple[str, Call, tuple[OpCode, ...]]]] = {
    "lock": ("lock", lambda c, p, s: c.lock(p).acquire(timeout_s=s), (CREATE, CHILDREN)),
    "try_lock": ("lock", lambda c, p, s: c.lock(p).try_acquire(timeout_s=s), (CREATE, CHILDREN)),
    "contenders": ("contenders", lambda c, p, s: c.lock(p).contenders(timeout_s=s), (CHILDREN,)),
    "election": ("lock", lambda c, p, s: c.election(p).campaign(timeout_s=s), (CREATE, CHILDREN)),
    "semaphore": (
        "semaphore",
        lambda c, p, s: c.semaphore(p, 2).acquire(timeout_s=s),
        (GET, CREATE, SET, CHILDREN, MULTI),
    ),
    "counter": ("counter", lambda c, p, s: c.counter(p).add(1, timeout_s=s), (GET, CREATE, MULTI)),
    "put": ("queue", lambda c, p, s: c.queue(p).put(b"", timeout_s=s), (MULTI, CREATE)),
    "get": ("queue", lambda c, p, s: c.queue(p).get(timeout_s=s), (CHILDREN, CREATE)),
    "locking_get": (
        "queue",
        lambda c, p, s: c.locking_queue(p).get(timeout_s=s),
        (CHILDREN, CREATE),
    ),
    "barrier": ("barrier", lambda c, p, s: c.barrier(p).create(timeout_s=s), (CREATE,)),
    "remove": ("barrier", lambda c, p, s: c.barrier(p).remove(timeout_s=s), (DELETE,)),
    "double_barrier": (
        "double_barrier",
        lambda c, p, s: c.double_barrier(p, 1).enter(timeout_s=s),
        (CREATE, CHILDREN, EXISTS, MULTI),
    ),
    "party": ("party", lambda c, p, s: c.party(p).join(timeout_s=s), (CREATE, CHILDREN)),
    "partitioner": (
        "set_partitioner",
        lambda c, p, s: c.set_partitioner(p, ("a",), settle_s=0.0).next(timeout_s=s),
        (CREATE, CHILDREN),
    ),
}
"""The name in the error, a call with a path and a time limit, and requests of this call."""


def check(error: DeadlineError, what: str, path: str) -> None:
    """The error names what the program waits for, and says nothing of one of the requests."""
    assert (error.request, error.path) == (what, path)
    assert "not sent" not in str(error)
    assert str(error).startswith(f"{what} {path}: not done within 0.2 s")


@both
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_error_names_the_recipe_and_not_the_request(kind: str, recipe: str) -> None:
    what, call, ops = RECIPES[recipe]

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                for op in ops:
                    path = f"/{op.name}"
                    server.faults.on(op, f"*{path}*").partition()
                    with pytest.raises(DeadlineError) as raised:
                        await call(client, path, 0.2)
                    check(raised.value, what, path)
                    server.faults.clear()
                    await client.sync("/", timeout_s=LIMIT_S)

    run(scenario())


@both
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_error_says_the_same_without_a_server(kind: str, recipe: str) -> None:
    what, call, _ = RECIPES[recipe]

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                server.stop()
                with pytest.raises(DeadlineError) as raised:
                    await call(client, "/a", 0.2)
                check(raised.value, what, "/a")

    run(scenario())


@both
@pytest.mark.parametrize("timeout_s", [None, 2.0])
def test_a_create_may_be_applied_if_the_search_has_no_reply(
    kind: str, timeout_s: float | None
) -> None:
    """The time limit of a request, or of the call, ends the search after a lost reply."""

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                options = OPTIONS._replace(call_timeout_s=2.0)
                client = await make(server.hosts, options)
                lost = server.faults.on(CREATE).drop_reply()
                server.faults.on(OpCode.SYNC).partition()
                with pytest.raises(DeadlineError, match="applied it or not") as raised:
                    await client.create_protected("/a-", timeout_s=timeout_s)
                error = raised.value
                assert (error.request, error.path) == ("create_protected", "/a-")
                assert lost.count == 1

    run(scenario())
