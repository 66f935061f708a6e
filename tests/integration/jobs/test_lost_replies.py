"""A multi whose reply is lost, while the same worker continues with the job that it moved.

The threads of a worker share a session: after a reconnection one thread can take a job again
before another thread has found out that its own move of this job was made.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.job_queue import places, replace_multi, reply_lost, request, submitted, value
from zoolet.client import ConnectionLossError
from zoolet.jobs import Job, JobQueue, JobState

FAR_MS = 4_000_000_000_000
Change = Callable[[JobQueue, Job], object]
CHANGES: dict[str, Change] = {
    "release": lambda queue, job: queue.release(job),
    "fail": lambda queue, job: queue.fail(job, "trouble"),
}


@contextmanager
def continued_before_the_reply(
    monkeypatch: pytest.MonkeyPatch, proceed: Callable[[], object]
) -> Iterator[None]:
    """Let the next multi be made, then ``proceed``, and then lose the reply to the multi."""
    with monkeypatch.context() as patch:

        def losing(send: Callable[[], Any]) -> None:
            patch.undo()
            send()
            proceed()
            raise ConnectionLossError

        replace_multi(patch, losing)
        yield


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("state", [JobState.STAGING, JobState.RUNNING])
def test_a_job_that_its_worker_takes_again_is_not_moved_a_second_time(
    queue: JobQueue,
    client: KazooClient,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    state: JobState,
) -> None:
    name = submitted(queue)
    job = queue.update_state(queue.own_job(name, "w"), state)
    again: list[Job] = []

    def take_again() -> None:
        again.append(queue.update_state(queue.own_job(name, "w"), state))

    with continued_before_the_reply(monkeypatch, take_again):
        CHANGES[change](queue, job)
    assert places(client, name) == ["owned"]
    assert queue.finish(again[0], 1).state is JobState.SUCCESSFUL


@pytest.mark.parametrize("seed", range(3))
def test_each_move_is_made_once_whatever_its_worker_does_meanwhile(
    queue: JobQueue, client: KazooClient, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    names = [submitted(queue, str(number), max_attempts=20) for number in range(4)]
    in_hand: dict[str, Job] = {}
    attempts = dict.fromkeys(names, 0)
    for _ in range(60):
        name = chance.choice(names)
        if name not in in_hand:
            in_hand[name] = queue.own_job(name, "w")
        job = in_hand.pop(name)
        if job.state is JobState.STAGING and chance.random() < 0.3:
            job = queue.update_state(job, chance.choice([JobState.STAGING, JobState.RUNNING]))
        change = "release" if attempts[name] == 19 else chance.choice(list(CHANGES))
        attempts[name] += change == "fail"

        def proceed(name: str = name) -> None:
            if chance.random() < 0.7:
                in_hand[name] = queue.own_job(name, "w")

        if chance.random() < 0.6:
            with continued_before_the_reply(monkeypatch, proceed):
                CHANGES[change](queue, job)
        else:
            CHANGES[change](queue, job)
        for one in names:
            place = "owned" if one in in_hand else "unowned"
            assert places(client, one) == [place]
            assert value(client, place, one)["attempts"] == attempts[one]


@pytest.mark.parametrize("seed", range(3))
def test_no_reservation_is_left_if_the_reply_to_it_is_lost(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    count = 0
    for turn in range(8):
        some = [
            request(f"{turn}-{number}", not_before_ms=chance.choice([None, FAR_MS]))
            for number in range(chance.randint(1, 4))
        ]
        # At least one job has a reservation, so all of them have: the first multi makes them.
        some.append(request(f"{turn}-last", not_before_ms=FAR_MS))
        with reply_lost(monkeypatch, ConnectionLossError, done=chance.random() < 0.7):
            names = [submission.name for submission in queue.submit(some)]
        count += len(names)
        assert names == sorted(names, key=lambda name: name.rpartition("-")[2])
        assert sum(queue.counts().values()) == count
