"""The decorator: a function stays a function, and its jobs have its options."""

from typing import Any, assert_type

import pytest

from zoolet.jobs import Batch, GroupTask, InvalidJobError, JobError, JobRequest, Retry, Task, task
from zoolet.jobs.records.task_names import task_name


@task
def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


@task(
    max_attempts=7,
    backoff_ms=100,
    jitter_percent=50,
    timeout_ms=2000,
    soft_timeout_ms=1000,
    priority=9,
    idempotency_key="mail-{user}",
    retry_for=(OSError, ValueError),
    no_retry_for=FileNotFoundError,
)
def send_mail(user: str, text: str) -> None: ...


@task(dataset="flights-{year}", groupid=lambda month: f"{month:02}")
def count_late(group: list[int], year: int, month: int, *, minutes: int) -> int:
    return sum(delay > minutes for delay in group) + 0 * year * month


@task(with_group=True)
def count(group: list[int]) -> int:
    return len(group)


@task(limit_key="customer-{customer}", tags=("gpu",))
def draw(customer: int) -> None: ...


@task(name="billing.invoice")
def invoice(customer: int) -> None: ...


class Recording:
    """A dispatcher that keeps the requests that it gets."""

    def __init__(self) -> None:
        self.requests: list[tuple[JobRequest, bool | None]] = []

    def submit_request(self, request: JobRequest, *, reuse: bool | None) -> None:
        self.requests.append((request, reuse))


def test_a_call_runs_the_function_here() -> None:
    assert add(1) == 3
    assert count_late([1, 20, 30], 2013, 1, minutes=15) == 2
    assert (vars(add)["__name__"], add.__doc__) == ("add", "Add two numbers.")


def test_a_type_checker_sees_the_signature() -> None:
    assert_type(add(1), int)
    assert_type(add.request(1, b=3), JobRequest)
    assert_type(count_late.request(2013, 1, minutes=15), JobRequest)
    with pytest.raises(TypeError):
        add.request(1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        count_late.request(2013, 1)  # type: ignore[call-arg]
    assert isinstance(add, Task)
    assert isinstance(count_late, GroupTask)


def _types_of_submit(dispatcher: Any) -> None:
    """Is checked by mypy only."""
    assert_type(add.submit(1), Batch)
    assert_type(add.submit_to(dispatcher, 1, b=2), Batch)
    add.submit("1")  # type: ignore[arg-type]
    count_late.submit(2013, 1, minutes="5")  # type: ignore[arg-type]
    count_late([""], 2013, 1, minutes=5)  # type: ignore[list-item]
    task(max_attemps=3)  # type: ignore[call-overload]


def test_a_request_has_the_arguments_and_the_options() -> None:
    assert add.request(1, b=5) == JobRequest(f"{__name__}:add", parameters={"a": 1, "b": 5})
    assert send_mail.request("ann", "hello") == JobRequest(
        f"{__name__}:send_mail",
        parameters={"user": "ann", "text": "hello"},
        max_attempts=7,
        backoff_ms=100,
        jitter_percent=50,
        timeout_ms=2000,
        soft_timeout_ms=1000,
        priority=9,
        idempotency_key="mail-ann",
    )
    assert count_late.request(2013, 1, minutes=15) == JobRequest(
        f"{__name__}:count_late",
        "flights-2013",
        "01",
        {"year": 2013, "month": 1, "minutes": 15},
    )
    drawn = draw.request(7)
    assert (drawn.limit_key, drawn.tags) == ("customer-7", ("gpu",))
    assert invoice.request(4).task_name == "billing.invoice"


def test_a_job_has_other_options_if_the_caller_says_so() -> None:
    dispatcher: Any = Recording()
    urgent = add.with_options(priority=999, reuse=True)
    urgent.submit_to(dispatcher, 1)
    add.submit_to(dispatcher, 1)
    [(first, first_reuse), (second, second_reuse)] = dispatcher.requests
    assert (first.priority, first_reuse, first.task_name) == (999, True, f"{__name__}:add")
    assert (second.priority, second_reuse) == (0, None)


def test_the_name_of_a_task_is_that_of_its_function() -> None:
    assert task_name(add) == f"{__name__}:add"
    assert task_name(add.with_options(priority=5)) == f"{__name__}:add"
    assert JobRequest(count, "d", "1").task_name == f"{__name__}:count"


def test_a_task_is_run_with_the_parameters_of_its_job() -> None:
    assert add.run(None, {"a": 1}) == 3
    assert count_late.run([20], {"year": 1, "month": 2, "minutes": 15}) == 1
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        add.run(None, {})


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [
        (OSError(), True),
        (ConnectionError(), True),
        (FileNotFoundError(), False),
        (KeyError(), False),
        (UnicodeError(), True),
    ],
)
def test_only_some_errors_are_retried(error: Exception, is_retried: bool) -> None:
    assert send_mail.is_retried(error) is is_retried
    assert add.is_retried(error)


def test_wrong_options_are_refused_when_the_module_is_imported() -> None:
    unknown: Any = {"max_attemps": 3}
    one_of_two: Any = {"dataset": "d"}
    with pytest.raises(InvalidJobError, match="no option max_attemps"):
        task(**unknown)
    with pytest.raises(InvalidJobError, match="both dataset= and groupid="):
        task(**one_of_two)
    with pytest.raises(InvalidJobError, match="names the argument 'user'"):
        task(idempotency_key="{user}")(lambda name: name)


def test_a_group_that_nothing_names_is_refused() -> None:
    with pytest.raises(InvalidJobError, match=r"pass the task to Dispatcher\.map"):
        count.request()


def test_a_submit_without_a_dispatcher_says_what_to_do() -> None:
    with pytest.raises(JobError, match="inside of `with Dispatcher"):
        add.submit(1)


@pytest.mark.parametrize("in_s", [-1, float("nan"), float("inf"), 10**10])
def test_a_retry_at_no_possible_time_is_refused(in_s: float) -> None:
    with pytest.raises(ValueError, match="in_s"):
        Retry(in_s=in_s)
