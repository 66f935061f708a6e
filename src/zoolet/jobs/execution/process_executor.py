"""Executors whose tasks run in another process, which can be killed without ending the worker.

An executor's thread controls the process (`zoolet.jobs.execution.child_process`). The thread kills
the process after a timeout or if its job is abandoned. It starts another process after a task has
killed the old process. Invariants:

- If a process dies, only the attempt in progress fails; no other job loses an attempt.
- If a process is killed because of a job that has ended meanwhile, no attempt fails. The job that
  the process began next waits again.
- After a failure in the thread, another process is started, with back-off. In the meantime the
  executor takes no jobs, and returns its jobs. After several failed starts, the executor fails.
- The observer learns that an executor has room only after the executor's state has changed.
- Every wait of the thread has a timeout.

This module sends no requests to a server. It imports `zoolet.console`, `zoolet.process`,
`zoolet.jobs.errors`, `zoolet.jobs.records` and other modules of its package.
"""

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from typing import final

from zoolet.console.os_errors import explain
from zoolet.jobs.errors import ExecutorError, FunctionNotFoundError
from zoolet.jobs.execution import process_starts
from zoolet.jobs.execution.attempts import Outcome, Setup, Work
from zoolet.jobs.execution.child_process import ChildProcess
from zoolet.jobs.execution.executors import LONG_S, Observer
from zoolet.jobs.execution.logs import tell
from zoolet.jobs.execution.memory_limit import LOOK_S, MemoryLimit
from zoolet.jobs.execution.messages import Message, MessageError
from zoolet.jobs.execution.outcome_messages import groups_in, outcome_of
from zoolet.jobs.execution.output import OutputLog, ProcessOutput
from zoolet.jobs.execution.pending_work import PendingWork
from zoolet.jobs.execution.process_starts import StartError, Starts
from zoolet.jobs.records.job_names import Group
from zoolet.jobs.records.progress import decode_progress
from zoolet.process.memory import resident_bytes

log = logging.getLogger(__name__)

END_LIMIT_S = 3.0
"""Time limit, in seconds, of the normal exit of a process with its atexit handlers. After it, the
process is killed. On a busy machine, the exit of an idle process can take more than a second."""
START_LIMIT_S = 600.0
"""Time limit, in seconds, of the start of a process, including the import of the loader."""
YOUNG_S = 5.0
"""If a process ends within this time after it was ready, in seconds, and has begun no attempt, its
start counts as failed."""
GATHER_S = 0.002
"""The time, in seconds, that the messages about short jobs wait for further messages."""
_LITTLE_BYTES, _MUCH_BYTES = 200, 16 * 1024
"""The messages wait only if the last read had more than those about one job, and not results that
fill the pipe."""
_WAKES_BYTES = 4096
_LOOK_MS = 1000.0
_STOP_S = 10.0


