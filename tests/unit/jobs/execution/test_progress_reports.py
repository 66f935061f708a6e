"""How often an attempt reports its progress: not too often, and always the last value."""

import itertools
import random
from functools import partial

from tests.support.waiting import wait_until
from zoolet.jobs.execution.progress_reports import EVERY_S, ProgressReports
from zoolet.jobs.records.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def note(clock: Clock, reported: list[tuple[float, float]], progress: Progress) -> None:
    reported.append((clock.now_s, progress.done))


def test_the_values_are_in_order_not_too_often_and_the_last_is_there() -> None:
    for seed in range(50):
        chance, clock = random.Random(seed), Clock()
        reported: list[tuple[float, float]] = []
        reports = ProgressReports(partial(note, clock, reported), clock)
        given = 0
        for given in range(chance.randrange(1, 40)):
            clock.now_s += chance.choice([0.0, 0.01, 0.2, 0.6])
            reports.add(Progress(given))
        reports.end()
        reports.add(Progress(1000))
        values = [value for _, value in reported]
        assert values == sorted(values)
        assert values[0] == 0
        assert values[-1] == given
        times = [at for at, _ in reported[:-1]]
        assert all(after - before >= EVERY_S for before, after in itertools.pairwise(times))


def test_a_value_that_came_too_early_is_reported_without_another_call() -> None:
    reported: list[float] = []
    reports = ProgressReports(lambda progress: reported.append(progress.done))
    for done in range(100):
        reports.add(Progress(done))
    wait_until(lambda: reported == [0, 99], "the last value")
    reports.end()
    assert reported == [0, 99]
