"""The jobs of an executor that have not ended: waiting jobs, and jobs sent to its process.

The worker's threads give, permit and abandon jobs. The executor's thread sends jobs to the process,
and removes jobs that have ended. The lock is held only for short times, never during a callback.

This module imports other modules of its package.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, final

from zoolet.jobs.execution.attempts import Work
from zoolet.jobs.execution.logs import Label

PIPE_BYTES: Final = 32 * 1024
"""Length limit, in bytes, of a line of work for a busy process: it must fit into the pipe."""
_LINE_JOBS: Final = 50
SHORT_FROM_JOBS: Final = 8
"""If the process has more jobs than this, a worker has found that the jobs are short."""


@final
class PendingWork:
    """The waiting, the sent and the abandoned jobs of an executor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Work] = deque()
        self._sent: dict[str, Work] = {}
        """Jobs that were sent to the process and have not ended, in the order of sending."""
        self._abandoned: set[str] = set()
        """The names of sent jobs whose outcome is not wanted."""
        self._asked: str | None = None
        """The careful job whose permit the worker was asked for."""
        self._permit: str | None = None
        self._unread_bytes = 0
        """The length of a line that was sent to the busy process; 0 when its first job begins."""
        self._unread_first = ""

    # --- For the worker

    def give(self, works: Sequence[Work]) -> None:
        """Add jobs to be attempted."""
        with self._lock:
            self._waiting.extend(works)
            if any(work.name == self._asked for work in works):
                # The careful job was returned or abandoned, and is now given again.
                self._asked = self._permit = None

    def permit(self, name: str) -> None:
        """Permit the start of a careful job, if it is the job that the worker was asked about."""
        with self._lock:
            if name == self._asked:
                self._permit = name

    def abandon(self, names: Iterable[str]) -> None:
        """Drop these jobs if they wait, and mark them as abandoned if they were sent."""
        dropped = set(names)
        with self._lock:
            self._waiting = deque(work for work in self._waiting if work.name not in dropped)
            if self._asked in dropped:
                self._asked = self._permit = None
            self._abandoned |= dropped & self._sent.keys()

    # --- For the executor's thread

    @property
    def sent_count(self) -> int:
        """The number of jobs that the process has."""
        return len(self._sent)

    @property
    def is_short(self) -> bool:
        """Whether the jobs that the process has are short: it has many of them."""
        return len(self._sent) > SHORT_FROM_JOBS

    def sent(self, name: str | None) -> Work | None:
        """Return the job of this name that the process has; None if it does not have it."""
        return None if name is None else self._sent.get(name)

    def label(self, name: str | None) -> Label:
        """Return the log label of a job; an empty label if the process does not have the job."""
        work = self.sent(name)
        return Label() if work is None else work.label

    def careful_to_ask_for(self) -> str | None:
        """Return the next job if it is careful and the process is idle; each job only one time."""
        with self._lock:
            if self._unread_bytes or self._sent or not self._waiting:
                return None
            name = self._waiting[0].name
            if not self._waiting[0].careful or name == self._asked:
                return None
            self._asked, self._permit = name, None
            return name

    def next_line(self) -> tuple[int, bytes] | None:
        """Remove waiting jobs that can be sent now; return their number and the line to send.

        Returns None if no job can be sent.
        """
        with self._lock:
            if self._unread_bytes:
                return None
            works: list[Work] = []
            parts: list[bytes] = []
            size_bytes = 2
            while len(works) < _LINE_JOBS and self._may_send_next(works):
                part = self._waiting[0].encode().encode()
                size_bytes += len(part) + 1
                if self._sent and size_bytes > PIPE_BYTES:
                    # The busy process reads the line only after its other jobs have ended. A line
                    # that does not fit into the pipe would block until then.
                    break
                works.append(self._waiting.popleft())
                parts.append(part)
            if not works:
                return None
            line = b"[%s]\n" % b",".join(parts)
            if self._sent:
                self._unread_bytes = len(line)
                self._unread_first = works[0].name
            self._sent |= {work.name: work for work in works}
            return len(works), line

    def _may_send_next(self, works: Sequence[Work]) -> bool:
        """Return whether the first waiting job may be sent after the jobs in ``works``.

        A careful job is sent alone, to an idle process, when it is permitted. A job that was
        abandoned and is given again waits until its first attempt has ended.
        """
        if not self._waiting or self._waiting[0].name in self._sent:
            return False
        if not self._waiting[0].careful:
            return not (works and works[-1].careful)
        if self._sent or works or self._permit != self._waiting[0].name:
            return False
        self._asked = self._permit = None
        return True

    def begun(self, name: str) -> None:
        """Record that the process has begun this job, so it has read the job's line."""
        if name == self._unread_first:
            self._unread_bytes = 0

    def ended(self, name: str) -> bool:
        """Remove a job that the process has ended, and return whether its outcome is wanted."""
        with self._lock:
            del self._sent[name]
            if not self._sent:
                self._unread_bytes = 0
            was_abandoned = name in self._abandoned
            self._abandoned.discard(name)
            return not was_abandoned

    def is_abandoned(self, name: str) -> bool:
        """Return whether a job that the process has was abandoned."""
        with self._lock:
            return name in self._abandoned

    def take_waiting(self) -> list[str]:
        """Remove all waiting jobs, and return their names."""
        with self._lock:
            return self._empty_waiting()

    def take_back(self, turns_left: int) -> list[str]:
        """Remove all waiting jobs and the last ``turns_left`` sent jobs.

        Returns the names of the removed jobs that were not abandoned.
        """
        with self._lock:
            names = list(self._sent)[len(self._sent) - turns_left :]
            for name in names:
                del self._sent[name]
            abandoned = self._abandoned.intersection(names)
            self._abandoned -= abandoned
            names += self._empty_waiting()
            return [name for name in names if name not in abandoned]

    def _empty_waiting(self) -> list[str]:
        names = [work.name for work in self._waiting]
        self._waiting.clear()
        self._asked = self._permit = None
        return names

    def process_ended(self, current: str | None) -> bool:
        """Let the sent jobs wait again, except ``current``, the job that was being attempted.

        Returns whether the outcome of the job ``current`` is wanted.
        """
        with self._lock:
            left = [work for work in self._sent.values() if work.name != current]
            again = [work for work in left if work.name not in self._abandoned]
            self._waiting.extendleft(reversed(again))
            was_abandoned = current in self._abandoned
            self._abandoned.clear()
            self._sent.clear()
            self._unread_bytes = 0
            return not was_abandoned
