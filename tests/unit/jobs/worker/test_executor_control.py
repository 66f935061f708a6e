"""Executors are replaced, started and stopped: examples, and random events with a model."""

import random
from collections.abc import Callable, Iterable, Sequence

import pytest

from zoolet.jobs.errors import ExecutorError, InvalidJobError
from zoolet.jobs.execution.attempts import Work
from zoolet.jobs.execution.executors import Executor
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_names import Group
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.worker.executor_control import SCALE_AFTER_S, ExecutorControl, ExecutorLimits
from zoolet.jobs.worker.executor_group import ExecutorGroup
from zoolet.jobs.worker.jobs_in_hand import JobsInHand
from zoolet.jobs.worker.queue_executors import QueueExecutors

MIB = 1 << 20


class FakeExecutor(Executor):
    """An executor whose attempts a test ends. The first job that it has is the running job."""

    def __init__(self, stage: "Stage", version: int) -> None:
        self._stage = stage
        self.version = version
        self.jobs: list[str] = []
        self.attempts = 0
        self.memory_bytes = 0
        self.groups: frozenset[Group] = frozenset()
        self.can_attempt = self.is_stopped = False
        self.failure: Exception | None = None

    def start(self) -> None:
        """Do nothing: `wait_until_ready` is called later."""

    def wait_until_ready(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.can_attempt = not self.is_stopped

    def give(self, works: Sequence[Work]) -> None:
        assert not self.is_stopped
        self.jobs += [work.name for work in works]

    def permit(self, name: str) -> None:
        """Do nothing: no job is careful."""

    def abandon(self, names: Iterable[str]) -> None:
        self.jobs = [name for name in self.jobs if name not in set(names)]

    def recall(self) -> None:
        returned, self.jobs = self.jobs[1:], self.jobs[:1]
        for name in returned:
            self._stage.end(name)
            self._stage.control.returned(self._stage.number_of(self))

    def is_stuck(self) -> bool:
        return not self.can_attempt

    def is_ready(self) -> bool:
        return self.can_attempt

    def held(self) -> frozenset[Group]:
        return self.groups

    def resident_bytes(self) -> int:
        return self.memory_bytes

    def has_ended(self) -> bool:
        return self.is_stopped

    def stop(self) -> None:
        assert not self.jobs, "an executor was stopped that had a job"
        self.is_stopped = True

    def join(self) -> None:
        """Do nothing."""


class Stage:
    """A group of executors and its control, on a clock that a test sets."""

    def __init__(self, limits: ExecutorLimits) -> None:
        self.limits = limits
        self.now = 1000.0
        self.version = 1
        self.broken = False
        self.made: list[FakeExecutor] = []
        self.starting: list[Callable[[], None]] = []
        self.failures: list[BaseException] = []
        self.waits: list[str] = []
        self.hands = JobsInHand()
        self.group = ExecutorGroup(limits.jobs, clock=lambda: self.now)
        self.group.join(self.hands)
        self.queue = QueueExecutors(self.group, self.hands)
        self.control = ExecutorControl(
            self.group,
            limits,
            make=self.make,
            on_ready=lambda: None,
            on_scaled=lambda: None,
            on_failure=self.failures.append,
            clock=lambda: self.now,
            start_thread=self.starting.append,
        )
        self.group.start([self.make() for _ in range(limits.least)])
        self._count = 0

    def make(self) -> FakeExecutor:
        made = FakeExecutor(self, self.version)
        if self.broken:
            made.failure = ExecutorError("the code is broken")
        self.made.append(made)
        return made

    @property
    def executors(self) -> list[FakeExecutor]:
        return [one for one in self.group.executors.values() if isinstance(one, FakeExecutor)]

    @property
    def running(self) -> list[FakeExecutor]:
        return [one for one in self.made if not one.is_stopped and one.failure is None]

    def number_of(self, executor: FakeExecutor) -> int:
        return next(n for n, one in self.group.executors.items() if one is executor)

    def finish_starts(self) -> None:
        starting, self.starting[:] = list(self.starting), []
        for wait_until_ready in starting:
            wait_until_ready()

    def settle(self) -> None:
        """Let the control look until no executor is being started."""
        self.control.look()
        while self.starting:
            self.finish_starts()
            self.control.look()

    def submit(self) -> str:
        self._count += 1
        self.waits.append(f"entry-000-d:{self._count}-{self._count:010d}")
        return self.waits[-1]

    def take(self, ahead: int = 1, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Take jobs as a worker does, and report how many jobs wait in vain.

        ``meanwhile`` happens after the choice of the executors, before they get the jobs.
        """
        given: dict[int, list[Job]] = {}
        for number, executor in self.group.open().items():
            room = ahead - self.hands.load(number)
            if self.group.limits_jobs:
                room = min(room, self.group.jobs_left(number))
            taken = [] if executor.is_stuck() else self.waits[: max(0, room)]
            if taken:
                del self.waits[: len(taken)]
                given[number] = [_job(name) for name in taken]
        meanwhile()
        self.waits += [job.name for job in self.queue.give(given)]
        self.control.note_waiting(len(self.waits) if self.control.wants_waiting else 0)

    def end(self, name: str, *, returns: bool = True) -> None:
        held = self.hands.get(name)
        assert held is not None
        self.hands.end(held)
        self.hands.drop([held])
        if returns:
            self.waits.append(name)

    def finish(self, executor: FakeExecutor) -> str:
        """End the running job of an executor."""
        name = executor.jobs.pop(0)
        executor.attempts += 1
        self.end(name, returns=False)
        self.control.ended(self.number_of(executor))
        return name


def _job(name: str) -> Job:
    return Job.draft(JobRequest("m:f"), "s-0", 0)._replace(name=name)


def test_an_executor_is_replaced_after_its_last_job() -> None:
    stage = Stage(ExecutorLimits(jobs=2))
    [first] = stage.executors
    for _ in range(3):
        stage.submit()
    stage.take(ahead=10)
    assert len(first.jobs) == 2
    stage.finish(first)
    stage.settle()
    assert stage.executors == [first]
    stage.finish(first)
    stage.settle()
    assert first.is_stopped
    [second] = stage.executors
    stage.take(ahead=10)
    assert len(second.jobs) == 1


def test_an_executor_with_too_much_memory_returns_its_jobs_except_the_running_job() -> None:
    stage = Stage(ExecutorLimits(memory_bytes=10 * MIB))
    [first] = stage.executors
    for _ in range(3):
        stage.submit()
    stage.take(ahead=10)
    stage.finish(first)
    assert len(first.jobs) == 2
    first.memory_bytes = 11 * MIB
    stage.finish(first)
    stage.settle()
    stage.take(ahead=10)
    assert len(first.jobs) == 1
    stage.finish(first)
    stage.settle()
    assert first.is_stopped
    assert len(stage.executors) == 1


def test_a_reload_replaces_idle_executors_now_and_busy_executors_later() -> None:
    stage = Stage(ExecutorLimits(2, 2))
    stage.submit()
    stage.take()
    [busy] = [one for one in stage.executors if one.jobs]
    stage.version = 2
    stage.control.reload()
    stage.settle()
    assert sorted(one.version for one in stage.executors) == [1, 2]
    assert stage.control.is_reloading
    stage.finish(busy)
    stage.settle()
    assert [one.version for one in stage.executors] == [2, 2]
    assert not stage.control.is_reloading


def test_code_that_cannot_be_loaded_replaces_nothing() -> None:
    stage = Stage(ExecutorLimits(2, 2))
    before = stage.executors
    stage.broken = True
    stage.control.reload()
    stage.settle()
    assert stage.executors == before
    assert not stage.failures
    assert not stage.control.is_reloading
    assert not stage.group.retiring


def test_a_replacement_that_cannot_be_started_ends_the_worker() -> None:
    stage = Stage(ExecutorLimits(jobs=1))
    stage.submit()
    stage.take()
    stage.broken = True
    stage.finish(stage.executors[0])
    stage.settle()
    assert [str(failure) for failure in stage.failures] == ["the code is broken"]


def test_executors_follow_the_waiting_jobs_within_the_limits() -> None:
    stage = Stage(ExecutorLimits(1, 3, idle_s=10.0))
    for _ in range(5):
        stage.submit()
    stage.take()
    stage.settle()
    assert len(stage.executors) == 1, "jobs that wait only for a moment start no executor"
    stage.now += SCALE_AFTER_S
    stage.settle()
    assert len(stage.executors) == 3
    stage.take()
    assert [len(one.jobs) for one in stage.executors] == [1, 1, 1]
    stage.waits.clear()
    stage.executors[1].groups = frozenset({("d", "1")})
    for executor in stage.executors:
        stage.finish(executor)
    stage.take()
    stage.settle()
    assert len(stage.executors) == 3
    with_group = stage.executors[1]
    stage.now += 10.0
    stage.settle()
    assert stage.executors == [with_group], "the executor that has loaded data is kept"


def test_the_jobs_of_a_stopped_executor_exceed_no_limit_of_another() -> None:
    stage = Stage(ExecutorLimits(1, 2, 3, None, idle_s=5.0))
    for _ in range(7):
        stage.submit()
    stage.take()
    stage.now += SCALE_AFTER_S
    stage.settle()
    first, second = stage.executors
    stage.finish(first)

    def stop_the_idle_one() -> None:
        stage.now += 6.0
        stage.settle()

    stage.take(3, stop_the_idle_one)
    assert second.is_stopped or first.is_stopped
    assert all(one.attempts + len(one.jobs) <= 3 for one in stage.made)
    assert len(stage.waits) + sum(len(one.jobs) + one.attempts for one in stage.made) == 7


def test_jobs_that_soon_find_room_start_no_executor() -> None:
    stage = Stage(ExecutorLimits(1, 3))
    for _ in range(2):
        stage.submit()
    stage.take()
    stage.settle()
    stage.finish(stage.executors[0])
    stage.take()
    stage.finish(stage.executors[0])
    stage.take()
    stage.now += 2 * SCALE_AFTER_S
    stage.settle()
    assert len(stage.executors) == 1


@pytest.mark.parametrize(
    ("least", "most", "message"),
    [(None, 1, "less than the minimum"), (5, 4, "less than the minimum"), (0, 4, "at least 1")],
)
def test_limits_that_contradict_each_other_are_refused(
    least: int | None, most: int | None, message: str
) -> None:
    with pytest.raises(InvalidJobError, match=message):
        ExecutorLimits.of(2, least, most, None, None)


@pytest.mark.parametrize("seed", range(30))
def test_random_events_lose_no_job_and_keep_the_limits(seed: int) -> None:
    chance = random.Random(seed)
    least = chance.randrange(1, 4)
    limits = ExecutorLimits(
        least,
        least + chance.randrange(3),
        chance.choice([None, 1, 3]),
        chance.choice([None, 10 * MIB]),
        idle_s=chance.choice([0.1, 5.0]),
    )
    stage = Stage(limits)
    submitted: set[str] = set()
    ended: list[str] = []
    for _ in range(300):
        _one_event(stage, chance, submitted, ended)
        _check(stage, submitted, ended)
    stage.broken = False
    while len(ended) < len(submitted):
        stage.settle()
        stage.take()
        ended += [stage.finish(one) for one in stage.executors if one.jobs]
    stage.settle()
    _check(stage, submitted, ended)
    assert not stage.control.is_reloading
    assert len(stage.running) == len(stage.executors), "a process was left running"


def _one_event(stage: Stage, chance: random.Random, submitted: set[str], ended: list[str]) -> None:
    event = chance.randrange(8)
    busy = [one for one in stage.executors if one.jobs]
    if event == 0:
        submitted.update(stage.submit() for _ in range(chance.randrange(1, 5)))
    elif event == 1:
        meanwhile = chance.choice([lambda: None, lambda: _replace_executors(stage, chance)])
        stage.take(chance.choice([1, 1, 5]), meanwhile)
    elif event == 2 and busy:
        ended.append(stage.finish(chance.choice(busy)))
    elif event == 3:
        stage.now += chance.choice([0.01, 0.3, 6.0])
    elif event == 4:
        stage.control.look()
    elif event == 5:
        stage.finish_starts()
    elif event == 6 and chance.random() < 0.2:
        stage.version += 1
        # The first executor with broken code must not be used. If the code is broken later, the
        # worker fails.
        stage.control.look()
        stage.broken = not stage.control.is_reloading and chance.random() < 0.3
        stage.control.reload()
        stage.control.look()
        stage.finish_starts()
        stage.broken = False
    elif event == 7 and busy:
        chance.choice(busy).memory_bytes = chance.choice([0, 11 * MIB])


def _replace_executors(stage: Stage, chance: random.Random) -> None:
    """Let the control replace or stop executors while the worker waits for the server."""
    if chance.random() < 0.5:
        stage.now += 6.0
    if stage.executors and chance.random() < 0.5:
        chance.choice(stage.executors).memory_bytes = 11 * MIB
        stage.control.reload()
    stage.settle()


def _check(stage: Stage, submitted: set[str], ended: list[str]) -> None:
    having = [name for one in stage.made for name in one.jobs]
    assert sorted([*having, *stage.waits, *ended]) == sorted(submitted), "a job was lost or doubled"
    assert stage.limits.least <= len(stage.executors) <= stage.limits.most
    assert sum(bool(one.jobs) for one in stage.made) <= stage.limits.most
    assert len(stage.running) <= stage.limits.most + 1
    assert not stage.failures
    if stage.limits.jobs is not None:
        assert all(one.attempts + len(one.jobs) <= stage.limits.jobs for one in stage.made)
