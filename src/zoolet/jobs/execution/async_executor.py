"""Executors whose process makes several attempts at the same time, for ``async def`` tasks.

The executor's thread sends a job when an attempt may begin, so the process has no waiting jobs.
After a timeout, or if a job is abandoned, its coroutine is cancelled. If it does not end then, the
process is killed. Invariants:

- If the process is killed because of one job, the other attempts in it are not counted: their jobs
  are returned. Only careful jobs, which may start only one time, fail. If the process dies by
  itself, all its attempts fail.
- Every wait of the thread has a timeout.

`zoolet.jobs.execution.async_program` is the other side. This module sends no requests to a server.
It imports `zoolet.console`, `zoolet.process`, `zoolet.jobs.errors`, `zoolet.jobs.records` and other
modules of its package.
"""

import contextlib
import json
import logging
import select
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zoolet.console.os_errors import explain
from zoolet.jobs.errors import ExecutorError, FunctionNotFoundError
from zoolet.jobs.execution import process_starts
from zoolet.jobs.execution.async_output import AsyncOutput
from zoolet.jobs.execution.attempts import Outcome, Setup, Work
from zoolet.jobs.execution.capture import token_bytes
from zoolet.jobs.execution.child_process import ChildProcess
from zoolet.jobs.execution.executors import LONG_S, Observer
from zoolet.jobs.execution.messages import Message, MessageError
from zoolet.jobs.execution.outcome_messages import groups_in, outcome_of
from zoolet.jobs.execution.output import OutputLog
from zoolet.jobs.execution.process_executor import START_LIMIT_S
from zoolet.jobs.execution.process_starts import StartError, Starts
from zoolet.jobs.records.job_names import Group
from zoolet.jobs.records.progress import decode_progress
from zoolet.process.memory import resident_bytes

log = logging.getLogger(__name__)

CANCEL_LIMIT_S = 1.0
"""Time limit, in seconds, of the end of a cancelled coroutine. After it, the process is killed."""
END_LIMIT_S = 3.0
_LOOK_MS = 1000.0
_STOP_S = 10.0
_WAKES_BYTES = 4096


@dataclass(slots=True)
class _Running:
    """A job that was sent to the process.

    Attributes:
        work: the job.
        began: the time when it was sent.
        is_abandoned: whether its outcome is not wanted.
        is_started: whether its task was called.
        cancelled_at: the time when its coroutine was cancelled; None if it was not.
        reason: the error of the attempt if it was cancelled; "" if it was not.
    """

    work: Work
    began: float
    is_abandoned: bool = False
    is_started: bool = False
    cancelled_at: float | None = None
    reason: str = ""

    def reason_to_cancel(self, now: float) -> str:
        """Return the reason to cancel the attempt now; "" if there is none."""
        timeout_ms = self.work.timeout_ms
        if self.is_abandoned:
            return "the job was abandoned"
        if timeout_ms is not None and (now - self.began) * 1000 >= timeout_ms:
            return f"it took longer than its timeout of {timeout_ms} ms: it was cancelled"
        return ""

    def left_ms(self, now: float) -> float:
        """Return the time after which the attempt must be looked at again."""
        if self.cancelled_at is not None:
            return max(0.0, (self.cancelled_at + CANCEL_LIMIT_S - now) * 1000 + 1)
        if self.work.timeout_ms is None:
            return _LOOK_MS
        return max(0.0, (self.began - now) * 1000 + self.work.timeout_ms + 1)


