"""Every move of a job against a real server: one place at a time, one owner, one result."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.job_queue import places, replace_multi, reply_lost, request, submitted, value
from tests.support.jobs import ROOT
from zoolet.client import ConnectionLossError, SessionExpiredError
from zoolet.jobs import (
    Job,
    JobError,
    JobNotFoundError,
    JobQueue,
    JobState,
    JobTakenError,
    OwnershipLostError,
    UnreadableJobError,
    WorkerGoneError,
)
from zoolet.jobs.records import job as job_module

# --- The life of a job, in the paths, names and states of the design


def test_a_job_goes_from_unowned_to_owned_to_done(queue: JobQueue, client: KazooClient) -> None:
    name = submitted(queue, "7", priority=5, parameters={"year": 2013})
    assert name == "entry-005-flights:7-0000000000"
    assert places(client, name) == ["unowned"]
    pending = value(client, "unowned", name)
    assert (pending["dataset"], pending["groupid"]) == ("flights", "7")
    assert (pending["state"], pending["worker"]) == ("PENDING", None)

    job = queue.own_job(name, "w")
    assert places(client, name) == ["owned"]
    assert value(client, "owned", name)["state"] == "STAGING"
    assert value(client, "owned", name)["worker"] == "w"
    assert (job.state, job.parameters) == (JobState.STAGING, {"year": 2013})

    job = queue.update_state(job, JobState.RUNNING, cache_hit=True)
    assert places(client, name) == ["owned"]
    assert value(client, "owned", name)["state"] == "RUNNING"

    job = queue.finish(job, {"flights": 3})
    assert places(client, name) == ["done"]
    done = value(client, "done", name)
    assert (done["state"], done["worker"], done["result"]) == ("SUCCESSFUL", "w", {"flights": 3})
    assert (done["attempts"], done["cache_hit"]) == (1, True)
    assert queue.find(name) == job
    assert done["submitted_ms"] <= done["taken_ms"] <= done["started_ms"] <= done["finished_ms"]


def test_a_failed_attempt_keeps_the_jobs_place_until_attempts_run_out(
    queue: JobQueue, client: KazooClient
) -> None:
    name = submitted(queue, max_attempts=2)
    later = submitted(queue, "2")
    queue.fail(queue.own_job(name, "w"), "first trouble")
    assert places(client, name) == ["unowned"]
    assert [waiting.name for waiting in queue.waiting()] == [name, later]
    assert value(client, "unowned", name)["attempts"] == 1
    assert value(client, "unowned", name)["state"] == "PENDING"

    failed = queue.fail(queue.own_job(name, "w"), "second trouble")
    assert places(client, name) == ["done"]
    assert queue.find(name) == failed
    assert failed.state is JobState.FAILED
    assert [(error.attempt, error.worker, error.message) for error in failed.errors] == [
        (1, "w", "first trouble"),
        (2, "w", "second trouble"),
    ]


def test_a_released_job_waits_again_as_it_was(queue: JobQueue, client: KazooClient) -> None:
    name = submitted(queue)
    before = value(client, "unowned", name)
    queue.release(queue.update_state(queue.own_job(name, "w"), JobState.RUNNING))
    assert places(client, name) == ["unowned"]
    assert value(client, "unowned", name) == before


def test_a_failed_job_can_be_retried_and_no_other(queue: JobQueue, client: KazooClient) -> None:
    name = submitted(queue, max_attempts=1)
    with pytest.raises(JobError, match="only a FAILED job"):
        queue.retry(name)
    queue.fail(queue.own_job(name, "w"), "trouble")
    queue.retry(name)
    assert places(client, name) == ["unowned"]
    assert queue.finish(queue.own_job(name, "w"), 1).attempts == 1
    with pytest.raises(JobNotFoundError):
        queue.retry("entry-001-no:such-0000000000")


def test_counts_and_lists_every_job(queue: JobQueue) -> None:
    names = [submitted(queue, str(month)) for month in range(5)]
    queue.own_job(names[1], "w")
    queue.update_state(queue.own_job(names[2], "w"), JobState.RUNNING)
    queue.finish(queue.own_job(names[3], "w"), None)
    assert {state.value: count for state, count in queue.states().items()} == {
        "PENDING": 2,
        "STAGING": 1,
        "RUNNING": 1,
        "SUCCESSFUL": 1,
        "FAILED": 0,
    }
    assert sorted(job.name for job in queue.jobs()) == sorted(names)


@pytest.mark.parametrize(
    "dataset", ["a-b", "a/b", "a:b", "a b", "entry-001-x:y-0000000001", "ü%\n"]
)
def test_any_dataset_name_works(queue: JobQueue, client: KazooClient, dataset: str) -> None:
    name = submitted(queue, dataset, dataset=dataset)
    assert [waiting.group for waiting in queue.waiting()] == [(dataset, dataset)]
    job = queue.own_job(name, "w")
    assert (job.dataset, job.groupid) == (dataset, dataset)
    queue.finish(job, 1)
    assert places(client, name) == ["done"]


def test_the_greater_priority_waits_first_and_then_the_older(queue: JobQueue) -> None:
    low, old, new, high = (
        submitted(queue, groupid, priority=priority)
        for groupid, priority in (("1", 0), ("2", 5), ("3", 5), ("4", 999))
    )
    assert [waiting.name for waiting in queue.waiting()] == [high, old, new, low]


def test_what_is_no_job_is_left_alone(queue: JobQueue, client: KazooClient) -> None:
    client.create(f"{ROOT}/unowned/note", b"not a job")
    client.create(f"{ROOT}/unowned/entry-001-a:b-0000000007", b"not a job")
    assert [waiting.name for waiting in queue.waiting()] == ["entry-001-a:b-0000000007"]
    with pytest.raises(UnreadableJobError, match="Submit the work again"):
        queue.own_job("entry-001-a:b-0000000007", "w")


def test_update_state_is_for_the_states_of_an_owned_job(queue: JobQueue) -> None:
    job = queue.own_job(submitted(queue), "w")
    with pytest.raises(ValueError, match="finish"):
        queue.update_state(job, JobState.SUCCESSFUL)


# --- Owners


def test_of_two_workers_that_race_for_a_job_one_gets_it(
    queue: JobQueue, other_client: KazooClient, client: KazooClient
) -> None:
    rival = JobQueue(other_client, ROOT)
    assert rival.register("rival")
    names = [submission.name for submission in queue.submit([request(str(i)) for i in range(60)])]
    start = threading.Barrier(2)

    def take_all(jobs: JobQueue, worker: str) -> set[str]:
        taken = set()
        start.wait(10)
        for name in names:
            try:
                taken.add(jobs.own_job(name, worker).name)
            except JobTakenError:
                continue
        return taken

    with ThreadPoolExecutor(2) as pool:
        mine = pool.submit(take_all, queue, "w")
        theirs = pool.submit(take_all, rival, "rival")
        assert mine.result(60) | theirs.result(60) == set(names)
        assert not mine.result() & theirs.result()
    assert sorted(client.get_children(f"{ROOT}/owned")) == sorted(names)
    assert client.get_children(f"{ROOT}/unowned") == []


def test_a_job_that_someone_else_took_is_an_error_to_handle(queue: JobQueue) -> None:
    name = submitted(queue)
    queue.own_job(name, "w")
    with pytest.raises(JobTakenError):
        queue.own_job(name, "w")


def test_a_worker_that_is_not_registered_gets_nothing(queue: JobQueue, client: KazooClient) -> None:
    name = submitted(queue)
    with pytest.raises(WorkerGoneError):
        queue.own_job(name, "nobody")
    assert places(client, name) == ["unowned"]


def test_a_worker_id_belongs_to_one_session(queue: JobQueue, other_client: KazooClient) -> None:
    assert not JobQueue(other_client, ROOT).register("w")
    assert queue.register("w")


def test_a_late_result_of_a_worker_that_lost_its_session_is_refused(
    queue: JobQueue, client: KazooClient, other_client: KazooClient
) -> None:
    """The ABA case: the job is owned again, by another worker, at the same version."""
    frozen = JobQueue(other_client, ROOT)
    assert frozen.register("frozen")
    name = submitted(queue)
    late = frozen.own_job(name, "frozen")
    late = frozen.update_state(late, JobState.RUNNING)
    assert queue.return_jobs_of_dead_workers() == []

    other_client.stop()
    [returned] = queue.return_jobs_of_dead_workers()
    assert returned.attempts == 1
    assert returned.errors[0].message == "worker frozen was lost while it ran the task"
    assert places(client, name) == ["unowned"]
    owner = queue.update_state(queue.own_job(name, "w"), JobState.RUNNING)
    assert late.version == owner.version

    moves: list[Callable[[Job], Job]] = [
        lambda job: queue.finish(job, "late"),
        lambda job: queue.fail(job, "late"),
        lambda job: queue.update_state(job, JobState.RUNNING),
        queue.release,
    ]
    for move in moves:
        with pytest.raises(WorkerGoneError):
            move(late)
        assert places(client, name) == ["owned"]
        assert value(client, "owned", name)["worker"] == "w"
    queue.finish(owner, "in time")
    assert value(client, "done", name)["result"] == "in time"


@pytest.mark.parametrize("child", [None, "below"])
def test_a_job_ends_although_another_znode_of_its_name_is_in_done(
    queue: JobQueue, client: KazooClient, child: str | None
) -> None:
    """The counter of "unowned" begins again if a program deletes it and creates it again."""
    old = submitted(queue, parameters={"number": 1})
    queue.finish(queue.own_job(old, "w"), "old")
    if child is not None:
        client.create(f"{ROOT}/done/{old}/{child}")
    client.delete(f"{ROOT}/unowned", recursive=True)
    client.create(f"{ROOT}/unowned")
    name = submitted(queue, parameters={"number": 2})
    assert name == old
    queue.finish(queue.own_job(name, "w"), "new")
    assert places(client, name) == ["done"]
    assert value(client, "done", name)["result"] == "new"


def test_an_older_version_of_ones_own_job_is_refused(queue: JobQueue, client: KazooClient) -> None:
    name = submitted(queue)
    staging = queue.own_job(name, "w")
    queue.update_state(staging, JobState.RUNNING)
    with pytest.raises(OwnershipLostError):
        queue.finish(staging, 1)
    assert places(client, name) == ["owned"]


def test_what_was_read_before_another_attempt_does_not_undo_it(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker reads a waiting job and pauses; another one fails it meanwhile."""
    name = submitted(queue)
    decode = Job.decode

    def pausing(name: str, data: bytes, version: int) -> Job:
        monkeypatch.setattr(Job, "decode", decode)
        queue.fail(queue.own_job(name, "w"), "meanwhile")
        return decode(name, data, version)

    monkeypatch.setattr(Job, "decode", pausing)
    with pytest.raises(JobTakenError):
        queue.own_job(name, "w")
    assert queue.own_job(name, "w").attempts == 1


