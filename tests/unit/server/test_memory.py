"""When freed memory is given back: after many objects were freed, and not for a few."""

import asyncio
import random
import weakref

import pytest

from tests.support.waiting import wait_until
from zoolet.server.diskthread import DiskThread
from zoolet.server.memory import FreedMemory


class Heap:
    """A heap of which the test says how many blocks it has."""

    def __init__(self) -> None:
        self.blocks = 0
        self.collections = 0
        self.freed = FreedMemory(lambda: self.blocks, self.collect)

    def collect(self) -> int:
        self.collections += 1
        return 0

    def look_at(self, *blocks: int) -> int:
        """Look at each of these sizes; return how many collections that made."""
        before = self.collections
        for self.blocks in blocks:
            self.freed.look()
        return self.collections - before


@pytest.mark.parametrize(
    ("blocks", "collections"),
    [
        ((100_000, 1_100_000, 120_000), 1),
        ((100_000, 1_100_000, 900_000, 600_000), 1),
        ((100_000, 1_100_000, 120_000, 120_000, 120_000), 1),
        ((100_000, 1_100_000, 120_000, 1_100_000, 120_000), 2),
    ],
)
def test_memory_is_given_back_after_a_burst(blocks: tuple[int, ...], collections: int) -> None:
    assert Heap().look_at(*blocks) == collections


@pytest.mark.parametrize(
    "blocks",
    [
        (100_000, 150_000, 100_000),
        (10_000_000, 9_000_000, 10_000_000, 8_000_000),
        (100_000, 1_100_000, 1_100_000),
    ],
)
def test_memory_is_not_looked_for_where_little_was_freed(blocks: tuple[int, ...]) -> None:
    assert Heap().look_at(*blocks) == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_more_than_a_quarter_stays_freed(seed: int) -> None:
    """After each look, fewer blocks were freed since the last collection than the rule says."""
    choose = random.Random(seed)
    heap = Heap()
    most = 0
    for _ in range(1000):
        blocks = choose.randrange(2_000_000)
        most = max(most, blocks)
        if heap.look_at(blocks):
            most = blocks
        assert most - blocks < max(100_000, most / 4)


class Batch:
    """Something large that a thread of the disk writes."""

    def write(self) -> None:
        pass


def test_a_thread_of_the_disk_keeps_nothing_of_a_call_that_is_done() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        thread = DiskThread(loop, "test")
        batch = Batch()
        is_kept = weakref.ref(batch)
        done = loop.create_future()
        thread.submit(batch.write, done.set_result)
        del batch
        await done
        # The thread tells that the call is done a moment before it waits for the next one.
        await asyncio.to_thread(wait_until, lambda: is_kept() is None, "the call to be let go")
        thread.stop()

    asyncio.run(run())
