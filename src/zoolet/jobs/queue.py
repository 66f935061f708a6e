"""The queue: where jobs stand in ZooKeeper, and the one multi that makes each move.

Under the queue's root stand ``unowned`` (jobs that wait), ``owned`` (jobs that a worker has),
``done`` (jobs with a result, or failed for good), ``workers`` (an ephemeral for each) and ``keys``
(for each piece of work the job that does it).

Invariants:
- A job is in exactly one of unowned, owned and done at every instant: each move is one multi.
- A move of an owned job checks the version of its znode *and* that its worker's ephemeral is there.
  The name of that ephemeral is never given again, and a job is only taken from a worker whose
  ephemeral is gone, so that a worker that was given up can commit nothing, whatever version the
  znode has under its next owner.
- A multi whose reply was lost may have happened: before it is tried again, it is found out.
"""

import contextlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    KazooException,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    RolledBackError,
    RuntimeInconsistency,
    SessionExpiredError,
)

from zoolet.jobs import naming
from zoolet.jobs.errors import JobError, OwnershipLostError, UnreadableJobError
from zoolet.jobs.records import Job, JobRequest, JobState

log = logging.getLogger(__name__)

JOBS_PER_MULTI = 25
"""Two operations each; a round trip costs kazoo a millisecond, and a multi of 50 hardly more."""

_OUTCOME_UNKNOWN = (ConnectionLoss, OperationTimeoutError, SessionExpiredError)
_NOT_THE_CAUSE = (RolledBackError, RuntimeInconsistency)

Watch = Callable[[Any], None]


class OwnedJob(NamedTuple):
    """A job that a worker has, and the version of its znode that it knows."""

    job: Job
    version: int


class Submitted(NamedTuple):
    """What a request became.

    Attributes:
        name: the job that does the work.
        is_new: whether it was submitted for this request; else the work was under way or done.
    """

    name: str
    is_new: bool


class RefusedError(Exception):
    """A multi did nothing, because of ``cause`` in the operation at ``position``."""

    def __init__(self, position: int, cause: KazooException) -> None:
        super().__init__(f"operation {position}: {cause!r}")
        self.position = position
        self.cause = cause


