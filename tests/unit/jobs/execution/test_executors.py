"""Executors, in threads and in processes: each job that is given is told of once."""

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.executors import Listening, executor_of, work
from tests.support.jobs import write_tasks
from tests.support.waiting import wait_until
from zoolet.jobs.errors import FunctionNotFoundError
from zoolet.jobs.execution.attempts import Attempter, Setup
from zoolet.jobs.execution.child_process import ChildProcess
from zoolet.jobs.execution.executors import Executor
from zoolet.jobs.execution.pending_work import PIPE_BYTES
from zoolet.jobs.execution.process_executor import ProcessExecutor


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tasks(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pipe_tasks", raising=False)
    return tmp_path


Start = Callable[..., tuple[Executor, Listening]]


@pytest.fixture(params=["thread", "process"])
def start(request: pytest.FixtureRequest, tasks: Path) -> Iterator[Start]:
    """Start an executor of either kind."""
    assert tasks
    with ExitStack() as started:

        def start(cache_groups: int = 2, loader: str | None = "pipe_tasks:load") -> Any:
            setup = Setup(loader, cache_groups, import_paths=tuple(sys.path))
            return started.enter_context(executor_of(request.param, setup))

        yield start


@pytest.fixture
def process(tasks: Path) -> Iterator[tuple[Executor, Listening]]:
    assert tasks
    setup = Setup("pipe_tasks:load", import_paths=tuple(sys.path))
    with executor_of("process", setup) as made:
        yield made


def test_jobs_are_done_in_order_and_data_is_found_the_second_time(start: Start) -> None:
    executor, listening = start()
    executor.give([work("a", n=1), work("b", n=2), work("c", groupid="2")])
    outcomes = listening.wait_for("ended", 3)
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert [outcome.result.decode()["parameters"] for outcome in outcomes] == [
        {"n": 1},
        {"n": 2},
        {},
    ]
    assert listening.of("started") == [False, True, False]
    assert executor.held() == {("d", "1"), ("d", "2")}


def test_what_the_cache_drops_is_not_held(start: Start) -> None:
    executor, listening = start(cache_groups=1)
    executor.give([work("a"), work("b", groupid="2")])
    listening.wait_for("ended", 2)
    assert executor.held() == {("d", "2")}


def test_without_a_loader_there_is_no_data(start: Start) -> None:
    executor, listening = start(loader=None)
    executor.give([work("a")])
    [outcome] = listening.wait_for("ended")
    assert (outcome.result.decode()["group"], listening.of("started")) == (None, [None])


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        ("trouble", "ValueError: this task raises"),
        ("leave", "SystemExit: 7"),
        ("not_json", "the result is of type builtins.set"),
        ("lost", "cannot be imported"),
    ],
)
def test_what_a_task_raises_is_its_error(start: Start, task: str, complaint: str) -> None:
    executor, listening = start()
    executor.give([work("a", task), work("b")])
    failed, done = listening.wait_for("ended", 2)
    assert complaint in failed.error
    assert done.error is None


def test_what_was_given_up_is_not_told_of(start: Start, tasks: Path) -> None:
    executor, listening = start()
    os.mkfifo(tasks / "pipe")
    executor.give([work("a", "read_pipe", pipe=str(tasks / "pipe")), work("b"), work("c")])
    with (tasks / "pipe").open("w"):
        executor.abandon(["a", "b"])
        # It may be given again at once.
        executor.give([work("a", n=1)])
    outcomes = listening.wait_for("ended", 2)
    assert [news[1] for news in listening.news if news[0] == "ended"] == ["c", "a"]
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert not executor.is_stuck()


def test_what_waits_behind_a_long_task_can_be_taken_back(start: Start, tasks: Path) -> None:
    executor, listening = start()
    os.mkfifo(tasks / "pipe")
    executor.give([work("long", "read_pipe", pipe=str(tasks / "pipe")), work("b"), work("c")])
    with (tasks / "pipe").open("w"):
        executor.give([work("d")])
        executor.recall()
        assert sorted(listening.wait_for("returned")[0]) == ["b", "c", "d"]
        assert listening.of("ended") == []
    executor.give([work("b", n=1), work("e")])
    listening.wait_for("ended", 3)
    assert [news[1] for news in listening.news if news[0] == "ended"] == ["long", "b", "e"]
    assert listening.of("ended")[1].result.decode()["parameters"] == {"n": 1}


def test_jobs_too_large_for_the_pipe_pass_one_by_one(
    process: tuple[Executor, Listening],
) -> None:
    executor, listening = process
    large = "x" * (3 * PIPE_BYTES)
    executor.give([work(f"{n}", text=large, n=n) for n in range(6)])
    executor.give([work("small")])
    outcomes = listening.wait_for("ended", 7)
    assert [outcome.result.decode()["parameters"].get("n") for outcome in outcomes] == [
        *range(6),
        None,
    ]


