"""The moves of a job, by kazoo against the real server: each whole, fenced, and found out."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient, TransactionRequest
from kazoo.exceptions import ConnectionLoss

from zoolet.jobs import (
    Dispatcher,
    InvalidJobError,
    JobError,
    JobQueue,
    JobRequest,
    JobState,
    OwnedJob,
    OwnershipLostError,
)
from zoolet.testing import ServerProcess

ROOT = "/jobs/test"
WAIT_S = 10.0


@pytest.fixture
def queue(client: Any) -> JobQueue:
    made = JobQueue(client, ROOT)
    made.create()
    return made


@pytest.fixture
def other(server: ServerProcess) -> Iterator[Any]:
    """A second client, with a session of its own."""
    started = KazooClient(hosts=server.hosts, timeout=4.0)
    started.start(timeout=WAIT_S)
    yield started
    started.stop()
    started.close()


def request(number: int = 1, **values: Any) -> JobRequest:
    described = {"task": "m:f", "dataset": "d", "groupid": f"{number}", **values}
    return JobRequest(**described)


def submit_one(queue: JobQueue, **values: Any) -> str:
    return queue.submit([request(**values)])[0].name


def own(queue: JobQueue, name: str, worker: str) -> OwnedJob:
    owned = queue.own_job(name, worker)
    assert owned is not None
    return owned


def places(client: Any) -> dict[str, list[str]]:
    return {
        place: sorted(client.get_children(f"{ROOT}/{place}"))
        for place in ("unowned", "owned", "done")
    }


def test_a_job_goes_from_unowned_over_owned_to_done(client: Any, queue: JobQueue) -> None:
    worker = queue.register_worker({}, "w")
    name = submit_one(queue, priority=42)
    assert name == "entry-042-d:1-0000000000"
    assert places(client) == {"unowned": [name], "owned": [], "done": []}
    value = json.loads(client.get(f"{ROOT}/unowned/{name}")[0])
    assert (value["dataset"], value["groupid"], value["state"], value["worker"]) == (
        "d",
        "1",
        "PENDING",
        None,
    )
    owned = own(queue, name, worker)
    assert places(client) == {"unowned": [], "owned": [name], "done": []}
    assert (owned.job.state, owned.job.worker) == (JobState.STAGING, worker)
    owned = queue.update_state(owned, JobState.RUNNING)
    assert json.loads(client.get(f"{ROOT}/owned/{name}")[0])["state"] == "RUNNING"
    queue.finish(owned, owned.job.succeeded({"n": 1}, cached=False, now_ms=9))
    assert places(client) == {"unowned": [], "owned": [], "done": [name]}
    finished = queue.finished(name)
    assert finished is not None
    assert (finished.state, finished.result) == (JobState.SUCCESSFUL, {"n": 1})


def test_a_job_that_fails_keeps_its_place_until_its_last_attempt(
    client: Any, queue: JobQueue
) -> None:
    worker = queue.register_worker({}, "w")
    name = submit_one(queue, max_attempts=2)
    queue.fail(own(queue, name, worker), "first error")
    assert places(client) == {"unowned": [name], "owned": [], "done": []}
    queue.fail(own(queue, name, worker), "second error")
    assert places(client) == {"unowned": [], "owned": [], "done": [name]}
    failed = queue.finished(name)
    assert failed is not None
    assert failed.state is JobState.FAILED
    assert [attempt.error for attempt in failed.errors] == ["first error", "second error"]


def test_a_job_that_is_given_back_is_none_the_worse(client: Any, queue: JobQueue) -> None:
    worker = queue.register_worker({}, "w")
    name = submit_one(queue)
    queue.give_back(own(queue, name, worker))
    assert places(client) == {"unowned": [name], "owned": [], "done": []}
    found = queue.find(name)
    assert found is not None
    assert (found.attempts, found.state) == (0, JobState.PENDING)


def test_one_of_two_workers_gets_the_job(queue: JobQueue, other: Any) -> None:
    theirs = JobQueue(other, ROOT)
    name = submit_one(queue)
    assert queue.own_job(name, queue.register_worker({}, "w")) is not None
    assert theirs.own_job(name, theirs.register_worker({}, "w")) is None
    assert queue.own_job("entry-001-d:g-0000000099", queue.register_worker({}, "w")) is None


def test_jobs_of_a_lost_worker_wait_again_in_their_place(
    client: Any, queue: JobQueue, other: Any
) -> None:
    theirs = JobQueue(other, ROOT)
    lost, alive = theirs.register_worker({}, "w"), queue.register_worker({}, "w")
    names = [submit_one(queue, number=number) for number in range(3)]
    own(theirs, names[0], lost)
    own(queue, names[1], alive)
    assert queue.return_jobs_of_lost_workers() == []
    other.stop()
    returned = queue.return_jobs_of_lost_workers()
    assert [job.name for job in returned] == [names[0]]
    assert places(client) == {"unowned": [names[0], names[2]], "owned": [names[1]], "done": []}
    found = queue.find(names[0])
    assert found is not None
    assert (found.attempts, found.worker) == (1, None)
    assert found.errors[0].worker == lost
    assert "was lost" in found.errors[0].error


def test_a_lost_worker_can_commit_nothing(client: Any, queue: JobQueue, other: Any) -> None:
    """The job comes to the next worker with the same znode version: the fence is the worker."""
    theirs = JobQueue(other, ROOT)
    frozen = theirs.register_worker({}, "frozen")
    name = submit_one(queue)
    stale = theirs.update_state(own(theirs, name, frozen), JobState.RUNNING)
    client.delete(f"{ROOT}/workers/{frozen}")  # as the end of its session does
    assert len(queue.return_jobs_of_lost_workers()) == 1
    successor = queue.register_worker({}, "successor")
    current = queue.update_state(own(queue, name, successor), JobState.RUNNING)
    assert current.version == stale.version
    late = stale.job.succeeded("late", cached=False, now_ms=1)
    commits: tuple[Callable[[], object], ...] = (
        lambda: theirs.finish(stale, late),
        lambda: theirs.fail(stale, "late"),
        lambda: theirs.give_back(stale),
        lambda: theirs.update_state(stale, JobState.STAGING),
        lambda: theirs.own_job(submit_one(queue, number=2), frozen),
    )
    for commit in commits:
        with pytest.raises(OwnershipLostError):
            commit()
    queue.finish(current, current.job.succeeded("right", cached=False, now_ms=2))
    finished = queue.finished(name)
    assert finished is not None
    assert (finished.result, finished.worker) == ("right", successor)
    with pytest.raises(OwnershipLostError):
        queue.finish(current, current.job.succeeded("twice", cached=False, now_ms=3))


def lose_replies(client: Any, monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Let multis of ``client`` happen and their replies be lost, so many times."""
    lost: list[int] = []
    really_commit = TransactionRequest.commit

    def commit(self: Any) -> Any:
        results = really_commit(self)
        if self.client is client and len(lost) < times:
            lost.append(len(self.operations))
            raise ConnectionLoss
        return results

    monkeypatch.setattr(TransactionRequest, "commit", commit)
    return lost


