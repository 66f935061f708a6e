"""The program of an executor's process: reads jobs from a pipe, and writes messages to another.

A worker starts the process (`zoolet.jobs.execution.child_process`), and passes the pipes' ends to
it. Invariants:

- Before a task is called, the process writes a message that its attempt has begun. If the process
  dies, the worker therefore knows which attempt killed it.
- Before each attempt, the process reads a byte, a turn, from another pipe; it says whether to make
  the attempt. The worker may read the turns back. For each job, therefore, exactly one of the two
  processes reads the turn and continues with the job.
- At the end of the pipe of work, the process leaves its loop and exits normally, so atexit handlers
  run. It exits within `END_LIMIT_S`, even if a task has left threads that do not end.
- Otherwise, only its watcher ends the process (`zoolet.jobs.execution.watcher`). The
  process ignores SIGTERM, SIGINT and SIGHUP, because a terminal or systemd sends them to
  all processes of a group or unit.
- The process has one thread, so a task may fork. Only a task that reports its progress more often
  than twice a second gets a second thread (`zoolet.jobs.execution.progress_reports`).

This module imports `zoolet.jobs.errors`, `zoolet.jobs.records` and other modules of its package,
and nothing that sends requests to a server.
"""

import _signal  # type: ignore[import-not-found]
import json
import os
import select
import signal
import threading
from collections.abc import Sequence
from types import FrameType

from zoolet.jobs.errors import FunctionNotFoundError
from zoolet.jobs.execution.attempt_messages import AttemptMessages
from zoolet.jobs.execution.attempts import GO, Attempter, Setup, Work
from zoolet.jobs.execution.capture import Capture
from zoolet.jobs.execution.memory_limit import prefer_for_oom_killer
from zoolet.jobs.execution.messages import MessageWriter

END_LIMIT_S = 2.0
"""Time limit, in seconds, between the end of the loop and the exit. The worker may kill the process
earlier."""
IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that are sent to the worker's process group or unit. Only the worker handles them."""


def _do_nothing(_: int, __: FrameType | None) -> None:
    pass


def ignore_signals() -> None:
    """Ignore the signals that only the worker handles, but not in children that a task starts.

    The signals get a handler that does nothing, instead of SIG_IGN. exec resets a handler, so
    SIGTERM can end a program that a task starts. A forked child gets the default handlers back for
    the same reason: `multiprocessing` ends its children with SIGTERM.
    """
    _ignore_again()
    os.register_at_fork(
        before=_hold_signals, after_in_parent=_let_signals_come, after_in_child=_restore_signals
    )


def _ignore_again() -> None:
    """Ignore the signals again if a task has set handlers: they are valid in its attempt only."""
    for signum in IGNORED:
        # signal.getsignal first looks the handler up in an enum: 5 us for each job.
        if _signal.getsignal(signum) is not _do_nothing:
            signal.signal(signum, _do_nothing)
            # System calls in C code are restarted after the signal, as Python restarts its own.
            signal.siginterrupt(signum, False)


_before_fork = threading.local()


def _hold_signals() -> None:
    """Block the signals during a fork: a signal to a child without handlers would end it."""
    _before_fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)


def _let_signals_come() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _before_fork.mask)


def _restore_signals() -> None:
    for signum in IGNORED:
        if signal.getsignal(signum) is _do_nothing:
            is_interrupt = signum == signal.SIGINT
            signal.signal(signum, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
    _let_signals_come()


def _take_turn(descriptor: int) -> bytes:
    """Return the turn of the next job: GO, SKIP, or b"" if the worker has ended."""
    while True:
        try:
            return os.read(descriptor, 1)
        except BlockingIOError:
            # The worker has just read turns back, and is about to write SKIP for each. If the
            # worker ends before, the watcher kills this process.
            select.select([descriptor], [], [])


def main(descriptors: Sequence[str]) -> None:
    """Make attempts until the end of the pipe of work.

    Args:
        descriptors: the descriptors of the pipes of work, messages, turns, and output, and of the
            shared memory that counts the bytes of output that the worker has read.
    """
    ignore_signals()
    prefer_for_oom_killer()
    inherited = [int(descriptor) for descriptor in descriptors]
    for descriptor in inherited:
        os.set_inheritable(descriptor, False)
    try:
        _make_attempts(*inherited)
    finally:
        # Threads and exit handlers of tasks may wait forever, and children of tasks may keep the
        # pipes open. Without this timer, no other process would notice that the loop has ended.
        end = threading.Timer(END_LIMIT_S, os._exit, [1])
        end.daemon = True
        end.start()


def _make_attempts(
    work_fd: int, told_fd: int, turns_fd: int, output_fd: int, read_count_fd: int
) -> None:
    writer = MessageWriter(told_fd)
    messages = AttemptMessages(writer)
    with os.fdopen(work_fd, "rb") as lines:
        setup = Setup.decode(lines.readline())
        capture = Capture(output_fd, read_count_fd, setup.output_token)
        capture.log(setup.log_level)
        try:
            attempter = Attempter(setup)
        except FunctionNotFoundError as error:
            writer.write({"cannot_start": str(error)})
            return
        writer.write({"ready": os.getpid(), "output": capture.end_attempt()})
        if setup.async_concurrency > 1:
            # The import of asyncio takes 40 ms.
            from zoolet.jobs.execution.async_program import run  # noqa: PLC0415

            run(work_fd, writer, attempter, capture)
            attempter.close()
            return
        for line in lines:
            for work in [Work(*work) for work in json.loads(line.decode())]:
                if _take_turn(turns_fd) != GO:
                    continue
                messages.next(work.name)
                outcome = attempter.attempt(work, messages)
                messages.ended(outcome, has_output=capture.end_attempt())
                _ignore_again()
            writer.flush()
        attempter.close()
