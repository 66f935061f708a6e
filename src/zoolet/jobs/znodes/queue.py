"""A queue of jobs: everything that can be done to it, by users and by workers.

`zoolet.jobs.znodes.moves` makes the moves of jobs, and says what holds for them.
`zoolet.jobs.znodes.submission` says how jobs enter, `zoolet.jobs.housekeeping.removal` how they are
removed. Imports the job system's records; changes no znode of another queue.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from kazoo.client import KazooClient

from zoolet.jobs.errors import (
    InvalidJobError,
    JobError,
    JobNotFoundError,
    JobTakenError,
    OwnershipLostError,
    UnreadableJobError,
)
from zoolet.jobs.records.control import Control
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.json_values import plain_json
from zoolet.jobs.records.settings import QueueSettings
from zoolet.jobs.records.transitions import Event, JobState, Place
from zoolet.jobs.records.worker_reports import decode_report
from zoolet.jobs.znodes.deadlines import TIMEOUT_S
from zoolet.jobs.znodes.edge import Watch
from zoolet.jobs.znodes.keys import KeyNamer
from zoolet.jobs.znodes.layout import CONTROL, DUE, Layout, read_job
from zoolet.jobs.znodes.moves import Move, Mover, Taker, TakeResult
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE
from zoolet.jobs.znodes.server_clock import ServerClock, wall_clock_ms
from zoolet.jobs.znodes.submission import Submission, Submitter

log = logging.getLogger(__name__)

CANCEL_TRIES = 5
"""How often jobs that are to be cancelled are looked for where none of them is found."""


class JobQueue:
    """The queue whose root is ``root``; with a client that has a chroot, "/" is that chroot.

    The client is a started KazooClient; a chroot that it has must exist, as kazoo says.

    Every method has ``timeout_s``: how long it waits for the server if the connection is lost or no
    answer comes; None: no limit. Methods about many jobs wait this long for each request. After it
    they raise JobTimeoutError, which says whether something may have been changed.
    """

    def __init__(
        self,
        client: KazooClient,
        root: str = "/",
        *,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.layout = Layout(client, root)
        self._znodes = self.layout.znodes
        self.clock_ms = clock_ms
        self.mover = Mover(self.layout)
        self._taker = Taker(self.layout, self.mover, clock_ms)

    # --- The queue as a whole

    def ensure_layout(
        self, settings: QueueSettings | None = None, *, timeout_s: float | None = TIMEOUT_S
    ) -> None:
        """Create the queue where it does not exist; one that exists keeps its settings."""
        with self._znodes.within(
            timeout_s, "create the queue", unknown="a part of it may exist: create it again"
        ):
            self.layout.ensure(settings or QueueSettings())

    def check(self, *, timeout_s: float | None = TIMEOUT_S) -> None:
        """Raise UnknownQueueError where there is no such queue."""
        with self._znodes.within(timeout_s, "look for the queue"):
            self.layout.check()

    @property
    def settings(self) -> QueueSettings:
        """What holds for the queue."""
        return self.layout.settings

    def configure(self, *, timeout_s: float | None = TIMEOUT_S, **changes: Any) -> QueueSettings:
        """Change what holds for the queue, and return all of it; `QueueSettings` has the names.

        Raises:
            InvalidJobError: a value is out of range, or the shards would change.
        """
        with self._znodes.within(
            timeout_s, "configure the queue", unknown="the settings may have been changed"
        ):
            settings = self.layout.read_settings()
            if changes.get("shards", settings.shards) != settings.shards:
                raise InvalidJobError(
                    f"the queue has {settings.shards} shards, which say where its jobs stand: make"
                    " another queue, and let this one run empty"
                )
            if changes.get("acl", settings.acl) != settings.acl:
                raise InvalidJobError(
                    "the ACL of a queue is fixed when the queue is created: make another queue, or"
                    " change the znodes with zkCli.sh setAcl -R"
                )
            settings = replace(settings, **changes)
            self.layout.write_settings(settings)
            return settings

    def control(
        self, watch: Watch | None = None, *, timeout_s: float | None = TIMEOUT_S
    ) -> Control:
        """Return what is paused, and set a watch on it; nothing is, where that cannot be read."""
        with self._znodes.within(timeout_s, "read what is paused"):
            found = self._znodes.get(self._znodes.path(CONTROL), watch)
            try:
                return Control.decode(found.data if found else b"")
            except UnreadableJobError as error:
                log.warning("%s", error)
                return Control()

    def pause(
        self,
        dataset: str | None = None,
        *,
        paused: bool = True,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Control:
        """Let no worker take jobs, of one dataset or at all; what runs goes on.

        ``paused=False`` ends it. Both are made known to all workers by a watch.
        """
        with self._znodes.within(timeout_s, "pause or resume", unknown="it may have been done"):
            control = self.control()
            if dataset is None:
                control = replace(control, paused=paused)
            else:
                change = {dataset}
                datasets = control.paused_datasets
                datasets = datasets | change if paused else datasets - change
                control = replace(control, paused_datasets=datasets)
            self._write_control(control)
            return control

    def _write_control(self, control: Control) -> None:
        self._znodes.set(self._znodes.path(CONTROL), control.encode())

    # --- Reading

    def find(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Return a job, wherever it is.

        Raises:
            JobNotFoundError: it is nowhere.
        """
        with self._znodes.within(timeout_s, "find a job"):
            return self.layout.find(name)

    def waiting(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Job]:
        """Return the jobs that may be taken, in the order of taking."""
        with self._znodes.within(timeout_s, "list the jobs that wait", each_request=True):
            return self._read_place(Place.UNOWNED)

    def workers(
        self, watch: Watch | None = None, *, timeout_s: float | None = TIMEOUT_S
    ) -> list[str]:
        """Return the ids of the live workers, and set a watch on them."""
        with self._znodes.within(timeout_s, "list the workers"):
            return self.layout.workers(watch)

    def worker_reports(self, *, timeout_s: float | None = TIMEOUT_S) -> dict[str, dict[str, Any]]:
        """Return what each live worker says of itself."""
        with self._znodes.within(timeout_s, "read what the workers report", each_request=True):
            ids = self.workers()
            found = self._znodes.get_all([self.layout.worker(worker) for worker in ids])
            return {
                worker: decode_report(znode.data)
                for worker, znode in zip(ids, found, strict=True)
                if znode is not None
            }

    def owned(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Job]:
        """Return the jobs that a worker has, or had when it died."""
        with self._znodes.within(timeout_s, "list the owned jobs", each_request=True):
            return self._read_place(Place.OWNED)

    def done(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Job]:
        """Return the jobs that have ended."""
        with self._znodes.within(timeout_s, "list the finished jobs", each_request=True):
            return self._read_place(Place.DONE)

    def _read_place(self, place: Place) -> list[Job]:
        return self.layout.read(place, [name.name for name in self.layout.names(place)])

    def jobs(self, *, timeout_s: float | None = TIMEOUT_S) -> Iterator[Job]:
        """Yield all jobs: those that workers have, those that wait, and those that have ended."""
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
        """Return how many jobs are in each place; what is no job counts too."""
        with self._znodes.within(timeout_s, "count the jobs", each_request=True):
            return {place: self.layout.count(place) for place in Place}

    def states(self, *, timeout_s: float | None = TIMEOUT_S) -> dict[JobState, int]:
        """Return how many jobs are in each state; reads all that have been taken."""
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
        """Submit jobs, fifty in a multi, and return what stands for each request.

        ``reuse`` is that of `Dispatcher.submit_batch`.

        Raises:
            InvalidJobError: one of the requests cannot be a job; nothing was submitted.
        """
        with self._znodes.within(
            timeout_s, "submit", unknown="jobs may have been submitted", each_request=True
        ):
            name_now = KeyNamer(self.layout).name_now
            return Submitter(self.layout, self.clock_ms, name_now).submit(requests, reuse=reuse)

    # --- A worker's moves

    def register(
        self, worker: str, about: bytes = b"", *, timeout_s: float | None = TIMEOUT_S
    ) -> bool:
        """Make a worker known for as long as this session lives; False where its id is taken."""
        with self._znodes.within(timeout_s, "register a worker", unknown="it may be registered"):
            return self._znodes.create_ephemeral(self.layout.worker(worker), about)

    def server_time_ms(self, *, timeout_s: float | None = TIMEOUT_S) -> int:
        """Return the server's time, in ms since the epoch, as the answer to a write tells it."""
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
        """Replace what a worker says of itself; ``clock`` gets the server's time of that."""
        with self._znodes.within(
            timeout_s, "report of a worker", unknown="it may have been written"
        ):
            self._znodes.set_with_time(self.layout.worker(worker), about, clock or ServerClock())

    def own_job(self, name: str, worker: str, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Take a job from unowned to owned, as STAGING.

        Raises:
            JobTakenError: someone else took it first.
            WorkerGoneError: the worker is not, or no longer, registered.
            UnreadableJobError: what stands there is not a job.
        """
        with self._znodes.within(timeout_s, "take a job", unknown="the worker may own it"):
            znode = self._znodes.get(self.layout.unowned(name))
            if znode is None:
                raise JobTakenError(f"{name} does not wait any more: someone else took it")
            waiting = read_job(Place.UNOWNED, name, znode)
            if waiting.is_stand_in:
                raise UnreadableJobError(waiting.errors[-1].message)
            after = waiting.taken(worker, self.clock_ms())
            if not self.mover.move([Move(Event.TAKE, Place.UNOWNED, waiting, after)], worker):
                raise JobTakenError(f"{name}: someone else took it first")
            return after

    def own_jobs(
        self,
        names: Sequence[str],
        worker: str,
        most: int | None = None,
        *,
        timeout_s: float | None = TIMEOUT_S,
    ) -> TakeResult:
        """Take those of these jobs that wait and may be started (`zoolet.jobs.znodes.moves`)."""
        with self._znodes.within(
            timeout_s, "take jobs", unknown="the worker may own them", each_request=True
        ):
            return self._taker.take(names, worker, most)

    def update_state(
        self,
        job: Job,
        state: JobState,
        *,
        cache_hit: bool | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Job:
        """Record what a job that this worker owns is at: STAGING or RUNNING.

        ``cache_hit`` says whether its data was in the worker's cache, where that is known.

        Raises:
            OwnershipLostError: it is no longer this worker's.
            ValueError: the state is one that a move of its own leads to.
        """
        with self._znodes.within(
            timeout_s, "update the state of a job", unknown="it may have been updated"
        ):
            if state not in {JobState.STAGING, JobState.RUNNING}:
                raise ValueError(
                    f"a job does not become {state} by update_state: a result is recorded by"
                    " finish, an error by fail, and release gives the job back"
                )
            after = job.running(self.clock_ms(), cache_hit=cache_hit)
            if state is JobState.STAGING:
                after = after._replace(state=state, started_ms=None)
                return self._move_owned(Event.LOAD, job, after)
            return self._move_owned(Event.START, job, after)

    def finish(self, job: Job, result: Any, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Record a result: the job stands under done as SUCCESSFUL.

        A result that is not JSON, or is too large for a znode, fails the attempt instead.

        Raises:
            OwnershipLostError: the job is no longer this worker's; the result is not recorded.
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
        """Record a failed attempt: the job waits again in its old place, or it is FAILED.

        Raises:
            OwnershipLostError: the job is no longer this worker's; the error is not recorded.
        """
        with self._znodes.within(
            timeout_s, "record a failed attempt", unknown="it may have been recorded"
        ):
            return self._move_owned(Event.FAIL, job, job.failed(self.clock_ms(), error))

    def release(self, job: Job, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Give a job back unfinished: it waits again in its old place, its attempts as before.

        Raises:
            OwnershipLostError: the job is no longer this worker's.
        """
        with self._znodes.within(
            timeout_s, "give a job back", unknown="it may have been given back"
        ):
            return self._move_owned(Event.GIVE_BACK, job, job.waiting())

    def _move_owned(self, event: Event, job: Job, after: Job) -> Job:
        """Do what only the worker that owns the job may do."""
        move = Move(event, Place.OWNED, job, after)
        if not self.mover.move([move], job.worker or "nobody"):
            raise OwnershipLostError(f"{job.name} is no longer owned by {job.worker} as it was")
        return after

    # --- Moves that need no worker

    def return_jobs_of_dead_workers(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Job]:
        """Return the jobs of workers whose session is gone, and end the attempts that had begun.

        Any number of workers may do this at once: each job is moved by one of them.
        """
        with self._znodes.within(
            timeout_s,
            "return the jobs of dead workers",
            unknown="some may have been returned",
            each_request=True,
        ):
            # The jobs are read before the workers: whoever owned one then had registered before, so
            # if he is not listed after it, he is gone.
            owned = self.owned()
            if not owned:
                return []
            alive = set(self.workers())
            now_ms = self.clock_ms()
            moves = [
                Move(Event.UNREADABLE, Place.OWNED, job, job.gave_up(now_ms))
                if job.is_stand_in
                else Move(Event.LOSE_WORKER, Place.OWNED, job, job.lost(now_ms))
                for job in owned
                if job.worker not in alive
            ]
            return [move.after for move in self.mover.move(moves)]

    def retry(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Let a FAILED job wait again in its old place, with all its attempts before it.

        Raises:
            JobNotFoundError: no such job is in the queue.
            JobError: the job is not FAILED.
        """
        with self._znodes.within(timeout_s, "retry a job", unknown="the job may wait again"):
            job = self.find(name)
            if job.state is not JobState.FAILED:
                raise JobError(f"{name} is {job.state}; only a FAILED job can be retried")
            if job.is_stand_in:
                raise JobError(f"the value of {name} could not be read: submit the work again")
            # What ended it may have been its expiry.
            fresh = job.unstarted()._replace(not_before_ms=None, expires_ms=None)
            if not self.mover.move([Move(Event.RETRY, Place.DONE, job, fresh.waiting())]):
                raise JobNotFoundError(f"{name} was retried or deleted by someone else")
            return fresh.waiting()

    def cancel(
        self,
        names: Sequence[str],
        reason: str = "it was cancelled",
        *,
        timeout_s: float | None = TIMEOUT_S,
    ) -> list[Job]:
        """End jobs that have not ended, as FAILED, and return them; their tasks are ended too.

        A job that moves on meanwhile, or ends, is looked at again until it is done.
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
                ran = any(move.place == Place.OWNED for move in made)
                if ran:
                    control = self.control()
                    self._write_control(replace(control, cancellations=control.cancellations + 1))
                # Those that were outrun are looked for again, and those that moved while we read.
                ended = {move.before.name for move in made}
                ended |= {job.name for job in self.layout.read(Place.DONE, left)}
                left = [name for name in left if name not in ended]
                tries_left -= not made
            return cancelled
