"""The changes of a job when an attempt fails, is lost, or cannot begin."""

import json
from typing import Any

import pytest

from zoolet.jobs.records.error_texts import KEPT_CHARACTERS
from zoolet.jobs.records.job import JOB_LIMIT_BYTES, Job
from zoolet.jobs.records.job_outcomes import (
    OUTPUT_LIMIT_BYTES,
    backoff_ms_of,
    failed,
    lost,
    with_error,
    with_output,
    without_task,
)
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.job_values import MAX_ATTEMPTS_LIMIT
from zoolet.jobs.records.texts import json_size_bytes
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.znodes.job_znodes import Znode, read_job


def draft(**changes: Any) -> Job:
    values = {"task": "m:f", "dataset": "flights", "groupid": "7"} | changes
    return Job.draft(JobRequest(**values), "s-0", 1000)


def drafted(**changes: Any) -> Job:
    job = draft(**changes)
    return job._replace(name=f"{job.name}0000000001")


def test_every_error_of_the_largest_job_fits_in_a_znode() -> None:
    most = MAX_ATTEMPTS_LIMIT
    room = JOB_LIMIT_BYTES - len(draft(parameters={"x": ""}, max_attempts=most).encode())
    job = draft(parameters={"x": "y" * room}, max_attempts=most)
    for _ in range(job.max_attempts):
        job = with_output(job._replace(worker="w" * 100), "\U0001f600\n" * 100_000)
        job = with_error(job, "\U0001f600" * 100_000)
    assert len(job.encode()) < 0xFFFFF - 4096
    job.check_size()
    assert [error.attempt for error in job.errors] == list(range(1, job.max_attempts + 1))
    assert [output.attempt for output in job.output] == list(range(1, job.max_attempts + 1))
    assert Job.decode(f"{job.name}0000000001", job.encode(), 0).output == job.output


@pytest.mark.parametrize("text", ["x\n", "ü\n", "\x1b", "\ud800", "\U0001f600"])
def test_the_output_that_is_kept_is_within_the_limits(text: str) -> None:
    for count in (1, 100, 5000):
        [output] = with_output(draft().taken("w", 1), text * count).output
        assert len(output.last_lines) <= KEPT_CHARACTERS
        assert json_size_bytes(output.last_lines) <= OUTPUT_LIMIT_BYTES


def test_the_output_is_forgotten_when_a_job_is_retried_and_not_before() -> None:
    job = failed(with_output(drafted(max_attempts=3).taken("w", 0), "one"), 1, "no")
    job = with_output(job.taken("w", 0), "two").succeeded(2, 1)
    assert [(o.attempt, o.last_lines) for o in job.output] == [(1, "one"), (2, "two")]
    assert "output" not in json.loads(drafted().encode())


def test_an_error_keeps_its_beginning_and_its_end() -> None:
    job = with_error(draft(), "start" + "." * 10_000 + "\nValueError: end\n    a note\n")
    assert job.attempts == 1
    assert job.errors[0].message.startswith("start.")
    assert "characters and more left out" in job.errors[0].message
    assert len(job.errors[0].message) == KEPT_CHARACTERS
    assert job.last_error == "ValueError: end"
    assert draft().last_error == ""


def test_a_job_backs_off_twice_as_long_each_time_and_at_most_a_day() -> None:
    job = drafted(backoff_ms=40_000_000, max_attempts=5).taken("w", 0)
    waits = []
    for _ in range(4):
        job = failed(job, 1000, "trouble")
        assert job.state is JobState.PENDING
        waits.append((job.not_before_ms or 0) - 1000)
        job = job.taken("w", 0)
    assert waits == [40_000_000, 80_000_000, 86_400_000, 86_400_000]
    assert failed(job, 1000, "trouble").state is JobState.FAILED


