"""Steps have short slices, so that other work hardly waits for them, on a simulated clock."""

import random
from collections.abc import Callable, Iterator

import pytest

from tests.support.simulated_loop import SimulatedLoop
from zoolet.server.common.scheduler import BUDGET_S, LEAST_SLICE_S, QUANTUM_S, Share


@pytest.fixture
def loop() -> SimulatedLoop:
    return SimulatedLoop()


def test_new_work_need_not_wait_while_one_share_waits(loop: SimulatedLoop) -> None:
    """The share that waits has a turn in each iteration."""
    scheduler = loop.scheduler
    turns = 0

    def run() -> bool:
        nonlocal turns
        turns += 1
        loop.now_s += LEAST_SLICE_S
        return turns < 50

    scheduler.add(Share("long"), run)
    while turns < 50:
        assert not scheduler.is_crowded
        loop.work(Share("short"), 0.00001)
        before = turns
        loop.iterate()
        assert turns == before + 1
    scheduler.add(Share("one"), run)
    assert not scheduler.is_crowded
    scheduler.add(Share("another"), run)
    assert scheduler.is_crowded


def test_who_works_beside_one_long_share_has_no_debt_when_others_come(
    loop: SimulatedLoop,
) -> None:
    scheduler = loop.scheduler
    busy = Share("busy")
    served: list[str] = []

    def long() -> bool:
        served.append("long")
        loop.now_s += LEAST_SLICE_S
        return True

    scheduler.add(Share("long"), long)
    for _ in range(200):
        loop.work(busy, 0.002)
        loop.iterate()

    def run(name: str) -> Callable[[], bool]:
        def run() -> bool:
            served.append(name)
            loop.now_s += 0.001
            return True

        return run

    before = len(served)
    for share in (Share("one"), Share("other"), busy):
        scheduler.add(share, run(share.name))
    loop.iterate()
    assert set(served[before:]) == {"one", "other", "busy", "long"}


def steps_of(loop: SimulatedLoop, step_s: float, num_steps: int) -> Iterator[int]:
    for _ in range(num_steps):
        loop.now_s += step_s
        yield 10


@pytest.mark.parametrize(
    ("other_s", "slice_s"), [(0.0, LEAST_SLICE_S), (0.002, 0.0005), (0.015, QUANTUM_S)]
)
def test_a_slice_of_steps_is_short_if_the_thread_has_little_other_work(
    loop: SimulatedLoop, other_s: float, slice_s: float
) -> None:
    step_s = LEAST_SLICE_S / 4
    loop.scheduler.run("a task", steps_of(loop, step_s, 10_000))
    for _ in range(20):
        loop.iterate()
        loop.work(Share("other"), other_s)
    begun_s = loop.now_s
    loop.iterate()
    assert slice_s - step_s <= loop.now_s - begun_s <= 1.4 * slice_s + 2 * step_s


@pytest.mark.parametrize("seed", range(20))
def test_steps_and_work_at_once_share_the_thread(seed: int) -> None:
    """Tasks with many steps end, and every iteration is bounded."""
    chance = random.Random(seed)
    loop = SimulatedLoop()
    scheduler = loop.scheduler
    longest_s = 0.0
    under_way = 0

    def steps(step_s: float, num_steps: int) -> Iterator[int]:
        nonlocal under_way
        under_way += 1
        yield from steps_of(loop, step_s, num_steps)
        under_way -= 1

    def served() -> bool:
        loop.now_s += 0.0001
        return False

    shares = [Share(str(number)) for number in range(20)]
    begun = 0
    while loop.now_s < 5:
        if under_way < 3 and chance.random() < 0.05:
            step_s = chance.choice((0.00001, 0.0002, 0.002))
            longest_s = max(longest_s, step_s)
            scheduler.run("a task", steps(step_s, chance.randrange(1, 500)))
            begun += 1
        for share in chance.sample(shares, chance.randrange(20)):
            if not scheduler.is_crowded and not share.is_waiting:
                loop.work(share, chance.choice((0.00001, 0.0002)))
            else:
                scheduler.add(share, served)
        loop.now_s += 0.00001
        loop.iterate()
        assert loop.iterations_s[-1] <= BUDGET_S + 2 * (QUANTUM_S + longest_s)
    loop.until_idle()
    assert begun > 3
    assert under_way == 0
    assert scheduler.num_waiting == 0
    assert not scheduler.is_crowded
