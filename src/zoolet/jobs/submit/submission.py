"""Submits jobs: one job for each piece of work, many jobs in one multi.

The multi that creates a job also creates a key: a znode whose name is a hash of the work. So if two
programs submit the same work at the same time, the server refuses one of them. This program then
finds the job of the other. The key has the id of the submission. The server adds the sequence
number to the job's name, so the name can be written only after the multi: into the key if the job
has no batch, or else into a znode ``jobs-<n>`` of its batch. If the submitter dies before it writes
the name, other programs find the job by the id of the submission, which is also in the job's value.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.records`, `zoolet.jobs.signing` and other
modules of its package.
"""

import json
import logging
import uuid
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from zoolet.jobs.errors import (
    BatchExistsError,
    InvalidJobError,
    JobError,
    JobNotFoundError,
    UnknownBatchError,
    UnreadableJobError,
)
from zoolet.jobs.records.batches import (
    BATCH_JOBS_LIMIT,
    CHUNK_JOBS,
    BatchRecord,
    check_name,
    decode_chunk,
)
from zoolet.jobs.records.dependencies import Dependencies, is_job
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.signing.signer import Signer
from zoolet.jobs.submit.entering import Entrance, NewJob
from zoolet.jobs.submit.keys import Named, NameKeys, WorkKey, read_key
from zoolet.jobs.submit.queue_length import check_room
from zoolet.jobs.znodes.batch_log import batch_path, chain_path, chunk_path
from zoolet.jobs.znodes.job_znodes import Znode
from zoolet.jobs.znodes.layout import Layout
from zoolet.jobs.znodes.multis import multis
from zoolet.jobs.znodes.operations import Create, RefusedError

log = logging.getLogger(__name__)

_NUMBER_DIGITS = len(str(BATCH_JOBS_LIMIT))
_ALONE_TRIES = 20
_ALONE_PAUSE_S = 0.01
"""The tries for one job, and the first pause. A refusal means that another submitter was faster."""


class Origin(StrEnum):
    """The relation between a request and the job that does its work."""

    NEW = "NEW"
    """The job was submitted for this request."""
    JOINED = "JOINED"
    """The job was submitted earlier for the same work, and had not ended."""
    STORED = "STORED"
    """The job was submitted earlier for the same work, and had ended with a stored result."""


class Submission(NamedTuple):
    """The name of the job that does the work of a request, and the job's origin."""

    name: str
    origin: Origin


class _Wanted(NamedTuple):
    """A requested job.

    Attributes:
        draft: the job; its name does not have the sequence yet.
        reuse: whether an earlier job for the same work can take the place of this job.
        has_key: whether a key is written, so that later requests for the same work find this job.
    """

    draft: Job
    reuse: bool
    has_key: bool


