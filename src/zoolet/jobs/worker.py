"""A worker: executors that take jobs, load their data, run their tasks; their ends are recorded.

Its threads: one takes jobs, each time a watch or an executor says that there may be something to
take (`zoolet.jobs.feed` and `zoolet.jobs.waiting` say what); each executor has one; one records
what came of jobs (`zoolet.jobs.recorder`), with another for large results; and one waits in line
for the housekeeping. What holds:

- A job is recorded under the worker id that it was taken with. When the session is lost, what runs
  is ended, and the worker registers under a new id; what was not ended is refused by the queue.
- Jobs are taken in advance only as far as they are short: so many as take `AHEAD_S` together, or
  about as long as taking them takes.
- Whatever a task or a loader raises is the error of an attempt. Any other failure ends the worker,
  so that its session ends and its jobs go to others.

Imports the job system's other modules, and never a server.
"""

import json
import logging
import os
import queue
import random
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Self

from zoolet.jobs.attempts import Attempter, Outcome, Setup, Work
from zoolet.jobs.connection import close_client, connect, on_session_end, without_chroot
from zoolet.jobs.control import Control
from zoolet.jobs.errors import DisconnectedError, InvalidJobError, JobError, WorkerGoneError
from zoolet.jobs.executors import Executor, ThreadExecutor
from zoolet.jobs.feed import Feed
from zoolet.jobs.forks import HomeProcess
from zoolet.jobs.hands import Hands, InHand
from zoolet.jobs.housekeeping import Housekeeping
from zoolet.jobs.layout import OWNED
from zoolet.jobs.moves import JOBS_AT_ONCE, Move
from zoolet.jobs.processexecutor import ProcessExecutor
from zoolet.jobs.queue import JobQueue
from zoolet.jobs.recorder import Recorder
from zoolet.jobs.records import Job
from zoolet.jobs.results import ResultReader
from zoolet.jobs.tasks import STEPS, load_function
from zoolet.jobs.waiting import Affinity, Candidate

log = logging.getLogger(__name__)

AHEAD_S = 0.05
AHEAD_MOST_S = 1.0
"""How much work an executor may have in hand, unless it is a single job: the more, the longer it
takes to get some."""
AHEAD_JOBS = JOBS_AT_ONCE
FORGET_SHARE = 0.6
"""Jobs are taken to be as long as the longest one lately; each job takes so much off that."""
LOOK_FOR_SIGNALS_S = 1.0
CLOSE_S = 5.0
"""How long a worker that stops waits for the end of its session."""
GIVE_BACK_S = 3.0
"""How long a worker that stops tries to give back what it could not finish."""
YIELD_S = 0.002
"""How long a worker that was outrun, and has nothing to do, leaves what comes to the other."""
SPREAD = 4
"""Workers that meet at the same jobs choose theirs among so many times as many as they take."""


