"""Submitting: jobs enter the queue once for each piece of work, many in one multi.

A key znode, named by a hash of the work, is created in the same multi as the job, so of two that
submit the same work at once, one is refused and finds the other's job. The key holds the id of the
submission, and the job's name, which the server gives: it is written there by a second multi. If
the submitter dies between the two, whoever comes next finds the job by the submission's id, which
is in the job's value.

Imports the job system's records and layout.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from kazoo.retry import ForceRetryError, KazooRetry

from zoolet.jobs.errors import JobNotFoundError, UnreadableJobError
from zoolet.jobs.layout import Layout
from zoolet.jobs.records import Job, JobRequest, JobState
from zoolet.jobs.znodes import Create, Operation, RefusedError, SetData, Znode
from zoolet.model import paths

BATCH_JOBS = 25
"""Jobs in one multi, each of two operations: kazoo costs about a millisecond a call."""
BATCH_LIMIT_BYTES = 512 * 1024
"""Bytes of jobs in one multi, unless it is a single job: a request may have 1 MiB."""


class Origin(StrEnum):
    """Where the job that stands for a request comes from."""

    NEW = "NEW"
    """It was submitted for this request."""
    JOINED = "JOINED"
    """The same work was under way already."""
    STORED = "STORED"
    """The same work was already done: its result is stored."""


class Submission(NamedTuple):
    """The job that stands for a request."""

    name: str
    origin: Origin


class _Fresh(NamedTuple):
    """A job to be put under unowned; key_version is None where its key has no znode yet."""

    draft: Job
    key_version: int | None


class _Naming(NamedTuple):
    """A submitted job whose name its key, at this version, does not hold yet."""

    job: Job
    key_version: int


class Submitter:
    """Puts jobs into the queue of a layout."""

    def __init__(self, layout: Layout, clock_ms: Callable[[], int]) -> None:
        self._layout = layout
        self._znodes = layout.znodes
        self._clock_ms = clock_ms

    def submit(self, requests: Sequence[JobRequest], *, reuse: bool) -> list[Submission]:
        """Return what stands for each request, in order; see `JobQueue.submit`."""
        drafts = [Job.draft(request, uuid.uuid4().hex, self._clock_ms()) for request in requests]
        if not reuse:
            return [
                submission
                for batch in _batches(drafts)
                for submission in self._submit_batch(batch, reuse=False)
            ]
        unique = {draft.key: draft for draft in reversed(drafts)}
        by_key: dict[str, Submission] = {}
        for batch in _batches(list(reversed(unique.values()))):
            submissions = self._submit_batch(batch, reuse=True)
            by_key |= {d.key: s for d, s in zip(batch, submissions, strict=True)}
        return [
            by_key[draft.key]
            if unique[draft.key] is draft or by_key[draft.key].origin is not Origin.NEW
            else Submission(by_key[draft.key].name, Origin.JOINED)
            for draft in drafts
        ]

    def _submit_batch(self, drafts: Sequence[Job], *, reuse: bool) -> list[Submission]:
        keys = self._znodes.get_all([self._layout.key(draft.key) for draft in drafts])
        known = [
            self._known(draft, key) if reuse and key is not None else None
            for draft, key in zip(drafts, keys, strict=True)
        ]
        fresh = [
            _Fresh(draft, None if key is None else key.version)
            for draft, key, submission in zip(drafts, keys, known, strict=True)
            if submission is None
        ]
        try:
            names = iter(self._create(fresh))
        except RefusedError:
            # Someone submits some of the same work just now: he must not spoil the others.
            return [self._submit_one(draft, reuse=reuse) for draft in drafts]
        return [
            Submission(next(names), Origin.NEW) if submission is None else submission
            for submission in known
        ]

    def _submit_one(self, draft: Job, *, reuse: bool) -> Submission:
        def attempt() -> Submission:
            key = self._znodes.get(self._layout.key(draft.key))
            known = self._known(draft, key) if reuse and key is not None else None
            if known is not None:
                return known
            try:
                [name] = self._create([_Fresh(draft, None if key is None else key.version)])
            except RefusedError as refused:
                raise ForceRetryError from refused
            return Submission(name, Origin.NEW)

        # Each refusal means that another submitter got through; more than a few of them in a row
        # are no accident.
        retry = KazooRetry(max_tries=10, delay=0.01)
        submission: Submission = retry(attempt)
        return submission

    def _known(self, draft: Job, key: Znode) -> Submission | None:
        """Return the job that a key says stands for this work, unless it must be done again."""
        written = _read_key(key)
        try:
            if written.name is not None:
                job: Job | None = self._layout.find(written.name)
            else:
                job = self._layout.find_submission(draft, written.submission)
                if job is not None:
                    self._write_names([_Naming(job, key.version)])
        except (JobNotFoundError, UnreadableJobError):
            return None
        if job is None or job.state is JobState.FAILED:
            return None
        done = job.state is JobState.SUCCESSFUL
        return Submission(job.name, Origin.STORED if done else Origin.JOINED)

    def _create(self, fresh: Sequence[_Fresh]) -> list[str]:
        """Put jobs under unowned, with their keys, and return their names."""
        if not fresh:
            return []
        operations: list[Operation] = []
        for draft, key_version in fresh:
            path, key = self._layout.key(draft.key), _key_value(draft.submission, None)
            operations += [
                Create(path, key) if key_version is None else SetData(path, key, key_version),
                Create(self._layout.unowned(draft.name), draft.encode(), sequence=True),
            ]
        results = self._znodes.multi(operations, landed=lambda: self._landed(fresh[0].draft))
        if results is None:
            names = [self._name_of(draft) for draft, _ in fresh]
        else:
            names = [paths.name_of(path) for path in results[1::2]]
        self._write_names(
            [
                _Naming(replace(draft, name=name), 0 if version is None else version + 1)
                for (draft, version), name in zip(fresh, names, strict=True)
            ]
        )
        return names

    def _write_names(self, namings: Sequence[_Naming]) -> None:
        """Write the names into the keys; a key that stands for another job by now is left alone."""
        operations = [
            SetData(self._layout.key(job.key), _key_value(job.submission, job.name), key_version)
            for job, key_version in namings
        ]
        try:
            # Without a name in it a key is good too, so it does not matter what became of this.
            self._znodes.multi(operations, landed=lambda: True)
        except RefusedError:
            if len(namings) > 1:
                for naming in namings:
                    self._write_names([naming])

    def _landed(self, draft: Job) -> bool:
        key = self._znodes.get(self._layout.key(draft.key))
        return key is not None and _read_key(key).submission == draft.submission

    def _name_of(self, draft: Job) -> str:
        job = self._layout.find_submission(draft, draft.submission)
        if job is None:
            raise JobNotFoundError(
                f"the job for {draft.dataset}:{draft.groupid} was submitted, and someone deleted it"
            )
        return job.name


class _Key(NamedTuple):
    """What a key znode says: which submission stands for the work, and its job's name if known."""

    submission: str
    name: str | None


def _key_value(submission: str, name: str | None) -> bytes:
    return json.dumps({"submission": submission, "job": name}).encode()


def _read_key(key: Znode) -> _Key:
    """Read a key; what is not one stands for no work, so it is replaced."""
    try:
        value = json.loads(key.data)
        return _Key(str(value["submission"]), value["job"])
    except (ValueError, KeyError, TypeError):
        return _Key("", None)


def _batches(drafts: Sequence[Job]) -> Iterator[list[Job]]:
    batch: list[Job] = []
    batch_bytes = 0
    for draft in drafts:
        size_bytes = len(draft.encode())
        if batch and (len(batch) == BATCH_JOBS or batch_bytes + size_bytes > BATCH_LIMIT_BYTES):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(draft)
        batch_bytes += size_bytes
    if batch:
        yield batch