class AsyncExecutor:
    """Makes up to ``setup.async_concurrency`` attempts at a time in another process."""

    def __init__(
        self, setup: Setup, observer: Observer, output_log: OutputLog | None = None
    ) -> None:
        self._setup = setup
        self._observer = observer
        self._output_log = output_log or OutputLog()
        self._lock = threading.Lock()
        self._waiting: list[Work] = []
        self._running: dict[str, _Running] = {}
        self._asked: set[str] = set()
        self._permits: set[str] = set()
        self._held: set[Group] = set()
        self._is_ready = False
        self._pid: int | None = None
        self._stopping = threading.Event()
        self._is_recalling = False
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._settled = threading.Event()
        self._failure: Exception | None = None
        self._runner = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the process."""
        self._runner.start()

    def wait_until_ready(self) -> None:
        """Return when the process takes work.

        Raises:
            FunctionNotFoundError: the process cannot import the loader.
            ExecutorError: the process cannot be started, or ends before it is ready.
        """
        # This wait ends: the thread limits the time and the number of starts.
        while not self._settled.wait(_LOOK_MS / 1000):
            pass
        if self._failure is not None:
            raise self._failure

    def give(self, works: Sequence[Work]) -> None:
        """Add jobs to be attempted."""
        with self._lock:
            self._waiting += works
        self._wake()

    def permit(self, name: str) -> None:
        """Permit the start of a careful job."""
        with self._lock:
            self._permits.add(name)
        self._wake()

    def abandon(self, names: Iterable[str]) -> None:
        """Drop these jobs; cancel those that run."""
        dropped = set(names)
        with self._lock:
            self._forget(dropped)
            for name in dropped & self._running.keys():
                self._running[name].is_abandoned = True
        self._wake()

    def _forget(self, dropped: set[str]) -> list[str]:
        """Remove waiting jobs, and return their names; the caller has the lock."""
        names = [work.name for work in self._waiting if work.name in dropped]
        self._waiting = [work for work in self._waiting if work.name not in dropped]
        self._asked -= dropped
        self._permits -= dropped
        return names

    def recall(self) -> None:
        """Return the jobs that wait."""
        self._is_recalling = True
        self._wake()

    def is_stuck(self) -> bool:
        """Return whether no further attempt can begin for a while."""
        if not self._is_ready:
            return True
        now = time.monotonic()
        with self._lock:
            running = list(self._running.values())
        return len(running) >= self._setup.async_concurrency and all(
            now - one.began > LONG_S for one in running
        )

    def is_ready(self) -> bool:
        """Return whether the process takes work."""
        return self._is_ready

    def held(self) -> frozenset[Group]:
        """Return the groups that the process has loaded."""
        with self._lock:
            return frozenset(self._held)

    def stop(self) -> None:
        """Begin to end the process, and cancel its attempts."""
        self._stopping.set()
        self._wake()

    def resident_bytes(self) -> int:
        """Return the resident memory of the process; 0 if it is not known."""
        pid = self._pid
        return 0 if pid is None else resident_bytes(pid)

    def has_ended(self) -> bool:
        """Return whether the thread and its process have ended."""
        return self._runner.ident is not None and not self._runner.is_alive()

    def join(self) -> None:
        """Wait until the process has ended, after `stop`."""
        if self._runner.ident is not None:
            self._runner.join(_STOP_S)

    def _wake(self) -> None:
        # OSError: the thread has ended, or the socket's buffer is full, so the thread wakes anyway.
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    # --- The thread

    def _run(self) -> None:
        try:
            self._keep_a_process()
        except BaseException as error:
            log.exception("an executor has failed, which ends the worker")
            self._fail(ExecutorError(f"an executor has failed: {error!r}"))
        finally:
            self._settled.set()
            self._waker.close()
            self._woken.close()

    def _keep_a_process(self) -> None:
        starts = Starts()
        while not self._stopping.is_set():
            try:
                self._run_process()
            except FunctionNotFoundError as missing:
                if not self._settled.is_set():
                    self._fail(missing)
                    return
                problem = StartError(str(missing), process_starts.START_TRIES)
            except StartError as failed:
                problem = failed
            except OSError as error:
                tries = process_starts.START_TRIES_WITHOUT_RESOURCES
                problem = StartError(
                    f"the process cannot be started: {explain(error)}",
                    tries if self._settled.is_set() else 1,
                )
            else:
                starts.succeeded()
                continue
            try:
                delay_s = starts.failed(problem)
            except ExecutorError as last:
                self._fail(last)
                return
            self._return_waiting()
            self._stopping.wait(delay_s)

    def _fail(self, failure: Exception) -> None:
        self._is_ready = False
        self._failure = failure
        if self._settled.is_set() and not self._stopping.is_set():
            self._observer.failed(failure)

    def _run_process(self) -> None:
        """Run one process, from its start until its end and the ends of its attempts."""
        process = ChildProcess(self._setup)
        output = AsyncOutput(process, token_bytes(self._setup.output_token), self._output_log)
        poll = select.poll()
        for descriptor in (process.told_fd, process.output_fd, process.link_fd, self._woken):
            poll.register(descriptor, select.POLLIN)
        try:
            try:
                culprit = self._serve(process, output, poll)
                reason = "" if culprit is None else culprit.reason
            except MessageError as malformed:
                process.ignore_messages()
                culprit, reason = None, f"its process wrote into the worker's pipe: {malformed}"
            if self._stopping.is_set() and culprit is None:
                self._end_in_order(process, output, poll)
            was_ready, self._is_ready = self._is_ready, False
            process.kill()
            if not self._stopping.is_set():
                self._bury(process, output, culprit, reason, was_ready=was_ready)
        finally:
            self._is_ready = False
            self._pid = None
            process.close()

    def _serve(
        self, process: ChildProcess, output: AsyncOutput, poll: select.poll
    ) -> _Running | None:
        """Send work, and process messages, until the process ends or must be killed.

        Returns the attempt because of which the process must be killed; None if there is none.
        """
        start_until = time.monotonic() + START_LIMIT_S
        while not self._stopping.is_set():
            if self._is_ready:
                self._send(process, output)
            if not self._pass_news(process, output, poll, self._wait_ms()):
                return None
            if self._is_recalling:
                self._is_recalling = False
                self._return_waiting()
            culprit = self._cancel_overdue(process)
            if culprit is not None:
                return culprit
            if not self._is_ready and time.monotonic() > start_until:
                return None
        return None

    def _return_waiting(self) -> None:
        with self._lock:
            names = self._forget({work.name for work in self._waiting})
        if names:
            self._observer.returned(names)

    def _send(self, process: ChildProcess, output: AsyncOutput) -> None:
        """Send the jobs that may begin now; ask for the permits of careful jobs."""
        with self._lock:
            room = self._setup.async_concurrency - len(self._running)
            free = [work for work in self._waiting if work.name not in self._running][:room]
            asked = [w.name for w in free if w.careful and w.name not in self._asked]
            self._asked.update(asked)
            sent = [w for w in free if not w.careful or w.name in self._permits]
            self._forget({work.name for work in sent})
            now = time.monotonic()
            self._running |= {work.name: _Running(work, now) for work in sent}
        for name in asked:
            self._observer.asks(name)
        for work in sent:
            output.began(work.name, work.label)
        if sent:
            process.write(f"[{','.join(work.encode() for work in sent)}]\n".encode())

    def _wait_ms(self) -> float:
        now = time.monotonic()
        with self._lock:
            return min([_LOOK_MS, *(one.left_ms(now) for one in self._running.values())])

    def _cancel_overdue(self, process: ChildProcess) -> _Running | None:
        """Cancel attempts; return one that was cancelled and has not ended in time."""
        now = time.monotonic()
        with self._lock:
            running = list(self._running.values())
        for one in running:
            if one.cancelled_at is not None:
                if now > one.cancelled_at + CANCEL_LIMIT_S:
                    return one
            elif reason := one.reason_to_cancel(now):
                one.cancelled_at, one.reason = now, reason
                process.write(json.dumps({"cancel": one.work.name}).encode() + b"\n")
        return None

    def _pass_news(
        self, process: ChildProcess, output: AsyncOutput, poll: select.poll, wait_ms: float
    ) -> bool:
        """Wait for messages and output, and process them; return False if the process has ended."""
        is_writing = process.has_unwritten
        if is_writing:
            poll.register(process.work_fd, select.POLLOUT)
        ready = {descriptor for descriptor, _ in poll.poll(wait_ms)}
        if is_writing:
            poll.unregister(process.work_fd)
            process.flush()
        if self._woken.fileno() in ready:
            self._woken.recv(_WAKES_BYTES)
        if process.output_fd in ready:
            output.read()
        if process.told_fd in ready:
            messages = process.read()
            if messages is None:
                return False
            for message in messages:
                self._take(output, message)
        if process.link_fd in ready:
            process.read_link()
            self._pid = process.pid
            output.started(process.pid)
        return not process.has_ended

    def _take(self, output: AsyncOutput, whole: Message) -> None:
        message = whole.fields
        if "ready" in message:
            self._is_ready = True
            if self._settled.is_set():
                self._observer.freed()
            self._settled.set()
        elif (reason := message.get("cannot_start")) is not None:
            raise FunctionNotFoundError(str(reason))
        elif (name := message.get("progress")) is not None:
            progress = decode_progress(message.get("value"))
            if progress is not None and self._is_wanted(name):
                self._observer.progressed(name, progress)
        elif (name := message.get("begun")) is not None:
            self._running_of(name)
            self._observer.begun(name)
        elif (name := message.get("started")) is not None:
            self._started(self._running_of(name), message)
        else:
            self._ended(self._running_of(message.get("ended")), output, whole)

    def _is_wanted(self, name: object) -> bool:
        return isinstance(name, str) and name in self._running

    def _running_of(self, name: object) -> _Running:
        if not isinstance(name, str) or name not in self._running:
            raise MessageError(f"the message names a job that the process does not have: {name!r}")
        return self._running[name]

    def _started(self, one: _Running, message: dict[str, object]) -> None:
        one.is_started = True
        cache_hit = message.get("cache_hit")
        if cache_hit is not None and one.work.group is not None:
            dropped = groups_in(message.get("dropped"))
            with self._lock:
                self._held.add(one.work.group)
                self._held -= dropped
        if not one.is_abandoned:
            self._observer.started(one.work.name, None if cache_hit is None else bool(cache_hit))

    def _ended(self, one: _Running, output: AsyncOutput, whole: Message) -> None:
        name = one.work.name
        last_lines = output.ended(name)
        with self._lock:
            del self._running[name]
        if one.is_abandoned:
            self._observer.freed()
            return
        outcome = outcome_of(whole, last_lines)
        if one.reason:
            outcome = Outcome(error=one.reason, last_lines=last_lines)
        self._observer.ended(name, outcome, time.monotonic() - one.began)

    def _end_in_order(self, process: ChildProcess, output: AsyncOutput, poll: select.poll) -> None:
        """Let the process cancel its attempts, run its atexit handlers and exit."""
        if not self._is_ready:
            return
        process.close_work()
        until = time.monotonic() + END_LIMIT_S
        while (left_s := until - time.monotonic()) > 0:
            if not self._pass_news(process, output, poll, left_s * 1000):
                return

    def _bury(
        self,
        process: ChildProcess,
        output: AsyncOutput,
        culprit: _Running | None,
        reason: str,
        *,
        was_ready: bool,
    ) -> None:
        """Process the end of a process: end or return its attempts.

        Raises:
            OSError: the watcher could not start the process.
            StartError: the process was not ready.
        """
        with contextlib.suppress(MessageError):
            for message in process.rest():
                self._take(output, message)
        if process.failure is not None:
            raise process.failure
        if not was_ready:
            why = reason or f"its process ended: {process.how_it_ended}"
            raise StartError(f"{why}. It wrote:\n{output.last_lines}", process_starts.START_TRIES)
        if not reason:
            reason = f"its process died: {process.how_it_ended}"
            log.warning("an executor's process died: %s", process.how_it_ended)
        with self._lock:
            running, self._running = list(self._running.values()), {}
            self._held.clear()
        returned = []
        now = time.monotonic()
        for one in running:
            last_lines = output.ended(one.work.name)
            if one.is_abandoned:
                continue
            is_innocent = culprit is not None and one is not culprit and not one.reason
            if is_innocent and not one.work.careful:
                returned.append(one.work.name)
                continue
            error = one.reason or reason
            if is_innocent:
                error = f"its process was ended because of another job: {reason}"
            self._observer.ended(
                one.work.name, Outcome(error=error, last_lines=last_lines), now - one.began
            )
        output.process_ended()
        if returned:
            self._observer.returned(returned)
        self._observer.freed()
