"""Which of the first jobs a worker tries to take if other workers try to take them, too."""

import random

import pytest

from zoolet.jobs.records import job_names
from zoolet.jobs.worker.selection import Candidate
from zoolet.jobs.worker.shares import (
    CONTENDED_S,
    LEAVE_S,
    NAMES_HOLD_S,
    SHARES_MOST,
    Share,
    Shares,
    split,
)


def candidates(priorities: list[int]) -> list[Candidate]:
    found = []
    for number, priority in enumerate(priorities):
        job = job_names.parse(f"{job_names.build(priority, 'd', 'g')}{number:010d}")
        assert job is not None
        found.append(Candidate(job, (0, ""), 0.0, (-priority, 0, number, job.name)))
    return found


def numbers(found: list[Candidate]) -> list[int]:
    return [one.job.sequence for one in found]


@pytest.mark.parametrize(
    ("priorities", "count", "share", "taken"),
    [
        ([5] * 8, 3, Share(), [0, 1, 2]),
        ([5] * 8, 3, Share(1, 2), [1, 3, 5]),
        ([5] * 4, 3, Share(1, 2), [0, 1, 3]),  # its share has only two jobs
        ([5] * 3, 3, Share(1, 2), [0, 1, 2]),
        ([9, 5, 5, 5], 2, Share(1, 2), [0, 1]),  # no job of greater priority is passed over
        ([9, 9, 9, 5], 2, Share(1, 2), [0, 1]),
        ([9, 9, 9, 9, 5], 2, Share(1, 2), [1, 3]),
    ],
)
def test_a_worker_prefers_its_share(
    priorities: list[int], count: int, share: Share, taken: list[int]
) -> None:
    chosen, others = split(candidates(priorities), count, share)
    assert numbers(chosen) == taken
    assert sorted(numbers(chosen) + numbers(others)) == list(range(len(priorities)))


@pytest.mark.parametrize("seed", range(50))
def test_no_job_that_is_passed_over_has_a_greater_priority(seed: int) -> None:
    chance = random.Random(seed)
    priorities = sorted((chance.randrange(4) for _ in range(chance.randrange(1, 40))), reverse=True)
    count, shares = chance.randrange(1, 10), chance.randrange(1, 5)
    share = Share(chance.randrange(shares), shares)
    chosen, others = split(candidates(priorities), count, share)
    assert len(chosen) == min(count, len(priorities))
    least = min(one.job.priority for one in chosen)
    assert all(one.job.priority <= least for one in others)
    assert sorted(numbers(chosen) + numbers(others)) == list(range(len(priorities)))
    assert numbers(chosen) == sorted(numbers(chosen))
    assert numbers(others) == sorted(numbers(others))


@pytest.mark.parametrize("seed", range(20))
def test_workers_with_room_for_all_jobs_try_each_job_once(seed: int) -> None:
    chance = random.Random(seed)
    workers = chance.randrange(1, 5)
    count = chance.randrange(1, 20)
    waiting = candidates([0] * (workers * count))
    tried = [split(waiting, count, Share(n, workers))[0] for n in range(workers)]
    assert sorted(n for found in tried for n in numbers(found)) == list(range(len(waiting)))


@pytest.mark.parametrize("seed", range(20))
def test_a_job_of_a_worker_that_is_busy_waits_for_few_other_jobs(seed: int) -> None:
    """Only one of two workers takes jobs; a first job of the other share must not wait for long."""
    chance = random.Random(seed)
    count = chance.randrange(1, 20)
    waiting = candidates([0] * 40 * count)
    ended: list[int] = []
    while waiting:
        chosen, others = split(waiting[: 2 * count], count, Share(1, 2))
        ended += numbers(chosen)
        waiting = others + waiting[2 * count :]
    assert all(abs(place - number) <= 2 * count for place, number in enumerate(ended))


@pytest.mark.parametrize(
    ("priorities", "count", "taken"),
    [([5] * 4, 3, [1, 3]), ([5] * 4, 1, [1]), ([5], 3, [0]), ([9, 5, 5, 5], 3, [0])],
)
def test_a_worker_leaves_the_jobs_of_other_shares(
    priorities: list[int], count: int, taken: list[int]
) -> None:
    chosen, others = split(candidates(priorities), count, Share(1, 2), may_fill=False)
    assert numbers(chosen) == taken
    assert sorted(numbers(chosen) + numbers(others)) == list(range(len(priorities)))


def test_a_worker_leaves_jobs_only_for_a_while() -> None:
    shares, waiting, share = Shares(list), candidates([0] * 3), Share(1, 2)
    picked, others, again_at = shares.divide(waiting, 3, share, 10.0)
    assert (numbers(picked), numbers(others), again_at) == ([1], [0, 2], 10.0 + LEAVE_S)
    # Another look in the meantime does not prolong the wait.
    picked, others, again_at = shares.divide(waiting, 3, share, 10.0 + LEAVE_S / 2)
    assert (numbers(picked), numbers(others), again_at) == ([1], [0, 2], 10.0 + LEAVE_S)
    picked, others, again_at = shares.divide(waiting, 3, share, 10.0 + LEAVE_S)
    assert (numbers(picked), others, again_at) == ([0, 1, 2], [], None)
    # The next jobs are left again.
    assert shares.divide(waiting, 3, share, 20.0)[2] == 20.0 + LEAVE_S


def test_a_worker_with_enough_jobs_in_its_share_does_not_wait() -> None:
    shares = Shares(list)
    picked, _, again_at = shares.divide(candidates([0] * 8), 4, Share(0, 2), 0.0)
    assert (numbers(picked), again_at) == ([0, 2, 4, 6], None)


def test_a_worker_without_rivals_leaves_nothing() -> None:
    picked, others, again_at = Shares(list).divide(candidates([0] * 3), 2, Share(), 0.0)
    assert (numbers(picked), numbers(others), again_at) == ([0, 1], [2], None)


def test_a_worker_has_a_share_only_for_a_while_after_a_lost_try() -> None:
    listed: list[int] = []

    def workers() -> list[str]:
        listed.append(1)
        return ["c", "a", "b"]

    shares = Shares(workers)
    assert shares.current("b", 3, 100.0) == Share()
    assert not listed
    shares.note_lost(100.0)
    assert shares.current("b", 3, 100.0) == Share(1, 3)
    assert shares.current("c", 3, 100.0 + CONTENDED_S / 2) == Share(2, 3)
    assert len(listed) == 1
    assert shares.current("b", 3, 100.0 + CONTENDED_S) == Share()
    later = 100.0 + NAMES_HOLD_S
    shares.note_lost(later)
    assert shares.current("a", 3, later) == Share(0, 3)
    assert len(listed) == 2


def test_a_worker_that_is_not_listed_yet_chooses_a_share_at_random() -> None:
    shares = Shares(lambda: ["a", "b"])
    shares.note_lost(0.0)
    found = {shares.current("new", 2, 0.0) for _ in range(100)}
    assert found == {Share(0, 2), Share(1, 2)}


def test_many_workers_are_not_listed() -> None:
    def workers() -> list[str]:
        raise AssertionError

    shares = Shares(workers)
    shares.note_lost(0.0)
    found = {shares.current("w", 1000, 0.0) for _ in range(200)}
    assert found == {Share(number, SHARES_MOST) for number in range(SHARES_MOST)}
