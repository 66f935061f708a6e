"""Executors whose tasks run in a process, which can be ended without ending the worker.

An executor's thread drives the process (`zoolet.jobs.executorprocess`). It ends it for a timeout,
for a job that is given up, and starts another when a task has killed it. What holds: a process that
dies costs an attempt of the job that it was at, and of no other. Talks to no server. Imports the
job system's attempts.
"""

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from zoolet.jobs.attempts import GO, SKIP, Outcome, Setup, Work
from zoolet.jobs.cache import Group
from zoolet.jobs.errors import FunctionNotFoundError
from zoolet.jobs.executors import LONG_S, Observer
from zoolet.jobs.jsonvalues import EncodedJson
from zoolet.jobs.messages import Message, MessageError, MessageReader

log = logging.getLogger(__name__)

PIPE_BYTES = 32 * 1024
"""A line of work that is sent while the process is busy must fit into the pipe."""
PROGRAM = "zoolet.jobs.executorprocess"
_READ_BYTES = 256 * 1024
_WAKES_BYTES = 4096
_LOOK_MS = 1000.0
"""How often a process that says nothing is looked at: it may have left its pipe to another one."""
_STOP_S = 5.0
_PAUSE_AFTER_FAILED_START_S = 1.0
_LINE_JOBS = 50
_NO_MESSAGES = (MessageError, KeyError, TypeError)
"""What it raises here if a task writes into the pipe of the messages."""


