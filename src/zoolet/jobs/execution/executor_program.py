"""An executor as a process of its own: attempts are asked for on one pipe, and told on another.

A worker starts it (`zoolet.jobs.execution.child_process`), with the descriptors of three pipes.
What holds:

- That an attempt is begun is written before its task is called, so that whoever finds the process
  dead knows which attempt killed it.
- Each attempt takes a byte from a pipe before, which says whether to make it. The worker may take
  the bytes back, so of each job one side or the other knows that it is the one to go on with it.
- If the pipe of work is at its end, it leaves its loop and exits normally, so atexit handlers run.
  It exits within `END_LIMIT_S`, also if a task has closed pipes and left threads that do not end.
- Only its watcher ends it otherwise (`zoolet.jobs.execution.watcher`). SIGTERM, SIGINT and SIGHUP
  from elsewhere, which reach every process of a systemd unit or a terminal, do nothing.
- It has one thread, so a task may fork.

Imports the job system's attempts and messages, and nothing that talks to a server.
"""

import json
import os
import select
import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from zoolet.jobs.errors import FunctionNotFoundError
from zoolet.jobs.execution.attempts import GO, Attempter, Outcome, Setup, Work
from zoolet.jobs.execution.capture import Capture
from zoolet.jobs.execution.messages import MessageWriter
from zoolet.jobs.records.job_names import Group

END_LIMIT_S = 2.0
"""How long it may take from the end of its loop until it exits. Its worker may end it sooner."""
IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals to the worker's process group or unit. What they mean is the worker's to decide."""


class _AttemptMessages(MessageWriter):
    """Tells the worker of attempts."""

    name = ""

    def begun(self) -> None:
        self.write({"begun": self.name})

    def started(self, cache_hit: bool | None, dropped: tuple[Group, ...]) -> None:
        self.write({"started": self.name, "cache_hit": cache_hit, "dropped": dropped})

    def ended(self, outcome: Outcome, *, has_output: bool) -> None:
        """Tell it with what is told next."""
        fields: dict[str, Any] = {"ended": self.name}
        if has_output:
            fields["output"] = True
        if outcome.result is not None:
            self.keep(fields, outcome.result.text)
        else:
            failure = {"error": outcome.error, "details": outcome.details}
            self.keep(fields | failure | {"is_task_missing": outcome.is_task_missing})


def _do_nothing(_: int, __: FrameType | None) -> None:
    pass


def ignore_signals() -> None:
    """Ignore the signals that are for the worker, and let no child of a task ignore them.

    A handler that does nothing, and not SIG_IGN: exec resets a handler, so a program that a task
    starts can be ended by SIGTERM. A forked child gets the default handlers back for the same
    reason: `multiprocessing` ends its children with SIGTERM.
    """
    _ignore_again()
    os.register_at_fork(
        before=_hold_signals, after_in_parent=_let_signals_come, after_in_child=_restore_signals
    )


def _ignore_again() -> None:
    """Ignore the signals again, if a task has set handlers: they were for its own attempt."""
    for signum in IGNORED:
        if signal.getsignal(signum) is not _do_nothing:
            signal.signal(signum, _do_nothing)
            # System calls of C code continue after the signal, as Python's do.
            signal.siginterrupt(signum, False)


_before_fork = threading.local()


def _hold_signals() -> None:
    """Let signals wait during a fork: one that comes before the child is set up ends the child."""
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
    """Return whether to make the next attempt: GO, SKIP, or b"" if the worker has ended."""
    while True:
        try:
            return os.read(descriptor, 1)
        except BlockingIOError:
            # The worker has just taken turns back, and writes in a moment what to skip. If it ends
            # before that, the watcher kills this process.
            select.select([descriptor], [], [])


def main(descriptors: Sequence[str]) -> None:
    """Make attempts until no more are asked for.

    Args:
        descriptors: of the pipes of work, messages, turns, and output, and of the file that tells
            how much of the output was read.
    """
    ignore_signals()
    inherited = [int(descriptor) for descriptor in descriptors]
    for descriptor in inherited:
        os.set_inheritable(descriptor, False)
    try:
        _make_attempts(*inherited)
    finally:
        # Threads and exit handlers of tasks may wait for ever, and children of tasks may keep the
        # pipes open: then nobody else would notice that this process has left its loop.
        end = threading.Timer(END_LIMIT_S, os._exit, [1])
        end.daemon = True
        end.start()


def _make_attempts(
    work_fd: int, told_fd: int, turns_fd: int, output_fd: int, read_count_fd: int
) -> None:
    speaker = _AttemptMessages(told_fd)
    with os.fdopen(work_fd, "rb") as lines:
        setup = Setup.decode(lines.readline())
        capture = Capture(output_fd, read_count_fd, setup.output_token)
        capture.log(setup.log_level)
        try:
            attempter = Attempter(setup)
        except FunctionNotFoundError as error:
            speaker.write({"cannot_start": str(error)})
            return
        speaker.write({"ready": os.getpid(), "output": capture.end_attempt()})
        for line in lines:
            for work in [Work(*work) for work in json.loads(line)]:
                if _take_turn(turns_fd) != GO:
                    continue
                speaker.name = work.name
                outcome = attempter.attempt(work, speaker)
                speaker.ended(outcome, has_output=capture.end_attempt())
                _ignore_again()
            speaker.flush()
