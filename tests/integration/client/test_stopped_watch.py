"""A watch that was stopped stays stopped."""

import pytest

from tests.support.both_clients import both, clients_of, run
from zoolet.testing import EmbeddedServer


@both
def test_the_iteration_of_a_stopped_watch_sets_no_watch(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                for is_used in (True, False):
                    watch = client.watch("/a")
                    if is_used:
                        await watch.start()
                    await watch.stop()
                    with pytest.raises(StopAsyncIteration):
                        await watch.__anext__()
                    await client.sync("/")
                    assert server.inside.watches() == []

    run(scenario())
