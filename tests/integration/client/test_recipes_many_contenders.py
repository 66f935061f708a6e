"""Many contenders for one lock, also with random faults; a model checks the server's history."""

import asyncio
import contextlib
import random
from collections import Counter
from typing import Any

import pytest

from tests.support.both_clients import LIMIT_S, both, clients_of, run, until, until_children
from zoolet.client import Event, EventType, SessionExpiredError, ZooKeeperError
from zoolet.testing import EmbeddedServer, FaultError, OpCode
from zoolet.testing.servers.process import ExternalServer


@both
def test_fifty_contenders_get_the_lock_one_after_the_other(
    any_server: ExternalServer, kind: str
) -> None:
    async def scenario() -> None:
        async with clients_of(kind) as make:
            clients = [await make(any_server.hosts) for _ in range(5)]
            inside = 0
            tokens: list[int] = []

            async def work(client: Any) -> None:
                nonlocal inside
                async with client.lock("/lock") as lock:
                    inside += 1
                    assert inside == 1
                    tokens.append(lock.token)
                    await client.sync("/")
                    inside -= 1

            await asyncio.gather(*[work(client) for client in clients * 10])
            assert len(tokens) == 50
            assert tokens == sorted(set(tokens))
            assert (await clients[0].children("/lock")).names == ()

    run(scenario())


def test_the_release_of_a_lock_wakes_one_of_fifty_contenders() -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of("asyncio") as make:
                clients = [await make(server.hosts) for _ in range(5)]
                locks = [client.lock("/lock") for client in clients * 10]
                await locks[0].acquire()
                waits = []
                for count, lock in enumerate(locks[1:], 2):
                    waits.append(asyncio.ensure_future(lock.acquire()))
                    await until_children(server, "/lock", count)
                await asyncio.to_thread(server.inside.wait_until_quiet)
                for at, lock in enumerate(locks[:-1]):
                    before = len(server.inside.requests())
                    await lock.release()
                    await waits[at]
                    asked = Counter(
                        OpCode(one.op_code) for one in server.inside.requests()[before:]
                    )
                    del asked[OpCode.PING]
                    assert asked == {OpCode.DELETE: 1, OpCode.GET_CHILDREN2: 1}
                await locks[-1].release()

    run(scenario())


class History:
    """The contenders in the server's history, as a client without faults sees it."""

    def __init__(self) -> None:
        self.changes: list[tuple[int, EventType, str]] = []

    async def follow(self, watch: Any) -> None:
        async for event in watch:
            assert isinstance(event, Event), "the observer has no faults"
            if event.path != "/lock":
                self.changes.append((event.zxid, event.type, event.path))

    def holder_at(self, zxid: int) -> int:
        """Return the token of the first contender after a txn; 0 if there is none."""
        there: dict[str, int] = {}
        for at, kind, path in self.changes:
            if at > zxid:
                break
            if kind is EventType.NODE_CREATED:
                there[path] = at
            elif kind is EventType.NODE_DELETED:
                del there[path]
        return there[min(there, key=lambda path: path[-10:])] if there else 0

    def check(self, writes: list[tuple[int, int]]) -> None:
        """Check the writes of those that held the lock: zxid and token of each."""
        tokens = [token for _, token in sorted(writes)]
        assert tokens == sorted(tokens), "a fencing token fell"
        for zxid, token in writes:
            assert self.holder_at(zxid) == token, f"two holders at zxid {zxid:#x}"


class Contender:
    """Takes the lock again and again, and writes while it believes that it holds the lock."""

    def __init__(self, client: Any, seed: int) -> None:
        self.client = client
        self.generator = random.Random(seed)
        self.lock = client.lock("/lock")
        self.writes: list[tuple[int, int]] = []
        self.counts: Counter[str] = Counter()

    async def work(self, rounds: int) -> None:
        for _ in range(rounds):
            if self.generator.random() < 0.2:
                try:
                    await self.lock.acquire(timeout_s=self.generator.random() / 50)
                except TimeoutError:
                    self.counts["too late"] += 1
                    continue
            else:
                await self.lock.acquire(timeout_s=LIMIT_S)
            self.counts["held"] += 1
            for _ in range(self.generator.randrange(10)):
                await self._write()
            if not await self.lock.release():
                self.counts["lost"] += 1

    async def _write(self) -> None:
        token = self.lock.token
        if not self.lock.is_held:
            return
        try:
            stat = await self.client.set("/resource", b"%d" % token, timeout_s=LIMIT_S)
        except (ZooKeeperError, SessionExpiredError):
            return
        # What happened to the lock before the write has come before the reply.
        if self.lock.is_held:
            self.writes.append((stat.mzxid, token))


async def make_faults(
    server: EmbeddedServer, admin: Any, contenders: list[Contender], generator: random.Random
) -> None:
    """Expire sessions, lose requests and replies, and delete znodes, until it is cancelled."""
    ops = [OpCode.CREATE2, OpCode.GET_CHILDREN2, OpCode.DELETE, OpCode.SET_DATA, OpCode.SYNC]
    while True:
        contender = generator.choice(contenders)
        session_id = contender.client.session_id.id
        there = {session.session_id for session in server.inside.sessions()}
        kind = generator.randrange(6)
        if session_id in there:
            trigger = server.faults.on(generator.choice(ops), session=session_id)
            if kind == 0:
                with contextlib.suppress(FaultError):  # it may have expired just now
                    server.faults.expire(session_id)
            elif kind in (1, 2):
                trigger.drop_reply()
            elif kind == 3:
                trigger.lose_request()
            elif kind == 4:
                trigger.expire()
            elif paths := server.inside.paths("/lock"):
                with contextlib.suppress(ZooKeeperError):
                    await admin.delete(generator.choice(paths))
        await asyncio.sleep(generator.random() / 200)


@both
@pytest.mark.parametrize("seed", range(4))
def test_at_most_one_contender_holds_the_lock(kind: str, seed: int) -> None:
    async def scenario() -> None:
        print("seed", seed)
        generator = random.Random(seed)
        with EmbeddedServer(seed=seed) as server:
            async with clients_of(kind) as make, clients_of("asyncio") as make_observer:
                admin = await make_observer(server.hosts)
                for path in ("/lock", "/resource"):
                    await admin.create(path)
                history = History()
                watch = admin.watch("/lock", recursive=True)
                await watch.start()
                following = asyncio.ensure_future(history.follow(watch))
                contenders = [Contender(await make(server.hosts), seed + at) for at in range(5)]
                faults = asyncio.ensure_future(make_faults(server, admin, contenders, generator))
                await asyncio.gather(*[one.work(15) for one in contenders])
                faults.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await faults
                server.faults.clear()
                await until_children(server, "/lock", 0)
                await admin.sync("/")
                await watch.stop()
                await following
                writes = [write for one in contenders for write in one.writes]
                history.check(writes)
                counts = sum((one.counts for one in contenders), Counter[str]())
                print(counts, len(writes), "writes")
                assert counts["held"] > 30
                assert counts["lost"] > 0
                assert len(writes) > 10
                for one in contenders:
                    inner = getattr(one.client, "inner", one.client)
                    await until(lambda inner=inner: inner._engine.listeners == [], "no listener")  # type: ignore[misc]

    run(scenario())
