"""How a worker divides its executors among its queues: a model of the worker in simulated time.

The model's executors have one job at a time, and its takers use the share of their queue as
`zoolet.jobs.worker.taker` does. Nothing wakes a taker but the events that wake a real one. So if a
wake-up is missing, an executor stays idle although jobs wait, and the model finds it.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.worker.jobs_in_hand import JobsInHand
from zoolet.jobs.worker.queue_shares import QueueShares, level_after

DRAFT = Job.draft(JobRequest("m:f"), "s-0", 0)
FORGET_SHARE = 0.6


class Queue:
    """A queue of the model."""

    def __init__(self, weight: int, duration_s: Callable[[], float], waiting: int = 0) -> None:
        self.weight = weight
        self.duration_s = duration_s
        self.waiting = waiting
        self.useless = 0
        """The number of next tries in which the queue takes no job, although jobs wait."""
        self.is_blind = False
        """Whether the queue finds no job now, although jobs wait."""
        self.hands = JobsInHand()
        self.given = 0
        self.used_s = 0.0


class Model:
    """A worker in simulated time."""

    def __init__(self, queues: Sequence[Queue], executors: int, seed: int = 0) -> None:
        self.queues = queues
        self.executors = executors
        self.chance = random.Random(seed)
        self.now = 0.0
        self.shares = QueueShares([queue.weight for queue in queues], lambda: self.now)
        self.woken: set[int] = set()
        self.events: list[tuple[float, int, int, str, float]] = []
        """The ends of attempts: time, executor, queue, job, beginning."""
        self.order: list[int] = []
        """The queues in the order in which they got executors."""
        for number, queue in enumerate(queues):
            self.shares.queues[number].open(queue.hands, partial(self.woken.add, number))
        self.woken.update(range(len(queues)))

    def submit(self, number: int, count: int) -> None:
        self.queues[number].waiting += count
        self.woken.add(number)

    def settle(self) -> None:
        """Let the woken takers look for jobs, in random order, until none is woken."""
        tries = 0
        while self.woken:
            number = self.chance.choice(sorted(self.woken))
            self.woken.discard(number)
            self.look(number)
            tries += 1
            assert tries < 10_000, "the takers wake each other for ever"
        waiting = [n for n, queue in enumerate(self.queues) if queue.waiting and not queue.is_blind]
        if waiting:
            assert not self.free(), f"an executor is idle although jobs wait in {waiting}"

    def free(self) -> list[int]:
        return [e for e in range(self.executors) if not any(q.hands.load(e) for q in self.queues)]

    def look(self, number: int) -> None:
        queue, share = self.queues[number], self.shares.queues[number]
        with share.turn():
            rooms = self.free()
            if not rooms:
                if not queue.waiting and number not in self.woken:
                    share.passes(is_idle=True)
                return
            if not share.may_take():
                return
            most = share.part_of(len(rooms))
            assert 1 <= most <= len(rooms)
            if queue.is_blind or not queue.waiting:
                if number not in self.woken:
                    share.passes(is_idle=not queue.waiting)
                return
            self.woken.add(number)
            if queue.useless:
                queue.useless -= 1
                share.took(0)
                return
            taken = self.chance.sample(rooms, min(most, queue.waiting))
            for executor in taken:
                self.give(number, executor)
            share.took(len(taken))

    def give(self, number: int, executor: int) -> None:
        queue, share = self.queues[number], self.shares.queues[number]
        name = f"{number}/job-{queue.given}"
        queue.given += 1
        queue.waiting -= 1
        queue.hands.put(DRAFT._replace(name=name), executor)
        share.began(name)
        self.order.append(number)
        end = self.now + queue.duration_s()
        heapq.heappush(self.events, (end, executor, number, name, self.now))

    def step(self) -> None:
        """Let the next attempt end."""
        self.now, _, number, name, began = heapq.heappop(self.events)
        queue, share = self.queues[number], self.shares.queues[number]
        took_s = self.now - began
        queue.used_s += took_s
        share.ended(name)
        share.typical_s = max(took_s, FORGET_SHARE * share.typical_s)
        held = queue.hands.get(name)
        assert held is not None
        queue.hands.end(held)
        queue.hands.drop([held])
        self.woken.add(number)
        self.shares.wake_first()
        self.settle()

    def run(self, count: int) -> None:
        """Let takers look, and then let attempts end."""
        self.settle()
        for _ in range(count):
            if self.events:
                self.step()

    def used(self) -> list[float]:
        """Return the time for which each queue has used executors, also for running attempts."""
        found = [queue.used_s for queue in self.queues]
        for _, _, number, _, began in self.events:
            found[number] += self.now - began
        return found


def one_second() -> float:
    return 1.0


@pytest.mark.parametrize("executors", [1, 2, 3, 4, 8])
def test_jobs_of_the_same_duration_run_in_proportion_to_the_weights(executors: int) -> None:
    model = Model([Queue(3, one_second, 10**6), Queue(1, one_second, 10**6)], executors)
    model.run(1000)
    counts = Counter(model.order)
    assert counts[0] / counts[1] == pytest.approx(3.0, rel=0.03)


def test_free_executors_are_divided_by_the_weights_at_once() -> None:
    model = Model([Queue(3, one_second, 100), Queue(1, one_second, 100)], 8)
    model.settle()
    assert Counter(model.order) == {0: 6, 1: 2}


def test_long_jobs_do_not_get_more_of_the_executors_than_short_ones() -> None:
    model = Model([Queue(1, lambda: 10.0, 10**6), Queue(1, lambda: 0.01, 10**6)], 4)
    model.run(8000)
    long_s, short_s = model.used()
    assert long_s / short_s == pytest.approx(1.0, rel=0.1)


def test_the_first_long_jobs_do_not_get_all_executors() -> None:
    """Their duration is not known yet: what they have used so far counts."""
    model = Model([Queue(1, lambda: 1000.0, 10**6), Queue(1, lambda: 0.01, 10**6)], 4)
    model.run(2000)
    assert model.now < 1000.0
    assert len(model.queues[0].hands.all()) in {2, 3}


def test_the_share_of_an_empty_queue_goes_to_the_others() -> None:
    model = Model([Queue(8, one_second), Queue(1, one_second, 10**6), Queue(1, one_second)], 4)
    model.run(100)
    assert Counter(model.order) == {1: 104}


def test_a_queue_that_was_empty_gets_no_more_than_its_share_later() -> None:
    model = Model([Queue(1, one_second), Queue(1, one_second, 10**6)], 2)
    model.run(1000)
    model.submit(0, 10**6)
    before = len(model.order)
    model.run(200)
    later = Counter(model.order[before:])
    assert later[0] == pytest.approx(100, abs=2)


def test_a_queue_that_found_no_job_for_a_moment_catches_up_a_little() -> None:
    model = Model([Queue(1, lambda: 0.1, 10**6), Queue(1, lambda: 0.1, 10**6)], 2)
    model.run(100)
    model.queues[0].is_blind = True
    model.run(1000)
    model.queues[0].is_blind = False
    model.woken.add(0)
    before = len(model.order)
    model.run(100)
    later = Counter(model.order[before:])
    # It may catch up 1 s of executors' time, which are 10 jobs.
    assert 50 <= later[0] <= 50 + 5 + 3


@pytest.mark.parametrize("was_idle", [False, True])
def test_a_wrong_expectation_costs_a_queue_nothing_later(was_idle: bool) -> None:
    """After one long job, the next 100 jobs of a queue are expected to be as long for a moment."""
    shares = QueueShares([1, 1], lambda: 0.0)
    first, second = shares.queues
    for share in shares.queues:
        share.open(JobsInHand(), lambda: None)
    with first.turn():
        first.passes(is_idle=was_idle)
    with second.turn():
        for number in range(100):
            second.hands.put(DRAFT._replace(name=f"1/{number}"), 0)
        second.typical_s = 1.0
        second.took(50)
    second.typical_s = 0.001
    with first.turn():
        assert first.lifted == 0.0
        assert first.may_take()


def test_the_smallest_weight_does_not_starve() -> None:
    model = Model([Queue(1000, one_second, 10**6), Queue(1, one_second, 10**6)], 1)
    model.run(3005)
    assert 3 <= Counter(model.order)[1] <= 5


def test_a_queue_that_takes_nothing_lets_the_other_queues_take() -> None:
    """All jobs of the first queue wait for a limit: it takes none, and does not delay the other."""
    queues = [Queue(1000, one_second, 10**6), Queue(1, one_second, 10**6)]
    model = Model(queues, 2)
    queues[0].useless = 500
    model.settle()
    assert Counter(model.order)[1] >= 1
    assert queues[0].useless >= 498


@pytest.mark.parametrize(
    ("total_s", "queues", "level"),
    [
        (8.0, [(0.0, 3), (0.0, 1)], 2.0),
        (8.0, [(5.0, 3), (1.0, 2)], 5.0),
        (8.0, [(100.0, 3), (1.0, 2)], 5.0),
        (9.0, [(3.0, 1), (0.0, 1), (1.0, 1)], 13 / 3),
        (0.0, [(3.0, 1), (2.0, 1)], 2.0),
    ],
)
def test_free_time_raises_the_lowest_level_first(
    total_s: float, queues: list[tuple[float, int]], level: float
) -> None:
    assert level_after(total_s, queues) == pytest.approx(level)


def test_a_queue_that_is_behind_takes_more_at_once() -> None:
    model = Model([Queue(3, one_second, 10**6), Queue(1, one_second)], 9)
    model.run(40)
    [first, second] = model.shares.queues
    with second.turn():
        assert second.may_take()
        second.typical_s = 1.0
        assert second.part_of(7) == 2
        # The second queue is behind by 4/3 already: four attempts of the first have just begun.
        first.lifted += 2.0
        assert second.part_of(3) == 3
        assert second.part_of(7) == 4
    with first.turn():
        assert not first.may_take()


def test_a_closed_queue_does_not_delay_the_others() -> None:
    model = Model([Queue(5, one_second, 10), Queue(1, one_second, 10**6)], 2)
    model.settle()
    model.shares.queues[0].close()
    model.woken.discard(0)
    model.queues[0].waiting = 0
    before = len(model.order)
    model.run(20)
    assert set(model.order[before:]) == {1}


def test_a_closed_queue_does_not_claim_in_a_turn_that_it_still_has() -> None:
    shares = QueueShares([5, 1])
    closed, other = shares.queues
    woken = []
    closed.open(JobsInHand(), lambda: None)
    other.open(JobsInHand(), lambda: woken.append("other"))
    with closed.turn():
        closed.close()
        assert woken == ["other"]
        assert not closed.may_take()
        assert 1 <= closed.part_of(6) <= 6
        closed.took(0)
    with closed.turn():
        assert not closed.may_take()
    with other.turn():
        assert other.may_take()
        assert other.part_of(6) == 6
    closed.open(JobsInHand(), lambda: None)
    with other.turn():
        assert other.part_of(6) == 1


def test_a_single_queue_may_always_take_all() -> None:
    shares = QueueShares([7])
    share = shares.queues[0]
    share.open(JobsInHand(), lambda: pytest.fail("a single queue needs no wake-up"))
    for count in (0, 3, 0):
        with share.turn():
            assert share.may_take()
            assert share.part_of(12) == 12
            share.took(count)
    assert share.is_alone
    assert share.load_of_others(0) == 0


def test_the_load_of_other_queues_counts_by_its_time() -> None:
    shares = QueueShares([1, 1])
    short, long = shares.queues
    for share in shares.queues:
        share.open(JobsInHand(), lambda: None)
    short.typical_s, long.typical_s = 0.01, 10.0
    for number in range(5):
        short.hands.put(DRAFT._replace(name=f"0/{number}"), 1)
    assert [long.load_of_others(0), long.load_of_others(1)] == [0, 1]
    long.hands.put(DRAFT._replace(name="1/1"), 0)
    assert [short.load_of_others(0), short.load_of_others(1)] == [1000, 0]


def durations(chance: random.Random) -> Callable[[], float]:
    typical_s = 10 ** chance.uniform(-0.7, 0.5)
    return lambda: typical_s * chance.uniform(0.5, 1.5)


@pytest.mark.parametrize("seed", range(15))
def test_the_shares_of_random_queues_with_many_jobs(seed: int) -> None:
    chance = random.Random(seed)
    queues = [
        Queue(chance.randint(1, 10), durations(chance), 10**9) for _ in range(chance.randint(2, 5))
    ]
    model = Model(queues, chance.randint(1, 6), seed)
    while model.now < 300.0:
        model.run(10)
    used = model.used()
    total, weights = sum(used), sum(queue.weight for queue in queues)
    assert total == pytest.approx(model.now * model.executors)
    # A queue may be ahead or behind by a few of the longest jobs.
    slack_s = 3 * 5.0 * (model.executors + len(queues))
    for queue, used_s in zip(queues, used, strict=True):
        assert used_s == pytest.approx(total * queue.weight / weights, abs=slack_s)


@pytest.mark.parametrize("seed", range(20))
def test_no_executor_is_idle_and_no_queue_starves_whatever_happens(seed: int) -> None:
    """Jobs come in bursts, some tries take nothing, and queues find no jobs for a while."""
    chance = random.Random(seed)
    queues = [Queue(chance.randint(1, 50), durations(chance)) for _ in range(chance.randint(2, 5))]
    model = Model(queues, chance.randint(1, 6), seed)
    for _ in range(400):
        number = chance.randrange(len(queues))
        queue = queues[number]
        match chance.randrange(8):
            case 0:
                model.submit(number, chance.randint(1, 40))
            case 1:
                queue.useless += chance.randint(1, 3)
            case 2:
                queue.is_blind = not queue.is_blind
                model.woken.add(number)
            case _:
                model.run(1)
        model.settle()
    for number, queue in enumerate(queues):
        queue.is_blind, queue.useless = False, 0
        model.submit(number, 1)
    waiting = sum(queue.waiting for queue in queues)
    model.run(waiting + model.executors + 1)
    assert [queue.waiting for queue in queues] == [0] * len(queues)
    assert sum(queue.given for queue in queues) == len(model.order)
