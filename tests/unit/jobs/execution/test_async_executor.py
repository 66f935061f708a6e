"""An executor that makes several attempts at a time: each has its own end, output and context."""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.executors import Listening, work
from tests.support.waiting import wait_until
from zoolet.jobs.execution import async_executor
from zoolet.jobs.execution.async_executor import AsyncExecutor
from zoolet.jobs.execution.attempts import Outcome, Setup, Work
from zoolet.jobs.execution.functions import absolute_paths

CONCURRENCY = 8
TASKS = '''
import asyncio, json, logging, os, signal, time
from pathlib import Path
from zoolet.jobs import Retry, SoftTimeoutError, current_job, task

arrived = []
release = None

@task
async def meet(number):
    """Return when all attempts are here at the same time."""
    global release
    release = release or asyncio.Event()
    arrived.append(number)
    if len(arrived) == CONCURRENCY:
        release.set()
    await release.wait()
    return sorted(arrived)

@task
async def speak(number, times):
    log = logging.getLogger("speaker")
    for turn in range(times):
        print(f"{number} prints {turn}")
        log.info("%d logs %d", number, turn)
        await asyncio.sleep(0)
    print(f"{number} ends", end="")
    return current_job().name

@task
async def wait_for(file):
    Path(file + ".begun").touch()
    try:
        while not Path(file).exists():
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        Path(file + ".cancelled").touch()
        raise
    return "came"

@task
async def stubborn(file):
    Path(file).touch()
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

@task
async def soft():
    try:
        await asyncio.sleep(600)
    except SoftTimeoutError:
        return "saved"

@task
async def fails(kind):
    await asyncio.sleep(0)
    if kind == "retry":
        raise Retry("later", in_s=1)
    if kind == "exit":
        raise SystemExit(1)
    raise ValueError(kind)

@task
async def dies():
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGKILL)

@task(batch=4, batch_wait_ms=20)
def batched(items):
    return [ValueError(item) if item == 7 else [item, len(items)] for item in items]

@task
def plain(number):
    return number

async def undecorated(group, parameters):
    await asyncio.sleep(0)
    return parameters

@task
async def counts():
    for number in range(100):
        current_job().progress(number, 99)
        await asyncio.sleep(0)
'''.replace("CONCURRENCY", str(CONCURRENCY))


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[AsyncExecutor, Listening]]:
    (tmp_path / "async_tasks.py").write_text(TASKS)
    setup = Setup(
        import_paths=(str(tmp_path), *absolute_paths(sys.path)),
        output_token="secret",
        async_concurrency=CONCURRENCY,
    )
    listening = Listening()
    executor = AsyncExecutor(setup, listening)
    executor.start()
    executor.wait_until_ready()
    yield executor, listening
    executor.stop()
    executor.join()
    assert executor.has_ended()


def job(name: str, task: str, **parameters: Any) -> Work:
    return work(name, task, module="async_tasks", **parameters)


def ends(listening: Listening, count: int) -> dict[str, Outcome]:
    listening.wait_for("ended", count)
    return {news[1]: news[2] for news in listening.news if news[0] == "ended"}


def result(outcome: Outcome) -> Any:
    assert outcome.result is not None, outcome.error
    return json.loads(outcome.result.text)


def test_attempts_run_at_the_same_time(started: tuple[AsyncExecutor, Listening]) -> None:
    executor, listening = started
    executor.give([job(str(number), "meet", number=number) for number in range(CONCURRENCY)])
    found = ends(listening, CONCURRENCY)
    assert all(result(outcome) == list(range(CONCURRENCY)) for outcome in found.values())


def test_each_job_has_its_own_output_and_context(
    started: tuple[AsyncExecutor, Listening],
) -> None:
    executor, listening = started
    executor.give([job(str(number), "speak", number=number, times=5) for number in range(20)])
    for name, outcome in ends(listening, 20).items():
        assert result(outcome) == name
        assert outcome.last_lines.splitlines() == [
            *(
                line
                for turn in range(5)
                for line in (f"{name} prints {turn}", f"INFO speaker: {name} logs {turn}")
            ),
            f"{name} ends",
        ]


def test_errors_retries_and_plain_functions(started: tuple[AsyncExecutor, Listening]) -> None:
    executor, listening = started
    executor.give(
        [
            job("retry", "fails", kind="retry"),
            job("exit", "fails", kind="exit"),
            job("error", "fails", kind="error"),
            job("plain", "plain", number=3),
            job("undecorated", "undecorated", number=4),
            job("missing", "no_such_task"),
        ]
    )
    found = ends(listening, 6)
    assert found["retry"].retry_in_ms == 1000
    assert "SystemExit" in (found["exit"].error or "")
    assert "ValueError: error" in (found["error"].error or "")
    assert result(found["plain"]) == 3
    assert result(found["undecorated"]) == {"number": 4}
    assert found["missing"].is_task_missing


def test_timeouts_concern_one_job(started: tuple[AsyncExecutor, Listening], tmp_path: Path) -> None:
    executor, listening = started
    file = tmp_path / "file"
    executor.give(
        [
            job("soft", "soft")._replace(soft_timeout_ms=50),
            job("hard", "wait_for", file=str(tmp_path / "never"), timeout_ms=50),
            job("other", "wait_for", file=str(file)),
        ]
    )
    found = ends(listening, 2)
    assert result(found["soft"]) == "saved"
    assert found["hard"].error == "it took longer than its timeout of 50 ms: it was cancelled"
    assert (tmp_path / "never.cancelled").exists()
    file.touch()
    assert result(ends(listening, 3)["other"]) == "came"


