"""Changes of many jobs: counted first, interrupted and continued, each job changed one time."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, assert_in_one_place
from tests.support.waiting import wait_until
from zoolet.jobs import (
    Dispatcher,
    Job,
    JobFilter,
    JobRequest,
    JobState,
    Limit,
    Place,
    UnknownLimitError,
)
from zoolet.jobs.housekeeping.limit_releases import LimitReleaser
from zoolet.jobs.queue.changing import ChangeProgress, JobChanges
from zoolet.jobs.queue.moves import Move, Mover
from zoolet.jobs.queue.pausing import PauseKind
from zoolet.jobs.records.job_changes import JobChange


class InterruptionError(Exception):
    """The end of a program in the middle of a change."""


@pytest.fixture
def local(client: KazooClient) -> Iterator[Dispatcher]:
    """A dispatcher whose queue has a worker ``w`` in the test."""
    with Dispatcher(client, ROOT, create=True) as found:
        assert found.queue.register("w")
        yield found


@pytest.fixture
def changes(local: Dispatcher) -> JobChanges:
    return JobChanges(local.queue)


def submit(local: Dispatcher, count: int, task: str = "m:f", **values: Any) -> list[str]:
    requests = [JobRequest(task, max_attempts=1, **values) for _ in range(count)]
    return local.submit_batch(requests, reuse=False).names


def names_in(local: Dispatcher, place: Place) -> list[str]:
    return sorted(name.name for name in local.queue.layout.names(place))


def test_jobs_are_cancelled_by_filter(local: Dispatcher, changes: JobChanges) -> None:
    queue = local.queue
    running = submit(local, 2)
    for name in running:
        queue.update_state(queue.own_job(name, "w"), JobState.RUNNING)
    waiting = submit(local, 60, dataset="d", groupid="1")
    later = submit(local, 1, not_before_ms=queue.clock_ms() + 10**6)
    other = submit(local, 3, "m:g")
    [done] = submit(local, 1)
    queue.finish(queue.own_job(done, "w"), 1)
    before = queue.control().cancellations
    for selected, expected in (
        (JobFilter(task="m:g"), other),
        (JobFilter(state=JobState.RUNNING), running),
        (JobFilter(dataset="d"), waiting),
        (JobFilter(state=JobState.SUCCESSFUL), []),
        (JobFilter(), later),
    ):
        assert changes.count(JobChange.CANCEL, selected).jobs == len(expected)
        changed: list[Job] = []
        made = changes.make(JobChange.CANCEL, selected, on_changed=changed.append)
        assert (made.jobs, made.skipped, made.is_continued) == (len(expected), 0, False)
        assert sorted(job.name for job in changed) == sorted(expected)
    assert queue.control().cancellations == before + 1
    assert {queue.find(name).last_error for name in waiting} == {"it was cancelled"}
    assert queue.find(done).state is JobState.SUCCESSFUL
    assert changes.unfinished() == []


def test_a_change_leaves_out_jobs_that_came_after_the_count(
    local: Dispatcher, changes: JobChanges
) -> None:
    old = submit(local, 3)
    at_ms = local.queue.server_time_ms() + 1
    local.queue.clock_ms = lambda: at_ms + 1000
    count = changes.count(JobChange.CANCEL, JobFilter())._replace(at_ms=at_ms)
    new = [one.name for one in local.queue.submit([JobRequest("m:f")] * 2, reuse=False)]
    made = changes.make(JobChange.CANCEL, JobFilter(), began_ms=count.at_ms)
    assert made.jobs == count.jobs == 3
    assert names_in(local, Place.DONE) == sorted(old)
    assert names_in(local, Place.UNOWNED) == sorted(new)


def test_a_wrong_clock_of_a_submitter_keeps_no_job_from_a_cancellation(
    local: Dispatcher, changes: JobChanges
) -> None:
    ahead_ms = local.queue.server_time_ms() + 10**6
    local.queue.clock_ms = lambda: ahead_ms
    names = [one.name for one in local.queue.submit([JobRequest("m:f")] * 3, reuse=False)]
    assert {job.submitted_ms for job in local.queue.waiting()} == {ahead_ms}
    assert changes.make(JobChange.CANCEL, JobFilter()).jobs == len(names)


def test_a_job_that_was_changed_meanwhile_is_skipped_and_counted(
    local: Dispatcher, changes: JobChanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = submit(local, 5)
    move = Mover.move

    def late(self: Mover, moves: Any, *arguments: Any) -> list[Move]:
        monkeypatch.undo()
        local.queue.own_job(names[0], "w")
        return move(self, moves, *arguments)

    monkeypatch.setattr(Mover, "move", late)
    found = changes.make(JobChange.CANCEL, JobFilter(state=JobState.PENDING))
    assert (found.jobs, found.skipped) == (4, 1)
    assert names_in(local, Place.OWNED) == [names[0]]


class Interrupter:
    """Interrupts the moves of a change at random, and lets another user change jobs back."""

    def __init__(self, local: Dispatcher, change: JobChange, seed: int) -> None:
        self.changed: Counter[str] = Counter()
        self.now_ms = local.queue.server_time_ms() + 10
        self._chance = random.Random(seed)
        self._queue = local.queue
        self._change = change
        self._must_interrupt = True
        self._move = Mover.move
        self._is_other = False

    def move(self, mover: Mover, moves: Any, *arguments: Any) -> list[Move]:
        if self._is_other:
            return self._move(mover, moves, *arguments)
        if self._chance.random() < 0.4:
            self._must_interrupt = False
            raise InterruptionError
        made = self._move(mover, moves, *arguments)
        names = [one.before.name for one in made]
        self.changed.update(names)
        self._change_back(names[:5])
        if self._must_interrupt or self._chance.random() < 0.2:
            self._must_interrupt = False
            raise InterruptionError
        return made

    def _change_back(self, names: list[str]) -> None:
        self._is_other = True
        self.now_ms += 1
        for name in names:
            if self._change is JobChange.RETRY:
                self._queue.cancel([name])
            elif self._change is JobChange.CANCEL:
                self._queue.retry(name)
        self._is_other = False


@pytest.mark.parametrize("change", JobChange)
@pytest.mark.parametrize("seed", range(3))
def test_an_interrupted_change_continues_and_changes_each_job_once(
    local: Dispatcher,
    changes: JobChanges,
    monkeypatch: pytest.MonkeyPatch,
    change: JobChange,
    seed: int,
) -> None:
    queue, selected = local.queue, JobFilter(task="m:f")
    names = submit(local, 230)
    if change is JobChange.RETRY:
        queue.cancel(names)
    interrupter = Interrupter(local, change, seed)
    queue.clock_ms = lambda: interrupter.now_ms
    assert changes.count(change, selected).jobs == len(names)

    def interrupted(self: Mover, *arguments: Any) -> list[Move]:
        return interrupter.move(self, *arguments)

    monkeypatch.setattr(Mover, "move", interrupted)
    while True:
        try:
            found = changes.make(change, selected, began_ms=interrupter.now_ms)
        except InterruptionError:
            [left] = changes.unfinished()
            assert (left.change, left.selected and left.selected.task) == (change, "m:f")
        else:
            break
    monkeypatch.undo()
    assert found.is_continued
    assert interrupter.changed == Counter(names)
    assert changes.unfinished() == []
    assert_in_one_place(queue, names)


def test_an_interruption_by_the_caller_is_continued(local: Dispatcher, changes: JobChanges) -> None:
    submit(local, 120)
    seen: list[ChangeProgress] = []

    def stop(progress: ChangeProgress) -> None:
        seen.append(progress)
        if len(seen) == 1:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        changes.make(JobChange.CANCEL, JobFilter(), stop)
    [left] = changes.unfinished()
    assert left.selected is not None
    found = changes.make(left.change, left.selected, stop)
    assert seen[0].jobs + found.jobs == 120
    assert found.is_continued
    assert found.began_ms == left.began_ms


def test_a_change_that_is_given_up_begins_again(local: Dispatcher, changes: JobChanges) -> None:
    names = submit(local, 60)

    def stop(_: ChangeProgress) -> None:
        raise InterruptionError

    with pytest.raises(InterruptionError):
        changes.make(JobChange.CANCEL, JobFilter(), stop)
    changes.forget(JobChange.CANCEL, JobFilter())
    assert changes.unfinished() == []
    found = changes.make(JobChange.CANCEL, JobFilter())
    assert (found.jobs, found.is_continued) == (len(names) - 50, False)


def release_until(local: Dispatcher, expected: list[str]) -> None:
    """Do the housekeeping of limits until these jobs are in unowned."""
    releaser = LimitReleaser(local.queue, lambda: None)

    def look() -> bool:
        releaser.release()
        return names_in(local, Place.UNOWNED) == sorted(expected)

    wait_until(look, "the jobs of a pause that was ended")


def test_selected_jobs_are_paused_until_the_pause_ends(
    local: Dispatcher, changes: JobChanges
) -> None:
    queue = local.queue
    paused = submit(local, 60, dataset="d", groupid="1")
    later = submit(local, 1, dataset="d", groupid="2", not_before_ms=queue.clock_ms() + 10**7)
    others = submit(local, 2)
    first = local.submit_batch([JobRequest("m:f")], name="first")
    chained = local.submit_batch([JobRequest("m:g", "d", "3")], name="next", after="first").names
    selected = JobFilter(dataset="d")
    made = changes.make(JobChange.PAUSE, selected)
    assert (made.jobs, made.skipped) == (61, 1)
    assert names_in(local, Place.UNOWNED) == sorted([*others, *first.names])
    [pause] = queue.pauses.all()
    assert (pause.kind, pause.waiting) == (PauseKind.JOBS, 61)
    assert "dataset d" in pause.text
    release_until(local, [*others, *first.names])
    assert names_in(local, Place.DEFERRED) == sorted([*paused, *later, *chained])
    assert changes.make(JobChange.PAUSE, selected).jobs == 0
    # A new job of the dataset is not selected.
    [new] = submit(local, 1, dataset="d", groupid="1")
    assert queue.own_job(new, "w").name == new
    queue.pauses.end(pause.kind, pause.name)
    assert queue.pauses.all() == []
    release_until(local, [*paused, *later, *others, *first.names])
    # The same jobs can be paused again.
    assert changes.make(JobChange.PAUSE, selected).jobs == 61


def test_a_pause_that_was_ended_is_not_continued(local: Dispatcher, changes: JobChanges) -> None:
    submit(local, 120)

    def stop(_: ChangeProgress) -> None:
        raise InterruptionError

    with pytest.raises(InterruptionError):
        changes.make(JobChange.PAUSE, JobFilter(), stop)
    [pause] = local.queue.pauses.all()
    local.queue.pauses.end(pause.kind, pause.name)
    assert changes.make(JobChange.PAUSE, JobFilter())[0] == 0
    assert changes.unfinished() == []
    assert changes.make(JobChange.PAUSE, JobFilter()).jobs > 0


def test_a_task_is_paused_also_for_later_jobs(local: Dispatcher) -> None:
    queue = local.queue
    queue.limits.add(Limit("other", concurrent=5))
    name = queue.pauses.add_task("m:f")
    names = submit(local, 3)
    [other] = submit(local, 1, "m:g")
    taken = queue.own_jobs([*names, other], "w")
    assert [job.name for job in taken.owned] == [other]
    assert names_in(local, Place.DEFERRED) == sorted(names)
    release_until(local, [])
    assert names_in(local, Place.DEFERRED) == sorted(names)
    [pause] = queue.pauses.all()
    assert pause == (PauseKind.TASK, name, "task m:f", 3)
    with pytest.raises(UnknownLimitError):  # a limit that pauses nothing stays
        queue.pauses.end(PauseKind.TASK, "other")
    queue.pauses.end(PauseKind.TASK, name)
    release_until(local, names)


def test_pauses_of_several_programs_do_not_replace_each_other(
    local: Dispatcher, other_client: KazooClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Dispatcher(other_client, ROOT).queue
    znodes = type(local.queue.layout.znodes)
    multi = znodes.multi

    def late(self: Any, *arguments: Any, **values: Any) -> Any:
        monkeypatch.undo()
        other.pause("b")
        return multi(self, *arguments, **values)

    monkeypatch.setattr(znodes, "multi", late)
    local.queue.pause("a")
    assert local.queue.control().paused_datasets == {"a", "b"}
    local.queue.pause()
    kinds = [(pause.kind, pause.name) for pause in other.pauses.all()]
    assert kinds == [(PauseKind.QUEUE, ""), (PauseKind.DATASET, "a"), (PauseKind.DATASET, "b")]
    for kind, name in kinds:
        other.pauses.end(kind, name)
    assert other.pauses.all() == []
