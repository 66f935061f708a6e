"""The estimate of the server's time: errors, clocks that are set, and what the log tells."""

import random

import pytest

from zoolet.jobs.znodes.server_clock import SAMPLE_EVERY_S, ServerClock

SERVER_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


class World:
    """A server's clock, this machine's clock with an offset, and a monotonic clock."""

    def __init__(self, offset_ms: float = 0.0) -> None:
        self.s = 1000.0
        self.offset_ms = offset_ms
        self.jump_ms = 0.0
        self.clock = ServerClock(lambda: round(self.server_ms + self.offset_ms), lambda: self.s)

    @property
    def server_ms(self) -> float:
        return SERVER_MS + self.jump_ms + 1000 * (self.s - 1000.0)

    def sample(self, there_ms: float = 1.0, back_ms: float = 1.0) -> None:
        sent_s = self.s
        self.s += there_ms / 1000
        server_ms = int(self.server_ms)
        self.s += back_ms / 1000
        self.clock.add(sent_s, self.s, server_ms)

    @property
    def error_ms(self) -> float:
        return abs(self.clock.now_ms() - self.server_ms)


@pytest.mark.parametrize("offset_ms", [-HOUR_MS, 0, HOUR_MS])
def test_the_offset_of_this_machine_does_not_matter(offset_ms: int) -> None:
    world = World(offset_ms)
    assert world.clock.now_ms() == SERVER_MS + offset_ms
    world.sample()
    assert world.error_ms <= 2
    world.s += 30
    world.offset_ms += 5 * HOUR_MS
    assert world.error_ms <= 2


def test_the_best_recent_sample_counts_and_an_old_one_loses() -> None:
    world = World()
    world.sample(1, 1)
    world.sample(0, 400)
    assert world.error_ms <= 2
    world.s += 1000
    world.sample(0, 400)
    assert 190 <= world.error_ms <= 210


def test_a_server_whose_clock_was_set_is_believed() -> None:
    world = World()
    world.sample(1, 1)
    world.jump_ms = -HOUR_MS
    world.sample(0, 400)
    assert world.error_ms <= 210


def test_an_offset_is_told_once_and_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    world = World(HOUR_MS)
    for _ in range(5):
        world.sample()
    [message] = caplog.messages
    assert "3600.0 s ahead of the server's" in message
    caplog.clear()
    world.offset_ms = -2000
    world.sample()
    [message] = caplog.messages
    assert "2.0 s behind the server's" in message
    caplog.clear()
    world.offset_ms = 0
    world.sample()
    world.sample()
    [message] = caplog.messages
    assert "agrees" in message


def test_a_small_offset_and_a_slow_reply_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    world = World(900)
    world.sample()
    slow = World()
    slow.sample(0, 20_000)
    assert caplog.messages == []


def test_a_sample_is_due_after_a_while() -> None:
    world = World()
    assert world.clock.is_sample_due()
    world.sample()
    assert not world.clock.is_sample_due()
    world.s += SAMPLE_EVERY_S
    assert world.clock.is_sample_due()


@pytest.mark.parametrize("seed", range(20))
def test_the_estimate_is_within_half_of_a_round_trip(seed: int) -> None:
    chance = random.Random(seed)
    world = World(chance.uniform(-HOUR_MS, HOUR_MS))
    shortest_ms = 1e9
    for _ in range(50):
        there_ms, back_ms = chance.expovariate(0.1), chance.expovariate(0.1)
        world.sample(there_ms, back_ms)
        shortest_ms = min(shortest_ms, there_ms + back_ms)
        world.s += chance.random()
        # Plus the drift that an old sample is charged with, and whole milliseconds.
        assert world.error_ms <= there_ms + back_ms + shortest_ms + 60
