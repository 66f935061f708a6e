"""Outcomes are passed on in their order, and each waiting thread is woken."""

import random
import threading
import time
from collections.abc import Callable
from typing import cast

import pytest

from tests.support.outcomes import Running
from tests.support.waiting import WAIT_S, wait_until
from zoolet.client.protocol.calls import ENDED, SENT, Call
from zoolet.client.protocol.session import ClientSession
from zoolet.client.protocol.states import SessionState
from zoolet.client.protocol.watches import DATA, Notice, OnNotice, Resynced, Watcher
from zoolet.client.session_log import SessionLog
from zoolet.client.thread_client.followers import Followers

Awaited = tuple[Call[object], threading.Lock]


@pytest.fixture
def lock() -> threading.Lock:
    return threading.Lock()


@pytest.fixture
def followers(lock: threading.Lock) -> Followers:
    return Followers(lock, lambda _: None, SessionLog(ClientSession(1000)))


def awaited(followers: Followers) -> Awaited:
    """Return a sent call, and the lock of a thread that waits for it."""
    call: Call[object] = Call(4, 1, "/a", b"")
    call.phase = SENT
    return call, followers.join(call)


def ended(call: Call[object]) -> Call[object]:
    call.phase = ENDED
    return call


def notice(function: OnNotice, *, is_quick: bool = False) -> Notice:
    watcher = Watcher("/a", DATA, "/a", function)
    watcher.is_quick = is_quick
    return Notice(watcher, Resynced("/a"))


def passed_on(followers: Followers) -> None:
    """Pass on what is due, and wait until the handler has done its part."""
    followers.pass_on()

    def is_done() -> bool:
        with followers._lock:  # without it, work may be just between two places
            return not followers.due and not followers.program_runs_in

    wait_until(is_done, "all is passed on")


by_each = pytest.mark.parametrize("is_quick", [False, True], ids=["handler", "reader"])
"""Functions of the program, which the handler calls, and functions of the client."""


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


@by_each
def test_functions_come_before_the_later_calls(followers: Followers, is_quick: bool) -> None:
    early, early_waiter = awaited(followers)
    late, late_waiter = awaited(followers)
    seen: list[tuple[bool, bool]] = []

    def look(_: object) -> None:
        seen.append((is_woken(early_waiter), followers.has_ended(late)))

    followers.note([ended(early), notice(look, is_quick=is_quick), ended(late)])
    assert not followers.has_ended(late)
    passed_on(followers)
    assert seen == [(True, False)]
    assert is_woken(late_waiter)
    assert followers.has_ended(late)


def test_the_lock_is_free_while_a_function_runs(followers: Followers, lock: threading.Lock) -> None:
    was_free: list[bool] = []

    def look(_: object) -> None:
        was_free.append(lock.acquire(blocking=False))
        lock.release()

    followers.listeners.append(look)
    followers.program_listeners.append(look)
    followers.note([notice(look), SessionState.CONNECTED, notice(look, is_quick=True)])
    passed_on(followers)
    assert was_free == [True] * 4


def test_a_second_thread_leaves_its_outcomes_to_the_first(
    followers: Followers, lock: threading.Lock
) -> None:
    runs, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def slow(_: object) -> None:
        runs.set()
        assert may_end.wait(WAIT_S)
        order.append("first")

    followers.note([notice(slow, is_quick=True)])
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
    passed_on(followers)
    assert order == ["first", "second"]
    assert is_woken(waiter)


@by_each
def test_a_call_that_ends_while_a_function_runs_comes_after_it(
    followers: Followers, is_quick: bool
) -> None:
    call, waiter = awaited(followers)
    seen: list[bool] = []

    def end_call(_: object) -> None:
        followers.note([ended(call)])
        followers.pass_on()
        seen.append(followers.has_ended(call) or is_woken(waiter))

    followers.note([notice(end_call, is_quick=is_quick)])
    passed_on(followers)
    assert seen == [False]
    assert is_woken(waiter)


