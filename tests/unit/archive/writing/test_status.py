"""The lag: of txns that wait, and while the archiver does not follow the server."""

import time

import pytest

from zoolet.archive.writing.status import State, Status


def test_without_waiting_txns_there_is_no_lag() -> None:
    status = Status(followed_s=time.monotonic() - 1000)
    status.change(State.ARCHIVING)
    assert status.lag_s() == 0


def test_the_oldest_waiting_txn_is_the_lag() -> None:
    status = Status(waiting_since_ms=int(time.time() * 1000) - 500_000)
    for state in (State.ARCHIVING, State.STORE_FAILS):
        status.change(state)
        assert status.lag_s() >= 500


@pytest.mark.parametrize("state", [State.STARTING, State.WAITING])
def test_while_the_server_is_not_followed_the_lag_grows(state: State) -> None:
    status = Status(followed_s=time.monotonic() - 1000)
    status.change(state)
    assert status.lag_s() >= 1000
