"""Schedules: each due time has one job, whoever does the housekeeping, and whatever gets lost."""

import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.job_queue import reply_lost
from tests.support.jobs import ROOT, WorkerProcess, write_tasks
from tests.support.limited_jobs import START_MS, Clock
from tests.support.waiting import wait_until
from zoolet.cli import main
from zoolet.client.errors import ConnectionLossError
from zoolet.jobs import (
    Dispatcher,
    InvalidJobError,
    Job,
    JobQueue,
    JobRequest,
    JobState,
    QueueSettings,
    ScheduleExistsError,
    Schedules,
    UnknownScheduleError,
)
from zoolet.jobs.records.schedules import Missed, Overlap, RunReason
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.schedules.scheduler import Scheduler
from zoolet.jobs.schedules.schedules import Schedules as SchedulesOfQueue

MINUTE_MS = 60_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[1, 3], ids=["flat", "sharded"])
def queue(
    request: pytest.FixtureRequest,
    client: KazooClient,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> JobQueue:
    queue = JobQueue(client, ROOT, clock_ms=clock)
    queue.ensure_layout(QueueSettings(shards=request.param))
    assert queue.register("w")
    monkeypatch.setattr(queue, "server_time_ms", clock)
    return queue


@pytest.fixture
def schedules(queue: JobQueue) -> Schedules:
    return SchedulesOfQueue(queue)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_tasks(tmp_path)
    return tmp_path


REQUEST = JobRequest("m:f", parameters={"n": 1})
GROUP = JobRequest("m:f", "d", 1)


def scheduler(queue: JobQueue) -> Scheduler:
    found = Scheduler(queue, lambda: None)
    found.begin()
    return found


def drain(found: Scheduler) -> float | None:
    """Submit all that is due now; return the number of seconds until there is more."""
    while (left_s := found.run()) == 0.0:
        pass
    return left_s


def jobs_of(queue: JobQueue) -> list[Job]:
    return sorted(queue.jobs(), key=lambda job: job.parameters.get("due_ms", 0))


def due_times(queue: JobQueue) -> list[int]:
    return [job.parameters["due_ms"] for job in jobs_of(queue)]


def finish(queue: JobQueue, name: str) -> None:
    queue.finish(queue.own_job(name, "w"), None)


def test_each_due_time_has_one_job(queue: JobQueue, schedules: Schedules, clock: Clock) -> None:
    schedules.add("a", GROUP, every_ms=MINUTE_MS, due_parameter="due_ms")
    first, second = scheduler(queue), scheduler(queue)
    assert drain(first) == 60
    assert jobs_of(queue) == []
    for number in range(1, 5):
        clock.now_ms = START_MS + number * MINUTE_MS + 7
        left_s = drain(first)
        assert left_s == pytest.approx(59.993)
        drain(second)
        assert due_times(queue) == [START_MS + n * MINUTE_MS for n in range(1, number + 1)]
    names = [job.name for job in jobs_of(queue)]
    schedule = schedules.get("a")
    assert [(run.job, run.reason) for run in schedule.runs] == [(n, RunReason.DUE) for n in names]
    assert all(queue.layout.where(names))
    assert {job.state for job in jobs_of(queue)} == {JobState.PENDING}
    # The jobs do not replace each other, although they have data and do the same work.
    assert len(queue.own_jobs(names, "w").owned) == 4


@pytest.mark.parametrize("is_done", [True, False])
def test_a_lost_reply_submits_no_second_job(
    queue: JobQueue,
    schedules: Schedules,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_done: bool,
) -> None:
    for name in ("a", "b", "c"):
        schedules.add(name, GROUP, every_ms=MINUTE_MS, due_parameter="due_ms")
    found = scheduler(queue)
    drain(found)
    clock.now_ms += MINUTE_MS
    reserve = found._entrance._reserve
    with contextlib.ExitStack() as stack:

        def losing(*arguments: Any, **options: Any) -> None:
            """Reserve names; the reply to the next multi, which submits the jobs, is lost."""
            reserve(*arguments, **options)
            monkeypatch.setattr(found._entrance, "_reserve", reserve)
            stack.enter_context(reply_lost(monkeypatch, ConnectionLossError, done=is_done))

        monkeypatch.setattr(found._entrance, "_reserve", losing)
        drain(found)
    assert due_times(queue) == 3 * [START_MS + MINUTE_MS]
    assert len(queue.layout.names(Place.UNOWNED)) == 3


def test_a_schedule_that_another_program_changes_submits_nothing_old(
    queue: JobQueue, schedules: Schedules, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        schedules.add(name, REQUEST, every_ms=MINUTE_MS)
    found = scheduler(queue)
    drain(found)
    with monkeypatch.context() as patch:
        patch.setattr(found, "_read", lambda: None)  # the watches come too late
        schedules.pause("a")
        clock.now_ms += MINUTE_MS
        found.run()
    drain(found)
    assert len(jobs_of(queue)) == 1
    assert schedules.get("a").runs == ()
    assert [run.reason for run in schedules.get("b").runs] == [RunReason.DUE]


def test_missed_due_times(queue: JobQueue, schedules: Schedules, clock: Clock) -> None:
    for missed in map(str, Missed):
        request = JobRequest("m:f", parameters={"missed": missed})
        schedules.add(
            missed,
            request,
            every_ms=MINUTE_MS,
            missed=missed,
            missed_most=4,
            due_parameter="due_ms",
        )
    clock.now_ms += 10 * MINUTE_MS + 7
    drain(scheduler(queue))
    found: dict[str, list[int]] = {str(missed): [] for missed in Missed}
    for job in jobs_of(queue):
        minutes = (job.parameters["due_ms"] - START_MS) // MINUTE_MS
        found[job.parameters["missed"]].append(minutes)
    assert found == {"skip": [10], "once": [9, 10], "all": [6, 7, 8, 9, 10]}


def test_an_unfinished_run(queue: JobQueue, schedules: Schedules, clock: Clock) -> None:
    for overlap in map(str, Overlap):
        schedules.add(overlap, REQUEST, every_ms=MINUTE_MS, overlap=overlap)
    found = scheduler(queue)
    for _ in range(3):
        clock.now_ms += MINUTE_MS
        drain(found)
    counts = {
        name: len([run for run in schedules.get(name).runs if run.job])
        for name in map(str, Overlap)
    }
    assert counts == {"start": 3, "skip": 1, "queue": 1}
    assert schedules.get("skip").skipped == 2
    for expected in (2, 3):
        last = schedules.get("queue").last_job
        assert last is not None
        finish(queue, last)
        wait_until(lambda: bool(found._ended), "the watch")
        drain(found)
        runs = schedules.get("queue").runs
        assert [run.reason for run in runs] == [RunReason.DUE] + (expected - 1) * [RunReason.QUEUED]
    finish(queue, str(schedules.get("skip").last_job))
    clock.now_ms += MINUTE_MS
    drain(found)
    assert [run.reason for run in schedules.get("skip").runs][-1] == RunReason.DUE


def test_a_run_that_was_removed_has_ended(
    queue: JobQueue, schedules: Schedules, clock: Clock, client: KazooClient
) -> None:
    schedules.add("a", REQUEST, every_ms=MINUTE_MS, overlap=Overlap.SKIP)
    found = scheduler(queue)
    clock.now_ms += MINUTE_MS
    drain(found)
    client.delete(queue.layout.unowned(str(schedules.get("a").last_job)))
    clock.now_ms += MINUTE_MS
    drain(found)
    assert [run.reason for run in schedules.get("a").runs] == [RunReason.DUE, RunReason.DUE]


def test_pause_resume_run_now_replace_and_remove(
    queue: JobQueue, schedules: Schedules, clock: Clock
) -> None:
    schedules.add("a", REQUEST, every_ms=MINUTE_MS)
    with pytest.raises(ScheduleExistsError):
        schedules.add("a", REQUEST, every_ms=MINUTE_MS)
    schedules.pause("a")
    clock.now_ms += 5 * MINUTE_MS
    found = scheduler(queue)
    assert drain(found) is None
    name = schedules.run_now("a")
    assert [job.name for job in jobs_of(queue)] == [name]
    schedules.resume("a")
    wait_until(lambda: bool(found._stale), "the watch")
    assert drain(found) == 60
    assert len(jobs_of(queue)) == 1
    schedules.add("a", REQUEST, cron="0 0 1 1 *", replaces=True)
    assert [run.reason for run in schedules.get("a").runs] == [RunReason.NOW]
    schedules.remove("a")
    wait_until(lambda: found._is_list_stale, "the watch")
    assert drain(found) is None
    for call in (schedules.get, schedules.remove, schedules.pause, schedules.run_now):
        with pytest.raises(UnknownScheduleError):
            call("a")
    with pytest.raises(InvalidJobError):
        schedules.add("b", REQUEST, cron="* * 31 2 *")
    assert schedules.all() == []


def test_an_invalid_schedule_does_not_hinder_others(
    queue: JobQueue, schedules: Schedules, clock: Clock, client: KazooClient
) -> None:
    schedules.add("good", REQUEST, every_ms=MINUTE_MS)
    client.create(f"{ROOT}/schedules/bad", b"{")
    client.create(f"{ROOT}/schedules/worse", schedules.get("good").encode().replace(b"UTC", b"X"))
    found = scheduler(queue)
    clock.now_ms += MINUTE_MS
    drain(found)
    assert len(jobs_of(queue)) == 1
    assert [(one.name, bool(one.problem)) for one in schedules.all()] == [
        ("bad", True),
        ("good", False),
        ("worse", True),
    ]


def test_random_schedules_workers_and_times(
    queue: JobQueue, schedules: Schedules, clock: Clock
) -> None:
    chance = random.Random(7)
    expected: Counter[tuple[str, int]] = Counter()
    every = {f"s{n}": chance.randrange(1, 90) * 1000 for n in range(20)}
    for name, every_ms in every.items():
        request = JobRequest("m:f", parameters={"name": name})
        schedules.add(
            name,
            request,
            every_ms=every_ms,
            missed=Missed.ALL,
            missed_most=1000,
            due_parameter="due_ms",
        )
    running = [scheduler(queue), scheduler(queue)]
    for _ in range(12):
        clock.now_ms += chance.choice((10, 1000, 30_000, 200_000))
        for one in chance.sample(running, 2):
            if chance.random() < 0.2:
                one.begin()
            if chance.random() < 0.8:
                one.run()
    for one in running:
        drain(one)
    for name, every_ms in every.items():
        due = range(START_MS + every_ms, clock.now_ms + 1, every_ms)
        expected.update((name, due_ms) for due_ms in due)
    found = Counter((j.parameters["name"], j.parameters["due_ms"]) for j in queue.jobs())
    assert found == expected


def test_a_worker_submits_and_runs_the_jobs(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess]
) -> None:
    start_worker(loader=None)
    request = JobRequest("pipe_tasks:echo")
    dispatcher.schedules.add("a", request, cron="* * * * * *", due_parameter="due_ms")

    def results() -> list[Job]:
        return [job for job in dispatcher.queue.done() if job.state is JobState.SUCCESSFUL]

    wait_until(lambda: len(results()) >= 2, "two runs")
    dispatcher.schedules.remove("a")
    due_ms = sorted(job.result["parameters"]["due_ms"] for job in results())
    assert all(time_ms % 1000 == 0 for time_ms in due_ms)
    assert due_ms == list(range(due_ms[0], due_ms[-1] + 1, 1000))


def test_the_commands(server: Any, dispatcher: Dispatcher) -> None:
    def run(*arguments: str, status: int = 0) -> Any:
        options = ["--server", server.hosts, "--queue", ROOT, "--output", "json"]
        command = ["jobs", "schedule", arguments[0], *options, *arguments[1:]]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == status, result.output
        lines = result.output.splitlines()
        return [json.loads(line) for line in lines] if status == 0 else result.output

    zone = ["--timezone", "Europe/Berlin"]
    run("add", "night", "--cron", "30 2 * * *", *zone, "--task", "m:f", "--overlap", "queue")
    [added] = run("add", "often", "--every", "5m", "--task", "m:f", "--start", "+1h")
    assert added["next_ms"] > dispatcher.queue.server_time_ms() + 3_500_000
    assert "already" in run("add", "often", "--every", "5m", "--task", "m:f", status=1)
    assert "cron" in run("add", "x", "--cron", "never", "--task", "m:f", status=1)
    assert [one["schedule"] for one in run("list")] == ["night", "often"]
    run("pause", "night")
    [submitted] = run("run-now", "night")
    [shown] = run("show", "night")
    assert shown["paused"]
    assert shown["runs"][0]["job"] == submitted["job"]
    assert shown["runs"][0]["state"] == "PENDING"
    assert shown["next_ms"] is None
    run("resume", "night")
    run("remove", "night")
    run("add", "gpu", "--every", "1h", "--task", "m:f", "--tag", "gpu", "--limit-key", "ada")
    [submitted] = run("run-now", "gpu")
    job = dispatcher.queue.find(submitted["job"])
    assert (job.tags, job.limit_key) == (("gpu",), "ada")
    run("remove", "gpu")
    assert "no schedule night" in run("show", "night", status=1)
    options = ["--server", server.hosts, "--queue", ROOT]
    text = CliRunner().invoke(main, ["jobs", "schedule", "list", *options])
    assert "every 300 s" in text.output
