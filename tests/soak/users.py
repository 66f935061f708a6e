"""The users of a soak test: they submit, follow, cancel and retry jobs, pause the queue and look.

Each user is a thread with its own Dispatcher. A call that fails because the server cannot be
reached is made again: this is what users do.
"""

import queue
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar

from kazoo.exceptions import KazooException

from tests.soak.plan import BatchPlan, JobStream
from tests.soak.processes import KEYS, ROOT, now_ms
from tests.soak.world import World
from zoolet.jobs import (
    Batch,
    BatchExistsError,
    BatchIncompleteError,
    Dispatcher,
    InvalidJobError,
    JobError,
    JobNotFoundError,
    JobRequest,
    JobState,
    UnknownBatchError,
)
from zoolet.testing.servers.guard import guarded_environment

OUTSTANDING_MOST = 80
_LOOK_S = 0.001
_AGAIN_S = 0.2
_CANCEL_AGAIN_S = 5.0
_COMMAND_TIMEOUT_S = 120
COMMANDS = (
    ("status",),
    ("list",),
    ("top", "--rounds", "1"),
    ("export", "--state", "FAILED"),
    ("show", "NAME"),
    ("why", "NAME"),
    ("logs", "NAME"),
)
T = TypeVar("T")


@dataclass(slots=True)
class _Followed:
    """A batch whose results are taken, and when it is to be cancelled (time.monotonic)."""

    plan: BatchPlan
    batch: Batch
    cancel_at: float
    seen: Counter[str] = field(default_factory=Counter)