class ProcessExecutor:
    """Makes attempts in a process of its own, which is started again when it has died."""

    def __init__(self, setup: Setup, observer: Observer) -> None:
        self._setup = setup
        self._observer = observer
        self._lock = threading.Lock()
        self._given: deque[Work] = deque()
        self._sent: dict[str, Work] = {}
        """What the process has been asked for and has not ended, in its order."""
        self._unread_bytes = 0
        self._current: str | None = None
        self._began = 0.0
        self._started = 0.0
        self._held: set[Group] = set()
        self._to_kill: set[str] = set()
        self._asked: str | None = None
        """The careful job that the observer was asked for."""
        self._permit: str | None = None
        self._stopping = False
        self._recalling = False
        self._unread_first = ""
        self._waker, self._woken = socket.socketpair()
        self._settled = threading.Event()
        self._unfit: str | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the process."""
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Return when the process takes work.

        Raises:
            FunctionNotFoundError: it cannot import the loader.
        """
        self._settled.wait()
        if self._unfit is not None:
            raise FunctionNotFoundError(self._unfit)

    def give(self, works: Sequence[Work]) -> None:
        """Add jobs to be attempted."""
        with self._lock:
            self._given.extend(works)
            if any(work.name == self._asked for work in works):
                # It was returned, or dropped, and is given again.
                self._asked = self._permit = None
        self._wake()

    def permit(self, name: str) -> None:
        """Let a careful job start."""
        with self._lock:
            if name == self._asked:
                self._permit = name
        self._wake()

    def abandon(self, names: Iterable[str]) -> None:
        """Drop these jobs; where the process is at one of them, it is ended."""
        dropped = set(names)
        with self._lock:
            self._given = deque(work for work in self._given if work.name not in dropped)
            if self._asked in dropped:
                self._asked = self._permit = None
            self._to_kill |= dropped & self._sent.keys()
        self._wake()

    def recall(self) -> None:
        """Return the jobs that wait behind the one that is attempted."""
        self._recalling = True
        self._wake()

    def is_stuck(self) -> bool:
        """Say whether what it is at takes long."""
        return self._current is not None and time.monotonic() - self._began > LONG_S

    def held(self) -> frozenset[Group]:
        """Return the groups that the process has loaded."""
        with self._lock:
            return frozenset(self._held)

    def stop(self) -> None:
        """End the process, and with it what it is at."""
        self._stopping = True
        self._wake()
        self._thread.join(_STOP_S)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it has ended
            self._waker.send(b"\0")

    # --- The thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                process = _Process(self._setup)
                try:
                    reason = self._serve(process)
                    process.kill()
                    if not self._stopping:
                        self._bury(process, reason)
                finally:
                    process.close()
        finally:
            self._settled.set()
            self._waker.close()
            self._woken.close()

    def _serve(self, process: "_Process") -> str | None:
        """Pass work to the process and news from it, until it has died or has to be ended.

        Returns why it has to be ended.
        """
        poll = select.poll()
        for descriptor in (process.told_fd, self._woken.fileno()):
            poll.register(descriptor, select.POLLIN)
        reason: str | None = None
        while not self._stopping and reason is None:
            self._send(process)
            ready = {fd for fd, _ in poll.poll(self._wait_ms())}
            if process.told_fd in ready:
                try:
                    messages = process.read()
                    if messages is None:
                        return None
                    self._take_all(process, messages)
                except _NO_MESSAGES as error:
                    return f"its process wrote into the worker's pipe: {error}"
            elif not ready and process.has_ended:
                # Something that it has started has its pipe still.
                return None
            if self._woken.fileno() in ready:
                self._woken.recv(_WAKES_BYTES)
            if self._recalling:
                self._recall_from(process)
            reason = self._reason_to_kill()
        return reason

    def _recall_from(self, process: "_Process") -> None:
        """Take back the jobs that are not begun; those whose turns are left are not."""
        self._recalling = False
        left = process.take_turns_back()
        with self._lock:
            names = list(self._sent)[len(self._sent) - left :]
            for name in names:
                del self._sent[name]
            given_up = {name for name in names if name in self._to_kill}
            self._to_kill -= given_up
            names += [work.name for work in self._given]
            self._given.clear()
            self._asked = self._permit = None
        self._observer.returned([name for name in names if name not in given_up])

    def _send(self, process: "_Process") -> None:
        """Send what was given, as far as the process has room for it."""
        if not process.is_ready or self._unread_bytes:
            return
        with self._lock:
            asks = self._careful_to_ask_for()
        if asks is not None:
            self._observer.asks(asks)
        with self._lock:
            works: list[Work] = []
            while len(works) < _LINE_JOBS and self._may_send_next(works):
                works.append(self._given.popleft())
            line = _line(works)
            while self._sent and len(works) > 1 and len(line) > PIPE_BYTES:
                self._given.appendleft(works.pop())
                line = _line(works)
            if self._sent and len(line) > PIPE_BYTES:
                # It is read, and the answers to others are written, only when those have ended.
                self._given.extendleft(reversed(works))
                return
            if not works:
                return
            if self._sent:
                self._unread_bytes = len(line)
                self._unread_first = works[0].name
            self._sent |= {work.name: work for work in works}
        process.give_turns(len(works))
        process.write(line)

    def _careful_to_ask_for(self) -> str | None:
        """Return the careful job that is the next to start, once."""
        if self._sent or not self._given or not self._given[0].careful:
            return None
        name = self._given[0].name
        if name == self._asked:
            return None
        self._asked, self._permit = name, None
        return name

    def _may_send_next(self, works: Sequence[Work]) -> bool:
        """Say whether the first of what was given may be sent behind these jobs.

        A careful job is sent alone, to an idle process, when it is permitted. A job that was given
        up and is given again waits until its first attempt is buried.
        """
        if not self._given or self._given[0].name in self._sent:
            return False
        if not self._given[0].careful:
            return not (works and works[-1].careful)
        if self._sent or works or self._permit != self._given[0].name:
            return False
        self._asked = self._permit = None
        return True

    def _take_all(self, process: "_Process", messages: Iterable[Message]) -> None:
        for message in messages:
            self._take(process, message.fields, message.attached)

    def _take(self, process: "_Process", message: dict[str, Any], attached: bytes) -> None:
        now = time.monotonic()
        if (name := message.get("begun")) is not None:
            self._set_current(name, now)
            self._observer.begun(name)
        elif (name := message.get("started")) is not None:
            work = self._sent[name]
            if self._current != name:
                self._set_current(name, now)
            self._started = now
            if message["cache_hit"] is not None:
                with self._lock:
                    self._held.add((work.dataset, work.groupid))
                    self._held -= {(dataset, groupid) for dataset, groupid in message["dropped"]}
            self._observer.started(name, message["cache_hit"])
        elif (name := message.get("ended")) is not None:
            took_s = now - max(self._began, self._started)
            with self._lock:
                del self._sent[name]
            self._current = None
            if not self._sent:
                self._unread_bytes = 0
            self._began = now
            if not self._was_abandoned(name):
                self._observer.ended(name, _outcome(message, attached), took_s)
        else:
            process.is_ready = "ready" in message
            self._unfit = message.get("unfit")
            self._settled.set()

    def _set_current(self, name: str, now: float) -> None:
        self._current = name
        self._began = now
        if self._unread_bytes and name == self._unread_first:
            self._unread_bytes = 0

    def _was_abandoned(self, name: str) -> bool:
        with self._lock:
            was_abandoned = name in self._to_kill
            self._to_kill.discard(name)
        return was_abandoned

    def _wait_ms(self) -> float:
        work = self._sent.get(self._current or "")
        if work is None or work.timeout_ms is None:
            return _LOOK_MS
        left_ms = (self._began - time.monotonic()) * 1000 + work.timeout_ms + 1
        return min(_LOOK_MS, max(0.0, left_ms))

    def _reason_to_kill(self) -> str | None:
        """Return why the process must be ended now; None where it must not."""
        work = self._sent.get(self._current or "")
        if work is None:
            return None
        with self._lock:
            if work.name in self._to_kill:
                return "it was given up"
        elapsed_ms = (time.monotonic() - self._began) * 1000
        if work.timeout_ms is not None and elapsed_ms >= work.timeout_ms:
            return f"it took longer than its timeout of {work.timeout_ms} ms: its process was ended"
        return None

    def _bury(self, process: "_Process", reason: str | None) -> None:
        """Settle what the process left: the attempt it was at has ended, all else is sent again."""
        with contextlib.suppress(*_NO_MESSAGES):
            self._take_all(process, process.rest())
        if reason is None:
            reason = f"its process died: {process.how_it_ended}"
            log.warning("an executor's process died: %s", process.how_it_ended)
        current, self._current = self._current, None
        with self._lock:
            left = [work for work in self._sent.values() if work.name != current]
            self._given.extendleft(reversed([w for w in left if w.name not in self._to_kill]))
            self._to_kill -= {work.name for work in left}
            self._sent.clear()
            self._unread_bytes = 0
            self._held.clear()
        if current is not None:
            if not self._was_abandoned(current):
                outcome = Outcome(error=reason)
                self._observer.ended(current, outcome, time.monotonic() - self._began)
        elif not process.is_ready:
            log.warning("an executor's process did not get ready: %s", self._unfit or reason)
            time.sleep(_PAUSE_AFTER_FAILED_START_S)


