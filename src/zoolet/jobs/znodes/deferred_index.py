"""The index of the jobs that cannot start yet: one entry for each job in ``deferred``.

    due/<minute>/<not_before_ms>-<name>   a job that waits for a time
    chains/<batch>/<name>                 a job of <batch>, which waits for another batch to end
    limits/<limit>/waiting/<key>/<name>   a job that waits until a limit has room
    expiries/<minute>/<expires_ms>-<name> a job that may expire before it can start, in addition

Invariants: a job in deferred has exactly one entry, and a job elsewhere has no entry. The job's
value says why the job waits (`Job.waits_for`), so the path of its entry follows from the value. A
move changes the job and its entry in one multi. An entry in ``expiries`` is not essential: a job
without it expires when it is released, and a job elsewhere may have one. This module imports
`zoolet.jobs.records` and other modules of its package.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from zoolet.jobs.records import job_names
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import WAITS_FOR_BATCH, WAITS_FOR_LIMIT, WAITS_FOR_TIME
from zoolet.jobs.znodes.batch_log import chain_path
from zoolet.jobs.znodes.layout import DUE, EXPIRIES, Layout
from zoolet.jobs.znodes.limit_znodes import waiting_entry_path

BUCKET_MS = 60_000
"""The length of a span of time. The entries of all jobs that are due in a span have one parent."""
BUCKET_DIGITS = 12
TIME_DIGITS = 15

_ENTRY = re.compile(rf"(\d{{{TIME_DIGITS}}})-(.+)", re.ASCII | re.DOTALL)
_BUCKET = re.compile(rf"\d{{{BUCKET_DIGITS}}}", re.ASCII)


class DueEntry(NamedTuple):
    """An entry for a job that waits for a time."""

    not_before_ms: int
    name: str

    @property
    def child(self) -> str:
        """The name of the entry's znode."""
        return f"{self.not_before_ms:0{TIME_DIGITS}d}-{self.name}"


def due_path(layout: Layout, entry: DueEntry) -> str:
    """Return the path of the entry for a job that waits for a time."""
    return f"{bucket_path(layout, bucket_of(entry.not_before_ms))}/{entry.child}"


def _path_by_time(layout: Layout, job: Job) -> str:
    return due_path(layout, DueEntry(job.not_before_ms or 0, job.name))


def _path_by_batch(layout: Layout, job: Job) -> str:
    return f"{chain_path(layout, job.batch or '')}/{job.name}"


_ENTRY_PATHS: dict[str, Callable[[Layout, Job], str]] = {
    WAITS_FOR_TIME: _path_by_time,
    WAITS_FOR_BATCH: _path_by_batch,
    WAITS_FOR_LIMIT: waiting_entry_path,
}
"""The function that returns the path of a job's entry, by the job's ``waits_for``."""


def entry_path(layout: Layout, job: Job) -> str | None:
    """Return the path of a job's entry in the index; None if the job can start."""
    return None if job.waits_for is None else _ENTRY_PATHS[job.waits_for](layout, job)


def expiry_path(layout: Layout, job: Job) -> str | None:
    """Return the path of a job's entry in ``expiries``; None if it can start before it expires."""
    if job.waits_for is None or job.expires_ms is None:
        return None
    if job.waits_for == WAITS_FOR_TIME and (job.not_before_ms or 0) <= job.expires_ms:
        return None
    entry = DueEntry(job.expires_ms, job.name)
    return f"{bucket_path(layout, bucket_of(entry.not_before_ms), EXPIRIES)}/{entry.child}"


def bucket_of(time_ms: int) -> str:
    """Return the name of the span of time that contains ``time_ms``."""
    return f"{time_ms // BUCKET_MS:0{BUCKET_DIGITS}d}"


def bucket_path(layout: Layout, bucket: str, parent: str = DUE) -> str:
    """Return the path of a span's znode, the parent of the span's entries."""
    return layout.znodes.path(parent, bucket)


def bucket_start_ms(bucket: str) -> int:
    """Return the start of a span of time, in ms since the epoch."""
    return int(bucket) * BUCKET_MS


def is_bucket(name: str) -> bool:
    """Return whether a znode's name, which any program may have chosen, names a span of time."""
    return _BUCKET.fullmatch(name) is not None


def parse_entry(name: str) -> DueEntry | None:
    """Parse the name of an entry in a span; None if the name is invalid."""
    match = _ENTRY.fullmatch(name)
    if match is None or job_names.parse(match[2]) is None:
        return None
    return DueEntry(int(match[1]), match[2])
