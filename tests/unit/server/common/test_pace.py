"""The pauses between the steps of a long task, with clocks that the test sets."""

import random
from collections.abc import Callable

import pytest

from zoolet.server.common.pace import BUSY_PAUSE, LONGEST_STEP_S, Pace

STEP_S = 0.001


class Thread:
    """A thread with one long task; other work takes a part of the rest of the time."""

    def __init__(self, busy: float) -> None:
        self.busy = busy
        self.now_s = self.worked_s = 100.0
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.pace = Pace(self._call_later, lambda: self.now_s, lambda: self.worked_s)
        self.steps = 0
        self.in_steps_s = 0.0

    def _call_later(self, after_s: float, call: Callable[[], None]) -> None:
        self.later.append((after_s, call))

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.worked_s += seconds * self.busy

    def _step(self) -> None:
        self.pace.begin()
        self.now_s += STEP_S
        self.worked_s += STEP_S
        self.in_steps_s += STEP_S
        self.pace.end()
        self.steps += 1

    def run(self, steps: int, write_s: Callable[[], float]) -> None:
        """Do steps; after each, the disk needs some time."""
        while self.steps < steps:
            self.wait(write_s())
            self.pace.go_on(self._step)
            while self.later:
                after_s, call = self.later.pop()
                self.wait(after_s)
                call()


def test_on_an_idle_thread_there_are_no_pauses() -> None:
    thread = Thread(busy=0.1)
    thread.run(100, lambda: 0.0003)
    assert thread.now_s == pytest.approx(100 + 100 * (STEP_S + 0.0003))


def test_on_a_busy_thread_the_task_gets_a_small_part() -> None:
    thread = Thread(busy=1.0)
    thread.run(200, lambda: 0.0003)
    part = thread.in_steps_s / (thread.now_s - 100)
    assert part == pytest.approx(1 / (1 + BUSY_PAUSE), rel=0.1)


@pytest.mark.parametrize("seed", range(10))
def test_the_busier_the_thread_the_longer_the_pauses(seed: int) -> None:
    """Whatever the disk needs; and the task always ends."""
    durations = []
    for busy in (0.0, 0.5, 1.0):
        thread = Thread(busy)
        times = random.Random(seed)
        thread.run(50, lambda times=times: times.choice((0.0, 0.0002, 0.005)))  # type: ignore[misc]
        durations.append(thread.now_s - 100)
        longest_s = 50 * (STEP_S * (1 + BUSY_PAUSE) + 0.005)
        assert thread.now_s - 100 <= longest_s
    assert durations == sorted(durations)
    assert durations[0] < durations[-1]


def test_a_step_has_a_limited_time() -> None:
    thread = Thread(busy=1.0)
    for _ in range(3):
        thread.pace.begin()
        assert thread.pace.has_time()
        thread.wait(LONGEST_STEP_S * 0.9)
        assert thread.pace.has_time()
        thread.wait(LONGEST_STEP_S * 0.2)
        assert not thread.pace.has_time()
        thread.pace.end()


def test_a_thread_that_gets_idle_ends_the_pauses() -> None:
    thread = Thread(busy=1.0)
    thread.run(50, lambda: 0.0003)
    thread.busy = 0.0
    thread.run(100, lambda: 0.0003)
    began_s = thread.now_s
    thread.run(150, lambda: 0.0003)
    assert thread.now_s - began_s == pytest.approx(50 * (STEP_S + 0.0003))
