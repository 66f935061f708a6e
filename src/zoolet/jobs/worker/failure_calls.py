"""Calls the hooks of users for jobs that have become FAILED, at least once for each failure.

The multi that moves a job to done as FAILED also writes a note (`zoolet.jobs.znodes.failure_log`).
The workers with hooks for failures stand in a line, and the first one reads the notes. It deletes a
note after the hooks were called. Invariants:

- At most `CALLS_AT_ONCE` calls run at the same time, in threads of their own. So a slow hook delays
  other hooks, and no job.
- A call that was begun and not recorded is made again, by this worker or the next one in line.
- A note that another program wrote with a wrong value is deleted.

This module imports `zoolet.jobs.hooks`, `zoolet.jobs.housekeeping`, `zoolet.jobs.queue`,
`zoolet.jobs.records` and `zoolet.jobs.znodes`.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from zoolet.jobs.hooks.job_hooks import HookCalls
from zoolet.jobs.housekeeping.place import LINE_LOOK_S, PlaceInLine
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.failure_notes import (
    JobFailure,
    NotedFailure,
    decode_note,
    encode_note,
)
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.failure_log import failures_path, line_path, note_path, notes_in

log = logging.getLogger(__name__)

CALLS_AT_ONCE = 4
CLOSE_S = 0.5
"""The time, in seconds, that calls have to end after the worker has given its jobs back."""
_NOTES_AT_ONCE = 20


class _Call(NamedTuple):
    """A call to make: the note, the job that it names, and what it says of the job."""

    note: str
    name: str
    noted: NotedFailure


class FailureCalls:
    """Calls `JobHooks.job_failed` for the jobs of a queue.

    Args:
        jobs: the queue.
        path: the path of the queue's root, for the hooks.
        hooks: the hooks. Several queues may have the same hooks.
    """

    def __init__(self, jobs: JobQueue, path: str, hooks: HookCalls) -> None:
        self._path = path
        self._layout = jobs.layout
        self._znodes = jobs.layout.znodes
        self._hooks = hooks
        self._wake = threading.Event()
        self._place = PlaceInLine(self._znodes, line_path(self._layout), self._wake.set)
        self._is_list_stale = True
        self._listed: deque[str] = deque()
        """Notes that are not read yet, the oldest first."""
        self._notes: dict[str, dict[str, NotedFailure]] = {}
        """What is left of the notes that were read, by note and job."""
        self._waiting: deque[_Call] = deque()
        self._running = 0
        self._to_make: queue.SimpleQueue[tuple[_Call, JobFailure] | None] = queue.SimpleQueue()
        self._made: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._stopping = False
        self._is_cut = False
        self._is_left = False
        self._thread: threading.Thread | None = None

    def start(self, start_thread: Callable[[Callable[[], None]], threading.Thread]) -> None:
        """Let failures be noted from now on, and start the threads.

        Args:
            start_thread: starts a thread whose failure ends the worker.
        """
        self._ensure()
        for number in range(CALLS_AT_ONCE):
            threading.Thread(
                target=self._make_calls, name=f"failure-hooks-{number}", daemon=True
            ).start()
        self._thread = start_thread(self.run)
        self._wake.set()

    def line_up(self) -> None:
        """Join the end of the line, because the worker has registered with a new id."""
        self._place.line_up()

    @property
    def place(self) -> str | None:
        """The path of the worker's ephemeral in the line; None if it is not in the line."""
        return self._place.path

    def stop(self) -> None:
        """Begin no more calls."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout_s: float) -> None:
        """After `stop`: wait at most ``timeout_s`` for the calls that run."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def cut(self) -> None:
        """After `stop`: record no more calls, also if they end later."""
        self._is_cut = True
        if self._thread is not None:
            for _ in range(CALLS_AT_ONCE):
                self._to_make.put(None)

    def leave(self, timeout_s: float) -> None:
        """After `stop`: wait for the thread's last request, but not for the calls that run.

        The worker then has no place in the line that it does not know of.
        """
        self.cut()
        self._is_left = True
        self._wake.set()
        self.join(timeout_s)

    def run(self) -> None:
        """Call hooks while this worker is the first in line, until `stop` and the last call."""
        # `stop`, `leave`, `line_up` and watches end this wait.
        while not (self._stopping and (self._running == 0 or self._is_left)):
            self._wake.wait(LINE_LOOK_S)
            self._wake.clear()
            try:
                self._record_made()
                if self._stopping:
                    continue
                if not self._place.is_first and self._place.look():
                    self._is_list_stale = True
                    self._listed.clear()
                if self._place.is_first:
                    self._begin_calls()
            except MissingError:
                # Another program has deleted the parent of the notes.
                self._ensure()
                self._place.start_again()

    def _ensure(self) -> None:
        """Create the parents of the notes and of the line, but never the queue."""
        for path in (failures_path(self._layout), line_path(self._layout)):
            if not self._znodes.exists(path):
                self._znodes.create(path, b"")

    # --- Notes

    def _stir(self, _: object) -> None:
        self._is_list_stale = True
        self._wake.set()

    def _begin_calls(self) -> None:
        while self._running < CALLS_AT_ONCE and not self._stopping:
            if not self._waiting and not self._read_notes():
                return
            if self._waiting:
                self._begin(self._waiting.popleft())

    def _read_notes(self) -> bool:
        """Read the next notes; return False if there are none."""
        if not self._listed:
            if not self._is_list_stale:
                return False
            self._is_list_stale = False
            children = self._znodes.children(failures_path(self._layout), self._stir)
            self._listed.extend(note for note in notes_in(children) if note not in self._notes)
        some = [self._listed.popleft() for _ in range(min(_NOTES_AT_ONCE, len(self._listed)))]
        if not some:
            return False
        znodes = self._znodes.get_all([note_path(self._layout, note) for note in some])
        for note, znode in zip(some, znodes, strict=True):
            if znode is None:
                continue
            self._notes[note] = decode_note(znode.data)
            self._waiting.extend(_Call(note, *one) for one in self._notes[note].items())
            if not self._notes[note]:
                log.warning("the note of failures %s has no valid value: it is deleted", note)
                self._delete(note)
        return True

    def _begin(self, call: _Call) -> None:
        """Begin a call, if the job is still FAILED because of the same event."""
        for job in self._layout.read(Place.DONE, [call.name]):
            if job.state is JobState.FAILED and job.finished_ms == call.noted.finished_ms:
                self._running += 1
                self._to_make.put((call, JobFailure(job, call.noted.reason, self._path)))
                return
        log.info("%s was retried or removed before the hooks for its failure", call.name)
        self._record(call)

    def _record_made(self) -> None:
        while not self._made.empty():
            self._running -= 1
            call = self._made.get()
            if not self._is_cut:
                self._record(call)

    def _record(self, call: _Call) -> None:
        left = self._notes.get(call.note, {})
        left.pop(call.name, None)
        if left:
            self._znodes.set(note_path(self._layout, call.note), encode_note(left))
        else:
            self._delete(call.note)

    def _delete(self, note: str) -> None:
        self._znodes.delete(note_path(self._layout, note))
        self._notes.pop(note, None)

    # --- The threads that call

    def _make_calls(self) -> None:
        # This wait ends: `close` puts None, or the process ends, because the thread is a daemon.
        while (found := self._to_make.get()) is not None:
            call, failure = found
            try:
                self._hooks.job_failed(failure)
            except BaseException:
                log.exception("a hook for the failure of %s has failed", call.name)
            finally:
                self._made.put(call)
                self._wake.set()