def test_a_dead_workers_job_fails_when_its_attempts_run_out(
    queue: JobQueue, other_client: KazooClient, client: KazooClient
) -> None:
    dying = JobQueue(other_client, ROOT)
    assert dying.register("dying")
    name = submitted(queue, max_attempts=1)
    dying.update_state(dying.own_job(name, "dying"), JobState.RUNNING)
    other_client.stop()
    queue.return_jobs_of_dead_workers()
    assert places(client, name) == ["done"]
    assert value(client, "done", name)["state"] == "FAILED"


def test_many_who_return_a_dead_workers_jobs_return_each_once(
    queue: JobQueue, other_client: KazooClient, client: KazooClient
) -> None:
    dying = JobQueue(other_client, ROOT)
    assert dying.register("dying")
    for submission in queue.submit([request(str(i)) for i in range(20)]):
        dying.own_job(submission.name, "dying")
    other_client.stop()
    with ThreadPoolExecutor(4) as pool:
        rounds = [pool.submit(queue.return_jobs_of_dead_workers) for _ in range(4)]
        returned = [job.name for done in rounds for job in done.result(60)]
    assert len(returned) == len(set(returned)) == 20
    assert {(job.attempts, job.losses) for job in queue.jobs()} == {(0, 1)}
    assert client.get_children(f"{ROOT}/owned") == []


