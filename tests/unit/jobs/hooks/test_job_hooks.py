"""Hooks are called in order, may change requests, and cannot do harm by an exception."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from zoolet.jobs.errors import FunctionNotFoundError, InvalidJobError
from zoolet.jobs.hooks.job_hooks import Attempt, HookCalls, JobHooks, load_hooks
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.submit.submission import Origin, Submission

REQUESTS = [JobRequest("m:f", priority=priority) for priority in (1, 2)]
SUBMISSIONS = [Submission("a", Origin.NEW), Submission("b", Origin.JOINED)]
JOB = Job.draft(REQUESTS[0], "s-0", 5_000)
ATTEMPT = Attempt(JOB, 1, 5_000, 6_000, 7_000, None)


class Noting(JobHooks):
    """Hooks that write down their calls, and raise the priority of each request."""

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def before_submit(self, requests: Sequence[JobRequest]) -> Sequence[JobRequest]:
        self.calls.append("before_submit")
        return [replace(one, priority=one.priority + 10) for one in requests]

    def submitted(self, requests: Sequence[JobRequest], submissions: Sequence[Submission]) -> None:
        self.calls.append(([one.priority for one in requests], list(submissions)))

    def not_submitted(self, requests: Sequence[JobRequest], error: BaseException) -> None:
        self.calls.append(([one.priority for one in requests], str(error)))

    def received(self, job: Job) -> None:
        self.calls.append(("received", job.name))

    def started(self, job: Job, started_ms: int) -> None:
        self.calls.append(("started", job.name, started_ms))

    def ended(self, attempt: Attempt) -> None:
        self.calls.append(("ended", attempt))


class Failing(JobHooks):
    """Hooks whose methods all raise."""

    def __getattribute__(self, name: str) -> Any:
        def fail(*_: object) -> None:
            raise RuntimeError(f"{name} is broken")

        return (
            fail
            if name in vars(JobHooks) and not name.startswith("_")
            else super().__getattribute__(name)
        )


class Few(JobHooks):
    """Hooks that lose a request."""

    def before_submit(self, requests: Sequence[JobRequest]) -> Sequence[JobRequest]:
        return requests[:-1]


def submit(requests: Sequence[JobRequest]) -> list[Submission]:
    return SUBMISSIONS[: len(requests)]


def test_each_hook_sees_the_requests_of_the_hook_before() -> None:
    first: list[Any] = []
    second: list[Any] = []
    calls = HookCalls([Noting(first), Noting(second)])
    assert calls.submitting(REQUESTS, submit) == SUBMISSIONS
    assert first == second == ["before_submit", ([21, 22], SUBMISSIONS)]


def test_an_error_of_the_submission_is_reported_and_raised() -> None:
    noted: list[Any] = []

    def refuse(_: Sequence[JobRequest]) -> list[Submission]:
        raise InvalidJobError("refused")

    with pytest.raises(InvalidJobError, match="refused"):
        HookCalls([Noting(noted), Failing()]).submitting(REQUESTS, refuse)
    assert noted == ["before_submit", ([11, 12], "refused")]


@pytest.mark.parametrize("bad", [Failing(), Few()], ids=["failing", "few"])
def test_a_bad_hook_changes_nothing(bad: JobHooks, caplog: pytest.LogCaptureFixture) -> None:
    noted: list[Any] = []
    calls = HookCalls([bad, Noting(noted)])
    with caplog.at_level(logging.ERROR):
        assert calls.submitting(REQUESTS, submit) == SUBMISSIONS
        calls.received(JOB)
        calls.started(JOB, 6_000)
        calls.ended(ATTEMPT)
    assert noted == [
        "before_submit",
        ([11, 12], SUBMISSIONS),
        ("received", JOB.name),
        ("started", JOB.name, 6_000),
        ("ended", ATTEMPT),
    ]
    assert f"the hook {type(bad).__qualname__}.before_submit has failed" in caplog.text


def test_hooks_have_the_right_class() -> None:
    with pytest.raises(InvalidJobError, match="JobHooks"):
        HookCalls([print])  # type: ignore[list-item]


def test_hooks_are_loaded_by_name() -> None:
    [found] = load_hooks(["zoolet.jobs.hooks.job_hooks:JobHooks"])
    assert type(found) is JobHooks
    with pytest.raises(FunctionNotFoundError):
        load_hooks(["no_such_module:Hooks"])
    with pytest.raises(InvalidJobError, match="JobHooks"):
        load_hooks(["builtins:dict"])
