"""Outcomes are passed on in their order, and each waiting thread is woken."""

import threading

import pytest

from tests.support.outcomes import Running
from tests.support.waiting import WAIT_S
from zoolet.client.protocol.calls import ENDED, SENT, Call
from zoolet.client.protocol.states import SessionState
from zoolet.client.protocol.watches import DATA, Notice, OnNotice, Resynced, Watcher
from zoolet.client.thread_client.followers import Followers

Awaited = tuple[Call[object], threading.Lock]


@pytest.fixture
def lock() -> threading.Lock:
    return threading.Lock()


@pytest.fixture
def followers(lock: threading.Lock) -> Followers:
    return Followers(lock, lambda _: None)


def awaited(followers: Followers) -> Awaited:
    """Return a sent call, and the lock of a thread that waits for it."""
    call: Call[object] = Call(4, 1, "/a", b"")
    call.phase = SENT
    return call, followers.join(call)


def ended(call: Call[object]) -> Call[object]:
    call.phase = ENDED
    return call


def notice(function: OnNotice) -> Notice:
    return Notice(Watcher("/a", DATA, "/a", function), Resynced("/a"))


def is_woken(waiter: threading.Lock) -> bool:
    return waiter.acquire(blocking=False)


def test_an_end_wakes_all_threads_that_wait_for_the_call(followers: Followers) -> None:
    call, first = awaited(followers)
    second = followers.join(call)
    _, other = awaited(followers)
    followers.note([ended(call)])
    assert is_woken(first)
    assert is_woken(second)
    assert not is_woken(other)
    assert followers.has_ended(call)


def test_a_thread_that_waits_no_longer_is_not_woken(followers: Followers) -> None:
    call, first = awaited(followers)
    second = followers.join(call)
    followers.leave(call, first)
    followers.note([ended(call)])
    assert not is_woken(first)
    assert is_woken(second)
    followers.leave(call, second)
    assert call.waiter is None
    assert not followers.waiters


def test_a_thread_that_was_told_to_read_is_not_woken_twice(followers: Followers) -> None:
    call, first = awaited(followers)
    followers.wake_first()
    followers.note([ended(call)])
    assert is_woken(first)
    assert not is_woken(first)


def test_the_thread_that_waits_for_the_longest_time_reads_next(followers: Followers) -> None:
    waiters = [awaited(followers)[1] for _ in range(3)]
    followers.wake_first()
    assert [is_woken(waiter) for waiter in waiters] == [True, False, False]
    followers.wake_all()
    assert [is_woken(waiter) for waiter in waiters] == [False, True, True]
    followers.wake_first()


def test_functions_come_before_the_later_calls(followers: Followers) -> None:
    early, early_waiter = awaited(followers)
    late, late_waiter = awaited(followers)
    seen: list[tuple[bool, bool]] = []

    def look(_: object) -> None:
        seen.append((is_woken(early_waiter), followers.has_ended(late)))

    followers.note([ended(early), notice(look), ended(late)])
    assert not followers.has_ended(late)
    followers.pass_on()
    assert seen == [(True, False)]
    assert is_woken(late_waiter)
    assert followers.has_ended(late)


def test_the_lock_is_free_while_a_function_runs(followers: Followers, lock: threading.Lock) -> None:
    was_free: list[bool] = []

    def look(_: object) -> None:
        was_free.append(lock.acquire(blocking=False))
        lock.release()

    followers.listeners.append(look)
    followers.note([notice(look), SessionState.CONNECTED])
    followers.pass_on()
    assert was_free == [True, True]


def test_a_second_thread_leaves_its_outcomes_to_the_first(
    followers: Followers, lock: threading.Lock
) -> None:
    runs, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def slow(_: object) -> None:
        runs.set()
        assert may_end.wait(WAIT_S)
        order.append("first")

    followers.note([notice(slow)])
    first = Running(followers.pass_on)
    assert runs.wait(WAIT_S)
    call, waiter = awaited(followers)
    with lock:
        followers.note([notice(lambda _: order.append("second")), ended(call)])
    followers.pass_on()
    assert order == []
    assert not is_woken(waiter)
    may_end.set()
    first.end()
    assert order == ["first", "second"]
    assert is_woken(waiter)


def test_a_call_that_ends_while_a_function_runs_comes_after_it(followers: Followers) -> None:
    call, waiter = awaited(followers)
    seen: list[bool] = []

    def end_call(_: object) -> None:
        followers.note([ended(call)])
        followers.pass_on()
        seen.append(followers.has_ended(call) or is_woken(waiter))

    followers.note([notice(end_call)])
    followers.pass_on()
    assert seen == [False]
    assert is_woken(waiter)


def test_a_function_that_raises_stops_nothing(
    followers: Followers, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[str] = []

    def fail(_: object) -> None:
        order.append("fails")
        raise ValueError("a fault of the program")

    followers.listeners += [fail, lambda state: order.append(state.value)]
    followers.note([notice(fail), SessionState.CONNECTED, notice(lambda _: order.append("last"))])
    followers.pass_on()
    assert order == ["fails", "fails", "connected", "last"]
    assert [record.message.startswith("a function of the program") for record in caplog.records]
    assert followers.program_runs_in == 0


def test_an_interrupt_reaches_the_program_and_the_rest_stays(followers: Followers) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    call, waiter = awaited(followers)
    followers.note([notice(interrupt), ended(call)])
    with pytest.raises(KeyboardInterrupt):
        followers.pass_on()
    assert not is_woken(waiter)
    followers.pass_on()
    assert is_woken(waiter)


def test_an_exit_does_not_end_the_background_thread(followers: Followers) -> None:
    def leave(_: object) -> None:
        raise SystemExit

    followers.background = threading.get_ident()
    followers.note([notice(leave)])
    followers.pass_on()
    assert not followers.due
