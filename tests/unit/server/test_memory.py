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
        self.times_given_back = 0
        self.freed = FreedMemory(self.give_back, lambda: self.blocks)

    def give_back(self) -> None:
        self.times_given_back += 1

    def look_at(self, *blocks: int) -> int:
        """Look at each of these sizes; return how often memory was given back."""
        before = self.times_given_back
        for self.blocks in blocks:
            self.freed.look()
        return self.times_given_back - before


@pytest.mark.parametrize(
    ("blocks", "times"),
    [
        ((100_000, 1_100_000, 120_000, 120_000), 1),
        ((100_000, 1_100_000, 900_000, 600_000, 600_000), 1),
        ((100_000, 1_100_000, 120_000, 120_000, 120_000, 120_000), 1),
        ((100_000, 1_100_000, 120_000, 120_000, 1_100_000, 120_000, 121_000), 2),
        ((100_000, 1_100_000, *range(900_000, 100_000, -20_000)), 3),
    ],
)
def test_memory_is_given_back_after_a_burst(blocks: tuple[int, ...], times: int) -> None:
    assert Heap().look_at(*blocks) == times


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
def test_no_more_than_a_quarter_stays_freed_for_long(seed: int) -> None:
    """At most 6 looks in a row find that more was freed since the last time than the rule says."""
    choose = random.Random(seed)
    heap = Heap()
    most = due = 0
    for _ in range(1000):
        blocks = choose.randrange(2_000_000)
        most = max(most, blocks)
        if heap.look_at(blocks):
            most = blocks
        due = due + 1 if most - blocks >= max(100_000, most / 4) else 0
        assert due < 6


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
