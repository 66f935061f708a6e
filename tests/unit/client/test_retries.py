"""When a call is repeated, and after which pauses."""

import math
import random

import pytest

from tests.support.client_peer import untyped
from zoolet.client import (
    BadVersionError,
    ClientClosedError,
    ConnectionLossError,
    DeadlineError,
    Multi,
    MultiRead,
    NotReadOnlyError,
    RequestTimeoutError,
    Retry,
    SessionExpiredError,
    ThrottledError,
    ZooKeeperError,
)
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.retries import Attempts
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import AddWatchMode, CreateMode, WatcherType

MAKE = RequestMaker()
MODE = CreateMode.PERSISTENT

READS: list[Call[object]] = [
    untyped(MAKE.get("/a")),
    untyped(MAKE.exists("/a", print)),
    untyped(MAKE.children("/a")),
    untyped(MAKE.get_acl("/a")),
    untyped(MAKE.sync("/a")),
    untyped(MAKE.ephemerals("/")),
    untyped(MAKE.count_descendants("/a")),
    untyped(MAKE.who_am_i()),
    untyped(MAKE.config()),
    untyped(MAKE.add_watch("/a", AddWatchMode.PERSISTENT, print)),
    untyped(MAKE.check_watches("/a", WatcherType.ANY)),
    untyped(MAKE.remove_watches("/a", WatcherType.ANY)),
    untyped(MAKE.multi_read(MultiRead().get("/a"))),
]
WRITES: list[Call[object]] = [
    untyped(MAKE.set("/a", b"", -1)),
    untyped(MAKE.create("/a", b"", MODE, OPEN_ACL, 0)),
    untyped(MAKE.create("/a", b"", CreateMode.CONTAINER, OPEN_ACL, 0)),
    untyped(MAKE.create("/a", b"", CreateMode.PERSISTENT_WITH_TTL, OPEN_ACL, 1000)),
    untyped(MAKE.delete("/a", -1)),
    untyped(MAKE.set_acl("/a", OPEN_ACL, -1)),
    untyped(MAKE.multi(Multi().check("/a", version=1))),
    untyped(MAKE.reconfig(None, "1", None, -1)),
]


def is_repeated(call: Call[object], error: ZooKeeperError, *, renews: bool = True) -> list[bool]:
    """Return whether a call is repeated: without and with ``repeats_writes``."""
    return [
        Attempts(Retry(repeats_writes=repeats), call, renews_session=renews).next(error, math.inf)
        is not None
        for repeats in (False, True)
    ]


@pytest.mark.parametrize("error", [ConnectionLossError(), RequestTimeoutError()])
def test_a_write_that_may_have_been_applied_is_repeated_only_if_it_is_allowed(
    error: ZooKeeperError,
) -> None:
    for read in READS:
        assert is_repeated(read, error) == [True, True]
    for write in WRITES:
        assert is_repeated(write, error) == [False, True]


@pytest.mark.parametrize("error", [NotReadOnlyError(), ThrottledError(), SessionExpiredError()])
def test_a_request_that_was_not_applied_is_repeated(error: ZooKeeperError) -> None:
    for call in READS + WRITES:
        assert is_repeated(call, error) == [True, True]


@pytest.mark.parametrize("error", [BadVersionError(), DeadlineError(), ClientClosedError()])
def test_other_errors_are_final(error: ZooKeeperError) -> None:
    for call in READS + WRITES:
        assert is_repeated(call, error) == [False, False]


def test_an_expired_session_that_is_not_renewed_is_final() -> None:
    assert is_repeated(READS[0], SessionExpiredError(), renews=False) == [False, False]


@pytest.mark.parametrize("seed", range(20))
def test_random_policies_have_their_attempts_and_pauses(seed: int) -> None:
    chance = random.Random(seed)
    count = chance.choice([None, 1, 2, 7])
    retry = Retry(count, chance.uniform(0, 1), chance.uniform(0, 5))
    attempts = Attempts(retry, READS[0], renews_session=True)
    left_s, longest_s, done = chance.uniform(0, 60), retry.first_pause_s, 1
    while (pause_s := attempts.next(ConnectionLossError(), left_s)) is not None:
        done += 1
        longest_s = min(longest_s, retry.longest_pause_s)
        assert longest_s / 2 <= pause_s <= longest_s
        assert pause_s < left_s
        longest_s *= 2
        left_s -= pause_s
        if done == 100:  # without pauses there is no end
            break
    if count is not None:
        assert done <= count
    if done != count:
        assert done == 100 or min(longest_s, retry.longest_pause_s) >= left_s


def test_the_next_attempt_has_the_same_request() -> None:
    multi = untyped(MAKE.multi(Multi().check("/a", version=1)))
    for call in (multi, untyped(MAKE.remove_watches("/a", WatcherType.ANY))):
        frame = call.frame
        attempts = Attempts(Retry(repeats_writes=True), call, renews_session=True)
        for _ in range(2):
            attempts.call.frame = b""  # it is sent
            assert attempts.next(ConnectionLossError(), math.inf) is not None
            again = attempts.call
            assert again is not call
            assert (again.frame, again.xid, again.path) == (frame, call.xid, call.path)
            assert (again.parts, again.removes) == (call.parts, call.removes)
            assert again.phase == 0


def test_a_policy_with_impossible_values() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Retry(attempts=0)
    with pytest.raises(ValueError, match="negative"):
        Retry(longest_pause_s=-1.0)
