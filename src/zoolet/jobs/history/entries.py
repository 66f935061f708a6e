"""The rows of the history: one for each removed job, with its times, its errors and its parameters.

Invariant: every text of a row can be stored in every database, whatever a program has written into
a job: PostgreSQL accepts neither NUL nor unpaired surrogates. This module imports
`zoolet.jobs.errors` and `zoolet.jobs.records`.
"""

import json
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.json_values import decode_json
from zoolet.jobs.records.transitions import JobState

NAME_CHARACTERS: Final = 700
ID_CHARACTERS: Final = 100
TASK_CHARACTERS: Final = 500
ERROR_CHARACTERS: Final = 2048
_POSITION_DIGITS: Final = 18
"""Databases have integers of 64 bits."""


class HistoryEntry(NamedTuple):
    """A job that was removed from the queue.

    Attributes:
        job: the job's name.
        submission: the id of the submission, which differs for two jobs of one name.
        task: the task.
        dataset: the dataset; None for a job without data.
        groupid: the group.
        state: SUCCESSFUL or FAILED.
        batch: the batch; None for a job that was submitted alone.
        priority: the priority.
        attempts: the number of attempts.
        max_attempts: the limit of attempts.
        worker: the id of the last worker; None if no worker took the job.
        submitted_ms: the time of submission. All times are in ms since the epoch.
        started_ms: the start of the last attempt; None if none started.
        finished_ms: the end of the job.
        last_error: the last error; "" if there is none.
        details: a JSON object with the ``parameters``, and with ``errors``: for each failed attempt
            its number, worker and message.
    """

    job: str
    submission: str
    task: str
    dataset: str | None
    groupid: str | None
    state: str
    batch: str | None
    priority: int
    attempts: int
    max_attempts: int
    worker: str | None
    submitted_ms: int
    started_ms: int | None
    finished_ms: int
    last_error: str
    details: str

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the task."""
        return dict(self._detail("parameters") or {})

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors of the attempts, each with ``attempt``, ``worker`` and ``message``."""
        return list(self._detail("errors") or [])

    def _detail(self, name: str) -> Any:
        return decode_json(self.details.encode()).get(name)

    @property
    def duration_ms(self) -> int | None:
        """The duration of the last attempt; None if none started."""
        return None if self.started_ms is None else max(0, self.finished_ms - self.started_ms)


def entry_of(job: Job) -> HistoryEntry:
    """Return the entry for an ended job."""
    errors = [error._asdict() for error in job.errors]
    details = {"parameters": dict(job.parameters), "errors": errors, "losses": job.losses}
    return HistoryEntry(
        _text(job.name, NAME_CHARACTERS),
        _text(job.submission, ID_CHARACTERS),
        _text(job.task, TASK_CHARACTERS),
        None if job.dataset is None else _text(job.dataset, NAME_CHARACTERS),
        None if job.groupid is None else _text(job.groupid, NAME_CHARACTERS),
        str(job.state),
        None if job.batch is None else _text(job.batch, NAME_CHARACTERS),
        job.priority,
        job.attempts,
        job.max_attempts,
        None if job.worker is None else _text(job.worker, NAME_CHARACTERS),
        job.submitted_ms,
        job.started_ms,
        job.finished_ms or 0,
        _text(job.last_error, ERROR_CHARACTERS),
        json.dumps(details),
    )


def _text(text: str, characters: int) -> str:
    plain = text[:characters].replace("\x00", "\ufffd")
    return plain.encode(errors="replace").decode()


class HistoryPosition(NamedTuple):
    """The place of an entry in the order of the history: the end of the job, and a number."""

    finished_ms: int
    number: int

    def __str__(self) -> str:
        return f"{self.finished_ms}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text of a position.

        Raises:
            InvalidJobError: the text has another form.
        """
        finished_ms, _, number = text.partition("-")
        are_numbers = finished_ms.isdecimal() and number.isdecimal() and text.isascii()
        if not are_numbers or max(len(finished_ms), len(number)) > _POSITION_DIGITS:
            raise InvalidJobError(
                f"{text!r} is not a position in the history: use the text that the earlier search"
                " gave"
            )
        return cls(int(finished_ms), int(number))


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which jobs a search of the history returns; None: all.

    Attributes:
        state: jobs in this state.
        task: jobs with this task, ``module:function``.
        batch: jobs of this batch.
        job: jobs of this name.
        error: jobs whose last error contains this text; upper and lower case differ.
        since_ms: jobs that ended at this time or later, in ms since the epoch.
        until_ms: jobs that ended before this time, in ms since the epoch.
    """

    state: JobState | None = None
    task: str | None = None
    batch: str | None = None
    job: str | None = None
    error: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