@pytest.mark.parametrize("jitter", [1, 30, 100])
def test_jitter_shortens_the_delay_and_differs_between_jobs_and_attempts(jitter: int) -> None:
    delays = set()
    for number in range(100):
        job = drafted(backoff_ms=1_000_000, jitter_percent=jitter, max_attempts=20)
        job = job._replace(name=f"{job.name[:-3]}{number:03}")
        for attempt in range(1, 4):
            job = failed(job.taken("w", 0), 1000, "trouble")
            delay_ms = (job.not_before_ms or 0) - 1000
            full_ms = 1_000_000 << (attempt - 1)
            assert full_ms * (100 - jitter) // 100 <= delay_ms <= full_ms
            assert delay_ms == backoff_ms_of(job)  # a move that is repeated has the same time
            delays.add(delay_ms)
    assert len(delays) > 290


def test_a_task_chooses_the_time_of_the_next_attempt() -> None:
    job = drafted(backoff_ms=1000, max_attempts=2).taken("w", 0)
    again = failed(job, 1000, "later", retry_in_ms=60_000)
    assert (again.place, again.not_before_ms, again.attempts) == (Place.DEFERRED, 61_000, 1)
    at_once = failed(job, 1000, "now", retry_in_ms=0)
    assert at_once.place is Place.UNOWNED
    last = failed(again.taken("w", 0), 1000, "later", retry_in_ms=60_000)
    assert (last.state, last.attempts) == (JobState.FAILED, 2)


def test_a_final_error_ends_a_job_that_has_attempts_left() -> None:
    ended = failed(drafted(max_attempts=5).taken("w", 0), 1000, "no", is_final=True)
    assert (ended.state, ended.attempts, ended.last_error) == (JobState.FAILED, 1, "no")


def test_a_loss_is_an_attempt_only_of_a_job_that_runs() -> None:
    taken = drafted(max_attempts=2).taken("w", 0)
    after = lost(taken, 5)
    assert (after.state, after.attempts, after.losses, after.worker) == (
        JobState.PENDING,
        0,
        1,
        None,
    )
    assert "before it recorded the start" in after.last_error
    again = lost(after.taken("v", 0).running(1, cache_hit=None), 5)
    assert (again.state, again.attempts, again.losses) == (JobState.PENDING, 1, 1)
    last = lost(again.taken("u", 0).running(1, cache_hit=None), 5)
    assert (last.state, last.attempts) == (JobState.FAILED, 2)
    assert Job.decode(last.name, last.encode(), last.version) == last


def test_a_job_is_careful_before_what_could_be_its_last_attempt() -> None:
    assert drafted(max_attempts=1).starts_carefully
    job = drafted(max_attempts=3)
    assert not job.starts_carefully
    once = lost(job.taken("w", 0), 5)
    assert not once.starts_carefully
    assert lost(once.taken("w", 0), 5).starts_carefully
    assert failed(once.taken("w", 0), 5, "trouble").starts_carefully


def test_any_number_of_losses_fits() -> None:
    job = drafted()
    for _ in range(1000):
        job = lost(job.taken("w" * 400, 0), 5)
    assert job.losses == 1000
    assert read_job(Place.UNOWNED, job.name, Znode(job.encode(), 0, 0, 0)) == job._replace(
        version=0
    )


def test_a_task_that_cannot_be_imported_is_no_attempt_until_the_patience_ends() -> None:
    job, now_ms, delays = drafted(max_attempts=1), 1000, []
    while job.state is JobState.PENDING:
        job = without_task(job.taken("w", now_ms), now_ms, "the task 'm:f' cannot be imported")
        assert (job.attempts, len(job.errors), job.import_worker) == (0, 1, "w")
        delays.append((job.not_before_ms or 0) - now_ms)
        now_ms = job.not_before_ms or 0
    assert delays[:7] == [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
    assert job.state is JobState.FAILED
    assert job.last_error == "No worker could import the task for 600 s."
    assert 600_000 <= (job.finished_ms or 0) - 1000 <= 630_000
    assert Job.decode(job.name, job.encode(), job.version) == job


def test_an_attempt_ends_the_tries_to_import() -> None:
    job = without_task(drafted().taken("w", 0), 0, "no").taken("w", 0)
    job = failed(job, 5, "trouble")
    assert (job.import_tries, job.import_since_ms, job.attempts) == (0, None, 1)
    assert [error.message for error in job.errors] == ["no", "trouble"]