class Worker:
    """A worker on a queue, which it creates where there is none; also a context manager.

    Args:
        hosts: ZooKeeper servers, as kazoo takes them.
        root: the queue's root.
        loader: the function that loads a group, by its name (see `zoolet.jobs.tasks`); without
            one, tasks get None for a group.
        executors: how many jobs it works on at a time.
        threads: run tasks in threads of this process, and not in processes of their own: they share
            one cache, and cannot be ended.
        cache_groups: how many loaded groups each executor's cache keeps.
        cache_bytes: how many bytes they have together; None is without a limit.
        locality_wait_ms: how long a job is passed over, or left to other workers, for the sake of
            data that is loaded; 0 is no affinity.
        session_timeout_ms: what it asks the server for; when it dies, its jobs return after this.
        connect_timeout_ms: how long it waits for the server at its start.
        result_store: URL of the store of large results, where it is not the one the queue names.
        on_step: name of a function that is called with the name of each step, and the names of the
            jobs, for tests and tracing.
    """

    def __init__(
        self,
        hosts: str,
        root: str = "/",
        *,
        loader: str | None = None,
        executors: int = 1,
        threads: bool = False,
        cache_groups: int = 8,
        cache_bytes: int | None = None,
        locality_wait_ms: int = 200,
        session_timeout_ms: int = 10_000,
        connect_timeout_ms: int = 10_000,
        result_store: str | None = None,
        on_step: str | None = None,
    ) -> None:
        if executors < 1 or cache_groups < 1:
            raise InvalidJobError("a worker has at least 1 executor, and room for 1 group")
        self._hosts, self._root = without_chroot(hosts, root)
        self._setup = Setup(loader, cache_groups, cache_bytes, tuple(sys.path))
        self._executor_count = executors
        self._threads = threads
        self._round_s = locality_wait_ms / 1000 if loader is not None else 0.0
        self._session_timeout_ms = session_timeout_ms
        self._connect_timeout_ms = connect_timeout_ms
        self._result_store = result_store
        self._step_hook = None if on_step is None else load_function(on_step, STEPS)
        self._seed = uuid.uuid4().hex
        self._hands = Hands()
        self._giving = threading.Lock()
        self._typical_s = AHEAD_S
        self._taking_s = 0.0
        self._contended = False

        self._wake = threading.Event()
        self._registered = threading.Event()
        self._control_stale = threading.Event()
        self._idle_since = time.monotonic()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._control = Control()
        self._held_batches: dict[str, bool] = {}
        self._let_go: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.worker_id = ""
        """Under which id it is registered; another one after each lost session."""

    # --- Life cycle

    def start(self) -> None:
        """Get the executors ready, connect, register, and begin to take jobs.

        Raises:
            FunctionNotFoundError: the loader cannot be imported.
            TimeoutError: no server answered in time.
        """
        self._home = HomeProcess()
        self._executors = self._make_executors()
        try:
            for executor in self._executors:
                executor.start()
            for executor in self._executors:
                executor.wait_until_ready()
            self._client = connect(
                self._hosts,
                session_timeout_ms=self._session_timeout_ms,
                connect_timeout_ms=self._connect_timeout_ms,
            )
        except BaseException:
            for executor in self._executors:
                executor.stop()
            raise
        on_session_end(self._client, self._unregister)
        self.queue = JobQueue(self._client, self._root)
        self.queue.ensure_layout()
        self._results = ResultReader(self.queue, self._result_store)
        self._recorder = Recorder(
            self.queue,
            self._hands,
            self._results,
            on_step=self._step,
            on_permitted=self._permit,
            on_lost=self._abandon,
            on_long=self._on_long,
            on_gone=self._on_gone,
            on_report=self._report,
        )
        self._feed = Feed(self.queue.layout, self._seed, self._wake.set)
        self._housekeeping = Housekeeping(self.queue, self._results)
        if (problem := self._results.check()) is not None:
            log.warning("an attempt with a large result fails here: %s", problem)
        self._register()
        self._control_stale.set()
        self._wake.set()
        for work in (self._take, self._recorder.record, self._housekeeping.run):
            threading.Thread(target=self._guarded, args=(work,), daemon=True).start()

    def _make_executors(self) -> list[Executor]:
        numbers = range(self._executor_count)
        if self._threads:
            attempter = Attempter(self._setup)
            return [ThreadExecutor(attempter, _Ear(self)) for _ in numbers]
        return [ProcessExecutor(self._setup, _Ear(self)) for _ in numbers]

    def wait(self) -> None:
        """Block until the worker ends; raise what ended it, if that was a failure."""
        self._home.check()
        while not self._ended.wait(LOOK_FOR_SIGNALS_S):
            # A signal that another thread was interrupted by is handled here, when this one wakes.
            pass
        if self._failure is not None:
            raise self._failure

    def stop(self, grace_ms: int = 10_000) -> None:
        """Take no more jobs, finish those that run within ``grace_ms``, and give back the rest.

        It does nothing in a process that was forked from the one that started the worker.
        """
        if not self._home.is_here:
            return
        self._stopping.set()
        self._registered.set()
        self._wake.set()
        self._hands.wait_until_empty(grace_ms / 1000)
        for executor in self._executors:
            executor.stop()
        self._bounded(self._give_back)
        self._recorder.close()
        self._housekeeping.stop()
        close_client(self._client, CLOSE_S)
        self._results.close()
        self._ended.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _bounded(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(GIVE_BACK_S)

    def _give_back(self) -> None:
        jobs = [held.job for held in self._hands.all()]
        moves = [Move(OWNED, job, job.waiting()) for job in jobs]
        try:
            for move in self.queue.mover.move(moves, self.worker_id):
                log.info("gave back %s", move.after.name)
        except JobError:
            log.info("could not give back %d jobs: they return when this session ends", len(jobs))

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run a thread of the worker; what it cannot handle ends the worker."""
        try:
            # A worker waits for its server without a limit: until it is stopped, which closes the
            # client and so ends each request.
            with self.queue.layout.znodes.within(None, "the worker"):
                work()
        except BaseException as error:
            if isinstance(error, DisconnectedError) and self._stopping.is_set():
                return
            log.exception("the worker ends")
            self._failure = error
            self._ended.set()

    def _step(self, step: str, names: Sequence[str]) -> None:
        if self._step_hook is not None:
            self._step_hook(step, list(names))

    # --- Being known

    def _on_gone(self, worker: str) -> None:
        if worker == self.worker_id:
            self._unregister()

    def _unregister(self) -> None:
        """Give up what is in hand, and let the worker be registered anew."""
        self._registered.clear()
        self._abandon(self._hands.all())

    def _abandon(self, lost: Sequence[InHand]) -> None:
        """Stop working on jobs that are not this worker's any more."""
        with self._giving:
            names = self._hands.drop(lost)
            for executor in self._executors:
                executor.abandon(names)
        self._wake.set()

    def _register(self) -> None:
        """Register under a new id; an id is never used by two sessions."""
        while not self._registered.is_set():
            worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
            if self.queue.register(worker_id, self._about()):
                self.worker_id = worker_id
                self._registered.set()
                self._housekeeping.line_up()
                log.info("registered as worker %s", worker_id)

    def _report(self) -> None:
        self.queue.report(self.worker_id, self._about())

    def _about(self) -> bytes:
        """Return what the worker says of itself, for who looks at the queue."""
        about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "executors": self._executor_count,
            "kind": "threads" if self._threads else "processes",
            "groups": sum(len(executor.held()) for executor in self._executors),
        }
        about |= self._results.about() | self._recorder.tally.as_dict()
        return json.dumps(about).encode()

    def tally(self) -> dict[str, float]:
        """Return what it has done since its start, by name."""
        return self._recorder.tally.as_dict()

    @property
    def in_hand(self) -> int:
        """How many jobs it has that are not recorded as ended."""
        return len(self._hands.all())

    # --- Taking jobs

    def _take(self) -> None:
        timeout_s: float | None = None
        while True:
            self._wake.wait(timeout_s)
            self._wake.clear()
            if self._stopping.is_set():
                return
            if not self._registered.is_set():
                self._register()
            if self._control_stale.is_set():
                self._control_stale.clear()
                self._look_at_control()
            if self._contended and not self.in_hand:
                # Someone else was faster, and will be again: reaching for the same job costs all.
                time.sleep(YIELD_S)
            again_at = self._take_some()
            timeout_s = None if again_at is None else max(0.0, again_at - time.monotonic())

    def _take_some(self) -> float | None:
        """Take as many jobs as there is room for; return when to try again without an event."""
        rooms = self._rooms()
        count = sum(rooms.values())
        if not count or self._control.paused:
            return None
        listed_at = self._feed.refresh()
        waiting = self._feed.waiting
        while not self._let_go.empty():
            waiting.let_go(self._let_go.get())
        wanted = count * SPREAD if self._contended else count
        choice = waiting.choose(wanted, time.monotonic(), self._affinity(), self._control.allows)
        if choice.jobs:
            self._own(self._spread(choice.jobs, count), rooms)
            self._idle_since = time.monotonic()
            self._wake.set()
            return None
        times = [at for at in (listed_at, choice.again_at) if at is not None]
        search_at = self._idle_since + self._round_s
        if time.monotonic() < search_at:
            times.append(search_at)
        elif self._feed.search():
            self._wake.set()
        return min(times, default=None)

    def _rooms(self) -> dict[int, int]:
        """Return how many jobs each executor has room for, where it has."""
        ahead_s = min(AHEAD_MOST_S, max(AHEAD_S, 2 * self._taking_s))
        ahead = max(1, min(AHEAD_JOBS, int(ahead_s / max(self._typical_s, 1e-6))))
        loads = self._hands.loads()
        return {
            number: ahead - loads[number]
            for number, executor in enumerate(self._executors)
            if loads[number] <= ahead // 2 and not executor.is_stuck()
        }

    def _affinity(self) -> Affinity:
        held = [executor.held() for executor in self._executors]
        has_room = any(len(groups) < self._setup.cache_groups for groups in held)
        return Affinity({*self._hands.groups(), *frozenset().union(*held)}, has_room, self._round_s)

    def _spread(self, chosen: list[Candidate], count: int) -> list[Candidate]:
        """Return those of the chosen jobs to reach for; put the others back.

        Where others were faster, reaching for the next ones they reach for too would go on so.
        """
        first = random.randrange(max(1, len(chosen) - count + 1)) if self._contended else 0  # noqa: S311
        for candidate in (*chosen[:first], *chosen[first + count :]):
            self._feed.waiting.put_back(candidate)
        return chosen[first : first + count]

    def _own(self, chosen: list[Candidate], rooms: dict[int, int]) -> None:
        """Reach for jobs, and give those that were got to the executors."""
        by_name = {candidate.job.name: candidate for candidate in chosen}
        self._step("taking", list(by_name))
        began = time.monotonic()
        try:
            picked = self.queue.own_jobs(list(by_name), self.worker_id, self._is_held)
        except WorkerGoneError as error:
            log.warning("%s", error)
            for candidate in chosen:
                self._feed.waiting.put_back(candidate)
            self._unregister()
            return
        self._taking_s = (self._taking_s + time.monotonic() - began) / 2
        for job in picked.deferred:
            self._defer(by_name[job.name], job)
        for job in picked.unreadable:
            log.warning("%s", job.errors[-1].message)
        there = {job.name for job in (*picked.owned, *picked.deferred, *picked.unreadable)}
        gone = [candidate for name, candidate in by_name.items() if name not in there]
        self._feed.distrust(candidate.page for candidate in gone)
        self._contended = len(gone) > len(picked.owned)
        self._step("taken", [job.name for job in picked.owned])
        self._give(picked.owned, rooms)

    def _defer(self, candidate: Candidate, job: Job) -> None:
        """Keep a job that is not to be started yet in view."""
        wait_s = ((job.not_before_ms or 0) - self.queue.clock_ms()) / 1000
        if wait_s > 0:
            self._feed.waiting.defer(candidate, time.monotonic() + wait_s)
        elif job.batch is not None and self._is_held(job.batch):
            self._feed.waiting.hold(candidate, job.batch)
        else:
            self._feed.waiting.put_back(candidate)

    def _give(self, jobs: Sequence[Job], rooms: dict[int, int]) -> None:
        """Give jobs to the executors that have their data, or else to those with least data."""
        works: dict[int, list[Work]] = {}
        having = {
            group: number
            for number, executor in enumerate(self._executors)
            for group in executor.held()
        } | self._hands.groups()
        groups = Counter(having.values())
        for job in jobs:
            group = (job.dataset, job.groupid)
            number = having.get(group, -1)
            if rooms.get(number, 0) <= 0:
                # New data to where least is.
                number = min(
                    (number for number in rooms if rooms[number] > 0),
                    key=lambda number: (groups[number], -rooms[number]),
                )
            groups[number] += group not in having
            rooms[number] -= 1
            having.setdefault(group, number)
            works.setdefault(number, []).append(
                Work(
                    job.name,
                    job.task,
                    job.dataset,
                    job.groupid,
                    dict(job.parameters),
                    job.timeout_ms,
                    job.starts_carefully,
                )
            )
        by_name = {job.name: job for job in jobs}
        with self._giving:
            for number, given in works.items():
                for work in given:
                    self._hands.put(by_name[work.name], number)
                self._executors[number].give(given)
        self._step("given", [job.name for job in jobs])

    # --- What is not to be taken

    def _is_held(self, batch: str) -> bool:
        """Say whether a batch waits for another one; asked once, and told by a watch after that."""
        if batch not in self._held_batches:
            watch = lambda _: self._on_chain(batch)  # noqa: E731
            self._held_batches[batch] = self.queue.is_held(batch, watch)
        return self._held_batches[batch]

    def _on_chain(self, batch: str) -> None:
        self._held_batches.pop(batch, None)
        self._let_go.put(batch)
        self._wake.set()

    def _look_at_control(self) -> None:
        """See what is paused; where someone cancelled, see whether what runs is still its own."""
        before, self._control = self._control, self.queue.control(self._on_control)
        self._feed.waiting.unpause()
        if self._control.cancellations == before.cancellations:
            return
        in_hand = self._hands.all()
        found = self.queue.layout.read_each(OWNED, [held.job.name for held in in_hand])
        gone = [
            held
            for held, job in zip(in_hand, found, strict=True)
            if job is None or job.worker != held.job.worker
        ]
        if gone:
            log.info("%d jobs are not this worker's any more: they were cancelled", len(gone))
            self._abandon(gone)

    def _on_control(self, _: object) -> None:
        self._control_stale.set()
        self._wake.set()

    # --- What executors tell

    def _begun(self, name: str) -> None:
        self._step("begun", [name])

    def _asks(self, name: str) -> None:
        """Record a careful job as RUNNING before it is started."""
        held = self._hands.get(name)
        if held is not None:
            self._recorder.asked(held)

    def _permit(self, held: InHand) -> None:
        with self._giving:
            if self._hands.get(held.job.name) is held:
                self._executors[held.executor].permit(held.job.name)

    def _started(self, name: str, cache_hit: bool | None) -> None:
        held = self._hands.get(name)
        if held is not None:
            self._recorder.started(held, cache_hit=cache_hit)
            if cache_hit is not None:
                self._feed.waiting.note(cache_hit=cache_hit)
        self._step("started", [name])

    def _on_long(self, held: InHand) -> None:
        """Give what waits behind a long task to others."""
        if self._hands.loads()[held.executor] > 1:
            self._executors[held.executor].recall()

    def _returned(self, names: Sequence[str]) -> None:
        for name in names:
            held = self._hands.get(name)
            if held is not None:
                self._recorder.given_back(held)

    def _attempted(self, name: str, outcome: Outcome, took_s: float) -> None:
        self._typical_s = max(took_s, FORGET_SHARE * self._typical_s)
        held = self._hands.get(name)
        if held is not None:
            self._recorder.ended(held, outcome, took_s)
        self._wake.set()


class _Ear:
    """Hears what an executor tells."""

    def __init__(self, worker: Worker) -> None:
        self.begun = worker._begun  # noqa: SLF001 -- it is a part of the worker
        self.asks = worker._asks  # noqa: SLF001
        self.started = worker._started  # noqa: SLF001
        self.ended = worker._attempted  # noqa: SLF001
        self.returned = worker._returned  # noqa: SLF001
        self.freed = worker._wake.set  # noqa: SLF001
