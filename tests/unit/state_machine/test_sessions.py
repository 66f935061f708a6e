"""Sessions, on a clock that the test moves."""

import pytest

from zoolet.model.codes import ErrorCode
from zoolet.model.errors import RequestError
from zoolet.state_machine.sessions import SessionTable, password_of


def test_a_silent_session_expires_once_and_not_early() -> None:
    table = SessionTable(bucket_ms=100)
    session = table.open(1, timeout_ms=1000, now_ms=0)
    assert table.expired(999) == []
    assert table.expired(1100) == [session]
    assert table.expired(5000) == []


def test_a_touched_session_lives_on() -> None:
    table = SessionTable(bucket_ms=100)
    session = table.open(1, timeout_ms=1000, now_ms=0)
    for now_ms in range(500, 10_000, 500):
        session.touch(now_ms)
        assert table.expired(now_ms) == []
    assert table.expired(11_000) == [session]


def test_expiry_is_found_at_most_a_bucket_late() -> None:
    table = SessionTable(bucket_ms=100)
    sessions = [table.open(number, timeout_ms=number * 37, now_ms=0) for number in range(1, 60)]
    for now_ms in range(0, 3000, 50):
        for session in table.expired(now_ms):
            assert session.expires_at_ms <= now_ms <= session.expires_at_ms + 150
            table.close(session.session_id)
            sessions.remove(session)
    assert sessions == []


def test_a_closed_session_is_over_and_does_not_expire() -> None:
    table = SessionTable(bucket_ms=100)
    table.open(1, timeout_ms=1000, now_ms=0)
    assert table.live(1).timeout_ms == 1000
    table.close(1)
    with pytest.raises(RequestError) as refused:
        table.live(1)
    assert refused.value.code is ErrorCode.SESSION_EXPIRED
    assert table.expired(5000) == []


def test_a_restart_gives_every_session_its_whole_timeout() -> None:
    table = SessionTable(bucket_ms=100)
    session = table.open(1, timeout_ms=1000, now_ms=0)
    table.restart_clocks(now_ms=50_000)
    assert table.expired(50_999) == []
    assert table.expired(51_100) == [session]


def test_ids_are_never_zero_and_rise_with_time() -> None:
    table = SessionTable(bucket_ms=100)
    first = table.next_id(1_700_000_000_000)
    assert first >> 56 == 1
    assert first < table.next_id(1_700_000_000_001)
    assert 0 < first < 1 << 63


def test_a_clock_that_was_set_back_gives_no_id_again() -> None:
    table = SessionTable(bucket_ms=100)
    used = table.next_id(1_700_000_000_000)
    table.open(used, timeout_ms=1000, now_ms=0)
    table.open(7, timeout_ms=1000, now_ms=0)
    assert table.next_id(1_600_000_000_000) == used + 1


def test_passwords_are_the_original_s() -> None:
    """Java: new Random(id ^ 0xB3415C00L).nextBytes(new byte[16])."""
    assert password_of(0x100000000000001).hex() == "054cc74a37327db215e702e20c73f005"
