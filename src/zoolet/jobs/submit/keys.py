"""Keys: the znodes that say which job does a piece of work.

The name of a key's znode is a hash of the work. Its value has the id of the submission, and the
name of the job or of the job's batch, whose znodes name the job. Invariant: a key without a job
name is valid, because the id of the submission is enough to find the job. This module imports
`zoolet.jobs.errors`, `zoolet.jobs.records` and other modules of its package.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring_ascii
from typing import NamedTuple

from zoolet.jobs.errors import JobError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.batches import CHUNK_JOBS, is_batch_name
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.json_values import decode_json
from zoolet.jobs.znodes.deadlines import TIMEOUT_S
from zoolet.jobs.znodes.job_znodes import Znode
from zoolet.jobs.znodes.layout import Layout
from zoolet.jobs.znodes.operations import Operation, RefusedError, SetData

NAME_LATER_S = 0.5
"""How long names are collected before one multi writes them into their keys, in seconds."""


class WorkKey(NamedTuple):
    """The value of a key's znode.

    Attributes:
        submission: the id of the submission that made the job for the work; "" for an invalid key.
        name: the job's name; None if the key does not have it.
        batch: the name of the job's batch, whose znodes name the job; None: no batch.
    """

    submission: str
    name: str | None
    batch: str | None


def submission_of_key(key: Znode) -> str:
    """Return the id of the submission that a key's znode names; "" if its value is invalid."""
    return read_key(key).submission


def key_value(job: Job, name: str | None) -> bytes:
    """Return the value of a job's key; ``name`` is the job's name, None if it is not known yet."""
    # Each new job has a key. Encoding a dict takes four times as long.
    text = f'{{"submission": {encode_basestring_ascii(job.submission)}'
    if name is not None:
        text += f', "job": {encode_basestring_ascii(name)}'
    if job.batch is not None:
        text += f', "batch": {encode_basestring_ascii(job.batch)}'
    return f"{text}}}".encode()


def read_key(key: Znode) -> WorkKey:
    """Decode a key's value; an invalid value gives a key that names no job and is replaced."""
    try:
        value = decode_json(key.data)
    except ValueError:
        return _NO_KEY
    if not isinstance(value, dict):
        return _NO_KEY
    submission, job, batch = (value.get(name) for name in ("submission", "job", "batch"))
    is_key = (
        isinstance(submission, str)
        and (job is None or (isinstance(job, str) and job_names.parse(job) is not None))
        and (batch is None or is_batch_name(batch))
    )
    return WorkKey(str(submission), job, batch) if is_key else _NO_KEY


_NO_KEY = WorkKey("", None, None)


class Named(NamedTuple):
    """A submitted job, and the version of its key, which does not have the job's name yet."""

    job: Job
    key_version: int


NameKeys = Callable[[Sequence[Named]], None]
"""A function that writes the names of jobs into their keys, now or soon (`KeyNamer`)."""


class KeyNamer:
    """Writes the names of jobs into their keys.

    A key is valid without the name. So the names can be written a little later, many in one multi,
    and the submitter does not wait for this.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._later: queue.SimpleQueue[Named | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def name_later(self, named: Sequence[Named]) -> None:
        """Write the names of these jobs soon, in another thread."""
        if named and self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        for one in named:
            self._later.put(one)

    def name_now(self, named: Sequence[Named]) -> None:
        """Write the names of these jobs; do not change a key that another program changed since."""
        if not named:
            return
        operations: list[Operation] = [
            SetData(
                self._layout.key(one.job.key), key_value(one.job, one.job.name), one.key_version
            )
            for one in named
        ]
        znodes = self._layout.znodes
        with znodes.within(TIMEOUT_S, "name the jobs of keys"):
            try:
                znodes.multi(operations, landed=lambda: True)
            except RefusedError:
                if len(named) > 1:
                    for one in named:
                        self.name_now([one])

    def close(self, timeout_s: float | None) -> None:
        """Write the remaining names, and wait for that for up to ``timeout_s``."""
        if self._thread is not None:
            self._later.put(None)
            self._thread.join(timeout_s)

    def _run(self) -> None:
        is_open = True
        while is_open:
            # The names are written with a delay, so that they do not delay the jobs themselves.
            # close() ends the wait. A daemon thread does not keep the process alive.
            named = [self._later.get()]
            until = time.monotonic() + NAME_LATER_S
            with contextlib.suppress(queue.Empty):
                while named[-1] is not None and len(named) < CHUNK_JOBS:
                    named.append(self._later.get(timeout=max(0.0, until - time.monotonic())))
            is_open = named[-1] is not None
            with contextlib.suppress(JobError):
                self.name_now([one for one in named if one is not None])