class JobQueue:
    """One queue, through a started kazoo client."""

    def __init__(self, client: KazooClient, root: str) -> None:
        """Use the queue at the path ``root`` of ``client``."""
        self._client: Any = client
        root = root.rstrip("/")
        self.unowned_path = f"{root}/unowned"
        self.owned_path = f"{root}/owned"
        self.done_path = f"{root}/done"
        self.workers_path = f"{root}/workers"
        self.keys_path = f"{root}/keys"

    def create(self) -> None:
        """Make the queue's znodes where they are missing."""
        for path in (
            self.unowned_path,
            self.owned_path,
            self.done_path,
            self.workers_path,
            self.keys_path,
        ):
            self._client.retry(self._client.ensure_path, path)

    # -- looking -----------------------------------------------------------------------------------

    def unowned(self, watch: Watch | None = None) -> list[str]:
        """Return the names of the jobs that wait; ``watch`` is called once at the next change."""
        return self._children(self.unowned_path, watch)

    def owned(self) -> list[str]:
        """Return the names of the jobs that a worker has."""
        return self._children(self.owned_path)

    def done(self, watch: Watch | None = None) -> list[str]:
        """Return the names of the jobs that are done; ``watch`` is called once at the next."""
        return self._children(self.done_path, watch)

    def workers(self, watch: Watch | None = None) -> list[str]:
        """Return the ids of the workers that are there; ``watch`` is called at the next change."""
        return self._children(self.workers_path, watch)

    def find(self, name: str) -> Job | None:
        """Return a job, wherever it stands; None where it is gone.

        A job that moves on while it is looked for is met further on; one that goes back meanwhile
        is met in the second round.
        """
        for _ in range(2):
            for directory in (self.unowned_path, self.owned_path, self.done_path):
                found = self._get(directory, name)
                if found is not None:
                    return found.job
        return None

    def finished(self, name: str) -> Job | None:
        """Return a job that is done; None where it is not."""
        found = self._get(self.done_path, name)
        return None if found is None else found.job

    # -- workers -----------------------------------------------------------------------------------

    def register_worker(self, description: dict[str, Any], label: str) -> str:
        """Put a worker's ephemeral there, and return the worker's id.

        The id begins with ``label`` and is never given again: a worker whose session is over
        registers anew.
        """

        def register() -> str:
            worker = f"{label}-{uuid.uuid4().hex[:12]}"
            value = json.dumps(description).encode()
            self._client.create(f"{self.workers_path}/{worker}", value, ephemeral=True)
            return worker

        registered: str = self._client.retry(register)
        return registered

    def unregister_worker(self, worker: str) -> None:
        """Take a worker's ephemeral away."""
        with contextlib.suppress(NoNodeError):
            self._client.retry(self._client.delete, f"{self.workers_path}/{worker}")

    # -- moves -------------------------------------------------------------------------------------

    def submit(self, requests: Sequence[JobRequest], *, reuse: bool = True) -> list[Submitted]:
        """Submit jobs, and return what each request became, in their order.

        With ``reuse`` a request whose work is under way or was done successfully becomes that job;
        without, every request becomes a new one. Raises InvalidJobError, before anything was
        submitted, where a request is not what it must be.
        """
        now_ms = _now_ms()
        jobs = [request.new_job(uuid.uuid4().hex, now_ms) for request in requests]
        if not reuse:
            return [self._submit_one(job, reuse=False) for job in jobs]
        unique = list({job.key: job for job in jobs}.values())
        submitted: dict[str, Submitted] = {}
        for start in range(0, len(unique), JOBS_PER_MULTI):
            submitted.update(self._submit_some(unique[start : start + JOBS_PER_MULTI]))
        return [submitted[job.key] for job in jobs]

    def own_job(self, name: str, worker: str) -> OwnedJob | None:
        """Take a waiting job for a worker; None where someone else was quicker.

        Raises OwnershipLostError where the worker's ephemeral is gone.
        """
        waiting = self._get(self.unowned_path, name)
        if waiting is None:
            return None
        taken = waiting.job.owned_by(worker)

        def move(multi: Any) -> None:
            multi.check(f"{self.workers_path}/{worker}", -1)
            multi.delete(f"{self.unowned_path}/{name}", version=waiting.version)
            multi.create(f"{self.owned_path}/{name}", taken.to_bytes())

        def has_happened() -> bool:
            now = self._get(self.owned_path, name)
            return now is not None and now.job.worker == worker

        try:
            self._commit(move, has_happened)
        except RefusedError as refused:
            if refused.position == 0:
                raise _lost(name, worker) from refused
            return None
        return OwnedJob(taken, version=0)

    def update_state(self, owned: OwnedJob, state: JobState) -> OwnedJob:
        """Record how far an owned job has come.

        Raises OwnershipLostError where the job is no longer this worker's.
        """
        job, version = owned
        after = job.in_state(state)
        path = f"{self.owned_path}/{job.name}"

        def move(multi: Any) -> None:
            multi.check(f"{self.workers_path}/{job.worker}", -1)
            multi.set_data(path, after.to_bytes(), version=version)

        def has_happened() -> bool:
            now = self._get(self.owned_path, job.name)
            return now == OwnedJob(after, version + 1)

        self._commit_owned(owned, move, has_happened)
        return OwnedJob(after, version + 1)

    def finish(self, owned: OwnedJob, done: Job) -> None:
        """Commit an owned job's end: ``done`` is SUCCESSFUL or FAILED.

        Raises OwnershipLostError where the job is no longer this worker's: nothing is committed.
        """
        self._move_owned(owned, self.done_path, done)

    def fail(self, owned: OwnedJob, error: str) -> Job:
        """Record a failed attempt: the job waits again in its place, or is done as FAILED.

        Returns what it became. Raises OwnershipLostError where it is no longer this worker's.
        """
        after = owned.job.failed(error, _now_ms())
        self._move_owned(owned, self.done_path if after.is_done else self.unowned_path, after)
        return after

    def give_back(self, owned: OwnedJob) -> None:
        """Let an owned job wait again in its place, as if it had not been taken.

        Raises OwnershipLostError where it is no longer this worker's.
        """
        self._move_owned(owned, self.unowned_path, owned.job.given_back())

    def return_jobs_of_lost_workers(self) -> list[Job]:
        """Take the jobs of workers that are gone from them; return what those jobs became."""
        returned = []
        there = set(self.workers())
        for owned in self._jobs_in(self.owned_path):
            if owned.job.worker in there:
                continue
            # It may have come after the list was read; once it is gone, it is gone for good.
            worker = f"{self.workers_path}/{owned.job.worker}"
            if self._client.retry(self._client.exists, worker) is not None:
                continue
            after = owned.job.failed(
                f"the worker {owned.job.worker} was lost: its session ended while it had the job",
                _now_ms(),
            )
            if self._take_from_lost(owned, after):
                returned.append(after)
        return returned

    # ----------------------------------------------------------------------------------------------

    def _take_from_lost(self, owned: OwnedJob, after: Job) -> bool:
        """Move a lost worker's job; False where another did."""
        name = owned.job.name
        target = self.done_path if after.is_done else self.unowned_path

        def move(multi: Any) -> None:
            multi.delete(f"{self.owned_path}/{name}", version=owned.version)
            multi.create(f"{target}/{name}", after.to_bytes())

        # Whether it was this process or another that moved it makes no difference to the job.
        try:
            self._commit(move, lambda: self._get(self.owned_path, name) != owned)
        except RefusedError:
            return False
        return True

    def _move_owned(self, owned: OwnedJob, target: str, after: Job) -> None:
        name, worker = owned.job.name, owned.job.worker

        def move(multi: Any) -> None:
            multi.check(f"{self.workers_path}/{worker}", -1)
            multi.delete(f"{self.owned_path}/{name}", version=owned.version)
            multi.create(f"{target}/{name}", after.to_bytes())

        def has_happened() -> bool:
            if target == self.done_path:
                now = self._get(self.done_path, name)
                return now is not None and now.job == after
            # A job that went back may have been taken again already.
            return self._get(self.owned_path, name) != owned

        self._commit_owned(owned, move, has_happened)

    def _commit_owned(
        self, owned: OwnedJob, move: Callable[[Any], None], has_happened: Callable[[], bool]
    ) -> None:
        try:
            self._commit(move, has_happened)
        except RefusedError as refused:
            raise _lost(owned.job.name, owned.job.worker) from refused

    def _submit_some(self, jobs: list[Job]) -> dict[str, Submitted]:
        """Submit jobs of different keys in one multi; those whose key is there already singly."""
        remaining = list(jobs)
        submitted = {}
        while remaining:
            try:
                names = self._create_jobs(remaining)
            except RefusedError as refused:
                self._check_exists(refused)
                # One key that is there must not keep the others back.
                known = remaining.pop(refused.position // 2)
                submitted[known.key] = self._submit_one(known, reuse=True)
            else:
                for job, name in zip(remaining, names, strict=True):
                    submitted[job.key] = Submitted(name, is_new=True)
                break
        return submitted

    def _create_jobs(self, jobs: list[Job]) -> list[str]:
        """Create jobs whose keys are new; returns their names. Raises RefusedError."""

        def move(multi: Any) -> None:
            for job in jobs:
                multi.create(f"{self.keys_path}/{job.key}", _key_value(job.submission, None))
                self._add_create(multi, job)

        results = self._commit(move, lambda: self._was_submitted(jobs[0]))
        return self._named(jobs, results)

    def _submit_one(self, job: Job, *, reuse: bool) -> Submitted:
        """Submit a job whose key may be there: joined, answered by it, or in its place."""
        key_path = f"{self.keys_path}/{job.key}"
        while True:
            try:
                value, stat = self._client.retry(self._client.get, key_path)
            except NoNodeError:
                try:
                    return Submitted(self._create_jobs([job])[0], is_new=True)
                except RefusedError as refused:
                    self._check_exists(refused)
                    continue
            entry = json.loads(value)
            if reuse:
                submission = entry["submission"]
                name = entry["job"] or self._search([submission]).get(submission)
                known = self.find(name) if name else None
                if known is not None and known.state is not JobState.FAILED:
                    return Submitted(known.name, is_new=False)
            try:
                return Submitted(self._replace(job, stat.version), is_new=True)
            except RefusedError as refused:
                # At position 0 it is the key that is gone; at 1 the job has no place to go.
                if refused.position:
                    self._check_exists(refused)
                continue

    def _check_exists(self, refused: RefusedError) -> None:
        """Raise JobError where a create was refused because the queue is missing."""
        if isinstance(refused.cause, NoNodeError):
            raise JobError(
                f"there is no queue at {self.unowned_path}: JobQueue.create, a Dispatcher or a"
                " worker makes it"
            ) from refused

    def _replace(self, job: Job, key_version: int) -> str:
        """Create a job in place of the one that its key names; raises RefusedError."""
        key_path = f"{self.keys_path}/{job.key}"

        def move(multi: Any) -> None:
            value = _key_value(job.submission, None)
            multi.set_data(key_path, value, version=key_version)
            self._add_create(multi, job)

        results = self._commit(move, lambda: self._was_submitted(job))
        return self._named([job], results)[0]

    def _add_create(self, multi: Any, job: Job) -> None:
        prefix = naming.prefix(job.priority, job.group)
        multi.create(f"{self.unowned_path}/{prefix}", job.to_bytes(), sequence=True)

    def _was_submitted(self, job: Job) -> bool:
        """Say whether the multi with which ``job`` was to be submitted has happened."""
        try:
            value, _ = self._client.retry(self._client.get, f"{self.keys_path}/{job.key}")
        except NoNodeError:
            return False
        return bool(json.loads(value)["submission"] == job.submission)

    def _named(self, jobs: list[Job], results: list[Any] | None) -> list[str]:
        """Return the names that the server gave to jobs, and let their keys tell them.

        ``results`` are those of the multi, two for each job; None where its reply was lost. Should
        the keys not come to tell them, whoever asks for a key searches.
        """
        if results is None:
            found = self._search([job.submission for job in jobs])
            names = [found[job.submission] for job in jobs]
        else:
            names = [_last(path) for path in results[1::2]]

        def tell(multi: Any) -> None:
            for job, name in zip(jobs, names, strict=True):
                multi.set_data(f"{self.keys_path}/{job.key}", _key_value(job.submission, name))

        with contextlib.suppress(RefusedError):
            self._commit(tell, lambda: False)
        return names

    def _search(self, submissions: Collection[str]) -> dict[str, str]:
        """Look through all jobs; returns the names of those of ``submissions``."""
        found = {}
        for directory in (self.unowned_path, self.owned_path, self.done_path):
            for job, _ in self._jobs_in(directory):
                if job.submission in submissions:
                    found[job.submission] = job.name
        return found

    def _commit(
        self, move: Callable[[Any], None], has_happened: Callable[[], bool]
    ) -> list[Any] | None:
        """Do a multi, and again until its outcome is known.

        Returns its results; None where ``has_happened`` said, after a lost reply, that it happened.
        Raises RefusedError where it did nothing.
        """
        reply_was_lost = False

        def attempt() -> list[Any] | None:
            nonlocal reply_was_lost
            if reply_was_lost and has_happened():
                return None
            multi = self._client.transaction()
            move(multi)
            try:
                results: list[Any] = multi.commit()
            except _OUTCOME_UNKNOWN:
                reply_was_lost = True
                raise
            return results

        results: list[Any] | None = self._client.retry(attempt)
        for position, result in enumerate(results or ()):
            if isinstance(result, KazooException) and not isinstance(result, _NOT_THE_CAUSE):
                if isinstance(result, NoNodeError | NodeExistsError | BadVersionError):
                    raise RefusedError(position, result)
                raise result
        return results

    def _children(self, path: str, watch: Watch | None = None) -> list[str]:
        names: list[str] = self._client.retry(self._client.get_children, path, watch=watch)
        return names

    def _jobs_in(self, directory: str) -> Iterator[OwnedJob]:
        """Yield the jobs in a directory; what is none is passed over."""
        for name in self._children(directory):
            try:
                found = self._get(directory, name)
            except UnreadableJobError as error:
                log.warning("%s", error)
                continue
            if found is not None:
                yield found

    def _get(self, directory: str, name: str) -> OwnedJob | None:
        """Return a job and its znode's version; None where it is not in ``directory``.

        Raises UnreadableJobError where the znode holds no job.
        """
        try:
            value, stat = self._client.retry(self._client.get, f"{directory}/{name}")
        except NoNodeError:
            return None
        return OwnedJob(Job.from_bytes(name, value), stat.version)


def _key_value(submission: str, name: str | None) -> bytes:
    return json.dumps({"submission": submission, "job": name}).encode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _last(path: str) -> str:
    return path[path.rfind("/") + 1 :]


def _lost(name: str, worker: str | None) -> OwnershipLostError:
    return OwnershipLostError(
        f"the job {name} is no longer with the worker {worker}: its session ended, or the job was"
        " given to another"
    )
