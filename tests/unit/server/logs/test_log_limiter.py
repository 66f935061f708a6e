"""Messages that a client can cause are logged once, then counted."""

import logging

import pytest

from zoolet.server.logs.log_limiter import LogLimiter

log = logging.getLogger("test")


class Clock:
    def __init__(self) -> None:
        self.now_ms = 0

    def read(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock, caplog: pytest.LogCaptureFixture) -> LogLimiter:
    caplog.set_level(logging.INFO)
    return LogLimiter(log, clock.read, interval_ms=1000)


def test_a_million_messages_are_two_lines(
    limiter: LogLimiter, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1_000_000):
        limiter.warning("refusing %s", number)
    clock.now_ms = 1000
    limiter.warning("refusing %s", "the last")
    assert caplog.messages == [
        "refusing 0",
        "refusing the last (999999 more of these messages were left out)",
    ]


def test_one_kind_does_not_hide_another(
    limiter: LogLimiter, caplog: pytest.LogCaptureFixture
) -> None:
    limiter.warning("refusing %s", 1)
    limiter.info("gone: %s", 2)
    limiter.warning("failed: %s", 3, kind="unknown CA")
    limiter.warning("failed: %s", 4, kind="expired")
    assert caplog.messages == ["refusing 1", "gone: 2", "failed: 3", "failed: 4"]


def test_what_is_left_out_is_counted_once(
    limiter: LogLimiter, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for now_ms in (0, 1, 1000, 1999, 2500, 9000):
        clock.now_ms = now_ms
        limiter.warning("refusing")
    assert caplog.messages == [
        "refusing",
        "refusing (1 more of these messages were left out)",
        "refusing (1 more of these messages were left out)",
        "refusing",
    ]