def test_a_lost_reply_changes_nothing_of_what_happened(
    client: Any, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = queue.register_worker({}, "w")
    lost = lose_replies(client, monkeypatch, times=1)
    names = [entry.name for entry in queue.submit([request(number) for number in range(3)])]
    assert lost == [6]
    assert places(client)["unowned"] == sorted(names)

    lost = lose_replies(client, monkeypatch, times=1)
    taken = own(queue, names[0], worker)
    assert lost == [3]
    lost = lose_replies(client, monkeypatch, times=1)
    running = queue.update_state(taken, JobState.RUNNING)
    assert (lost, running.version) == ([2], 1)
    lost = lose_replies(client, monkeypatch, times=1)
    queue.finish(running, running.job.succeeded(1, cached=False, now_ms=1))
    assert lost == [3]
    other = own(queue, names[1], worker)
    lost = lose_replies(client, monkeypatch, times=1)
    queue.fail(other, "why")
    assert lost == [3]
    assert places(client) == {"unowned": sorted(names[1:]), "owned": [], "done": [names[0]]}
    found = queue.find(names[1])
    assert found is not None
    assert found.attempts == 1


def test_the_same_work_is_not_submitted_twice(client: Any, queue: JobQueue) -> None:
    worker = queue.register_worker({}, "w")
    first = queue.submit([request(1), request(2), request(1)])
    assert [entry.is_new for entry in first] == [True, True, True]
    assert first[0] == first[2]
    again = queue.submit([request(3), request(1), request(2)])
    assert [entry.is_new for entry in again] == [True, False, False]
    assert [entry.name for entry in again[1:]] == [entry.name for entry in first[:2]]
    owned = own(queue, first[0].name, worker)
    assert queue.submit([request(1)])[0] == (first[0].name, False)
    queue.finish(owned, owned.job.succeeded(1, cached=False, now_ms=1))
    assert queue.submit([request(1)])[0] == (first[0].name, False)
    assert len(places(client)["unowned"]) == 2


def test_work_is_done_anew_where_that_is_asked(client: Any, queue: JobQueue) -> None:
    first = queue.submit([request()])[0]
    anew = queue.submit([request()], reuse=False)[0]
    assert anew.is_new
    assert anew.name != first.name
    assert queue.submit([request()])[0] == (anew.name, False)
    assert len(places(client)["unowned"]) == 2


def test_work_that_failed_or_is_gone_is_done_again(client: Any, queue: JobQueue) -> None:
    worker = queue.register_worker({}, "w")
    first = queue.submit([request(max_attempts=1)])[0]
    queue.fail(own(queue, first.name, worker), "why")
    second = queue.submit([request()])[0]
    assert second.is_new
    client.delete(f"{ROOT}/unowned/{second.name}")
    assert queue.submit([request()])[0].is_new


def test_a_submitter_that_died_halfway_leaves_no_hole(client: Any, queue: JobQueue) -> None:
    """The key does not name the job yet: who comes next finds it by looking."""
    first = queue.submit([request(1), request(2)])
    key = f"{ROOT}/keys/{request(1).key}"
    entry = json.loads(client.get(key)[0])
    client.set(key, json.dumps({**entry, "job": None}).encode())
    assert queue.submit([request(1)])[0] == (first[0].name, False)


def test_many_jobs_are_submitted_in_order(client: Any, queue: JobQueue) -> None:
    names = [entry.name for entry in queue.submit([request(number) for number in range(130)])]
    assert [int(name[-10:]) for name in names] == list(range(130))
    assert places(client)["unowned"] == sorted(names)


def test_nothing_is_submitted_where_one_request_is_wrong(client: Any) -> None:
    dispatcher = Dispatcher(client, ROOT)
    with pytest.raises(InvalidJobError, match="only JSON values"):
        dispatcher.submit_batch([request(1), request(2, parameters={"x": object()})])
    assert places(client) == {"unowned": [], "owned": [], "done": []}


def test_a_queue_may_stand_under_a_chroot(server: ServerProcess, client: Any) -> None:
    client.ensure_path("/jobs/flights")
    inside = KazooClient(hosts=f"{server.hosts}/jobs/flights")
    inside.start(timeout=WAIT_S)
    queue = JobQueue(inside, "/")
    queue.create()
    name = submit_one(queue)
    assert client.exists(f"/jobs/flights/unowned/{name}")
    inside.stop()
    inside.close()


def test_a_queue_that_is_missing_is_said(client: Any, queue: JobQueue) -> None:
    submit_one(queue)
    client.delete(ROOT, recursive=True)
    for reuse in (True, False):
        with pytest.raises(JobError, match="there is no queue"):
            queue.submit([request()], reuse=reuse)
