"""The write because of which a target closes the connection is found among others."""

import random

import pytest

from zoolet.archive.mirror.lost_writes import MOST_LOST, LostWrites


def split(lost: LostWrites, wanted: list[str]) -> list[list[str]]:
    """Split writes into multis, as a mirror does."""
    together = [path for path in wanted if not lost.is_alone(path)]
    return [*([together] if together else []), *([path] for path in wanted if lost.is_alone(path))]


@pytest.mark.parametrize("seed", range(10))
def test_the_bad_write_is_found_among_lost_connections(seed: int) -> None:
    chance = random.Random(seed)
    lost = LostWrites()
    wanted = [str(number) for number in range(50)]
    bad = chance.choice([*wanted, None])
    for _ in range(100):
        for multi in split(lost, wanted):
            if bad in multi:
                if lost.lose(multi):
                    assert multi == [bad]
                    return
                break
            if chance.random() < 0.01 and not lost.is_alone(multi[0]):
                assert not lost.lose(multi)
                break
            lost.write(multi)
            wanted = [path for path in wanted if path not in multi]
    assert bad is None
    assert wanted == []


def test_a_write_with_a_reply_is_not_suspected_any_more() -> None:
    lost = LostWrites()
    for _ in range(MOST_LOST - 1):
        assert not lost.lose(["/a"])
    lost.write(["/a"])
    assert not lost.is_alone("/a")
    assert not lost.lose(["/a"])
