"""The order in which the waiting jobs of a key are released."""

import math
import random
from collections import Counter

import pytest

from zoolet.jobs.housekeeping.key_order import KeyOrder
from zoolet.jobs.queue.oldest_share import OldestShare
from zoolet.jobs.records.job_names import JobName
from zoolet.jobs.znodes.layout import parse_names


def name(number: int, priority: int = 0, group: int = 1) -> str:
    return f"entry-{priority:03d}-d:{group}-{number:010d}"


def shard_of(dataset: str, groupid: str) -> int:
    del dataset
    return int(groupid)


def order(percent: int, *names: str, credit: int = 0) -> KeyOrder:
    found = KeyOrder(shard_of, lambda: percent, OldestShare(credit))
    found.replace(parse_names(names))
    return found


def pops(found: KeyOrder, count: int) -> list[str | None]:
    return [found.pop() for _ in range(count)]


def test_without_a_share_the_greatest_priority_is_first_and_then_the_oldest() -> None:
    found = order(0, name(1), name(3, 5), name(2), name(4, 5))
    assert pops(found, 5) == [name(3, 5), name(4, 5), name(1), name(2), None]


def test_with_a_half_every_second_job_is_the_oldest() -> None:
    found = order(50, *(name(n) for n in range(3)), *(name(n, 9) for n in range(3, 6)))
    assert pops(found, 6) == [name(3, 9), name(0), name(4, 9), name(1), name(5, 9), name(2)]
    assert not found
    assert found.pop() is None


def test_shards_take_turns_because_their_sequences_are_independent() -> None:
    found = order(
        100, *(name(n, group=1) for n in range(3)), *(name(900 + n, group=2) for n in range(2))
    )
    first = pops(found, 4)
    assert Counter("d:1" in str(one) for one in first) == {True: 2, False: 2}
    found.replace(parse_names([name(2, group=1), name(950, group=2)]))
    assert found.pop() == name(2, group=1), "a new list does not change whose turn it is"


@pytest.mark.parametrize("seed", range(30))
def test_no_job_waits_longer_than_the_share_says(seed: int) -> None:
    """While jobs of greater priority come without end, each job is released in time."""
    chance = random.Random(seed)
    percent, shards = chance.randint(1, 100), chance.randint(1, 4)
    found = KeyOrder(shard_of, lambda: percent)
    waiting: dict[str, JobName] = {}
    due_at: dict[str, int] = {}
    released = number = 0
    while released < 3000:
        new = []
        for _ in range(chance.randint(1, 5)):
            number += 1
            priority = 0 if chance.random() < percent / 500 else chance.randint(1, 9)
            new.append(name(number, priority, chance.randrange(shards)))
        waiting |= {one.name: one for one in parse_names(new)}
        for one in parse_names(new):
            older = sum(
                other.groupid == one.groupid and other.sequence < one.sequence
                for other in waiting.values()
            )
            due_at[one.name] = released + math.ceil((older + 1) * shards * 100 / percent)
        found.replace(sorted(waiting.values(), key=lambda one: one.order))
        for _ in range(chance.randint(1, 5)):
            popped = found.pop()
            if popped is None:
                break
            released += 1
            del waiting[popped]
            assert released <= due_at[popped], popped
    assert all(released <= due_at[one] for one in waiting)
