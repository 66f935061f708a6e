"""How many of the jobs that are taken are the oldest ones."""

import random

import pytest

from zoolet.jobs.queue.oldest_share import OldestShare


def test_with_a_tenth_every_tenth_job_is_the_oldest() -> None:
    share = OldestShare(credit=0)
    due = []
    for _ in range(30):
        due.append(share.due(1, 10))
        share.note(1, due[-1], 10)
    assert due == ([0] * 9 + [1]) * 3


def test_many_jobs_at_a_time_have_the_same_share() -> None:
    share = OldestShare(credit=0)
    total = 0
    for _ in range(10):
        due = share.due(7, 30)
        share.note(7, due, 30)
        total += due
    assert total == 21


def test_without_a_share_no_job_is_the_oldest_and_with_100_all_are() -> None:
    assert OldestShare(credit=99).due(100, 0) == 0
    assert OldestShare(credit=0).due(100, 100) == 100
    assert OldestShare(credit=99).due(100, 100) == 100


def test_oldest_jobs_that_others_took_first_are_owed() -> None:
    share = OldestShare(credit=0)
    assert share.due(10, 50) == 5
    share.note(taken=5, settled=0, percent=50)
    assert share.due(1, 50) == 1
    share.note(taken=1, settled=1, percent=50)
    assert share.due(10, 50) == 7
    share.note(taken=10, settled=7, percent=50)
    assert share.due(1, 50) == 0


def test_a_share_that_no_waiting_job_could_use_is_not_made_up_for_later() -> None:
    share = OldestShare(credit=0)
    for _ in range(1000):
        share.note(taken=1, settled=share.due(1, 50), percent=50)
    assert share.due(1, 50) == 0
    assert share.due(100, 1) == 1


@pytest.mark.parametrize("seed", range(30))
def test_of_n_jobs_at_least_the_share_are_the_oldest_ones(seed: int) -> None:
    chance = random.Random(seed)
    percent = chance.randint(1, 100)
    share = OldestShare(credit=chance.randrange(100))
    taken = oldest = 0
    for _ in range(200):
        count = chance.choice([1, 1, 2, 7, 100])
        due = share.due(count, percent)
        assert 0 <= due <= count
        lost = chance.randint(0, due) if chance.random() < 0.3 else 0
        rest = count - due
        others = chance.randint(0, rest) if chance.random() < 0.3 else rest
        share.note(due - lost + others, due - lost, percent)
        taken, oldest = taken + due - lost + others, oldest + due - lost
        owed = share.due(10**6, 0)
        assert oldest + owed >= taken * percent // 100
        assert share.due(count, percent) <= count
    while owed and percent < 100:
        due = share.due(10, percent)
        share.note(10, due, percent)
        taken, oldest, owed = taken + 10, oldest + due, share.due(10**6, 0)
    assert oldest >= taken * percent // 100
