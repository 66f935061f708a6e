"""Decorated tasks in executors: arguments, errors that are final, retries, soft timeouts."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.executors import Listening, executor_of, work
from tests.support.waiting import wait_until
from zoolet.jobs.execution.attempts import Outcome, Setup
from zoolet.jobs.execution.executors import Executor
from zoolet.jobs.records.progress import Progress

TASKS = """
import itertools, os, signal, subprocess, sys, time
from zoolet.jobs import Retry, SoftTimeoutError, current_job, task

def load(dataset, groupid):
    return [1, 2, 3]

@task
def add(a, b=2):
    return a + b

@task(with_group=True)
def count(group, more):
    return len(group) + more

@task(retry_for=OSError)
def fail(kind):
    raise {"os": OSError, "value": ValueError}[kind](kind)

def plain_failure(group, parameters):
    raise ValueError("no")

def later(group, parameters):
    raise Retry(**parameters)

@task
def about():
    job = current_job()
    job.log.info("in the log")
    return [job.name, job.task, job.group, job.attempt, job.deadline_ms]

@task
def late(how):
    try:
        wait(how)
    except SoftTimeoutError as error:
        return str(error)

def wait(how):
    if how == "sleep":
        time.sleep(600)
    elif how == "spin":
        for number in itertools.count(): pass
    elif how == "subprocess":
        subprocess.run(["sleep", "600"])

@task
def never_ends():
    wait("sleep")

@task
def timers():
    handler = signal.getsignal(signal.SIGALRM)
    return [getattr(handler, "name", "a handler"), signal.getitimer(signal.ITIMER_REAL)]

@task
def count_up(most):
    for number in range(most + 1):
        current_job().progress(number, most, "counting")
    return most

@task
def wrong_progress():
    current_job().progress(-1)

@task
def until_cancelled(file):
    job = current_job()
    job.check_cancelled()
    open(file, "w").close()
    while True:
        time.sleep(0.01)
        job.check_cancelled()

@task
def submit():
    add.submit(1)
"""


@pytest.fixture(params=["thread", "process"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def started(kind: str, tmp_path: Path) -> Iterator[tuple[Executor, Listening]]:
    (tmp_path / "decorated_tasks.py").write_text(TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        setup = Setup("decorated_tasks:load", import_paths=tuple(sys.path))
        with executor_of(kind, setup) as found:
            yield found
        sys.modules.pop("decorated_tasks", None)


def outcome_of(started: tuple[Executor, Listening], task: str, **parameters: Any) -> Outcome:
    executor, listening = started
    soft_ms = parameters.pop("soft_ms", None)
    given = work("a", task, module="decorated_tasks", **parameters)
    executor.give([given._replace(soft_timeout_ms=soft_ms, attempt=2)])
    outcome = listening.wait_for("ended")[-1]
    assert isinstance(outcome, Outcome)
    return outcome


def result_of(started: tuple[Executor, Listening], task: str, **parameters: Any) -> str:
    outcome = outcome_of(started, task, **parameters)
    assert outcome.result is not None, outcome.error
    return outcome.result.text.decode()


def test_the_parameters_are_the_arguments(started: tuple[Executor, Listening]) -> None:
    assert result_of(started, "add", a=1) == "3"


def test_the_group_is_the_first_argument(started: tuple[Executor, Listening]) -> None:
    assert result_of(started, "count", more=10) == "13"


@pytest.mark.parametrize(("error", "is_final"), [("os", False), ("value", True)])
def test_an_error_that_is_not_retried_is_final(
    started: tuple[Executor, Listening], error: str, is_final: bool
) -> None:
    outcome = outcome_of(started, "fail", kind=error)
    assert outcome.is_final is is_final
    assert (outcome.error or "").rstrip().endswith(f"Error: {error}")


def test_any_error_of_a_plain_task_is_retried(started: tuple[Executor, Listening]) -> None:
    assert not outcome_of(started, "plain_failure").is_final


def test_a_retry_has_a_reason_and_a_time(started: tuple[Executor, Listening]) -> None:
    outcome = outcome_of(started, "later", reason="the server is busy", in_s=1.5)
    assert (outcome.retry_in_ms, outcome.is_final) == (1500, False)
    assert outcome.error == "the server is busy: to be tried again in 1.5 s"


def test_a_task_knows_its_job(started: tuple[Executor, Listening]) -> None:
    assert result_of(started, "about") == '["a","decorated_tasks:about",["d","1"],2,null]'


def test_a_task_of_an_executor_without_a_queue_cannot_submit(
    started: tuple[Executor, Listening],
) -> None:
    assert "it has no dispatcher" in (outcome_of(started, "submit").error or "")


def test_the_last_progress_is_reported_before_the_end(
    started: tuple[Executor, Listening],
) -> None:
    assert result_of(started, "count_up", most=5000) == "5000"
    news = started[1].news
    reported = [one[-1] for one in news if one[0] == "progressed"]
    assert reported[0] == Progress(0, 5000, "counting")
    assert reported[-1] == Progress(5000, 5000, "counting")
    assert len(reported) < 100
    assert news[-1][0] == "ended"


def test_a_wrong_progress_is_an_error_of_the_task(started: tuple[Executor, Listening]) -> None:
    assert "done -1 is not a number" in (outcome_of(started, "wrong_progress").error or "")


def test_a_cancelled_job_leaves_its_executor(
    started: tuple[Executor, Listening], tmp_path: Path
) -> None:
    executor, listening = started
    file = tmp_path / "runs"
    executor.give([work("a", "until_cancelled", module="decorated_tasks", file=str(file))])
    wait_until(file.exists, "the task")
    executor.abandon(["a"])
    listening.wait_for("freed")
    assert result_of(started, "add", a=1) == "3"


@pytest.mark.parametrize("kind", ["process"], indirect=True)
@pytest.mark.parametrize("how", ["sleep", "spin", "subprocess"])
def test_a_soft_timeout_interrupts_a_task_that_then_ends_as_it_likes(
    started: tuple[Executor, Listening], how: str
) -> None:
    result = result_of(started, "late", how=how, soft_ms=50)
    assert result == '"the task ran longer than its soft timeout of 50 ms"'
    assert result_of_second(started, "timers") == '["SIG_DFL",[0.0,0.0]]'


def result_of_second(started: tuple[Executor, Listening], task: str) -> str:
    executor, listening = started
    executor.give([work("b", task, module="decorated_tasks")])
    outcome = listening.wait_for("ended", 2)[-1]
    assert outcome.result is not None, outcome.error
    text: bytes = outcome.result.text
    return text.decode()


@pytest.mark.parametrize("kind", ["process"], indirect=True)
def test_a_task_that_does_not_handle_its_soft_timeout_fails(
    started: tuple[Executor, Listening],
) -> None:
    error = outcome_of(started, "never_ends", soft_ms=1).error or ""
    assert "SoftTimeoutError: the task ran longer than its soft timeout of 1 ms" in error


@pytest.mark.parametrize("kind", ["process"], indirect=True)
def test_a_soft_timeout_that_does_not_pass_changes_nothing(
    started: tuple[Executor, Listening],
) -> None:
    assert result_of(started, "timers", soft_ms=600_000).startswith("[")


@pytest.mark.parametrize("kind", ["thread"], indirect=True)
def test_threads_refuse_a_soft_timeout(started: tuple[Executor, Listening]) -> None:
    assert "without --threads" in (outcome_of(started, "add", a=1, soft_ms=1).error or "")
