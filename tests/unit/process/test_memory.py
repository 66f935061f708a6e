"""When freed memory is given back: after many objects were freed, and not for a few."""

import asyncio
import importlib.util
import mmap
import random
import subprocess
import sys
import weakref

import pytest

from tests.support.waiting import wait_until
from zoolet.process.memory import FreedBuffers, FreedMemory, resident_bytes
from zoolet.server.common.disk_thread import DiskThread


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


class Process:
    """A process of which the test says how large it is, and notes in which looks it was trimmed."""

    def __init__(self) -> None:
        self.megabytes = 30
        self.looks = 0
        self.trimmed_at: list[int] = []
        self.freed = FreedBuffers(
            lambda: self.trimmed_at.append(self.looks), lambda: self.megabytes << 20
        )

    def look_at(self, *megabytes: int) -> list[int]:
        """Look at each of these sizes; return the numbers of the looks that trimmed."""
        before = len(self.trimmed_at)
        for self.megabytes in megabytes:
            self.looks += 1
            self.freed.look()
        return self.trimmed_at[before:]


def test_a_process_that_has_grown_is_trimmed_less_and_less_often() -> None:
    assert Process().look_at(*[50] * 1000) == [2, 4, 8, 16, 32, 64]


def test_a_process_that_grows_again_is_trimmed_again() -> None:
    process = Process()
    process.look_at(*[50] * 100)
    assert process.look_at(*[57] * 100) == []
    assert process.look_at(*[58] * 10) == [202, 204, 208]
    assert process.look_at(*range(70, 100, 10)) == []
    assert process.look_at(40, 40, 40, 48, 48) == [214, 216, 218]


def test_a_process_whose_size_is_unknown_or_does_not_change_is_not_trimmed() -> None:
    assert Process().look_at(*[30] * 100) == []
    process = Process()
    assert process.look_at(0, 0, 0) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_size_of_this_process_is_known() -> None:
    before = resident_bytes()
    # Not from the allocator, which may have so much that is freed and still resident.
    with mmap.mmap(-1, 20 << 20) as held:
        for at in range(0, len(held), mmap.PAGESIZE):
            held[at] = 1
        assert before + (15 << 20) < resident_bytes() < before + (100 << 20)


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


FREED_PAGES = """
from zoolet.process.memory import resident_bytes, trim_after_start

blocks = [bytes(1000) for _ in range(50_000)]
del blocks[:-1]  # the last block keeps the C library from returning the others
before = resident_bytes()
trim_after_start()
print(before - resident_bytes())
"""


def test_the_freed_pages_of_a_start_are_given_back() -> None:
    if importlib.util.find_spec("zoolet.process.heap") is None:
        pytest.skip("needs the compiled modules")
    done = subprocess.run(
        [sys.executable, "-c", FREED_PAGES], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) > 40_000_000
