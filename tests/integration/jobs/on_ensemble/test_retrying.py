"""A retry of FAILED jobs on three Apache members whose leader is killed: each waits again once."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.jobs import assert_in_one_place
from zoolet.jobs import Dispatcher, JobFilter, JobRequest
from zoolet.jobs.queue.moves import Move, Mover
from zoolet.jobs.records.transitions import Event

JOBS = 160


def test_each_job_is_retried_once_while_the_leader_is_killed(
    dispatcher: Dispatcher, kill_leader: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = dispatcher.submit_batch([JobRequest("m:f") for _ in range(JOBS)]).names
    assert len(dispatcher.queue.cancel(names, "ValueError: no")) == JOBS
    retried: Counter[str] = Counter()
    move = Mover.move
    calls = 0

    def disturbed(self: Mover, moves: Any, *arguments: Any) -> list[Move]:
        nonlocal calls
        calls += 1
        if calls == 2:
            kill_leader()
        made = move(self, moves, *arguments)
        retried.update(one.before.name for one in made if one.event is Event.RETRY)
        return made

    monkeypatch.setattr(Mover, "move", disturbed)
    found = dispatcher.retry_failed(JobFilter(error="ValueError"))
    assert (found.jobs, found.is_continued) == (JOBS, False)
    assert retried == Counter(names)
    assert dispatcher.queue.counts()["unowned"] == JOBS
    assert_in_one_place(dispatcher.queue, names)