def test_an_abandoned_job_is_cancelled_and_may_come_again(
    started: tuple[AsyncExecutor, Listening], tmp_path: Path
) -> None:
    executor, listening = started
    file = tmp_path / "file"
    executor.give([job("a", "wait_for", file=str(file))])
    wait_until((tmp_path / "file.begun").exists, "the task")
    executor.abandon(["a"])
    executor.give([job("a", "plain", number=1)])
    assert result(ends(listening, 1)["a"]) == 1
    assert (tmp_path / "file.cancelled").exists()
    assert listening.of("freed")


def test_jobs_that_wait_are_returned(
    started: tuple[AsyncExecutor, Listening], tmp_path: Path
) -> None:
    executor, listening = started
    file = tmp_path / "file"
    names = [str(number) for number in range(CONCURRENCY + 3)]
    executor.give([job(name, "wait_for", file=str(file)) for name in names])
    listening.wait_for("started", CONCURRENCY)
    executor.recall()
    [returned] = listening.wait_for("returned")
    assert returned == names[CONCURRENCY:]
    wait_until(executor.is_stuck, "the attempts to be long")
    file.touch()
    assert ends(listening, CONCURRENCY).keys() == set(names[:CONCURRENCY])
    assert not executor.is_stuck()


def test_a_careful_job_waits_for_its_permit_and_no_other_job_does(
    started: tuple[AsyncExecutor, Listening],
) -> None:
    executor, listening = started
    executor.give([job("a", "plain", number=1, careful=True), job("b", "plain", number=2)])
    assert listening.wait_for("asks") == ["a"]
    assert result(ends(listening, 1)["b"]) == 2
    assert listening.of("started") == [None]
    executor.permit("a")
    assert result(ends(listening, 2)["a"]) == 1


def test_a_coroutine_that_does_not_end_costs_only_its_own_attempt(
    started: tuple[AsyncExecutor, Listening],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(async_executor, "CANCEL_LIMIT_S", 0.05)
    executor, listening = started
    file = str(tmp_path / "file")
    executor.give([job("a", "wait_for", file=file), job("b", "wait_for", file=file, careful=True)])
    executor.permit("b")
    listening.wait_for("started", 2)
    executor.give([job("bad", "stubborn", file=str(tmp_path / "bad"), timeout_ms=100)])
    found = ends(listening, 2)
    assert (found["bad"].error or "").startswith("it took longer than its timeout")
    assert "because of another job" in (found["b"].error or "")
    assert listening.wait_for("returned") == [["a"]]
    executor.give([job("c", "plain", number=5)])
    assert result(ends(listening, 3)["c"]) == 5


def test_a_process_that_dies_fails_its_attempts_and_is_replaced(
    started: tuple[AsyncExecutor, Listening], tmp_path: Path
) -> None:
    executor, listening = started
    executor.give([job("a", "wait_for", file=str(tmp_path / "never"))])
    listening.wait_for("started")
    executor.give([job("bad", "dies")])
    assert {outcome.error for outcome in ends(listening, 2).values()} == {
        "its process died: SIGKILL"
    }
    executor.give([job("b", "plain", number=1)])
    assert result(ends(listening, 3)["b"]) == 1


def test_jobs_of_a_batched_task_share_a_call(
    started: tuple[AsyncExecutor, Listening],
) -> None:
    executor, listening = started
    executor.give([job(str(number), "batched", item=number) for number in range(8)])
    found = ends(listening, 8)
    assert "ValueError: 7" in (found.pop("7").error or "")
    results = [result(outcome) for outcome in found.values()]
    assert sorted(item for item, _ in results) == list(range(7))
    assert {size for _, size in results} == {4}


def test_progress_is_reported(started: tuple[AsyncExecutor, Listening]) -> None:
    executor, listening = started
    executor.give([job("a", "counts"), job("b", "counts")])
    ends(listening, 2)
    last = {news[1]: news[2].done for news in listening.news if news[0] == "progressed"}
    assert last == {"a": 99, "b": 99}


@pytest.mark.parametrize("seed", range(3))
def test_each_job_ends_once_or_is_returned_or_abandoned(
    started: tuple[AsyncExecutor, Listening], tmp_path: Path, seed: int
) -> None:
    """Random jobs, abandons and recalls; in the end each job has one fate, and none has two."""
    executor, listening = started
    chance = random.Random(seed)
    given, abandoned = set[str](), set[str]()
    for number in range(60):
        name = str(number)
        choices: list[tuple[str, dict[str, Any]]] = [
            ("plain", {"number": number}),
            ("speak", {"number": number, "times": 2}),
            ("fails", {"kind": "error"}),
            ("wait_for", {"file": str(tmp_path / "never"), "timeout_ms": 30}),
        ]
        task, parameters = chance.choice(choices)
        executor.give([job(name, task, **parameters)])
        given.add(name)
        if chance.random() < 0.2:
            dropped = {chance.choice(sorted(given))}
            executor.abandon(dropped)
            abandoned |= dropped
        if chance.random() < 0.1:
            executor.recall()

    def fates() -> list[str]:
        ended = [news[1] for news in listening.news if news[0] == "ended"]
        return ended + [name for names in listening.of("returned") for name in names]

    wait_until(lambda: given - abandoned <= set(fates()), "the ends of all jobs")
    assert len(fates()) == len(set(fates()))
