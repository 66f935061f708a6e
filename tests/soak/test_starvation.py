"""The soak test knows how long this machine ran nothing of it."""

import signal
import time
from collections.abc import Iterator

import pytest

from tests.soak.starvation import LATE_MS, Starvation
from tests.support.waiting import wait_until

STOPPED_S = 0.3


@pytest.fixture
def starvation() -> Iterator[Starvation]:
    found = Starvation()
    found.start()
    yield found
    found.stop()


def test_a_time_in_which_nothing_ran_is_known(starvation: Starvation) -> None:
    def freeze() -> bool:
        starvation._process.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED_S)  # the fault, not a wait for anything
        starvation._process.send_signal(signal.SIGCONT)
        return any(late_ms > STOPPED_S * 1000 - 2 * LATE_MS for _, late_ms in starvation.late)

    # A freeze before the program has begun is not noticed.
    wait_until(freeze, "a long time in which nothing ran")
    at_ms, late_ms = max(starvation.late, key=lambda found: found[1])
    frozen = starvation.frozen()
    assert frozen.between(at_ms - late_ms, at_ms) >= late_ms
    assert frozen.between(at_ms + 10**6, at_ms + 2 * 10**6) == 0
    assert starvation.total_ms() >= late_ms