def test_a_process_that_dies_costs_the_job_it_was_at(
    process: tuple[Executor, Listening],
) -> None:
    executor, listening = process
    executor.give([work("a"), work("dies", "end_own_process"), *(work(f"{n}") for n in range(30))])
    outcomes = listening.wait_for("ended", 32)
    names = [news[1] for news in listening.news if news[0] == "ended"]
    assert names == ["a", "dies", *(f"{n}" for n in range(30))]
    errors = [outcome.error for outcome in outcomes]
    assert errors == [None, "its process died: SIGKILL", *[None] * 30]


def test_a_timeout_ends_the_process_and_the_next_job_is_done(
    process: tuple[Executor, Listening],
) -> None:
    executor, listening = process
    executor.give([work("long", "spin", s=600, timeout_ms=100), work("b")])
    first, second = listening.wait_for("ended", 2)
    assert first.error == "it took longer than its timeout of 100 ms: its process was ended"
    assert second.error is None


@pytest.mark.parametrize("reason", ["abandoned", "timeout"])
def test_a_kill_does_not_fail_the_job_that_began_meanwhile(
    process: tuple[Executor, Listening],
    tasks: Path,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
) -> None:
    """The job of the reason ends between the decision and the kill."""
    pipe, begun = tasks / "pipe", tasks / "begun"
    os.mkfifo(pipe)
    kill = ChildProcess.kill

    def kill_late(process: ChildProcess) -> None:
        if not begun.exists():
            pipe.write_text("")
            wait_until(begun.exists, "the next job")
        kill(process)

    executor, listening = process
    monkeypatch.setattr(ChildProcess, "kill", kill_late)
    timeout_ms = 50 if reason == "timeout" else None
    long = work("long", "read_pipe", pipe=str(pipe), timeout_ms=timeout_ms)
    executor.give([long, work("next", "hang_once", file=str(begun)), work("last")])
    if reason == "abandoned":
        listening.wait_for("started")
        executor.abandon(["long"])
    wanted = ["next", "last"] if reason == "abandoned" else ["long", "next", "last"]
    outcomes = listening.wait_for("ended", len(wanted))
    assert [news[1] for news in listening.news if news[0] == "ended"] == wanted
    assert [outcome.error for outcome in outcomes] == [None] * len(wanted)
    assert outcomes[-2].result.decode() == "again"
    assert not executor.is_stuck()


def test_a_loader_that_cannot_be_imported_is_an_error_at_the_start(tasks: Path) -> None:
    assert tasks
    setup = Setup("pipe_tasks:lost", import_paths=tuple(sys.path))
    executor = ProcessExecutor(setup, Listening())
    executor.start()
    try:
        with pytest.raises(FunctionNotFoundError, match="pipe_tasks:lost"):
            executor.wait_until_ready()
    finally:
        executor.stop()
        executor.join()
    with pytest.raises(FunctionNotFoundError, match="pipe_tasks:lost"):
        Attempter(setup)


# --- Jobs that may start only when RUNNING is recorded


def test_a_careful_job_starts_when_it_is_permitted_and_holds_its_place(start: Start) -> None:
    executor, listening = start()
    executor.give([work("a", careful=True), work("b"), work("c", careful=True)])
    assert listening.wait_for("asks") == ["a"]
    executor.permit("c")
    executor.permit("a")
    assert listening.wait_for("asks", 2) == ["a", "c"]
    # It asks for c only when all before it have ended.
    assert [news[1] for news in listening.news if news[0] == "ended"] == ["a", "b"]
    executor.permit("c")
    listening.wait_for("ended", 3)
    order = [news[:2] for news in listening.news if news[0] in {"asks", "started", "ended"}]
    assert order.index(("asks", "a")) < order.index(("started", "a"))
    assert order.index(("ended", "b")) < order.index(("asks", "c"))


def test_a_careful_job_that_is_given_up_is_not_started(start: Start) -> None:
    executor, listening = start()
    executor.give([work("a", careful=True), work("b")])
    listening.wait_for("asks")
    executor.abandon(["a"])
    executor.permit("a")
    listening.wait_for("ended")
    assert [news[1] for news in listening.news if news[0] == "started"] != []
    assert ("ended", "a") not in [news[:2] for news in listening.news]


def test_a_careful_job_that_was_returned_is_asked_for_again(start: Start) -> None:
    executor, listening = start()
    executor.give([work("a", careful=True)])
    listening.wait_for("asks")
    executor.recall()
    assert listening.wait_for("returned") == [["a"]]
    executor.give([work("a", careful=True)])
    assert listening.wait_for("asks", 2) == ["a", "a"]
    executor.permit("a")
    [outcome] = listening.wait_for("ended")
    assert outcome.error is None


def test_jobs_of_both_kinds_are_each_started_once_in_their_order(start: Start) -> None:
    executor, listening = start()
    chance = random.Random(17)
    names = [f"job-{number}" for number in range(40)]
    careful = {name for name in names if chance.random() < 0.4}
    executor.give([work(name, careful=name in careful) for name in names])
    for count in range(1, len(careful) + 1):
        executor.permit(listening.wait_for("asks", count)[-1])
    listening.wait_for("ended", len(names))
    assert [news[1] for news in listening.news if news[0] == "ended"] == names
    assert listening.of("asks") == [name for name in names if name in careful]