def test_a_function_that_raises_stops_nothing(
    followers: Followers, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[str] = []

    def fail(_: object) -> None:
        order.append("fails")
        raise ValueError("a fault of the program")

    followers.listeners.append(fail)
    followers.program_listeners += [fail, lambda state: order.append(state.value)]
    followers.note([notice(fail), SessionState.CONNECTED, notice(lambda _: order.append("last"))])
    passed_on(followers)
    assert order == ["fails", "fails", "fails", "connected", "last"]
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 3
    assert all("a function of the program failed" in text for text in texts)
    assert followers.program_runs_in == 0


def test_an_interrupt_reaches_the_program_and_the_rest_stays(followers: Followers) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    call, waiter = awaited(followers)
    followers.note([notice(interrupt, is_quick=True), ended(call)])
    with pytest.raises(KeyboardInterrupt):
        followers.pass_on()
    assert not is_woken(waiter)
    followers.pass_on()
    assert is_woken(waiter)


def test_an_exit_does_not_end_the_background_thread(followers: Followers) -> None:
    def leave(_: object) -> None:
        raise SystemExit

    followers.background = threading.get_ident()
    followers.note([notice(leave, is_quick=True)])
    followers.pass_on()
    assert not followers.due


def test_an_exit_does_not_end_the_handler(followers: Followers) -> None:
    def leave(_: object) -> None:
        raise SystemExit

    call, waiter = awaited(followers)
    followers.note([notice(leave), ended(call)])
    passed_on(followers)
    assert is_woken(waiter)


def test_the_handler_runs_only_while_there_is_work(followers: Followers) -> None:
    followers.idle_s = 0.01
    threads: list[threading.Thread] = []

    def note_thread(_: object) -> None:
        threads.append(threading.current_thread())

    followers.note([notice(note_thread, is_quick=True)])
    followers.pass_on()
    assert threads == [threading.current_thread()]
    for count in (2, 3):
        followers.note([notice(note_thread)])
        passed_on(followers)
        assert len(threads) == count
        assert threads[-1] is not threading.current_thread()
        wait_until(lambda: not threads[-1].is_alive(), "the handler ends")


def test_the_end_waits_for_the_handler_and_ends_it(followers: Followers) -> None:
    may_end = threading.Event()
    threads: list[threading.Thread] = []

    def wait(_: object) -> None:
        threads.append(threading.current_thread())
        assert may_end.wait(WAIT_S)

    followers.note([notice(wait), notice(wait)])
    followers.pass_on()
    wait_until(lambda: len(threads) == 1, "the function runs")
    followers.stop(0.0)  # the function blocks for longer
    stopping = Running(followers.stop, WAIT_S)
    may_end.set()
    stopping.end()
    assert len(threads) == 2
    wait_until(lambda: not threads[-1].is_alive(), "the handler ends")


def test_a_slow_function_is_logged_once(
    followers: Followers, caplog: pytest.LogCaptureFixture
) -> None:
    began, may_end = threading.Event(), threading.Event()

    def block(_: object) -> None:
        began.set()
        assert may_end.wait(WAIT_S)

    followers.note([notice(block)])
    followers.pass_on()
    assert began.wait(WAIT_S)
    now_s = time.monotonic()
    followers.report_slow(now_s)
    assert not caplog.records
    for later_s in (6.0, 7.0):
        followers.report_slow(now_s + later_s)
    [record] = caplog.records
    assert "has run for more than 5 s" in record.getMessage()
    assert "block" in record.getMessage()
    may_end.set()
    passed_on(followers)


@pytest.mark.parametrize("seed", range(20))
def test_random_outcomes_are_passed_on_in_their_order(lock: threading.Lock, seed: int) -> None:
    chance = random.Random(seed)
    seen: list[int] = []
    followers = Followers(lock, lambda _: None, SessionLog(ClientSession(1000)))
    waiters: dict[int, tuple[Call[object], threading.Lock]] = {}
    outcomes: list[Call[object] | Notice] = []
    for number in range(200):
        if chance.random() < 0.5:
            waiters[number] = awaited(followers)
            outcomes.append(waiters[number][0])
        else:

            def look(_: object, number: int = number) -> None:
                early = [n for n, (call, _) in waiters.items() if n < number]
                assert all(followers.has_ended(waiters[n][0]) for n in early)
                assert not any(followers.has_ended(waiters[n][0]) for n in waiters if n > number)
                seen.append(number)

            outcomes.append(notice(look, is_quick=chance.random() < 0.5))

    def read(part: int) -> None:
        followers.pass_on()
        assert part

    readers = []
    while outcomes:
        size = chance.randrange(1, 20)
        with lock:
            now, outcomes = outcomes[:size], outcomes[size:]
            followers.note([ended(one) if isinstance(one, Call) else one for one in now])
        readers.append(Running(read, size))
    for reader in readers:
        reader.end()
    passed_on(followers)
    assert seen == [number for number in range(200) if number not in waiters]
    assert all(is_woken(waiter) for _, waiter in waiters.values())


class _LockWithHook:
    """A lock that calls a function when it is taken."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.on_enter: Callable[[], None] = lambda: None

    def __enter__(self) -> None:
        self._lock.acquire()
        self.on_enter()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def acquire(self) -> bool:
        return self._lock.acquire()

    def release(self) -> None:
        self._lock.release()


def test_the_handler_does_not_give_up_work_that_it_has_just_got() -> None:
    """Another thread hands work over while the handler begins to pass outcomes on.

    Otherwise the next work would replace it, and the event would be lost.
    """
    lock = _LockWithHook()
    session_log = SessionLog(ClientSession(1000))
    followers = Followers(cast("threading.Lock", lock), lambda _: None, session_log)
    followers.due.append(notice(lambda _: None))
    this_thread = threading.get_ident()

    def hand_over() -> None:
        followers.program_runs_in = this_thread

    lock.on_enter = hand_over
    followers.pass_on()
    assert followers.program_runs_in == this_thread
    assert len(followers.due) == 1
