"""Simulated threads, and the parts of ``threading`` for them.

The threads are real ones, but only one runs at a time. It gives the turn to another one, chosen by
chance, at each lock, clock, poll and socket, and perhaps at each line of the client. If all wait,
simulated time passes. So a seed repeats a run exactly.
"""

import contextlib
import random
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from tests.client_simulation.clock import Clock

LONGEST_STEP_S: Final = 0.0002
"""The longest time between two switches."""

REAL_LIMIT_S: Final = 60.0
"""The longest real time of a run, which a fault of the simulation itself would exceed."""


class RunOverError(BaseException):
    """The run has failed, so all threads end."""


class SimulatedThread:
    """A thread with a function to run, and what it waits for.

    Attributes:
        name: the name, for the story.
        is_over: whether the function has returned.
        shown: the object of the client for this thread; None if the client did not make it.
    """

    def __init__(self, threads: "Threads", name: str, function: Callable[[], object]) -> None:
        self.name = name
        self.is_over = False
        self.shown: Thread | None = None
        self.ready: Callable[[], bool] | None = None
        self.deadline_s = 0.0
        self.turn = threading.Semaphore(0)
        self._threads = threads
        self._function = function
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        self.turn.acquire()
        try:
            sys.settrace(self._threads.tracer)
            self._function()
        except RunOverError:
            pass
        except BaseException as error:  # noqa: BLE001 -- the run reports it
            self._threads.fail(error)
        finally:
            sys.settrace(None)
            self.is_over = True
            self._threads.leave()

    @property
    def ident(self) -> int | None:
        """The identifier of the thread, as ``threading`` has it."""
        return self.thread.ident

    def may_go_on(self, now_s: float) -> bool:
        """Return whether what it waits for has happened, or its time is over."""
        return self.ready is None or now_s >= self.deadline_s or self.ready()


class Threads:
    """The threads of a run, and whose turn it is.

    Attributes:
        failure: why the run has failed; None if it has not.
        switches: the number of switches.
    """

    def __init__(self, clock: Clock, chance: random.Random, watched: str) -> None:
        """Switch at the lines of modules whose file names begin with ``watched``; "" is none."""
        self.clock = clock
        self.chance = chance
        self.failure: BaseException | None = None
        self.switches = 0
        self._watched = watched
        self._often = chance.choice([0.05, 0.3, 1.0])
        self._threads: list[SimulatedThread] = []
        self._current: SimulatedThread | None = None
        self._end = threading.Event()
        self.tracer = self._trace if watched else None

    def run(self, function: Callable[[], object]) -> None:
        """Run a function in a simulated thread, and wait for the end of all threads."""
        self._current = self.start("main", function)
        self._current.turn.release()
        assert self._end.wait(REAL_LIMIT_S), "the simulation itself hangs"
        for each in self._threads:
            each.thread.join(REAL_LIMIT_S)
            assert not each.thread.is_alive()
        if self.failure is not None:
            raise self.failure

    @property
    def current(self) -> SimulatedThread:
        """The thread whose turn it is."""
        assert self._current is not None
        return self._current

    def start(self, name: str, function: Callable[[], object]) -> SimulatedThread:
        """Start a thread, which has its first turn later."""
        started = SimulatedThread(self, name, function)
        self._threads.append(started)
        started.thread.start()
        return started

    def fail(self, failure: BaseException) -> None:
        """End the run."""
        self.failure = self.failure or failure

    def switch(self) -> None:
        """Perhaps give the turn to another thread."""
        if self._end.is_set():
            return  # the garbage collector ends objects of the run
        if self.failure is not None:
            raise RunOverError
        if self.chance.random() < self._often:
            self._pass_on()

    def wait(self, ready: Callable[[], bool], limit_s: float | None) -> bool:
        """Wait until something is true, or until the time is over; return whether it is true."""
        this = self._current
        assert this is not None
        this.ready = ready
        this.deadline_s = float("inf") if limit_s is None else self.clock.now_s + limit_s
        self._pass_on()
        this.ready = None
        return ready()

    def leave(self) -> None:
        """Give the turn away for good: the thread has ended."""
        following = None
        with contextlib.suppress(RunOverError):
            following = self._next()
        if following is None:
            self._end.set()
        else:
            self._current = following
            following.turn.release()

    def _pass_on(self) -> None:
        this = self._current
        following = self._next()
        assert this is not None
        assert following is not None
        if following is not this:
            self.switches += 1
            self._current = following
            following.turn.release()
            this.turn.acquire()
        if self.failure is not None:
            raise RunOverError

    def _next(self) -> SimulatedThread | None:
        """Return the thread that runs next; let time pass if all wait."""
        clock = self.clock
        try:
            clock.advance_to(clock.now_s + LONGEST_STEP_S * self.chance.random())
            while living := [each for each in self._threads if not each.is_over]:
                if self.failure is not None:
                    return living[0]
                able = [each for each in living if each.may_go_on(clock.now_s)]
                if able:
                    return self.chance.choice(able)
                deadline_s = min(each.deadline_s for each in living)
                if clock.next_s <= deadline_s:
                    clock.run_next()
                else:
                    clock.advance_to(deadline_s)
        except Exception as error:  # noqa: BLE001 -- a fault of the simulated server
            self.fail(error)
            return next((each for each in self._threads if not each.is_over), None)
        return None

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        del event, argument
        if not frame.f_code.co_filename.startswith(self._watched):
            return None
        return self._trace_line

    def _trace_line(self, frame: FrameType, event: str, argument: object) -> Any:
        del frame, argument
        if event == "line" and self.failure is None and self.chance.random() < 0.05:
            self._pass_on()
        return self._trace_line


