"""Calls of a worker's hooks are made in order, in a thread, and their number is limited."""

import threading

import pytest

from tests.support.waiting import WAIT_S
from zoolet.jobs.hooks import attempt_calls
from zoolet.jobs.hooks.attempt_calls import AttemptCalls
from zoolet.jobs.hooks.job_hooks import Attempt, HookCalls, JobHooks
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest

JOB = Job.draft(JobRequest("m:f"), "s-0", 0)


class Slow(JobHooks):
    """Hooks that wait until a test lets them go on."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.threads: set[int] = set()
        self.may_go = threading.Event()
        self.has_begun = threading.Event()

    def started(self, job: Job, started_ms: int) -> None:
        del job
        self.has_begun.set()
        assert self.may_go.wait(WAIT_S)
        self.threads.add(threading.get_ident())
        self.numbers.append(started_ms)

    def ended(self, attempt: Attempt) -> None:
        self.numbers.append(attempt.ended_ms)


def test_calls_are_made_in_order_in_one_other_thread() -> None:
    hooks = Slow()
    hooks.may_go.set()
    calls = AttemptCalls(HookCalls([hooks]))
    calls.start()
    for number in range(0, 100, 2):
        calls.started(JOB, number)
        calls.ended(Attempt(JOB, 1, None, None, number + 1, None))
    calls.close()
    assert hooks.numbers == list(range(100))
    assert threading.get_ident() not in hooks.threads
    assert len(hooks.threads) == 1


def test_calls_are_left_out_if_too_many_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(attempt_calls, "CALLS_MOST", 5)
    hooks = Slow()
    calls = AttemptCalls(HookCalls([hooks]))
    calls.start()
    calls.started(JOB, 0)
    assert hooks.has_begun.wait(WAIT_S)
    for number in range(1, 11):
        calls.started(JOB, number)
    assert calls.left_out == 5
    hooks.may_go.set()
    calls.close()
    assert hooks.numbers == [0, 1, 2, 3, 4, 5]
    assert caplog.text.count("left out") == 1


def test_a_hook_that_exits_ends_no_thread() -> None:
    class Leaving(Slow):
        def started(self, job: Job, started_ms: int) -> None:
            raise SystemExit(f"{job.name} {started_ms}")

    hooks = Leaving()
    calls = AttemptCalls(HookCalls([hooks]))
    calls.start()
    for number in range(3):
        calls.started(JOB, number)
        calls.ended(Attempt(JOB, 1, None, None, number, None))
    calls.close()
    assert hooks.numbers == [0, 1, 2]


def test_calls_that_were_not_started_close_without_a_wait() -> None:
    AttemptCalls(HookCalls([Slow()])).close()
