"""The index of the jobs that may not start yet: one entry for each job in ``deferred``.

    due/<minute>/<not_before_ms>-<name>   jobs that wait for a time
    chains/<batch>/<name>                 jobs that wait until another batch is done

What holds: a job that is in deferred has exactly one entry, and any other job has none. The job's
value says for what it waits (`Job.waits_for`), so whoever moves the job knows its entry. A move
changes the job and its entry in one multi. Imports the job system's layout and batches.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from zoolet.jobs.records import job_names
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import WAITS_FOR_BATCH, WAITS_FOR_TIME
from zoolet.jobs.znodes.batch_log import chain_path
from zoolet.jobs.znodes.layout import DUE, Layout

BUCKET_MS = 60_000
"""Jobs whose times are in the same span of this length have their entries under one znode."""
BUCKET_DIGITS = 12
TIME_DIGITS = 15

_ENTRY = re.compile(rf"(\d{{{TIME_DIGITS}}})-(.+)", re.ASCII | re.DOTALL)
_BUCKET = re.compile(rf"\d{{{BUCKET_DIGITS}}}", re.ASCII)


class DueEntry(NamedTuple):
    """An entry of the index by time."""

    not_before_ms: int
    name: str

    @property
    def child(self) -> str:
        """The name of the entry's znode."""
        return f"{self.not_before_ms:0{TIME_DIGITS}d}-{self.name}"


def due_path(layout: Layout, entry: DueEntry) -> str:
    """Return the path of an entry of the index by time."""
    return f"{bucket_path(layout, bucket_of(entry.not_before_ms))}/{entry.child}"


def _path_by_time(layout: Layout, job: Job) -> str:
    return due_path(layout, DueEntry(job.not_before_ms or 0, job.name))


def _path_by_batch(layout: Layout, job: Job) -> str:
    return f"{chain_path(layout, job.batch or '')}/{job.name}"


_ENTRY_PATHS: dict[str, Callable[[Layout, Job], str]] = {
    WAITS_FOR_TIME: _path_by_time,
    WAITS_FOR_BATCH: _path_by_batch,
}
"""Where the entry of a job is, for each reason that a job waits for."""


def entry_path(layout: Layout, job: Job) -> str | None:
    """Return the path of a job's entry in the index; None for a job that may start."""
    return None if job.waits_for is None else _ENTRY_PATHS[job.waits_for](layout, job)


def bucket_of(time_ms: int) -> str:
    """Return the name of the span of time that a time is in."""
    return f"{time_ms // BUCKET_MS:0{BUCKET_DIGITS}d}"


def bucket_path(layout: Layout, bucket: str) -> str:
    """Return the path of a span of time."""
    return layout.znodes.path(DUE, bucket)


def bucket_start_ms(bucket: str) -> int:
    """Return when a span of time begins, in ms since the epoch."""
    return int(bucket) * BUCKET_MS


def is_bucket(name: str) -> bool:
    """Say whether a znode's name, which any program may have chosen, is that of a span of time."""
    return _BUCKET.fullmatch(name) is not None


def parse_entry(name: str) -> DueEntry | None:
    """Take an entry of the index by time apart; None if another program made it."""
    match = _ENTRY.fullmatch(name)
    if match is None or job_names.parse(match[2]) is None:
        return None
    return DueEntry(int(match[1]), match[2])