@final
class ProcessExecutor:
    """Makes attempts in another process, and starts a new process if the process dies."""

    def __init__(
        self, setup: Setup, observer: Observer, output_log: OutputLog | None = None
    ) -> None:
        self._setup = setup
        self._observer = observer
        self._output_log = output_log or OutputLog()
        self._lock = threading.Lock()
        self._work = PendingWork()
        self._current: str | None = None
        self._killed_for: str | None = None
        """The job because of which the process is killed; None if the process itself is wrong."""
        self._began = 0.0
        self._started = 0.0
        self._held: set[Group] = set()
        self._pid: int | None = None
        self._watcher = 0
        self._memory: MemoryLimit | None = None
        if setup.attempt_memory_bytes is not None:
            self._memory = MemoryLimit(setup.attempt_memory_bytes)
        self._ready = False
        self._ready_at = 0.0
        self._has_begun = False
        """Whether the process has begun an attempt."""
        self._stopping = threading.Event()
        self._recalling = False
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._poll = select.poll()
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
        # This wait ends: the thread limits the time and the number of starts, and sets the event at
        # its end. The main thread wakes each second, because a signal may interrupt another thread.
        while not self._settled.wait(_LOOK_MS / 1000):
            pass
        if self._failure is not None:
            raise self._failure

    def give(self, works: Sequence[Work]) -> None:
        """Add jobs to be attempted."""
        self._work.give(works)
        self._wake()

    def permit(self, name: str) -> None:
        """Permit the start of a careful job."""
        self._work.permit(name)
        self._wake()

    def abandon(self, names: Iterable[str]) -> None:
        """Drop these jobs; if the process is attempting one of them, it is killed."""
        self._work.abandon(names)
        self._wake()

    def recall(self) -> None:
        """Return the jobs that wait for the current attempt."""
        self._recalling = True
        self._wake()

    def is_stuck(self) -> bool:
        """Return whether the current attempt takes long, or the process is not ready."""
        if not self._ready:
            return True
        return self._current is not None and time.monotonic() - self._began > LONG_S

    def is_ready(self) -> bool:
        """Return whether the process takes work."""
        return self._ready

    def held(self) -> frozenset[Group]:
        """Return the groups that the process has loaded."""
        with self._lock:
            return frozenset(self._held)

    def stop(self) -> None:
        """Begin to end the process: an idle process exits normally, a busy process is killed."""
        self._stopping.set()
        self._wake()

    def resident_bytes(self) -> int:
        """Return the resident memory of the process; 0 if it is not known."""
        pid = self._pid
        return 0 if pid is None else resident_bytes(pid)

    def has_ended(self) -> bool:
        """Return whether the process has ended, after `stop` or a failure."""
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
        """Run one process after another, until the executor stops or fails."""
        starts = Starts()
        while not self._stopping.is_set():
            try:
                self._run_process()
            # Each error has its own name: in mypyc, a name has only one type.
            except FunctionNotFoundError as missing:
                if not self._settled.is_set():
                    self._fail(missing)
                    return
                problem = StartError(str(missing), process_starts.START_TRIES)
            except StartError as failed:
                problem = failed
            except OSError as error:
                # At the worker's start, a lack of resources is a wrong configuration: one try only.
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
            self._back_off(delay_s)

    def _fail(self, failure: Exception) -> None:
        """End the executor: the worker cannot continue without it."""
        self._ready = False
        self._failure = failure
        if self._settled.is_set() and not self._stopping.is_set():
            self._observer.failed(failure)

    def _back_off(self, delay_s: float) -> None:
        """Wait before the next start; return jobs to the worker in the meantime."""
        until = time.monotonic() + delay_s
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        while not self._stopping.is_set() and (left_s := until - time.monotonic()) > 0:
            names = self._work.take_waiting()
            if names:
                self._observer.returned(names)
            if poll.poll(left_s * 1000):
                self._woken.recv(_WAKES_BYTES)

    def _run_process(self) -> None:
        """Run one process, from its start until its end and the end of its attempt.

        Raises:
            OSError: the process cannot be started.
            StartError: the process ended before it was ready, or soon after.
            FunctionNotFoundError: the process cannot import the loader.
        """
        self._killed_for = None
        process = ChildProcess(self._setup)
        self._watcher = process.watcher_pid
        output = ProcessOutput(
            process.read_output, process.read_count, self._setup.output_token, self._output_log
        )
        self._poll = select.poll()
        for descriptor in (process.told_fd, process.output_fd, process.link_fd, self._woken):
            self._poll.register(descriptor, select.POLLIN)
        try:
            try:
                reason = self._serve(process, output)
            except MessageError as malformed:
                # A task may write to any descriptor, also to the descriptors of the executor.
                process.ignore_messages()
                reason = f"its process wrote into the worker's pipe: {malformed}"
                log.warning("an executor gets a new process: %s", reason)
            except OSError as error:
                reason = f"its executor failed: {error}"
                log.warning("an executor gets a new process: %s", reason)
            if self._stopping.is_set() and reason is None:
                self._end_in_order(process, output)
            self._ready = False
            process.kill()
            if not self._stopping.is_set():
                self._bury(process, output, reason)
        finally:
            self._ready = False
            self._pid = None
            process.close()

    def _serve(self, process: ChildProcess, output: ProcessOutput) -> str | None:
        """Send work to the process and process its messages, until it ends or must be killed.

        Returns the reason to kill the process; None if it has ended or the executor stops.

        Raises:
            FunctionNotFoundError: the process cannot import the loader.
        """
        start_until = time.monotonic() + START_LIMIT_S
        reason: str | None = None
        while not self._stopping.is_set() and reason is None:
            self._send(process)
            if self._work.is_short and _LITTLE_BYTES < process.read_bytes < _MUCH_BYTES:
                # One wake-up then reads the messages about several short jobs.
                time.sleep(GATHER_S)
            if not self._pass_news(process, output, self._wait_ms()):
                return None
            if self._recalling:
                self._recall_from(process)
            reason = self._reason_to_kill()
            self._killed_for = None if reason is None else self._current
            if not process.is_ready and time.monotonic() > start_until:
                reason = f"the process is not ready after {START_LIMIT_S:.0f} s"
                self._killed_for = None
        return reason

    def _pass_news(self, process: ChildProcess, output: ProcessOutput, wait_ms: float) -> bool:
        """Wait for messages and output, and process them; return False if the process has ended."""
        is_writing = process.has_unwritten
        if is_writing:
            self._poll.register(process.work_fd, select.POLLOUT)
        ready = {descriptor for descriptor, _ in self._poll.poll(wait_ms)}
        if is_writing:
            self._poll.unregister(process.work_fd)
        if self._woken.fileno() in ready:
            self._woken.recv(_WAKES_BYTES)
        # Output is read before messages: it may belong to an attempt whose message follows.
        has_output = process.output_fd in ready and output.read()
        if is_writing and process.work_fd in ready:
            process.flush()
        if process.told_fd in ready or has_output:
            messages = process.read()
            if messages is None:
                return False
            self._take_all(process, output, messages)
        if process.link_fd in ready:
            process.read_link()
            self._pid = process.pid
            output.started(process.pid)
        output.settle()
        return not process.has_ended

    def _end_in_order(self, process: ChildProcess, output: ProcessOutput) -> None:
        """Let an idle process leave its loop, run its atexit handlers and exit."""
        left = process.take_turns_back()
        if not process.is_ready or self._work.sent_count > left:
            return
        process.close_work()
        until = time.monotonic() + END_LIMIT_S
        is_open = True
        while is_open and (left_s := until - time.monotonic()) > 0:
            is_open = self._pass_news(process, output, left_s * 1000)

    def _recall_from(self, process: ChildProcess) -> None:
        """Return the jobs that the process has not begun: their turns can be read back."""
        self._recalling = False
        self._observer.returned(self._work.take_back(process.take_turns_back()))

    def _send(self, process: ChildProcess) -> None:
        """Send waiting jobs if the process has room for them."""
        if not process.is_ready:
            return
        careful = self._work.careful_to_ask_for()
        if careful is not None:
            self._observer.asks(careful)
        line = self._work.next_line()
        if line is not None:
            process.give_turns(line[0])
            process.write(line[1])

    def _take_all(
        self, process: ChildProcess, output: ProcessOutput, messages: Iterable[Message]
    ) -> None:
        for message in messages:
            if "progress" in message.fields:
                self._take_progress(message)
            else:
                self._take(process, output, message)

    def _take_progress(self, message: Message) -> None:
        name, progress = message.fields["progress"], decode_progress(message.fields.get("value"))
        # A thread that a task has left may report after the end of the attempt.
        if progress is not None and isinstance(name, str) and self._work.sent(name) is not None:
            self._observer.progressed(name, progress)

    def _take(self, process: ChildProcess, output: ProcessOutput, whole: Message) -> None:
        now = time.monotonic()
        message = whole.fields
        has_output = message.get("output") is True
        if (name := message.get("begun")) is not None:
            self._check(name)
            output.attempt_began(name, self._work.label(name))
            self._set_current(name, now)
            self._observer.begun(name)
        elif (name := message.get("started")) is not None:
            self._check(name)
            work = self._work.sent(name)
            output.attempt_began(name, self._work.label(name))
            if self._current != name:
                self._set_current(name, now)
            self._started = now
            cache_hit = message.get("cache_hit")
            if cache_hit is not None and work is not None and work.group is not None:
                dropped = groups_in(message.get("dropped"))
                with self._lock:
                    self._held.add(work.group)
                    self._held -= dropped
            self._observer.started(name, cache_hit)
        elif (name := message.get("ended")) is not None:
            self._check(name)
            took_s = now - max(self._began, self._started)
            last_lines = output.attempt_ended(name, has_output=has_output)
            is_wanted = self._work.ended(name)
            self._current = None
            self._began = now
            if is_wanted:
                self._observer.ended(name, outcome_of(whole, last_lines), took_s)
            else:
                self._observer.freed()
        elif (reason := message.get("cannot_start")) is not None:
            raise FunctionNotFoundError(reason)
        else:
            output.ready(has_output=has_output)
            process.is_ready = self._ready = True
            self._ready_at = now
            self._has_begun = False
            if self._settled.is_set():
                self._observer.freed()
            self._settled.set()

    def _check(self, name: object) -> None:
        if not isinstance(name, str) or self._work.sent(name) is None:
            raise MessageError(f"the message names a job that the process does not have: {name!r}")

    def _set_current(self, name: str, now: float) -> None:
        self._current = name
        self._began = now
        self._has_begun = True
        self._work.begun(name)

    def _wait_ms(self) -> float:
        work = self._work.sent(self._current)
        if work is None:
            return _LOOK_MS
        look_ms = _LOOK_MS if self._memory is None else LOOK_S * 1000
        if work.timeout_ms is None:
            return look_ms
        left_ms = (self._began - time.monotonic()) * 1000 + work.timeout_ms + 1
        return min(look_ms, max(0.0, left_ms))

    def _reason_to_kill(self) -> str | None:
        """Return the reason to kill the process now; None if there is none."""
        work = self._work.sent(self._current)
        if work is None:
            return None
        if self._work.is_abandoned(work.name):
            return "the job was abandoned"
        now = time.monotonic()
        if self._memory is not None:
            excess = self._memory.excess(self._watcher, now)
            if excess is not None:
                return excess
        elapsed_ms = (now - self._began) * 1000
        if work.timeout_ms is not None and elapsed_ms >= work.timeout_ms:
            return f"it took longer than its timeout of {work.timeout_ms} ms: its process was ended"
        return None

    def _bury(self, process: ChildProcess, output: ProcessOutput, reason: str | None) -> None:
        """Process the end of a process: fail the attempt in progress, send all other jobs again.

        Raises:
            OSError: the watcher could not start the process.
            StartError: the process was not ready, or ended soon after.
            FunctionNotFoundError: the process cannot import the loader.
        """
        output.read()
        try:
            self._take_all(process, output, process.rest())
        except MessageError as error:
            log.warning("an executor's process wrote into the worker's pipe: %s", error)
        current, self._current = self._current, None
        if self._killed_for is not None and current != self._killed_for:
            # The job of the reason has ended before the kill, and the process began another one.
            current = None
        last_lines = output.process_ended(current)
        if process.failure is not None:
            raise process.failure
        if not process.is_ready:
            why = reason or f"its process ended: {process.how_it_ended}"
            raise StartError(f"{why}{_what_it_wrote(output)}", process_starts.START_TRIES)
        if reason is None:
            reason = f"its process died: {process.how_it_ended}"
            died = f"an executor's process died: {process.how_it_ended}"
            tell(log, logging.WARNING, self._work.label(current), died)
        is_wanted = self._work.process_ended(current)
        with self._lock:
            self._held.clear()
        if current is None:
            if not self._has_begun and time.monotonic() - self._ready_at < YOUNG_S:
                why = f"{reason}. It had made no attempt{_what_it_wrote(output)}"
                raise StartError(why, process_starts.START_TRIES)
        elif is_wanted:
            outcome = Outcome(error=reason, last_lines=last_lines)
            self._observer.ended(current, outcome, time.monotonic() - self._began)
        else:
            self._observer.freed()


def _what_it_wrote(output: ProcessOutput) -> str:
    return f". It wrote:\n{output.last_lines}" if output.last_lines else ""
