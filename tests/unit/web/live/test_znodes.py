"""The differences of two lists of names."""

import random

from zoolet.web.live.znodes import differences


def applied(before: list[str], removed: list[int], added: list[tuple[int, str]]) -> list[str]:
    """Apply differences as a browser does."""
    names = [name for index, name in enumerate(before) if index not in set(removed)]
    for index, name in added:
        names.insert(index, name)
    return names


def test_differences_make_the_new_list_of_the_old_one() -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    names = [f"{letter}{other}" for letter in "abcdef" for other in "xyz\u202e<"]
    for _ in range(500):
        before, after = (
            sorted(chance.sample(names, chance.randrange(len(names)))) for _ in range(2)
        )
        assert applied(before, *differences(before, after)) == after, f"seed {seed}"
