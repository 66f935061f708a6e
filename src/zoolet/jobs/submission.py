"""Submitting: jobs enter the queue once for each piece of work, many in one multi.

A key znode, named by a hash of the work, is created in the same multi as the job, so of two that
submit the same work at once, one is refused and finds the other's job. The key holds the id of the
submission, and where the job's name is: the server gives the name, so it is written by a second
multi, into the key where a job is submitted alone, and into the names of its batch. If the
submitter dies between the two, whoever comes next finds the job by the submission's id, which is in
the job's value.

Imports the job system's records, layout and batches.
"""

import contextlib
import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from zoolet.jobs import naming
from zoolet.jobs.batchlog import (
    BATCH_JOBS_LIMIT,
    CHUNK_JOBS,
    BatchRecord,
    batch_path,
    chain_path,
    check_name,
    chunk_path,
    decode_chunk,
    is_batch_name,
    read_record,
)
from zoolet.jobs.deadlines import TIMEOUT_S
from zoolet.jobs.errors import (
    BatchExistsError,
    InvalidJobError,
    JobError,
    JobNotFoundError,
    UnknownQueueError,
    UnreadableJobError,
)
from zoolet.jobs.jsonvalues import decode_json
from zoolet.jobs.layout import (
    DONE,
    PAGE_JOBS,
    PAGE_NUMBER_DIGITS,
    UNOWNED,
    Layout,
    page_name,
    page_order,
)
from zoolet.jobs.moves import LIMIT_BYTES
from zoolet.jobs.operations import Create, Operation, RefusedError, SetData
from zoolet.jobs.records import Job, JobRequest, JobState
from zoolet.jobs.znodes import Znode
from zoolet.model import paths

NAME_LATER_S = 0.5
"""How long names are gathered before they are written into their keys."""
_NUMBER_DIGITS = len(str(BATCH_JOBS_LIMIT))
_ALONE_TRIES = 20
_ALONE_PAUSE_S = 0.01
"""Each refusal means that another submitter got through; more than a few in a row are no accident.
"""


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


class Named(NamedTuple):
    """A submitted job, whose name its key, at this version, does not hold yet."""

    job: Job
    key_version: int


NameKeys = Callable[[Sequence[Named]], None]
"""Sees to it that keys hold the names of their jobs, now or soon: `KeyNamer`."""