# --- Replies that are lost

LOST = [
    (error, done) for error in (ConnectionLossError, SessionExpiredError) for done in (True, False)
]


@pytest.mark.parametrize(("error", "done"), LOST)
def test_a_lost_reply_changes_nothing_for_a_job(
    queue: JobQueue,
    client: KazooClient,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    *,
    done: bool,
) -> None:
    with reply_lost(monkeypatch, error, done=done):
        name = submitted(queue)
    assert [waiting.name for waiting in queue.waiting()] == [name]

    with reply_lost(monkeypatch, error, done=done):
        job = queue.own_job(name, "w")
    with reply_lost(monkeypatch, error, done=done):
        job = queue.update_state(job, JobState.RUNNING)
    with reply_lost(monkeypatch, error, done=done):
        queue.release(job)
    assert places(client, name) == ["unowned"]

    job = queue.own_job(name, "w")
    with reply_lost(monkeypatch, error, done=done):
        queue.fail(job, "trouble")
    assert value(client, "unowned", name)["attempts"] == 1

    job = queue.own_job(name, "w")
    with reply_lost(monkeypatch, error, done=done):
        queue.finish(job, "result")
    assert places(client, name) == ["done"]
    assert value(client, "done", name)["result"] == "result"
    assert value(client, "done", name)["attempts"] == 2


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_reply_to_returning_and_retrying_changes_nothing(
    queue: JobQueue,
    client: KazooClient,
    other_client: KazooClient,
    monkeypatch: pytest.MonkeyPatch,
    *,
    done: bool,
) -> None:
    dying = JobQueue(other_client, ROOT)
    assert dying.register("dying")
    name = submitted(queue, max_attempts=1)
    dying.update_state(dying.own_job(name, "dying"), JobState.RUNNING)
    other_client.stop()
    with reply_lost(monkeypatch, ConnectionLossError, done=done):
        queue.return_jobs_of_dead_workers()
    assert places(client, name) == ["done"]
    with reply_lost(monkeypatch, ConnectionLossError, done=done):
        queue.retry(name)
    assert places(client, name) == ["unowned"]


def test_a_lost_reply_is_not_taken_for_success_when_another_worker_was_faster(
    queue: JobQueue, other_client: KazooClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = JobQueue(other_client, ROOT)
    assert rival.register("rival")
    name = submitted(queue)

    with monkeypatch.context() as patch:

        def losing(_: object) -> None:
            patch.undo()
            rival.own_job(name, "rival")
            raise ConnectionLossError

        replace_multi(patch, losing)
        with pytest.raises(JobTakenError):
            queue.own_job(name, "w")
    assert queue.find(name).worker == "rival"


# --- Results


@pytest.mark.parametrize(
    ("result", "complaint"),
    [({1}, "is of type builtins.set"), ("x" * job_module.JOB_LIMIT_BYTES, "bytes of JSON")],
)
def test_a_result_that_cannot_be_kept_fails_the_attempt(
    queue: JobQueue, client: KazooClient, result: Any, complaint: str
) -> None:
    name = submitted(queue, max_attempts=1)
    failed = queue.finish(queue.own_job(name, "w"), result)
    assert places(client, name) == ["done"]
    assert failed.state is JobState.FAILED
    assert complaint in failed.errors[0].message
