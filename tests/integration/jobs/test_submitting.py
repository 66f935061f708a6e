"""Submitting the same work, and what becomes of a batch of requests."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.job_queue import replace_multi, request, submitted
from tests.support.jobs import ROOT
from zoolet.jobs import (
    Dispatcher,
    InvalidJobError,
    JobQueue,
    JobRequest,
    JobState,
    Origin,
    UnknownQueueError,
)
from zoolet.jobs.records import job as job_module
from zoolet.jobs.records import job_names

# --- Submitting the same work


def test_work_under_way_and_work_done_are_not_submitted_again(
    queue: JobQueue, client: KazooClient
) -> None:
    name = submitted(queue)
    assert queue.submit([request()]) == [(name, Origin.JOINED)]
    job = queue.own_job(name, "w")
    assert queue.submit([request(priority=9)]) == [(name, Origin.JOINED)]
    queue.finish(job, 1)
    assert queue.submit([request()]) == [(name, Origin.STORED)]
    assert client.get_children(f"{ROOT}/unowned") == []

    [other] = queue.submit([request(parameters={"other": "work"})])
    assert other.origin is Origin.NEW
    [again] = queue.submit([request()], reuse=False)
    assert again.origin is Origin.NEW
    assert again.name != name
    assert queue.submit([request()]) == [(again.name, Origin.JOINED)]


def test_failed_work_is_submitted_again(queue: JobQueue) -> None:
    name = submitted(queue, max_attempts=1)
    queue.fail(queue.own_job(name, "w"), "trouble")
    [again] = queue.submit([request(max_attempts=1)])
    assert again.origin is Origin.NEW
    assert again.name != name


def test_the_same_work_twice_in_one_batch_is_one_job(queue: JobQueue) -> None:
    first, second, other = queue.submit([request("1"), request("1"), request("2")])
    assert (first.origin, second.origin, other.origin) == (Origin.NEW, Origin.JOINED, Origin.NEW)
    assert first.name == second.name != other.name
    forced = queue.submit([request("1"), request("1")], reuse=False)
    assert len({first.name, *(submission.name for submission in forced)}) == 3


def test_of_many_who_submit_the_same_work_at_once_each_job_is_new_for_one(
    queue: JobQueue, other_client: KazooClient, client: KazooClient
) -> None:
    other = JobQueue(other_client, ROOT)
    requests = [request(str(number)) for number in range(80)]
    start = threading.Barrier(4)

    def submit(jobs: JobQueue, mine: list[JobRequest]) -> list[Any]:
        start.wait(10)
        return list(jobs.submit(mine))

    with ThreadPoolExecutor(4) as pool:
        all_at_once = [
            pool.submit(submit, queue, requests),
            pool.submit(submit, other, requests),
            pool.submit(submit, queue, requests[::-1]),
            pool.submit(submit, other, requests[::-1]),
        ]
        answers = [done.result(60) for done in all_at_once]
    assert len(client.get_children(f"{ROOT}/unowned")) == 80
    new = [
        submission.name for answer in answers for submission in answer if submission.origin == "NEW"
    ]
    assert len(new) == len(set(new)) == 80
    for answer in answers:
        assert {submission.name for submission in answer} == set(new)


def test_a_submitter_that_died_before_it_wrote_the_name_leaves_a_job_to_be_found(
    queue: JobQueue, client: KazooClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    def dying(send: Callable[[], Any]) -> Any:
        nonlocal sent
        sent += 1
        if sent == 2:
            raise SystemExit
        return send()

    with monkeypatch.context() as patch:
        replace_multi(patch, dying)
        with pytest.raises(SystemExit):
            queue.submit([request()])
    [waiting] = queue.waiting()
    assert queue.submit([request()]) == [(waiting.name, Origin.JOINED)]
    queue.own_job(waiting.name, "w")
    assert queue.submit([request()]) == [(waiting.name, Origin.JOINED)]
    data, _ = client.get(f"{ROOT}/keys/{request().key}")
    assert json.loads(data)["job"] == waiting.name


def test_a_key_whose_job_was_deleted_stands_for_nothing(
    queue: JobQueue, client: KazooClient
) -> None:
    name = submitted(queue)
    client.delete(f"{ROOT}/unowned/{name}")
    [again] = queue.submit([request()])
    assert again.origin is Origin.NEW


def test_one_bad_request_keeps_a_whole_batch_out(queue: JobQueue, client: KazooClient) -> None:
    with pytest.raises(InvalidJobError, match="priority"):
        queue.submit([request("1"), request("2", priority=1000)])
    assert client.get_children(f"{ROOT}/unowned") == []
    assert client.get_children(f"{ROOT}/keys") == []


def test_large_jobs_do_not_burst_a_multi(queue: JobQueue) -> None:
    large = {"x": "y" * (job_module.JOB_LIMIT_BYTES - 1000)}
    submissions = queue.submit([request(str(number), parameters=large) for number in range(5)])
    assert [submission.origin for submission in submissions] == [Origin.NEW] * 5
    job = queue.own_job(submissions[0].name, "w")
    assert queue.finish(job, 1).state is JobState.SUCCESSFUL


def test_submitting_takes_a_multi_for_each_50_jobs_and_one_for_their_names(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    def counting(send: Callable[[], Any]) -> Any:
        nonlocal sent
        sent += 1
        return send()

    replace_multi(monkeypatch, counting)
    submissions = queue.submit([request(str(number)) for number in range(100)])
    assert sent == 4
    parsed = [job_names.parse(submission.name) for submission in submissions]
    assert [name.groupid for name in parsed if name] == [str(number) for number in range(100)]


def test_an_unknown_queue_is_refused(client: KazooClient) -> None:
    with pytest.raises(UnknownQueueError, match="start a worker on it, or create it"):
        Dispatcher(client, "/jobs/flihgts")
    assert client.exists("/jobs") is None