class Submitter:
    """Puts jobs into the queue of a layout."""

    def __init__(self, layout: Layout, clock_ms: Callable[[], int], name_keys: NameKeys) -> None:
        self._layout = layout
        self._znodes = layout.znodes
        self._clock_ms = clock_ms
        self._name_keys = name_keys
        self._shelves = Shelves(layout)

    def submit(self, requests: Sequence[JobRequest], *, reuse: bool) -> list[Submission]:
        """Return what stands for each request, in order; see `JobQueue.submit`."""
        drafts = self._drafts(requests)
        return self._submit(drafts, None, reuse=reuse)

    def submit_batch(
        self, requests: Sequence[JobRequest], name: str, *, reuse: bool, after: str | None
    ) -> list[Submission]:
        """Make a batch, submit its jobs, and return what stands for each request, in order.

        Raises:
            InvalidJobError: one of the requests, or the name, is none; nothing was submitted.
            BatchExistsError: there is a batch of this name.
            UnknownBatchError: there is no batch that it could come after.
        """
        check_name(name)
        if len(requests) > BATCH_JOBS_LIMIT:
            raise InvalidJobError(
                f"a batch has at most {BATCH_JOBS_LIMIT} jobs, not {len(requests)}: submit several"
            )
        drafts = self._drafts(requests, name, chained=after is not None)
        if after is not None:
            read_record(self._layout, after)
        record = BatchRecord(name, len(drafts), self._clock_ms(), after)
        path = batch_path(self._layout, name)
        operations = [Create(path, record.encode()), Create(f"{path}/log", b"")]
        if after is not None:
            operations.append(Create(chain_path(self._layout, name), after.encode()))
        try:
            self._znodes.multi(operations, landed=lambda: self._stands(path, record))
        except RefusedError as refused:
            if refused.lacks_parent:
                self._layout.check()
            raise BatchExistsError(
                f"a batch {name} is in this queue already: give another name, or follow that one"
            ) from None
        return self._submit(drafts, record, reuse=reuse)

    def _stands(self, path: str, record: BatchRecord) -> bool:
        found = self._znodes.get(path)
        return found is not None and found.data == record.encode()

    def _drafts(
        self, requests: Sequence[JobRequest], batch: str | None = None, *, chained: bool = False
    ) -> list[Job]:
        now_ms, submission = self._clock_ms(), uuid.uuid4().hex[:16]
        drafts = []
        for number, request in enumerate(requests):
            try:
                drafts.append(
                    Job.draft(
                        request, f"{submission}-{number}", now_ms, batch=batch, chained=chained
                    )
                )
            except InvalidJobError as error:
                if len(requests) == 1:
                    raise
                raise InvalidJobError(f"request {number}: {error}") from None
        return drafts

    def _submit(
        self, drafts: Sequence[Job], record: BatchRecord | None, *, reuse: bool
    ) -> list[Submission]:
        submissions: list[Submission] = []
        for number, start in enumerate(range(0, len(drafts), CHUNK_JOBS)):
            chunk = drafts[start : start + CHUNK_JOBS]
            found = self._submit_chunk(chunk, reuse=reuse)
            if record is not None:
                names = json.dumps([list(submission) for submission in found])
                path = chunk_path(self._layout, record.name, number)
                self._znodes.create(path, names.encode())
            submissions += found
        return submissions

    def _submit_chunk(self, chunk: Sequence[Job], *, reuse: bool) -> list[Submission]:
        """Submit the jobs of a chunk; with ``reuse`` the same work twice is one job."""
        if not reuse:
            return [
                found for some in _multis(chunk) for found in self._submit_some(some, reuse=False)
            ]
        first: dict[str, Job] = {}
        for draft in chunk:
            first.setdefault(draft.key, draft)
        found: dict[str, Submission] = {}
        for some in _multis(list(first.values())):
            submitted = self._submit_some(some, reuse=True)
            found |= {draft.key: one for draft, one in zip(some, submitted, strict=True)}
        return [
            found[draft.key]
            if first[draft.key] is draft or found[draft.key].origin is not Origin.NEW
            else Submission(found[draft.key].name, Origin.JOINED)
            for draft in chunk
        ]

    def _submit_some(self, drafts: Sequence[Job], *, reuse: bool) -> list[Submission]:
        """Submit the jobs of one multi, as if all were new; look closer where some are not."""
        try:
            names = self._create([_Fresh(draft, None) for draft in drafts])
        except RefusedError:
            return self._submit_known(drafts, reuse=reuse)
        return [Submission(name, Origin.NEW) for name in names]

    def _submit_known(self, drafts: Sequence[Job], *, reuse: bool) -> list[Submission]:
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
            return [self._submit_alone(draft, reuse=reuse) for draft in drafts]
        return [
            Submission(next(names), Origin.NEW) if submission is None else submission
            for submission in known
        ]

    def _submit_alone(self, draft: Job, *, reuse: bool) -> Submission:
        for tries in range(_ALONE_TRIES):
            if tries:
                self._znodes.pause(tries - 1, _ALONE_PAUSE_S)
            key = self._znodes.get(self._layout.key(draft.key))
            known = self._known(draft, key) if reuse and key is not None else None
            if known is not None:
                return known
            try:
                [name] = self._create([_Fresh(draft, None if key is None else key.version)])
            except RefusedError:
                continue
            return Submission(name, Origin.NEW)
        raise JobError(
            f"the job for {draft.dataset}:{draft.groupid} was not submitted: other programs submit"
            " the same work all the time; submit it again"
        )

    def _known(self, draft: Job, key: Znode) -> Submission | None:
        """Return the job that a key says stands for this work, unless it must be done again."""
        written = _read_key(key)
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
        done = job.state is JobState.SUCCESSFUL
        return Submission(job.name, Origin.STORED if done else Origin.JOINED)

    def _name_in_batch(self, key: "_Key") -> str | None:
        """Return the name that the batch of a job has written for it, None where it has not."""
        _, _, number = key.submission.rpartition("-")
        if key.batch is None or not number.isdecimal() or len(number) > _NUMBER_DIGITS:
            return None
        chunk, position = divmod(int(number), CHUNK_JOBS)
        found = self._znodes.get(chunk_path(self._layout, key.batch, chunk))
        if found is None or not found.data:
            return None
        named = decode_chunk(key.batch, found.data)
        return named[position][0] if position < len(named) else None

    def _create(self, fresh: Sequence[_Fresh]) -> list[str]:
        """Put jobs under unowned, with their keys, and return their names.

        Raises:
            RefusedError: a key is not as it was said to be; nothing was submitted.
        """
        if not fresh:
            return []
        while True:
            operations: list[Operation] = []
            for draft, key_version in fresh:
                path, key = self._layout.key(draft.key), _key_value(draft, None)
                operations += [
                    Create(path, key) if key_version is None else SetData(path, key, key_version),
                    Create(self._shelves.path_for(draft), draft.encode(), sequence=True),
                ]
            try:
                results = self._znodes.multi(
                    operations, landed=lambda: self._landed(fresh[0].draft)
                )
            except RefusedError as refused:
                if refused.lacks_parent:
                    self._layout.check()
                if refused.position % 2 == 0 or not refused.lacks_parent:
                    raise
                self._shelves.forget(fresh[refused.position // 2].draft)
            else:
                break
        if results is None:
            names = [self._name_of(draft) for draft, _ in fresh]
        else:
            names = [paths.name_of(path) for path in results[1::2]]
            self._shelves.filled(results[1::2])
        self._name_keys(
            [
                Named(replace(draft, name=name), 0 if version is None else version + 1)
                for (draft, version), name in zip(fresh, names, strict=True)
                if draft.batch is None
            ]
        )
        return names

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
                self._layout.key(one.job.key), _key_value(one.job, one.job.name), one.key_version
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


class Shelves:
    """On which page of its shard a job is put: the newest of its priority that is not full.

    A submitter remembers the pages that it fills. The number of a page is never given again in its
    shard, since it is part of the names of its jobs.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._znodes = layout.znodes
        self._open: dict[tuple[int, int], str] = {}

    def path_for(self, draft: Job) -> str:
        """Return what the server is to append the job's sequence to."""
        if self._layout.is_flat:
            return self._layout.unowned(draft.name)
        shard = self._layout.shard_of(draft.dataset, draft.groupid)
        page = self._open.get((shard, draft.priority)) or self._find(shard, draft.priority, full="")
        number = page_order(page)[1]
        return f"{self._layout.page(UNOWNED, shard, page)}/{draft.name}{number:06d}"

    def filled(self, created: Sequence[str]) -> None:
        """Begin a new page behind one that is full by now; ``created`` are paths of new jobs."""
        if self._layout.is_flat:
            return
        for path in created:
            sequence = int(path[-10:])
            if sequence + 1 >= PAGE_JOBS:
                page = paths.name_of(paths.parent_of(path))
                shard = int(paths.name_of(paths.parent_of(paths.parent_of(path))))
                key = (shard, int(page.partition("-")[0]))
                if self._open.get(key) == page:
                    self._open[key] = self._find(*key, full=page)

    def forget(self, draft: Job) -> None:
        """Look again for the page of such a job: the one it was put on is gone.

        Raises:
            UnknownQueueError: there are no pages, and what all jobs stand in is gone.
        """
        if self._layout.is_flat:
            raise UnknownQueueError(f"the queue's znode {self._layout.place(UNOWNED)} is gone")
        shard = self._layout.shard_of(draft.dataset, draft.groupid)
        self._open.pop((shard, draft.priority), None)

    def _find(self, shard: int, priority: int, full: str) -> str:
        """Return the newest page of a priority behind the full one; make it where there is none."""
        while True:
            shard_path = self._layout.shard(UNOWNED, shard)
            counter = self._znodes.get(shard_path)
            if counter is None:
                raise UnknownQueueError(f"the queue's shard {shard} is gone: {shard_path}")
            pages = [
                page
                for page in self._layout.pages(UNOWNED, shard)
                if page_order(page)[0] == -priority and page > full
            ]
            if pages:
                page = pages[-1]
                break
            number = _page_number(shard_path, counter.data) + 1
            page = page_name(priority, number)
            operations: list[Operation] = [
                SetData(shard_path, str(number).encode(), counter.version),
                Create(self._layout.page(UNOWNED, shard, page), b""),
                Create(self._layout.page(DONE, shard, page), b""),
            ]
            try:
                self._znodes.multi(operations, landed=lambda: False)
                break
            except RefusedError:
                # Another submitter was faster, or it was this one and the reply was lost.
                continue
        self._open[shard, priority] = page
        return page


def _page_number(path: str, data: bytes) -> int:
    if not data:
        return 0
    if data.isdigit() and len(data) <= PAGE_NUMBER_DIGITS:
        return int(data)
    raise UnreadableJobError(
        f"{path} holds {data[:40]!r}, which is not the number of its newest page: set it to the"
        " greatest number of a page under it"
    )


class _Key(NamedTuple):
    """What a key znode says: which submission stands for the work, and where its job's name is."""

    submission: str
    name: str | None
    batch: str | None


def submission_of_key(key: Znode) -> str:
    """Return the id of the submission that a key znode says stands for the work."""
    return _read_key(key).submission


def _key_value(job: Job, name: str | None) -> bytes:
    known = {"submission": job.submission, "job": name, "batch": job.batch}
    return json.dumps({key: value for key, value in known.items() if value is not None}).encode()


def _read_key(key: Znode) -> _Key:
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
        and (job is None or (isinstance(job, str) and naming.parse(job) is not None))
        and (batch is None or is_batch_name(batch))
    )
    return _Key(str(submission), job, batch) if is_key else _NO_KEY


_NO_KEY = _Key("", None, None)


def _multis(drafts: Sequence[Job]) -> Iterator[list[Job]]:
    """Split the jobs of a chunk into those of one multi each."""
    some: list[Job] = []
    size_bytes = 0
    for draft in drafts:
        draft_bytes = draft.size_bytes if draft.is_large else 0
        if some and size_bytes + draft_bytes > LIMIT_BYTES:
            yield some
            some, size_bytes = [], 0
        some.append(draft)
        size_bytes += draft_bytes
    if some:
        yield some