class Submitter:
    """Submits jobs to the queue of a layout."""

    def __init__(
        self,
        layout: Layout,
        clock_ms: Callable[[], int],
        name_keys: NameKeys,
        signer: Signer | None = None,
    ) -> None:
        self._layout = layout
        self._signer = signer
        self._znodes = layout.znodes
        self._clock_ms = clock_ms
        self._name_keys = name_keys
        self._entrance = Entrance(layout, name_keys)

    def submit(self, requests: Sequence[JobRequest], *, reuse: bool | None) -> list[Submission]:
        """Submit jobs; return the submission for each request, in order; see `JobQueue.submit`."""
        wanted = self._wanted(requests, reuse)
        check_room(self._layout, len(wanted))
        return self._submit(wanted, None)

    def submit_batch(
        self,
        requests: Sequence[JobRequest],
        name: str,
        *,
        reuse: bool | None,
        after: Dependencies | None,
        receives: str | None = None,
        room: int | None = None,
    ) -> list[Submission]:
        """Create a batch, submit its jobs, and return the submission for each request, in order.

        ``receives`` is the name of the parameter that gets the results of the dependencies.
        ``room`` is the number of jobs that the queue must have room for; None: those of the batch.

        Raises:
            InvalidJobError: one of the requests, or the name, is invalid; nothing was submitted.
            BatchExistsError: the queue already has a batch of this name.
            QueueFullError: the queue may not have this number of waiting jobs.
            UnknownBatchError: a batch for which this batch waits does not exist.
            JobNotFoundError: a job for which this batch waits does not exist.
        """
        check_name(name)
        if len(requests) > BATCH_JOBS_LIMIT:
            raise InvalidJobError(
                f"a batch has at most {BATCH_JOBS_LIMIT} jobs, not {len(requests)}: submit several"
                " batches"
            )
        wanted = self._wanted(requests, reuse, name, chained=after is not None, receives=receives)
        if after is not None:
            self._check_dependencies(after)
        check_room(self._layout, len(wanted) if room is None else room)
        record = BatchRecord(name, len(wanted), self._clock_ms(), after)
        path = batch_path(self._layout, name)
        operations = [Create(path, record.encode()), Create(f"{path}/log", b"")]
        if after is not None:
            operations.append(Create(chain_path(self._layout, name), after.encode()))
        try:
            self._znodes.multi(operations, landed=lambda: self._stands(path, record))
        except RefusedError as refused:
            if refused.lacks_parent:
                self._layout.check()
            raise _batch_exists(name) from None
        return self._submit(wanted, record)

    def check(self, requests: Sequence[JobRequest], batches: Sequence[str]) -> None:
        """Check requests and names of batches that are submitted later, after other jobs.

        Raises:
            InvalidJobError: one of the requests, or of the names, is invalid.
            BatchExistsError: the queue already has a batch of one of the names.
        """
        self._wanted(requests, None)
        for name in batches:
            check_name(name)
        found = self._znodes.which_exist([batch_path(self._layout, name) for name in batches])
        for name, exists in zip(batches, found, strict=True):
            if exists:
                raise _batch_exists(name)

    def _check_dependencies(self, dependencies: Dependencies) -> None:
        """Raise an error unless all batches and jobs exist; so no batches can wait in a circle."""
        jobs = [name for name in dependencies.after if is_job(name)]
        batches = [name for name in dependencies.after if not is_job(name)]
        found = self._znodes.which_exist([batch_path(self._layout, name) for name in batches])
        for name, exists in zip(batches, found, strict=True):
            if not exists:
                raise UnknownBatchError(f"no batch {name} is in this queue")
        for name, place in zip(jobs, self._layout.where(jobs), strict=True):
            if place is None:
                self._layout.find(name)

    def _stands(self, path: str, record: BatchRecord) -> bool:
        found = self._znodes.get(path)
        return found is not None and found.data == record.encode()

    def _wanted(
        self,
        requests: Sequence[JobRequest],
        reuse: bool | None,
        batch: str | None = None,
        *,
        chained: bool = False,
        receives: str | None = None,
    ) -> list[_Wanted]:
        now_ms, submission = self._clock_ms(), uuid.uuid4().hex[:16]
        wanted = []
        for number, request in enumerate(requests):
            try:
                draft = Job.draft(
                    request,
                    f"{submission}-{number}",
                    now_ms,
                    batch=batch,
                    chained=chained,
                    receives=receives,
                )
            except InvalidJobError as error:
                if len(requests) == 1:
                    raise
                raise InvalidJobError(f"request {number}: {error}") from None
            if self._signer is not None:
                draft = self._signer.signed(draft)
            identifies_work = request.identifies_work
            is_reused = identifies_work if reuse is None else reuse
            if receives is not None:
                # The results of other jobs are a part of the work, and only a key identifies them.
                identifies_work = request.idempotency_key is not None
                is_reused = is_reused and identifies_work
            wanted.append(_Wanted(draft, is_reused, is_reused or identifies_work))
        return wanted

    def _submit(self, wanted: Sequence[_Wanted], record: BatchRecord | None) -> list[Submission]:
        submissions: list[Submission] = []
        for number, start in enumerate(range(0, len(wanted), CHUNK_JOBS)):
            found = self._submit_chunk(wanted[start : start + CHUNK_JOBS])
            if record is not None:
                names = json.dumps([list(submission) for submission in found])
                path = chunk_path(self._layout, record.name, number)
                self._znodes.create(path, names.encode())
            submissions += found
        _log_reuse(submissions)
        return submissions

    def _submit_chunk(self, chunk: Sequence[_Wanted]) -> list[Submission]:
        """Submit the jobs of a chunk; those for the same work are one job if they allow reuse."""
        first: dict[str, int] = {}
        stands_for: list[int] = []
        for number, one in enumerate(chunk):
            stands_for.append(first.setdefault(one.draft.key, number) if one.reuse else number)
        own = [number for number, other in enumerate(stands_for) if number == other]
        found: dict[int, Submission] = {}
        numbers = iter(own)
        for some in multis([chunk[number] for number in own], _draft):
            for submission in self._submit_some(some):
                found[next(numbers)] = submission
        return [
            found[other]
            if number == other or found[other].origin is not Origin.NEW
            else Submission(found[other].name, Origin.JOINED)
            for number, other in enumerate(stands_for)
        ]

    def _submit_some(self, wanted: Sequence[_Wanted]) -> list[Submission]:
        """Submit the jobs of one multi as new; if refused, reuse known jobs, submit the rest."""
        try:
            names = self._entrance.enter([NewJob(w.draft, w.has_key, None) for w in wanted])
        except RefusedError:
            return self._submit_known(wanted)
        return [Submission(name, Origin.NEW) for name in names]

    def _submit_known(self, wanted: Sequence[_Wanted]) -> list[Submission]:
        keys = self._znodes.get_all([self._layout.key(one.draft.key) for one in wanted])
        known = [
            self._known(one.draft, key) if one.reuse and key is not None else None
            for one, key in zip(wanted, keys, strict=True)
        ]
        new = [
            NewJob(one.draft, one.has_key, None if key is None else key.version)
            for one, key, submission in zip(wanted, keys, known, strict=True)
            if submission is None
        ]
        try:
            names = iter(self._entrance.enter(new))
        except RefusedError:
            # Another program submits some of this work now. Alone, the other jobs need not wait.
            return [self._submit_alone(one) for one in wanted]
        return [
            Submission(next(names), Origin.NEW) if submission is None else submission
            for submission in known
        ]

    def _submit_alone(self, wanted: _Wanted) -> Submission:
        draft = wanted.draft
        for tries in range(_ALONE_TRIES):
            if tries:
                self._znodes.pause(tries - 1, _ALONE_PAUSE_S)
            key = self._znodes.get(self._layout.key(draft.key))
            known = self._known(draft, key) if wanted.reuse and key is not None else None
            if known is not None:
                return known
            version = None if key is None else key.version
            try:
                [name] = self._entrance.enter([NewJob(draft, wanted.has_key, version)])
            except RefusedError:
                continue
            return Submission(name, Origin.NEW)
        raise JobError(
            f"the job {draft.name} was not submitted: other programs submit the same work all the"
            " time. Submit the job again"
        )

    def _known(self, draft: Job, key: Znode) -> Submission | None:
        """Return the job that a key names, None if the work must be submitted again."""
        written = read_key(key)
        try:
            name = written.name or self._name_in_batch(written)
            if name is not None:
                job: Job | None = self._layout.find(name)
            else:
                job = self._layout.find_submission(draft, written.submission)
                if job is not None and job.batch is None:
                    self._name_keys([Named(job, key.version)])
        except (JobNotFoundError, UnreadableJobError):
            return None
        if job is None or job.state is JobState.FAILED:
            return None
        if self._signer is not None and (job.key != draft.key or self._signer.problem(job)):
            # Someone without a key can write a job, and can write its name into any key.
            return None
        done = job.state is JobState.SUCCESSFUL
        return Submission(job.name, Origin.STORED if done else Origin.JOINED)

    def _name_in_batch(self, key: WorkKey) -> str | None:
        """Return the job's name from the znodes of its batch, None if they do not have it."""
        _, _, number = key.submission.rpartition("-")
        if key.batch is None or not number.isdecimal() or len(number) > _NUMBER_DIGITS:
            return None
        chunk, position = divmod(int(number), CHUNK_JOBS)
        found = self._znodes.get(chunk_path(self._layout, key.batch, chunk))
        if found is None or not found.data:
            return None
        named = decode_chunk(key.batch, found.data)
        return named[position][0] if position < len(named) else None


def _batch_exists(name: str) -> BatchExistsError:
    return BatchExistsError(
        f"a batch {name} is in this queue already: choose another name, or follow that batch"
    )


def _log_reuse(submissions: Sequence[Submission]) -> None:
    """Log which jobs were not submitted because an earlier job does the same work."""
    reused = [submission for submission in submissions if submission.origin is not Origin.NEW]
    if len(reused) == 1:
        name, origin = reused[0]
        log.info("the same work %s: job %s", _REUSED[origin], name)
    elif reused:
        joined = sum(submission.origin is Origin.JOINED for submission in reused)
        log.info(
            "of %d jobs, %d join the same work that is in progress, and for %d the result of the"
            " same work is stored",
            len(submissions), joined, len(reused) - joined,
        )  # fmt: skip


_REUSED = {
    Origin.JOINED: "is in progress already",
    Origin.STORED: "has ended, and its result is stored",
}


def _draft(wanted: _Wanted) -> Job:
    return wanted.draft
