"""A queue of jobs: the operations of users and workers on it.

`zoolet.jobs.queue.moves` moves jobs and documents the invariants of moves.
`zoolet.jobs.submit.submission` submits jobs, and `zoolet.jobs.housekeeping.removal` removes jobs.
This module changes only znodes of its own queue.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zoolet.jobs.errors import (
    InvalidJobError,
    JobError,
    JobNotFoundError,
    JobTakenError,
    OwnershipLostError,
    UnreadableJobError,
)
from zoolet.jobs.limits.definitions import QueueLimits
from zoolet.jobs.queue.moves import Move, Mover
from zoolet.jobs.queue.pausing import Pauses, note_cancellation, read_control, set_pause
from zoolet.jobs.queue.taking import Taker, TakeResult
from zoolet.jobs.records.control import Control
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_outcomes import failed, lost
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.json_values import plain_json
from zoolet.jobs.records.settings import QueueSettings
from zoolet.jobs.records.transitions import Event, JobState, Place
from zoolet.jobs.records.worker_reports import decode_report
from zoolet.jobs.signing.keys import KeysPath
from zoolet.jobs.signing.signer import renewed, signer_of
from zoolet.jobs.submit.keys import KeyNamer
from zoolet.jobs.submit.submission import Submission, Submitter
from zoolet.jobs.znodes.deadlines import TIMEOUT_S
from zoolet.jobs.znodes.job_znodes import read_job
from zoolet.jobs.znodes.layout import DUE, Layout
from zoolet.jobs.znodes.link import Watch
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE
from zoolet.jobs.znodes.server_clock import ServerClock, wall_clock_ms

if TYPE_CHECKING:
    from zoolet.jobs.znodes.connection import AnyClient

log = logging.getLogger(__name__)

CANCEL_TRIES = 5
"""The number of tries of `JobQueue.cancel` that cancel no job; after them it stops."""


class JobQueue:
    """The queue at ``root``; if the client has a chroot, ``root`` is relative to the chroot.

    The client is a started `zoolet.client.Client` or a started KazooClient. If it has a chroot, the
    znode of the chroot must exist.

    Every method has ``timeout_s``: how long the method waits, in seconds, if the connection is lost
    or the server does not reply; None: no limit. Methods about many jobs wait this long for each
    request. After that, the method raises JobTimeoutError, which says whether something may have
    been changed. ``limits`` are the limits for the jobs of the queue (`QueueLimits`), and
    ``pauses`` are its pauses (`Pauses`).
    ``signing_keys`` is a file of keys, by which the queue signs the jobs that it submits.
    """

    def __init__(
        self,
        client: "AnyClient",
        root: str = "/",
        *,
        clock_ms: Callable[[], int] = wall_clock_ms,
        signing_keys: KeysPath | None = None,
    ) -> None:
        self.layout = Layout(client, root)
        self._znodes = self.layout.znodes
        self.clock_ms = clock_ms
        self.signer = signer_of(signing_keys, self._znodes.whole_root)
        self.mover = Mover(self.layout)
        self.taker = Taker(self.layout, self.mover, clock_ms)
        self.limits = QueueLimits(self.layout)
        self.pauses = Pauses(self.layout, self.limits)
        self.gate = self.taker.gate

    # --- The queue as a whole

    def ensure_layout(
        self, settings: QueueSettings | None = None, *, timeout_s: float | None = TIMEOUT_S
    ) -> None:
        """Create the queue if it does not exist; an existing queue keeps its settings."""
        unknown = "parts of the queue may exist: create the queue again"
        with self._znodes.within(timeout_s, "create the queue", unknown=unknown):
            self.layout.ensure(settings or QueueSettings())

    def check(self, *, timeout_s: float | None = TIMEOUT_S) -> None:
        """Raise UnknownQueueError if the queue does not exist."""
        with self._znodes.within(timeout_s, "look for the queue"):
            self.layout.check()

    @property
    def whole_path(self) -> str:
        """The path of the queue's root, also the part that a chroot of the client hides."""
        return self._znodes.whole_root

    @property
    def settings(self) -> QueueSettings:
        """The settings of the queue, as this object first read or last wrote them."""
        return self.layout.settings

    def configure(self, *, timeout_s: float | None = TIMEOUT_S, **changes: Any) -> QueueSettings:
        """Change settings of the queue, named as in `QueueSettings`, and return all settings.

        Raises:
            InvalidJobError: a value is out of range, or the shards or the ACL would change.
        """
        with self._znodes.within(
            timeout_s, "configure the queue", unknown="the settings may have been changed"
        ):
            settings = self.layout.read_settings()
            if changes.get("shards", settings.shards) != settings.shards:
                raise InvalidJobError(
                    f"the queue has {settings.shards} shards, and this number cannot change,"
                    " because the paths of its jobs depend on it: create another queue, and let the"
                    " workers finish the jobs of this queue"
                )
            if changes.get("acl", settings.acl) != settings.acl:
                raise InvalidJobError(
                    "the ACL of a queue is fixed when the queue is created: create another queue,"
                    " or change the znodes with zkCli.sh setAcl -R"
                )
            settings = replace(settings, **changes)
            self.layout.write_settings(settings)
            return settings

    def control(
        self, watch: Watch | None = None, *, timeout_s: float | None = TIMEOUT_S
    ) -> Control:
        """Return the value of the znode ``control`` and set a watch on the znode.

        If the value is invalid, log a warning and return that nothing is paused.
        """
        with self._znodes.within(timeout_s, "read whether the queue is paused"):
            return read_control(self._znodes, watch)

    def pause(
        self,
        dataset: str | None = None,
        *,
        paused: bool = True,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Control:
        """Stop all workers from taking jobs, of one dataset or of the queue; running jobs continue.

        ``paused=False`` ends the pause. Workers have a watch on the znode that this method changes.
        """
        with self._znodes.within(
            timeout_s, "pause or resume", unknown="the queue may have been paused or resumed"
        ):
            return set_pause(self._znodes, dataset, paused=paused)

    # --- Reading

    def find(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Return a job from any place.

        Raises:
            JobNotFoundError: the job is in no place.
        """
        with self._znodes.within(timeout_s, "find a job"):
            return self.layout.find(name)

    def waiting(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Job]:
        """Return the jobs in unowned, in the order in which workers take jobs."""
        with self._znodes.within(timeout_s, "list the jobs that wait", each_request=True):
            return self._read_place(Place.UNOWNED)

    def workers(
        self, watch: Watch | None = None, *, timeout_s: float | None = TIMEOUT_S
    ) -> list[str]:
        """Return the ids of the live workers, and set a watch on the list of workers."""
        with self._znodes.within(timeout_s, "list the workers"):
            return self.layout.workers(watch)

    def worker_reports(self, *, timeout_s: float | None = TIMEOUT_S) -> dict[str, dict[str, Any]]:
        """Return the report of each live worker by the worker's id."""
        with self._znodes.within(timeout_s, "read the reports of the workers", each_request=True):
            ids = self.workers()
            found = self._znodes.get_all([self.layout.worker(worker) for worker in ids])
            return {
                worker: decode_report(znode.data)
                for worker, znode in zip(ids, found, strict=True)
                if znode is not None
            }

    def owned(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Job]:
        """Return the jobs in owned; the worker that owns a job may have died."""
        with self._znodes.within(timeout_s, "list the owned jobs", each_request=True):
            return self._read_place(Place.OWNED)

    def done(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Job]:
        """Return the jobs in done."""
        with self._znodes.within(timeout_s, "list the finished jobs", each_request=True):
            return self._read_place(Place.DONE)

    def _read_place(self, place: Place) -> list[Job]:
        return self.layout.read(place, [name.name for name in self.layout.names(place)])

    def jobs(self, *, timeout_s: float | None = TIMEOUT_S) -> Iterator[Job]:
        """Yield all jobs: first the owned jobs, then the waiting jobs, then the ended jobs."""
        jobs = self._read_all()
        while True:
            with self._znodes.within(timeout_s, "read the jobs", each_request=True):
                job = next(jobs, None)
            if job is None:
                return
            yield job

    def _read_all(self) -> Iterator[Job]:
        for place in (Place.OWNED, Place.UNOWNED, Place.DEFERRED, Place.DONE):
            for page in self.layout.iterate_names(place):
                for start in range(0, len(page), JOBS_AT_ONCE):
                    some = page[start : start + JOBS_AT_ONCE]
                    yield from self.layout.read(place, [name.name for name in some])

    def counts(self, *, timeout_s: float | None = TIMEOUT_S) -> dict[str, int]:
        """Return the number of znodes in each place; znodes that are not jobs are counted too."""
        with self._znodes.within(timeout_s, "count the jobs", each_request=True):
            return {place: self.layout.count(place) for place in Place}

    def states(self, *, timeout_s: float | None = TIMEOUT_S) -> dict[JobState, int]:
        """Return the number of jobs in each state; this reads all jobs in owned and done."""
        with self._znodes.within(timeout_s, "count the jobs", each_request=True):
            states = Counter(job.state for job in (*self.owned(), *self.done()))
            waiting = self.layout.names(Place.UNOWNED), self.layout.names(Place.DEFERRED)
            states[JobState.PENDING] = sum(map(len, waiting))
            return {state: states[state] for state in JobState}

    # --- Submitting

    def submit(
        self,
        requests: Sequence[JobRequest],
        *,
        reuse: bool | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> list[Submission]:
        """Submit jobs, up to fifty in a multi, and return for each request its job and origin.

        ``reuse`` has the meaning that `Dispatcher.submit_batch` documents.

        Raises:
            InvalidJobError: one of the requests is invalid; nothing was submitted.
        """
        unknown = "jobs may have been submitted"
        with self._znodes.within(timeout_s, "submit", unknown=unknown, each_request=True):
            namer = KeyNamer(self.layout)
            submitter = Submitter(self.layout, self.clock_ms, namer.name_now, self.signer)
            return submitter.submit(requests, reuse=reuse)

    # --- A worker's moves

    def register(
        self, worker: str, about: bytes = b"", *, timeout_s: float | None = TIMEOUT_S
    ) -> bool:
        """Create a worker's ephemeral; return False if another session has a worker of this id."""
        unknown = "the worker may be registered"
        with self._znodes.within(timeout_s, "register a worker", unknown=unknown):
            return self._znodes.create_ephemeral(self.layout.worker(worker), about)

    def server_time_ms(self, *, timeout_s: float | None = TIMEOUT_S) -> int:
        """Return the server's time, in ms since the epoch, from the reply to a write."""
        clock = ServerClock()
        path = self._znodes.path(DUE, f"clock-{uuid.uuid4().hex}")
        with self._znodes.within(timeout_s, "read the server's time"):
            self._znodes.ensure(self._znodes.path(DUE))
            self._znodes.create_ephemeral(path, b"")
            self._znodes.set_with_time(path, b"", clock)
            self._znodes.delete(path)
        return clock.now_ms()

    def report(
        self,
        worker: str,
        about: bytes,
        clock: ServerClock | None = None,
        *,
        timeout_s: float | None = TIMEOUT_S,
    ) -> None:
        """Replace the report of a worker; ``clock`` gets the server's time of the write."""
        with self._znodes.within(
            timeout_s, "write the report of a worker", unknown="the report may have been written"
        ):
            self._znodes.set_with_time(self.layout.worker(worker), about, clock or ServerClock())

    def own_job(self, name: str, worker: str, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Take a job: move it from unowned to owned, in state STAGING.

        Raises:
            JobTakenError: another worker took the job first.
            LimitReachedError: a limit of the queue has no room for the job.
            WorkerGoneError: the worker is not registered, or not any more.
            UnreadableJobError: the znode's value is not a valid job.
        """
        with self._znodes.within(timeout_s, "take a job", unknown="the worker may own it"):
            znode = self._znodes.get(self.layout.unowned(name))
            if znode is None:
                raise JobTakenError(f"{name} is not in unowned: another program moved or took it")
            waiting = read_job(Place.UNOWNED, name, znode)
            if waiting.is_stand_in:
                raise UnreadableJobError(waiting.errors[-1].message)
            return self.taker.take_one(waiting, worker)

    def own_jobs(
        self,
        names: Sequence[str],
        worker: str,
        most: int | None = None,
        *,
        tags: Collection[str] | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> TakeResult:
        """Take up to ``most`` of the named jobs, if they can start; see `Taker.take`."""
        unknown = "the worker may own them"
        with self._znodes.within(timeout_s, "take jobs", unknown=unknown, each_request=True):
            return self.taker.take(names, worker, most, tags)

    def update_state(
        self,
        job: Job,
        state: JobState,
        *,
        cache_hit: bool | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Job:
        """Record the state, STAGING or RUNNING, of a job that this worker owns.

        ``cache_hit`` is whether the job's data was in the worker's cache; None: not known.

        Raises:
            OwnershipLostError: the worker no longer owns the job.
            ValueError: the state is neither STAGING nor RUNNING.
        """
        with self._znodes.within(
            timeout_s, "update the state of a job", unknown="the state may have been updated"
        ):
            if state not in {JobState.STAGING, JobState.RUNNING}:
                raise ValueError(
                    f"update_state cannot set the state {state}: call finish to record a result,"
                    " fail to record an error, or release to give the job back"
                )
            after = job.running(self.clock_ms(), cache_hit=cache_hit)
            if state is JobState.STAGING:
                after = after._replace(state=state, started_ms=None)
                return self._move_owned(Event.LOAD, job, after)
            return self._move_owned(Event.START, job, after)

    def finish(self, job: Job, result: Any, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Record a result: move the job to done as SUCCESSFUL.

        If the result is not JSON or is too large for a znode, record a failed attempt instead.

        Raises:
            OwnershipLostError: the worker no longer owns the job; the result is not recorded.
        """
        with self._znodes.within(
            timeout_s, "finish a job", unknown="the result may have been recorded"
        ):
            try:
                after = job.succeeded(self.clock_ms(), plain_json("the result", result))
            except InvalidJobError as error:
                return self.fail(job, f"the task's result cannot be kept: {error}")
            return self._move_owned(Event.SUCCEED, job, after)

    def fail(self, job: Job, error: str, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Record a failed attempt: the job waits again, at its old position, or is FAILED.

        Raises:
            OwnershipLostError: the worker no longer owns the job; the error is not recorded.
        """
        with self._znodes.within(
            timeout_s, "record a failed attempt", unknown="the attempt may have been recorded"
        ):
            return self._move_owned(Event.FAIL, job, failed(job, self.clock_ms(), error))

    def release(self, job: Job, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Give an unfinished job back: it waits again, at its old position, with its old attempts.

        Raises:
            OwnershipLostError: the worker no longer owns the job.
        """
        with self._znodes.within(
            timeout_s, "give a job back", unknown="the job may have been given back"
        ):
            return self._move_owned(Event.GIVE_BACK, job, job.waiting())

    def _move_owned(self, event: Event, job: Job, after: Job) -> Job:
        """Make a move that only the worker that owns the job can make."""
        move = Move(event, Place.OWNED, job, after)
        if not self.mover.move([move], job.worker or "nobody"):
            raise OwnershipLostError(
                f"worker {job.worker} no longer owns {job.name}, or another program changed the job"
            )
        return after

    # --- Moves that need no worker

    def return_jobs_of_dead_workers(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Job]:
        """Put the jobs of dead workers back into the queue, and return these jobs.

        A worker is dead if its session has ended. A running attempt counts as failed. Several
        workers can do this at the same time: only one of them moves each job.
        """
        with self._znodes.within(
            timeout_s,
            "return the jobs of dead workers",
            unknown="some jobs may have been returned",
            each_request=True,
        ):
            # The jobs are read before the workers. The owner of a job had registered before it took
            # the job, so a worker that is not in the later list has ended.
            owned = self.owned()
            if not owned:
                return []
            alive = set(self.workers())
            now_ms = self.clock_ms()
            moves = [
                Move(Event.UNREADABLE, Place.OWNED, job, job.gave_up(now_ms))
                if job.is_stand_in
                else Move(Event.LOSE_WORKER, Place.OWNED, job, lost(job, now_ms))
                for job in owned
                if job.worker not in alive
            ]
            return [move.after for move in self.mover.move(moves)]

    def retry(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Let a FAILED job wait again, at its old position; its attempts are reset to 0.

        Raises:
            JobNotFoundError: the queue does not have this job.
            JobError: the job is not FAILED, or is a stand-in for an unreadable value.
            SignatureError: this program has keys, and the job's signature is not valid.
        """
        with self._znodes.within(timeout_s, "retry a job", unknown="the job may wait again"):
            job = self.find(name)
            if job.state is not JobState.FAILED:
                raise JobError(f"{name} is {job.state}; only a FAILED job can be retried")
            if job.is_stand_in:
                raise JobError(f"the value of {name} could not be read: submit the work again")
            fresh = renewed(job, self.signer, self.clock_ms())
            if not self.mover.move([Move(Event.RETRY, Place.DONE, job, fresh)]):
                raise JobNotFoundError(f"another program has just retried or deleted {name}")
            return fresh

    def cancel(
        self,
        names: Sequence[str],
        reason: str = "it was cancelled",
        *,
        timeout_s: float | None = TIMEOUT_S,
    ) -> list[Job]:
        """Move unfinished jobs to done as FAILED, and return these jobs; running tasks are ended.

        If another program moves a job at the same time, the job is read again and cancelled, unless
        it has ended.
        """
        with self._znodes.within(
            timeout_s, "cancel jobs", unknown="jobs may have been cancelled", each_request=True
        ):
            cancelled: list[Job] = []
            left = list(names)
            tries_left = CANCEL_TRIES
            while left and tries_left:
                moves = [
                    Move(Event.CANCEL, place, job, job.ended_by(self.clock_ms(), reason))
                    for place in (Place.DEFERRED, Place.UNOWNED, Place.OWNED)
                    for job in self.layout.read(place, left)
                ]
                made = self.mover.move(moves)
                cancelled += [move.after for move in made]
                if any(move.place == Place.OWNED for move in made):
                    note_cancellation(self._znodes)
                # Jobs that another program moved at the same time are looked for again.
                ended = {move.before.name for move in made}
                ended |= {job.name for job in self.layout.read(Place.DONE, left)}
                left = [name for name in left if name not in ended]
                tries_left -= not made
            return cancelled
