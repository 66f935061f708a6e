"""Keys: which job stands for a piece of work.

A key's znode is named by a hash of the work. It holds the id of the submission, and either the name
of the job or that of its batch, which names it. What holds: a key without a name is good too, since
whoever needs the job finds it by its submission. Imports the job system's records and batches.
"""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from zoolet.jobs.errors import JobError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.json_values import decode_json
from zoolet.jobs.znodes.batch_log import CHUNK_JOBS, is_batch_name
from zoolet.jobs.znodes.deadlines import TIMEOUT_S
from zoolet.jobs.znodes.edge import Znode
from zoolet.jobs.znodes.layout import Layout
from zoolet.jobs.znodes.operations import Operation, RefusedError, SetData

NAME_LATER_S = 0.5
"""How long names are gathered before they are written into their keys."""


class WorkKey(NamedTuple):
    """What a key znode says: which submission stands for the work, and where its job's name is."""

    submission: str
    name: str | None
    batch: str | None


def submission_of_key(key: Znode) -> str:
    """Return the id of the submission that a key znode says stands for the work."""
    return read_key(key).submission


def key_value(job: Job, name: str | None) -> bytes:
    """Return the value of the key of a job, which holds the job's name if that is known."""
    known = {"submission": job.submission, "job": name, "batch": job.batch}
    return json.dumps({key: value for key, value in known.items() if value is not None}).encode()


def read_key(key: Znode) -> WorkKey:
    """Read a key; what is not one stands for no work, so it is replaced."""
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
    """A submitted job, whose name its key, at this version, does not hold yet."""

    job: Job
    key_version: int


NameKeys = Callable[[Sequence[Named]], None]
"""Sees to it that keys hold the names of their jobs, now or soon: `KeyNamer`."""


class KeyNamer:
    """Writes the names of jobs into their keys.

    Without a name in it a key is good too: whoever needs it looks for the job. So this may be done
    a little later, many in one multi, and costs a submitter no time.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._later: queue.SimpleQueue[Named | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def name_later(self, named: Sequence[Named]) -> None:
        """Write the names of these jobs soon."""
        if named and self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        for one in named:
            self._later.put(one)

    def name_now(self, named: Sequence[Named]) -> None:
        """Write the names of these jobs; a key that stands for another job by now is left alone."""
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
        """Write what is left to be written, unless it takes longer than ``timeout_s``."""
        if self._thread is not None:
            self._later.put(None)
            self._thread.join(timeout_s)

    def _run(self) -> None:
        is_open = True
        while is_open:
            # Not at once, where it would hold up the jobs themselves. The wait ends with close();
            # the thread is a daemon, so it does not keep the process.
            named = [self._later.get()]
            until = time.monotonic() + NAME_LATER_S
            with contextlib.suppress(queue.Empty):
                while named[-1] is not None and len(named) < CHUNK_JOBS:
                    named.append(self._later.get(timeout=max(0.0, until - time.monotonic())))
            is_open = named[-1] is not None
            with contextlib.suppress(JobError):
                self.name_now([one for one in named if one is not None])
