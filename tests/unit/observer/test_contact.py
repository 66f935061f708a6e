"""How long sessions are served without news from the leader."""

import random

import pytest

from zoolet.observer.contact import Contact


def test_a_silent_leader_ends_a_session_after_a_third_of_its_timeout() -> None:
    contact = Contact(now_ms=0)
    contact.serve(1, 6000, now_ms=0)
    contact.serve(2, 9000, now_ms=0)
    assert contact.due(1999) == []
    contact.heard(1000)
    assert contact.due(2999) == []
    assert contact.due(3000) == [1]
    assert contact.due(3999) == []
    assert contact.due(4000) == [2]
    assert contact.silent_ms(4000) == 3000


def test_a_session_is_not_served_after_its_last_renewal_and_its_timeout() -> None:
    contact = Contact(now_ms=0)
    contact.serve(1, 6000, now_ms=0)
    for now_ms in range(0, 6000, 500):
        contact.heard(now_ms)
        assert contact.due(now_ms) == []
    contact.touch(1)  # not reported to the leader yet
    contact.heard(5999)
    assert contact.due(5999) == []
    assert contact.due(6000) == [1]


def test_a_renewal_counts_from_the_time_when_it_was_sent() -> None:
    contact = Contact(now_ms=0)
    contact.serve(1, 6000, now_ms=0)
    contact.serve(2, 6000, now_ms=0)
    contact.touch(1)
    assert contact.take_touched(1000) == [(1, 6000)]
    assert contact.take_touched(1500) == []
    contact.reported(2, 2000)
    contact.heard(6500)
    assert contact.serve_until_ms(1) == 7000
    assert contact.serve_until_ms(2) == 8000
    assert contact.due(7000) == [1]
    assert contact.take_touched(7000) == []


def test_a_session_that_is_not_served_any_more_is_not_reported() -> None:
    contact = Contact(now_ms=0)
    contact.serve(1, 6000, now_ms=0)
    contact.touch(1)
    contact.touch(2)
    contact.reported(2, 0)
    contact.forget(1)
    contact.forget(1)
    assert contact.take_touched(0) == []
    assert contact.due(1 << 40) == []


@pytest.mark.parametrize("seed", range(50))
def test_no_session_is_served_after_its_leader_may_have_ended_it(seed: int) -> None:
    """The model: the leader gets each report later, and counts from then."""
    chance = random.Random(seed)
    now_ms = 0
    contact = Contact(now_ms)
    served: dict[int, int] = {}
    timeouts: dict[int, int] = {}
    heard_ms = 0
    for _ in range(500):
        now_ms += chance.randrange(400)
        session_id = chance.randrange(5)
        match chance.randrange(6):
            case 0:
                timeouts[session_id] = chance.randrange(600, 4000)
                served[session_id] = now_ms
                contact.serve(session_id, timeouts[session_id], now_ms)
            case 1:
                contact.heard(now_ms)
                heard_ms = now_ms
            case 2:
                contact.touch(session_id)
            case 3:
                for told, timeout_ms in contact.take_touched(now_ms):
                    assert timeout_ms == timeouts[told]
                    served[told] = now_ms
            case 4:
                contact.reported(session_id, now_ms)
                if session_id in served:
                    served[session_id] = now_ms
            case _:
                contact.forget(session_id)
                served.pop(session_id, None)
        due = set(contact.due(now_ms))
        late = {
            one
            for one, reported_ms in served.items()
            if now_ms >= min(heard_ms + timeouts[one] // 3, reported_ms + timeouts[one])
        }
        assert due == late
        for one in due:
            del served[one]