class _Process:
    """The process and the four pipes to it.

    Attributes:
        told_fd: where its messages are read.
        is_ready: whether it has said that it takes work.
    """

    def __init__(self, setup: Setup) -> None:
        asked_read, self._asked_fd = os.pipe()
        self.told_fd, told_write = os.pipe()
        self._turns_read, self._turns_write = os.pipe()
        os.set_blocking(self._turns_read, False)
        lifeline_read, self._lifeline = os.pipe()
        theirs = (asked_read, told_write, self._turns_read, lifeline_read)
        self.is_ready = False
        self._is_killed = False
        self._reader = MessageReader()
        try:
            # In a session of its own, Ctrl-C is not for it, and what it starts ends with it.
            self._popen = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, *(str(descriptor) for descriptor in theirs)],
                stdin=subprocess.DEVNULL,
                pass_fds=theirs,
                start_new_session=True,
            )
        finally:
            for descriptor in (asked_read, told_write, lifeline_read):
                os.close(descriptor)
        self.write(setup.encode() + b"\n")

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._popen.poll() is not None

    @property
    def how_it_ended(self) -> str:
        """Its exit status, or the signal that ended it."""
        status = self._popen.wait()
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def write(self, line: bytes) -> None:
        """Send a line; a process that is dead is noticed where it is read from."""
        rest = memoryview(line)
        with contextlib.suppress(BrokenPipeError):
            while rest:
                rest = rest[os.write(self._asked_fd, rest) :]

    def give_turns(self, count: int) -> None:
        """Let the next so many jobs be attempted."""
        os.write(self._turns_write, GO * count)

    def take_turns_back(self) -> int:
        """Let no more jobs be attempted of those that were sent; return how many were not."""
        try:
            count = len(os.read(self._turns_read, _READ_BYTES))
        except BlockingIOError:
            return 0
        os.write(self._turns_write, SKIP * count)
        return count

    def read(self) -> list[Message] | None:
        """Return the messages that have come; None at the end."""
        data = os.read(self.told_fd, _READ_BYTES)
        return self._reader.feed(data) if data else None

    def rest(self) -> Iterator[Message]:
        """Yield the messages that it left when it ended."""
        os.set_blocking(self.told_fd, False)
        with contextlib.suppress(BlockingIOError):
            while (messages := self.read()) is not None:
                yield from messages

    def kill(self) -> None:
        """End it, with all that it has started."""
        if self._is_killed:
            return
        self._is_killed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def close(self) -> None:
        """End it, and close the pipes to it."""
        self.kill()
        turns = (self._turns_read, self._turns_write)
        for descriptor in (self._asked_fd, self.told_fd, *turns, self._lifeline):
            os.close(descriptor)


def _outcome(message: dict[str, Any], attached: bytes) -> Outcome:
    if attached:
        return Outcome(EncodedJson(attached))
    return Outcome(error=message["error"], details=message["details"])


def _line(works: Sequence[Work]) -> bytes:
    return json.dumps([work.as_list() for work in works]).encode() + b"\n"
