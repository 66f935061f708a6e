"""The jobs in hand: each executor's load is the number of its jobs that have not ended."""

import random
from collections import Counter

import pytest

from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.worker.jobs_in_hand import JobInHand, JobsInHand

DRAFT = Job.draft(JobRequest("m:f"), "s-0", 0)


@pytest.mark.parametrize("seed", range(30))
def test_the_loads_are_those_of_the_jobs_that_have_not_ended(seed: int) -> None:
    """Jobs are taken, end, are lost and are taken again; also the news of lost jobs come."""
    chance = random.Random(seed)
    hands = JobsInHand()
    all_held: list[JobInHand] = []
    for _ in range(300):
        step = chance.choice(["put", "put", "end", "drop"])
        if step == "put":
            name = f"job-{chance.randrange(30)}"
            hands.put(DRAFT._replace(name=name), chance.randrange(3))
            held = hands.get(name)
            assert held is not None
            all_held.append(held)
        elif step == "end" and all_held:
            hands.end(chance.choice(all_held))
        elif step == "drop" and all_held:
            some = chance.sample(all_held, min(3, len(all_held)))
            mine = [held for held in some if hands.get(held.job.name) is held]
            assert hands.drop(some) == list(dict.fromkeys(held.job.name for held in mine))
            assert all(hands.get(held.job.name) is not held for held in some)
        expected = Counter(held.executor for held in hands.all() if not held.has_ended)
        assert +hands.loads() == expected
        assert [hands.load(number) for number in range(3)] == [expected[n] for n in range(3)]
        assert hands.has_short_jobs() == any(load > 1 for load in expected.values())
