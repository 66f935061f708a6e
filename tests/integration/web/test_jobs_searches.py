"""Searches in random queues find what a model finds, each job once, in any number of parts."""

import random

import pytest

from tests.integration.web.test_jobs_reading import with_connection
from zoolet.client import Client
from zoolet.jobs import AsyncDispatcher, Job, JobFilter, JobQueue, JobRequest, Place, QueueSettings
from zoolet.testing import EmbeddedServer
from zoolet.web.clusters.clients import Connection
from zoolet.web.clusters.lists import ChildLists
from zoolet.web.jobs import scanning
from zoolet.web.jobs.scanning import (
    PLACES,
    Search,
    filter_of,
    first_jobs,
    parse_position,
    places_of,
)

TASKS = ("m:f", "m:g")
DATASETS = ("d", "d-1", "\u05d0", "a/b%")
ERRORS = ("ValueError: no", "it was cancelled")


def fill(queue: JobQueue, chance: random.Random) -> list[Job]:
    """Submit random jobs and end some of them; return all jobs of the queue."""
    requests = [
        JobRequest(
            chance.choice(TASKS),
            *chance.choice([(None, None), (chance.choice(DATASETS), str(number))]),
            priority=chance.choice([0, 1, 999]),
            not_before_ms=chance.choice([None, None, 2**42]),
        )
        for number in range(chance.randint(1, 150))
    ]
    names = [found.name for found in queue.submit(requests, reuse=False)]
    for name in chance.sample(names, chance.randint(0, len(names))):
        queue.cancel([name], chance.choice(ERRORS))
    assert queue.register("w")
    waiting = [job.name for job in queue.waiting()]
    queue.own_jobs(waiting[: chance.randint(0, 5)], "w")
    return list(queue.jobs())


async def in_parts(what: Search, chance: random.Random) -> list[Job]:
    """Search in parts of random sizes, each with a new list of children and a text position."""
    jobs: list[Job] = []
    position = ""
    while True:
        after = parse_position(position, what.places)
        found, searched = await first_jobs(
            what._replace(lists=ChildLists()), chance.randint(1, 60), after=after
        )
        jobs += found
        if searched.after is None:
            return jobs
        assert str(searched.after) != position
        position = str(searched.after)


@pytest.mark.parametrize("seed", range(6))
def test_random_searches(
    server: EmbeddedServer, zk: Client, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(scanning, "MOST_NAMES", chance.choice([1, 40, 20_000]))
    monkeypatch.setattr(scanning, "MOST_READ", 10_000)
    monkeypatch.setattr(scanning, "_STEP", chance.choice([1, 7, 5000]))
    queue = JobQueue(zk, "/jobs/a")
    queue.ensure_layout(QueueSettings(shards=chance.choice([1, 1, 2, 5])))
    jobs = fill(queue, chance)

    async def look(connection: Connection) -> None:
        async with AsyncDispatcher(connection.client, "/jobs/a") as dispatcher:
            for _ in range(12):
                fields = {
                    "state": chance.choice(["", "", "PENDING", "STAGING", "FAILED", "SUCCESSFUL"]),
                    "task": chance.choice(["", *TASKS]),
                    "dataset": chance.choice(["", *DATASETS, "none"]),
                    "error": chance.choice(["", "ValueError", "was"]),
                }
                wanted = filter_of(fields)
                places = places_of(wanted.state)
                what = Search(dispatcher, ChildLists(), connection, wanted, places)
                found = await in_parts(what, chance)
                model = {job.name for job in jobs if wanted.selects(job)}
                assert [job.name for job in found if job.name not in model] == []
                assert sorted(job.name for job in found) == sorted(model), fields
                order = [PLACES.index(job.place) for job in found]
                assert order == sorted(order)

    with_connection(server, look)


def test_ended_jobs_come_newest_first(server: EmbeddedServer, zk: Client) -> None:
    queue = JobQueue(zk, "/jobs/a")
    queue.ensure_layout()
    requests = [JobRequest("m:f", "d", str(number), priority=number % 7) for number in range(70)]
    names = [found.name for found in queue.submit(requests)]
    queue.cancel(names)

    async def look(connection: Connection) -> None:
        async with AsyncDispatcher(connection.client, "/jobs/a") as dispatcher:
            what = Search(dispatcher, ChildLists(), connection, JobFilter(), [Place.DONE])
            found = await in_parts(what, random.Random(1))
            assert [job.name for job in found] == names[::-1]

    with_connection(server, look)
