"""Which of the chosen jobs a worker tries to take if other workers were faster."""

import random

import pytest

from zoolet.jobs.records import job_names
from zoolet.jobs.worker.selection import Candidate
from zoolet.jobs.worker.taker import first_to_take


def candidates(priorities: list[int]) -> list[Candidate]:
    found = []
    for number, priority in enumerate(priorities):
        job = job_names.parse(f"{job_names.build(priority, 'd', 'g')}{number:010d}")
        assert job is not None
        found.append(Candidate(job, (0, ""), 0.0, (-priority, 0, number, job.name)))
    return found


@pytest.mark.parametrize(
    ("priorities", "count", "first"),
    [
        ([5] * 10, 3, 7),
        ([5] * 3, 3, 0),
        ([5] * 2, 3, 0),
        ([9, 5, 5, 5], 2, 0),
        ([9, 9, 9, 5], 2, 1),
    ],
)
def test_only_jobs_of_one_priority_are_passed_over(
    priorities: list[int], count: int, first: int
) -> None:
    assert first_to_take(candidates(priorities), count) == first


@pytest.mark.parametrize("seed", range(20))
def test_no_job_that_is_passed_over_has_a_greater_priority(seed: int) -> None:
    chance = random.Random(seed)
    priorities = sorted((chance.randrange(4) for _ in range(chance.randrange(1, 40))), reverse=True)
    count = chance.randrange(1, 10)
    first = first_to_take(candidates(priorities), count)
    taken = priorities[first : first + count]
    assert all(passed <= min(taken) for passed in priorities[:first])
    assert len(taken) == min(count, len(priorities))
