"""Filters of jobs.

This module imports `zoolet.jobs.errors` and other modules of its package.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import TIME_LIMIT_MS, is_text
from zoolet.jobs.records.transitions import JobState


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are selected; None: all.

    Attributes:
        state: jobs in this state.
        task: jobs with this task, ``module:function``.
        dataset: jobs of this dataset.
        batch: jobs of this batch.
        error: jobs whose last error contains this text, for example the type of an exception;
            upper and lower case differ.
        since_ms: jobs that ended at this time or later, in ms since the epoch.
        until_ms: jobs that ended before this time, in ms since the epoch.
    """

    state: JobState | None = None
    task: str | None = None
    batch: str | None = None
    error: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    dataset: str | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidJobError: a value is invalid.
        """
        for name in ("task", "dataset", "batch", "error"):
            value = getattr(self, name)
            if value is not None and not is_text(value):
                raise InvalidJobError(f"{name} is {value!r}; it must be a text")
        for name in ("since_ms", "until_ms"):
            value = getattr(self, name)
            if value is not None and not _is_time(value):
                raise InvalidJobError(
                    f"{name} is {value!r}; it must be a time in milliseconds since the epoch"
                )

    def selects(self, job: Job) -> bool:
        """Return whether the filter selects a job. Times select only jobs that have ended."""
        return (
            self.state in {None, job.state}
            and self.task in {None, job.task}
            and self.dataset in {None, job.dataset}
            and self.batch in {None, job.batch}
            and (self.error is None or self.error in job.last_error)
            and self._is_in_time(job.finished_ms if job.has_ended else None)
        )

    def _is_in_time(self, finished_ms: int | None) -> bool:
        if self.since_ms is None and self.until_ms is None:
            return True
        if finished_ms is None:
            return False
        is_late_enough = self.since_ms is None or finished_ms >= self.since_ms
        return is_late_enough and (self.until_ms is None or finished_ms < self.until_ms)

    @property
    def id(self) -> str:
        """The text that identifies the filter in the name of a znode."""
        values = asdict(self)
        if self.dataset is None:  # as before filters had a dataset: a retry may be in progress
            del values["dataset"]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]

    def __str__(self) -> str:
        """Return a text for people, like "task m:f, error ValueError"; "all" without conditions."""
        values = [(name, value) for name, value in asdict(self).items() if value is not None]
        return ", ".join(f"{name} {value}" for name, value in values) or "all"

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Return the filter of a JSON object, which any program may have written.

        Raises:
            ValueError: the value is not a valid filter.
        """
        if not isinstance(value, dict) or not value.keys() <= _NAMES:
            raise ValueError("it is not an object with the conditions of a filter")
        values: dict[str, Any] = dict(value)
        if values.get("state") is not None:
            values["state"] = JobState(values["state"])
        return cls(**values)


_NAMES = frozenset(spec.name for spec in fields(JobFilter))


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= TIME_LIMIT_MS