class Lock:
    """``threading.Lock``."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._is_taken = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self._threads.switch()
        if self._is_taken and blocking:
            limit_s = None if timeout < 0 else timeout
            self._threads.wait(lambda: not self._is_taken, limit_s)
        if self._is_taken:
            return False
        self._is_taken = True
        return True

    def release(self) -> None:
        assert self._is_taken
        self._is_taken = False

    def locked(self) -> bool:
        return self._is_taken


class Semaphore:
    """``threading.Semaphore``."""

    def __init__(self, threads: Threads, value: int) -> None:
        self._threads = threads
        self._value = value

    def acquire(self, timeout: float | None = None) -> bool:
        self._threads.switch()
        if not self._threads.wait(lambda: self._value > 0, timeout):
            return False
        self._value -= 1
        return True

    def release(self) -> None:
        self._value += 1


class RLock:
    """``threading.RLock``."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self.owner = 0
        self.count = 0

    def acquire(self) -> bool:
        this_thread = threading.get_ident()
        if self.owner != this_thread:
            self._threads.switch()
            while self.owner:
                self._threads.wait(lambda: not self.owner, None)
            self.owner = this_thread
        self.count += 1
        return True

    def release(self) -> None:
        self.count -= 1
        if not self.count:
            self.owner = 0

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class Condition:
    """``threading.Condition``."""

    def __init__(self, threads: Threads, lock: RLock | None = None) -> None:
        self._threads = threads
        self._lock = lock or RLock(threads)
        self._waiting: list[list[bool]] = []

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        notified = [False]
        self._waiting.append(notified)
        count, self._lock.count, self._lock.owner = self._lock.count, 0, 0
        try:
            return self._threads.wait(lambda: notified[0], timeout)
        finally:
            if notified in self._waiting:
                self._waiting.remove(notified)
            self._lock.acquire()
            self._lock.count = count

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        end_s = None if timeout is None else self._threads.clock.now_s + timeout
        while not (result := predicate()):
            left_s = None if end_s is None else end_s - self._threads.clock.now_s
            if left_s is not None and left_s <= 0:
                break
            self.wait(left_s)
        return result

    def notify(self) -> None:
        if self._waiting:
            self._waiting.pop(0)[0] = True

    def notify_all(self) -> None:
        while self._waiting:
            self.notify()


class Thread:
    """``threading.Thread``."""

    def __init__(
        self, threads: Threads, target: Callable[..., object], args: tuple[Any, ...] = (), **_: Any
    ) -> None:
        self._threads = threads
        self._function = lambda: target(*args)
        self._thread: SimulatedThread | None = None
        self._name = str(_.get("name"))

    def start(self) -> None:
        self._thread = self._threads.start(self._name, self._function)
        self._thread.shown = self
        self._threads.switch()

    def join(self, timeout: float | None = None) -> None:
        thread = self._thread
        assert thread is not None
        self._threads.wait(lambda: thread.is_over, timeout)

    def is_alive(self) -> bool:
        return self._thread is not None and not self._thread.is_over

    @property
    def ident(self) -> int | None:
        return None if self._thread is None else self._thread.thread.ident
