"""The jobs of an executor that have not ended: those that wait, and those that its process has.

The worker's threads give, permit and abandon jobs; the executor's thread sends them to the process
and takes them out. Each method takes the lock, and calls nobody while it has it.

Imports the job system's attempts.
"""

import json
import threading
from collections import deque
from collections.abc import Iterable, Sequence

from zoolet.jobs.execution.attempts import Work
from zoolet.jobs.execution.logs import Label

PIPE_BYTES = 32 * 1024
"""A line of work that is sent while the process is busy must fit into the pipe."""
_LINE_JOBS = 50


class PendingWork:
    """What waits, what was sent, and what was abandoned."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Work] = deque()
        self._sent: dict[str, Work] = {}
        """What the process has been asked for and has not ended, in its order."""
        self._abandoned: set[str] = set()
        """Those in ``_sent`` of which no outcome is wanted."""
        self._asked: str | None = None
        """The careful job that the worker was asked for."""
        self._permit: str | None = None
        self._unread_bytes = 0
        """Of the line that was sent while the process was busy, until it begins the first of it."""
        self._unread_first = ""

    # --- For the worker

    def give(self, works: Sequence[Work]) -> None:
        """Add jobs to be attempted."""
        with self._lock:
            self._waiting.extend(works)
            if any(work.name == self._asked for work in works):
                # It was returned, or dropped, and is given again.
                self._asked = self._permit = None

    def permit(self, name: str) -> None:
        """Let a careful job start that was asked for."""
        with self._lock:
            if name == self._asked:
                self._permit = name

    def abandon(self, names: Iterable[str]) -> None:
        """Drop those of these jobs that wait, and mark those that the process has."""
        dropped = set(names)
        with self._lock:
            self._waiting = deque(work for work in self._waiting if work.name not in dropped)
            if self._asked in dropped:
                self._asked = self._permit = None
            self._abandoned |= dropped & self._sent.keys()

    # --- For the executor's thread

    @property
    def sent_count(self) -> int:
        """How many jobs the process has."""
        return len(self._sent)

    def sent(self, name: str | None) -> Work | None:
        """Return the job of this name that the process has."""
        return None if name is None else self._sent.get(name)

    def label(self, name: str | None) -> Label:
        """Return how the log names a job; an empty label if the process does not have it."""
        work = self.sent(name)
        return Label() if work is None else work.label

    def careful_to_ask_for(self) -> str | None:
        """Return the careful job that is the next to start, once."""
        with self._lock:
            if self._unread_bytes or self._sent or not self._waiting:
                return None
            name = self._waiting[0].name
            if not self._waiting[0].careful or name == self._asked:
                return None
            self._asked, self._permit = name, None
            return name

    def next_line(self) -> tuple[int, bytes] | None:
        """Take what the process has room for: the number of jobs, and the line to send."""
        with self._lock:
            if self._unread_bytes:
                return None
            works: list[Work] = []
            parts: list[bytes] = []
            size_bytes = 2
            while len(works) < _LINE_JOBS and self._may_send_next(works):
                part = json.dumps(self._waiting[0].as_list()).encode()
                size_bytes += len(part) + 1
                if self._sent and size_bytes > PIPE_BYTES:
                    # It is read, and the answers to others are written, only when those have ended.
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
        """Say whether the first that waits may be sent behind these jobs.

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
        """Note that the process has read the line in which this job is the first."""
        if name == self._unread_first:
            self._unread_bytes = 0

    def ended(self, name: str) -> bool:
        """Take out a job that the process has ended; say whether its outcome is wanted."""
        with self._lock:
            del self._sent[name]
            if not self._sent:
                self._unread_bytes = 0
            was_abandoned = name in self._abandoned
            self._abandoned.discard(name)
            return not was_abandoned

    def is_abandoned(self, name: str) -> bool:
        """Say whether a job that the process has was abandoned."""
        with self._lock:
            return name in self._abandoned

    def take_waiting(self) -> list[str]:
        """Take out all that wait, and return their names."""
        with self._lock:
            return self._empty_waiting()

    def take_back(self, turns_left: int) -> list[str]:
        """Take out all that wait and the last ``turns_left`` of what was sent.

        Returns the names of those that were not abandoned.
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
        """Let all that the process had wait again, but for the job that it was at.

        Says whether the outcome of that job is wanted.
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
