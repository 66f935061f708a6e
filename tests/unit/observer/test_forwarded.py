"""The requests that wait for the leader."""

import random
from collections import deque

import pytest

from zoolet.observer.forwarded import Forwarded, OrderError


def test_a_txn_answers_the_oldest_write_only_if_it_is_its_own() -> None:
    forwarded = Forwarded[str]()
    forwarded.add_write(1, 5, "first")
    forwarded.add_write(2, 5, "second")
    assert forwarded.take_write(2, 5) is None
    assert forwarded.take_write(1, 4) is None
    assert forwarded.take_write(1, 5) == "first"
    assert forwarded.take_write(1, 5) is None
    assert forwarded.take_write(2, 5) == "second"
    assert forwarded.num_writes == 0


def test_an_answer_without_a_question_is_an_error() -> None:
    forwarded = Forwarded[str]()
    with pytest.raises(OrderError):
        forwarded.take_sync()
    with pytest.raises(OrderError):
        forwarded.take_revalidation(1)
    forwarded.add_revalidation(2, "client")
    with pytest.raises(OrderError):
        forwarded.take_revalidation(1)


def test_all_waiters_are_lost_with_the_connection() -> None:
    forwarded = Forwarded[str]()
    forwarded.add_write(1, 5, "write")
    forwarded.add_sync("sync")
    forwarded.add_revalidation(2, "session")
    assert forwarded.end() == (["write"], ["sync"], ["session"])
    assert forwarded.end() == ([], [], [])
    assert forwarded.take_write(1, 5) is None


@pytest.mark.parametrize("seed", range(50))
def test_each_waiter_is_answered_once_and_in_order(seed: int) -> None:
    """The model: a leader with one queue, into which other servers' requests come as well."""
    chance = random.Random(seed)
    forwarded = Forwarded[int]()
    txns: deque[tuple[int, int, int | None]] = deque()
    syncs: deque[int] = deque()
    revalidations: deque[tuple[int, int]] = deque()
    added: list[int] = []
    answered: list[int] = []
    for number in range(300):
        session_id, cxid = chance.randrange(3), chance.randrange(1000)
        match chance.randrange(7):
            case 0:
                forwarded.add_write(session_id, cxid, number)
                txns.append((session_id, cxid, number))
                added.append(number)
            case 1:
                txns.append((100, cxid, None))
            case 2:
                forwarded.add_sync(number)
                syncs.append(number)
            case 3:
                forwarded.add_revalidation(session_id, number)
                revalidations.append((session_id, number))
            case 4 if txns:
                session_id, cxid, waiter = txns.popleft()
                assert forwarded.take_write(session_id, cxid) == waiter
                answered += [] if waiter is None else [waiter]
            case 5 if syncs:
                assert forwarded.take_sync() == syncs.popleft()
            case 6 if revalidations:
                session_id, waiter = revalidations.popleft()
                assert forwarded.take_revalidation(session_id) == waiter
            case _:
                pass
    lost = forwarded.end()
    assert answered + lost.writes == added
    assert lost.syncs == list(syncs)
    assert lost.revalidations == [waiter for _, waiter in revalidations]
