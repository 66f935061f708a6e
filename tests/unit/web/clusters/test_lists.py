"""Long lists of children are sorted and looked at in steps, between which other tasks run."""

import asyncio
import random

from zoolet.web.clusters.lists import _STEP, _first, _List, _sort


def names_of(chance: random.Random, count: int) -> list[str]:
    """Return different names: in order, reversed, random, or nearly in order."""
    names = [f"{chance.choice('aש')}{number:06d}" for number in range(count)]
    kind = chance.choice(["in order", "reversed", "random", "nearly"])
    if kind == "random":
        chance.shuffle(names)
    elif kind == "nearly":
        names[7], names[-7] = names[-7], names[7]
    return names[::-1] if kind == "reversed" else names


async def turns_during(work: "asyncio.Task[None]") -> int:
    """Return how often another task runs while the work is done."""
    turns = 0
    while not work.done():
        await asyncio.sleep(0)
        turns += 1
    await work
    return turns


def test_a_list_is_sorted_in_steps() -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)

    async def check(names: list[str]) -> None:
        found = _List("id", list(names), 0)
        sorting = asyncio.create_task(_sort(found))
        turns = await turns_during(sorting)
        assert found.names == sorted(names), f"seed {seed}"
        assert found.names is not names
        assert turns >= 2 * len(names) // _STEP

    for count in (_STEP + 1, 2 * _STEP, 7 * _STEP + chance.randrange(_STEP)):
        asyncio.run(check(names_of(chance, count)))


def test_the_first_names_of_a_list_that_is_not_sorted() -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    for length in (0, 1, 250_000):
        names = names_of(chance, length) if length > 10 else ["a"] * length
        count = chance.randrange(1, 300)
        assert asyncio.run(_first(count, names)) == sorted(names)[:count], f"seed {seed}"
