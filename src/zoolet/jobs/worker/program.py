"""A worker as a program: its signals, its end, and its work as process 1 of a container.

Invariants:

- The first SIGTERM or SIGINT stops the worker; running jobs may finish within the grace period.
  After the second signal, the worker gives all jobs back to the queue and ends immediately. Further
  signals have no effect.
- SIGHUP lets the worker load new code (`Worker.reload`). If standard input is a terminal, SIGHUP
  stops the worker, because the kernel sends it when the terminal is closed.
- If the worker fails, it immediately gives all jobs back to the queue.
- If the stop hangs, the program nevertheless ends after a time limit.
- As process 1, the program consists of two processes. Process 1 only passes on signals and reaps
  its children. The worker runs in the other process, so process 1 cannot reap a child that the
  worker waits for.

Call these functions in the main thread only: Python handles signals there. This module imports
`zoolet.jobs.errors`, `zoolet.jobs.execution` and other modules of its package.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Self

from zoolet.jobs.errors import JobError
from zoolet.jobs.execution import watcher
from zoolet.jobs.worker.service_reports import ServiceReports
from zoolet.jobs.worker.worker import GRACE_MS, Worker

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOP_LIMIT_S = 20.0
"""Time limit of a stop, in seconds after the grace period. It is reached only if a thread hangs."""
_LOOK_S = 1.0
_INIT = 1
_PASSED_ON = (*STOP_SIGNALS, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_SENT_BY_KERNEL = 0x80


def _stop_signals() -> Sequence[signal.Signals]:
    """Return the signals that stop the worker."""
    closes_terminal = sys.stdin is not None and sys.stdin.isatty()
    return STOP_SIGNALS if closes_terminal else (signal.SIGTERM, signal.SIGINT)


class _Signals:
    """Counts the signals that ask for a stop or a reload, and wakes the main thread at each signal.

    The kernel may interrupt any thread. The wakeup file descriptor wakes the main thread anyway.
    """

    def __init__(self) -> None:
        self.count = 0
        self.wants_reload = False
        self._stops = _stop_signals()

    def prepare(self) -> None:
        """Let stop signals interrupt the start of the worker, and note a request to reload.

        A program that is started by nohup ignores SIGHUP.
        """
        for signum in STOP_SIGNALS:
            if signum in self._stops:
                self._set(signum, signal.default_int_handler)
            else:
                self._set(signum, self._note_reload)

    def _set(
        self, signum: signal.Signals, handler: Callable[[int, FrameType | None], None]
    ) -> None:
        # SIGINT is handled even if it is ignored at the start: shell scripts start background
        # programs with SIGINT ignored.
        if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)

    def __enter__(self) -> Self:
        self._wakes, self._wake = socket.socketpair()
        self._wakes.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for signum in self._stops:
            self._set(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Ignore further signals, because the program ends."""
        for signum in STOP_SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        self._wakes.close()
        self._wake.close()

    def _note(self, _: int, __: FrameType | None) -> None:
        self.count += 1

    def _note_reload(self, _: int, __: FrameType | None) -> None:
        self.wants_reload = True

    def wake(self) -> None:
        """Let `wait` return. Any thread may call this method."""
        # OSError: the sockets are closed, or the buffer is full, so `wait` returns anyway.
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")

    def wait(self) -> None:
        """Wait for a signal or a call of `wake`, at most `_LOOK_S` seconds."""
        poll = select.poll()
        poll.register(self._wakes, select.POLLIN)
        if poll.poll(_LOOK_S * 1000):
            with contextlib.suppress(BlockingIOError):
                self._wakes.recv(4096)


def run(
    worker: Worker,
    on_started: Callable[[], None],
    say: Callable[[str], None],
    grace_ms: int = GRACE_MS,
    reports: ServiceReports | None = None,
) -> None:
    """Run a worker until a signal stops it, or until it fails (`Worker.failure`).

    Args:
        worker: the worker, which is not started yet.
        on_started: called when the worker has begun to take jobs.
        say: called with each line for the user.
        grace_ms: the time, in ms, that running jobs have to finish after the first signal.
        reports: reports the health of the worker; None for no reports.

    Raises:
        Exception: `Worker.start` or ``on_started`` raised it.
        JobError: the stop does not end within its time limit.
    """
    signals = _Signals()
    signals.prepare()
    try:
        worker.start()
        with signals:
            try:
                on_started()
                _wait(worker, signals, say, reports)
                if signals.count:
                    say("stopping: running jobs may finish, all other jobs are returned")
                if reports is not None:
                    reports.stopping()
            except BaseException:
                worker.stop(0)
                raise
            _stop(worker, signals, say, grace_ms if signals.count else 0)
    except KeyboardInterrupt:
        say("the worker was stopped during its start")
        worker.stop(0)
    finally:
        if reports is not None:
            reports.ended()


def _wait(
    worker: Worker,
    signals: _Signals,
    say: Callable[[str], None],
    reports: ServiceReports | None,
) -> None:
    """Wait until a signal stops the worker or the worker ends; reload it when a signal asks."""
    while not signals.count and not worker.has_ended:
        if signals.wants_reload:
            signals.wants_reload = False
            say("loading new code: each executor is replaced when its jobs have ended")
            if reports is not None:
                reports.reloading()
            worker.reload()
        if reports is not None:
            reports.look()
        signals.wait()


def _stop(worker: Worker, signals: _Signals, say: Callable[[str], None], grace_ms: int) -> None:
    """Stop the worker in another thread, so that this thread can handle a second signal.

    Raises:
        JobError: the stop does not end within its time limit.
    """
    failures: list[BaseException] = []

    def stop() -> None:
        try:
            worker.stop(grace_ms)
        except BaseException as error:  # noqa: BLE001 -- the main thread raises it
            failures.append(error)
        signals.wake()

    thread = threading.Thread(target=stop, name="stop", daemon=True)
    thread.start()
    until = time.monotonic() + grace_ms / 1000 + STOP_LIMIT_S
    is_cut = False
    while thread.is_alive() and time.monotonic() < until:
        if signals.count > 1 and not is_cut:
            is_cut = True
            say("second signal: returning all jobs")
            worker.cut_grace()
        signals.wait()
    if failures:
        raise failures[0]
    if thread.is_alive():
        raise JobError("the worker does not stop: its jobs return when its session ends")


def become_init() -> None:
    """If this process is process 1, continue in a child; process 1 passes on signals and reaps.

    Orphaned processes of a container become children of process 1, which must reap them. Call this
    function while the program has one thread.
    """
    if os.getpid() != _INIT:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    # Signals are blocked before the fork: a signal that comes now stays pending for process 1.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_be_init(child))


def _be_init(child: int) -> int:
    """Pass on signals and reap until the child ends; return its exit status as a shell does."""
    while True:
        # This wait ends: the kernel sends SIGCHLD when the child ends.
        found = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        if found.si_signo != signal.SIGCHLD:
            # The kernel sends the SIGINT of a terminal's Ctrl-C to the child, too.
            if found.si_code != _SENT_BY_KERNEL:
                os.kill(child, found.si_signo)
            continue
        if (status := watcher.reap(child)[0]) is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