class Users:
    """The users of a queue.

    Attributes:
        counts: how often they did what.
        planned: the batches that were submitted, by name; a submission may be under way.
        results: how often a follower got each job of a batch, by batch and job.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.planned: dict[str, BatchPlan] = {}
        self.results: dict[str, Counter[str]] = {}
        self._world = world
        self._plans = JobStream(seed)
        self._chance = Random(f"users {seed}")
        self._store = f"sqlite:///{world.home / 'results.db'}"
        self._stopping = threading.Event()
        self._submitted: queue.SimpleQueue[BatchPlan] = queue.SimpleQueue()
        self._following: deque[_Followed] = deque()
        self._names: list[str] = []
        self._outstanding = 0
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._submit, self._follow, self._pause, self._look)
        ]

    def start(self) -> None:
        """Begin to use the queue."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let no more jobs be submitted, and return when what was begun has ended."""
        self._stopping.set()

    def wait(self, deadline: float) -> bool:
        """Return when all jobs that are followed have ended; False if they did not in time."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def outstanding(self) -> str:
        """The batches that have not ended, and where the users are."""
        frames = sys._current_frames()
        stacks = [
            "".join(traceback.format_stack(frames[thread.ident])[-6:])
            for thread in self._threads
            if thread.is_alive() and thread.ident in frames
        ]
        return "\n".join([*(followed.plan.name for followed in list(self._following)), *stacks])

    def _guarded(self, work: Callable[[Dispatcher], None]) -> None:
        try:
            with Dispatcher(
                self._world.user_proxy.hosts,
                ROOT,
                result_stores={"default": self._store},
                signing_keys=self._world.home / KEYS,
                connect_timeout_ms=60_000,
            ) as dispatcher:
                work(dispatcher)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is a fault
            self._world.problem(f"a user's {work.__name__.strip('_')} failed: {error!r}")

    def _persist(self, call: Callable[[], T]) -> T:
        """Return what a call returns, and make it again while the server cannot be reached."""
        while True:
            try:
                return call()
            except (KazooException, TimeoutError, ConnectionError) as error:
                self.counts[f"calls that failed with {type(error).__name__}"] += 1
                time.sleep(_AGAIN_S)

    # --- Submitting

    def _submit(self, dispatcher: Dispatcher) -> None:
        while not self._stopping.is_set():
            if self._outstanding >= OUTSTANDING_MOST:
                time.sleep(0.05)
                continue
            plan = next(self._plans)
            after = self._before(plan)
            self.planned[plan.name] = plan
            self.counts["batches submitted"] += 1
            self.counts["batches that wait for another"] += after is not None
            if not self._submit_batch(dispatcher, plan, after):
                # The call failed in the middle. The rest of it is submitted under another name.
                self.counts["batches submitted in part"] += 1
                del self.planned[plan.name]
                plan = replace(plan, name=f"{plan.name}+")
                self.planned[plan.name] = plan
                self._submit_batch(dispatcher, plan, None)
            self._outstanding += len(plan.jobs)
            self._submitted.put(plan)

    def _submit_batch(self, dispatcher: Dispatcher, plan: BatchPlan, after: str | None) -> bool:
        """Submit a batch; say whether all of it is in the queue."""
        requests = [_request(job.request) for job in plan.jobs]
        try:
            self._persist(lambda: dispatcher.submit_batch(requests, name=plan.name, after=after))
        except BatchExistsError:
            # The call before this one failed, and its outcome was not known.
            try:
                self._persist(lambda: dispatcher.batch(plan.name))
            except BatchIncompleteError:
                return False
        return True

    def _before(self, plan: BatchPlan) -> str | None:
        """Return the name of the batch that this one waits for."""
        if plan.after is None or plan.after > len(self.planned):
            return None
        return list(self.planned)[-plan.after]

    # --- Following

    def _follow(self, dispatcher: Dispatcher) -> None:
        while not (self._stopping.is_set() and self._has_ended()):
            while not self._submitted.empty():
                self._begin_to_follow(dispatcher, self._submitted.get())
            if not self._following:
                time.sleep(0.02)
                continue
            time.sleep(_LOOK_S)
            followed = self._following.popleft()
            plan, batch = followed.plan, followed.batch
            self._take_results(followed)
            if not batch.outstanding:
                self._end(dispatcher, followed)
                continue
            is_ending = self._stopping.is_set() and plan.cancel_after_s is not None
            if is_ending or time.monotonic() >= followed.cancel_at:
                self.counts["jobs cancelled"] += len(self._persist(batch.cancel))
                followed.cancel_at = time.monotonic() + _CANCEL_AGAIN_S
            self._following.append(followed)

    def _has_ended(self) -> bool:
        return not (self._threads[0].is_alive() or self._following or not self._submitted.empty())

    def _begin_to_follow(self, dispatcher: Dispatcher, plan: BatchPlan) -> None:
        batch = self._persist(lambda: dispatcher.batch(plan.name))
        self._names = [*self._names[-50:], *batch.names]
        cancel_at = time.monotonic() + (plan.cancel_after_s or float("inf"))
        self._following.append(_Followed(plan, batch, cancel_at))

    def _take_results(self, followed: _Followed) -> None:
        batch = followed.batch
        while (job := self._persist(lambda: batch.next_result(timeout_s=_LOOK_S))) is not None:
            followed.seen[job.name] += 1
            self.counts[f"jobs {job.state}"] += 1

    def _end(self, dispatcher: Dispatcher, followed: _Followed) -> None:
        """Note the results of a batch that has ended; retry its FAILED jobs if that is planned."""
        plan = followed.plan
        self.results.setdefault(plan.name, followed.seen)
        if plan.retries and not plan.cancel_after_s and not self._stopping.is_set():
            self._retry(dispatcher, followed.batch)
            # Its jobs must end again.
            self._submitted.put(replace(plan, retries=False))
        else:
            self._outstanding -= len(plan.jobs)

    def _retry(self, dispatcher: Dispatcher, batch: Batch) -> None:
        for name in batch.names:
            try:
                if self._persist(partial(dispatcher.queue.find, name)).state is JobState.FAILED:
                    self._persist(partial(dispatcher.queue.retry, name))
                    self.counts["jobs retried"] += 1
            except JobNotFoundError:
                pass
            except JobError as error:
                # If the reply of a call was lost, the next one finds that it is not FAILED.
                if "FAILED" not in str(error):
                    self._world.problem(f"retry of {name}: {error}")

    # --- Pausing and looking

    def _pause(self, dispatcher: Dispatcher) -> None:
        while not self._stopping.wait(self._chance.uniform(8, 25)):
            dataset = self._chance.choice((None, "soak"))
            self.counts["pauses"] += 1
            with self._world.unreachable.open():
                self._persist(partial(dispatcher.queue.pause, dataset))
                self._stopping.wait(self._chance.uniform(0.1, 3))
                self._persist(partial(dispatcher.queue.pause, dataset, paused=False))

    def _look(self, _: Dispatcher) -> None:
        number = 0
        while not self._stopping.wait(self._chance.uniform(4, 12)):
            command = COMMANDS[number % len(COMMANDS)]
            number += 1
            if not self._names:
                continue
            self._run_command(
                [part.replace("NAME", self._chance.choice(self._names)) for part in command]
            )

    def _run_command(self, words: list[str]) -> None:
        name, *arguments = words
        began_ms = now_ms()
        done = subprocess.run(
            [sys.executable, "-m", "zoolet", "jobs", name, *arguments,
             "--server", self._world.server.hosts, "--queue", ROOT],
            capture_output=True, text=True, errors="replace", timeout=_COMMAND_TIMEOUT_S,
            env=guarded_environment()
            | {"HOME": str(self._world.home),
               "ZOOLET_SIGNING_KEYS": str(self._world.home / KEYS)},
            check=False,
        )  # fmt: skip
        self.counts[f"command {name}"] += 1
        told = f"zoolet jobs {' '.join(words)}: status {done.returncode}: {done.stderr[-1500:]}"
        if "Traceback" in done.stderr:
            self._world.problem(told)
        elif done.returncode and "No such command" in done.stderr:
            self.counts[f"command {name} is missing"] += 1
        elif done.returncode and not self._world.unreachable.overlaps(began_ms, now_ms()):
            self.counts[f"command {name} refused"] += 1


def _request(request: dict[str, object]) -> JobRequest:
    """Return the request, its delays as times from now."""
    times = {
        name: now_ms() + value
        for name in ("not_before_ms", "expires_ms")
        if isinstance(value := request.get(name), int)
    }
    return JobRequest(**(request | times))  # type: ignore[arg-type]


def check_stored_results(world: World, names: list[str], home: Path) -> None:
    """Note results that the queue says are stored, and that cannot be read."""
    store = f"sqlite:///{home / 'results.db'}"
    stores = {"default": store}
    with Dispatcher(world.server.hosts, ROOT, result_stores=stores) as dispatcher:
        for name in names:
            try:
                job = dispatcher.job(name)
            except (JobError, InvalidJobError, UnknownBatchError) as error:
                world.problem(f"the stored result of {name} cannot be read: {error}")
                continue
            if not isinstance(job.result, dict) or "run" not in job.result:
                world.problem(f"the stored result of {name} is {str(job.result)[:80]}")
