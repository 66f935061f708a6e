"""FAILED jobs: their retention time, their selection, and retries that are interrupted."""

import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.jobs import ROOT
from zoolet.cli import main
from zoolet.jobs import (
    Dispatcher,
    JobFilter,
    JobRequest,
    JobState,
    UnknownBatchError,
)
from zoolet.jobs.housekeeping.removal import Remover
from zoolet.jobs.queue.moves import Move, Mover
from zoolet.jobs.records.transitions import Event, Place

KEPT_MS = 10_000


class InterruptionError(Exception):
    """The end of a program in the middle of a retry."""


@pytest.fixture
def local(client: KazooClient) -> Iterator[Dispatcher]:
    """A dispatcher whose queue has a worker ``w`` in the test."""
    with Dispatcher(client, ROOT, create=True) as found:
        assert found.queue.register("w")
        yield found


def request(task: str = "m:f", **changes: Any) -> JobRequest:
    return JobRequest(task, max_attempts=1, **changes)


def fail_all(dispatcher: Dispatcher, error: str = "ValueError: no") -> list[str]:
    """Let all waiting jobs fail; return their names."""
    queue = dispatcher.queue
    names = [job.name for job in queue.waiting()]
    for name in names:
        queue.fail(queue.own_job(name, "w"), error)
    return names


def waiting(dispatcher: Dispatcher) -> list[str]:
    return sorted(job.name for job in dispatcher.queue.waiting())


def test_failed_jobs_have_their_own_retention_time(local: Dispatcher) -> None:
    now_ms = [local.queue.clock_ms()]
    local.queue.clock_ms = lambda: now_ms[0]
    local.submit_batch([request() for _ in range(3)])
    failed = fail_all(local)
    succeeded = local.submit_batch([request() for _ in range(3)]).names
    for name in succeeded:
        local.queue.finish(local.queue.own_job(name, "w"), 1)
    local.queue.configure(keep_done_ms=KEPT_MS, keep_done_jobs=2, keep_failed_ms=3 * KEPT_MS)
    clock_s = [0.0]
    remover = Remover(local.queue, local.results, lambda: clock_s[0])

    def left_at(at_ms: int) -> dict[JobState, int]:
        now_ms[0] += at_ms
        clock_s[0] += 100
        remover.remove_if_due()
        states = local.queue.states()
        return {state: states[state] for state in (JobState.SUCCESSFUL, JobState.FAILED)}

    assert left_at(0) == {JobState.SUCCESSFUL: 2, JobState.FAILED: 3}
    assert left_at(2 * KEPT_MS) == {JobState.SUCCESSFUL: 0, JobState.FAILED: 3}
    # A job that FAILED again since its end was read is kept from its last end on.
    local.queue.retry(failed[0])
    fail_all(local)
    assert left_at(2 * KEPT_MS) == {JobState.SUCCESSFUL: 0, JobState.FAILED: 1}
    assert left_at(2 * KEPT_MS) == {JobState.SUCCESSFUL: 0, JobState.FAILED: 0}


def test_jobs_are_retried_by_task_error_batch_and_time(local: Dispatcher) -> None:
    now_ms = local.queue.clock_ms()
    first = local.submit_batch([request("m:a"), request("m:b")], name="first").names
    second = local.submit_batch([request("m:a")], name="second").names
    [a, b, c] = [*first, *second]
    ends = dict.fromkeys(first, (now_ms - 9000, "ValueError: no"))
    ends |= {c: (now_ms - 5000, "Traceback\n  File x\nTimeoutError: late")}
    cases: list[tuple[JobFilter, list[str]]] = [
        (JobFilter(task="m:a"), [a, c]),
        (JobFilter(error="TimeoutError"), [c]),
        (JobFilter(batch="first"), [a, b]),
        (JobFilter(since_ms=now_ms - 6000), [c]),
        (JobFilter(until_ms=now_ms - 5000), [a, b]),
        (JobFilter(until_ms=now_ms - 5000, error="TimeoutError"), []),
        (JobFilter(state=JobState.SUCCESSFUL), [a, b, c]),
    ]
    for selected, expected in cases:
        for name in waiting(local):
            at_ms, error = ends[name]
            local.queue.clock_ms = partial(int, at_ms)
            local.queue.cancel([name], error)
        assert local.retry_failed(selected).jobs == len(expected)
        assert waiting(local) == sorted(expected)
        assert local.queue.layout.znodes.children(f"{ROOT}/retries") == []
    with pytest.raises(UnknownBatchError):
        local.retry_failed(JobFilter(batch="none"))


def test_an_interrupted_retry_continues_and_retries_each_job_once(
    local: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(23)
    local.submit_batch([request() for _ in range(230)])
    failed = fail_all(local)
    retried: Counter[str] = Counter()
    move = Mover.move

    def counted(self: Mover, moves: Any, *arguments: Any) -> list[Move]:
        if moves and moves[0].event is Event.RETRY and chance.random() < 0.4:
            raise InterruptionError
        made = move(self, moves, *arguments)
        names = [one.before.name for one in made if one.event is Event.RETRY]
        retried.update(names)
        # Some of the jobs fail again at once.
        for name in names[:5]:
            local.queue.cancel([name], "again")
        return made

    monkeypatch.setattr(Mover, "move", counted)
    interruptions = 0
    while True:
        try:
            found = local.retry_failed()
        except InterruptionError:
            interruptions += 1
        else:
            break
    assert interruptions
    assert found.is_continued
    assert retried == Counter(failed)
    monkeypatch.undo()
    again = local.queue.states()[JobState.FAILED]
    assert again
    found = local.retry_failed()
    assert (found.jobs, found.is_continued) == (again, False)
    assert waiting(local) == sorted(failed)


def test_an_invalid_record_of_a_retry_is_replaced(local: Dispatcher, client: KazooClient) -> None:
    local.submit("m:f")
    fail_all(local)
    local.queue.cancel(waiting(local))
    client.create(f"{ROOT}/retries/{JobFilter(state=JobState.FAILED).id}", b"{", makepath=True)
    assert local.retry_failed().jobs == 1
    assert local.queue.layout.count(Place.DONE) == 0


def test_the_commands_select_jobs(server: Any, local: Dispatcher) -> None:
    def run(command: str, *arguments: str, status: int = 0) -> list[str]:
        options = ["--server", server.hosts, "--queue", ROOT]
        result = CliRunner().invoke(main, ["jobs", command, *options, *arguments])
        assert result.exit_code == status, result.output
        return result.output.splitlines()

    local.submit_batch([request("m:a"), request("m:b")])
    a, b = fail_all(local, "TimeoutError: late")
    listed = [line.split("\t")[0] for line in run("list", "--error", "TimeoutError")]
    assert listed == [a, b]
    assert [line.split("\t")[0] for line in run("list", "--task", "m:b", "--since", "1h")] == [b]
    assert run("list", "--until", "1h") == []
    assert run("retry", "--task", "m:b", "--since", "1h") == [f"{b} waits again"]
    assert run("retry", "--all") == [f"{a} waits again"]
    assert run("retry", "--all") == ["no job was retried: the options select no FAILED job"]
    assert "give the names" in run("retry", status=2)[-1]
    assert "give the names" in run("retry", a, "--all", status=2)[-1]
    assert '"keep_failed_ms": 5' in run("configure", "--keep-failed-ms", "5")[0]
