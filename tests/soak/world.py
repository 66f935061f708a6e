"""The world of a soak test: a server, proxies before it, and workers that are started again.

Notes when something was not as usual, so that the invariants can tell a fault of the job system
from one that the test made.
"""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from tests.soak.processes import (
    GRACE_MS,
    KEYS,
    ROOT,
    Marks,
    Windows,
    WorkerKind,
    WorkerProcess,
    now_ms,
    plain_kind,
)
from tests.soak.starvation import LATENESS_FACTOR, Starvation
from tests.support.proxy import Proxy
from tests.support.signing import write_keys
from zoolet.testing import ServerProcess

SERVER = {"tickTime": 500, "preAllocSize": 65536}
STOP_LIMIT_MS = GRACE_MS + 8000
"""A worker that was asked to stop must have ended after this."""
LEFT_LIMIT_MS = 5000
"""What a worker started must have ended this long after the worker."""
_LOOK_S = 0.1
_LOOK_FOR_PROCESSES_S = 1.0
_OTHER_ENDINGS = ("Exception in thread", "the worker ends", "Fatal Python error: init")


class World:
    """A server, proxies and workers on a queue of this number of shards.

    Attributes:
        unreachable: when workers could not reach the server, or were not allowed to take jobs.
        workers: all workers, also those that have ended.
        last_seen_ms: when processes of workers were seen last, by number.
        problems: what was wrong.
    """

    def __init__(self, home: Path, count: int, shards: int) -> None:
        self.home = home
        self._shards = shards
        for name in ("runs", "workers", "logs", "killed"):
            (home / name).mkdir(parents=True)
        write_keys(home / KEYS, "soak")
        self.starvation = Starvation()
        self.server = ServerProcess(home / "server", SERVER)
        self.unreachable = Windows()
        self.workers: list[WorkerProcess] = []
        self.last_seen_ms: dict[int, int] = {}
        self.problems: list[str] = []
        self.server_lock = threading.Lock()
        """Held while something is done to the server."""
        self.restarts = 0
        self._marks = Marks(home)
        self._kinds = [plain_kind(home)] * count
        self._slots: list[WorkerProcess | None] = []
        self._numbers: list[int] = []
        self._told: set[object] = set()
        self._stopped = threading.Event()
        self._ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        self.starvation.start()
        self.server.start()
        self.worker_proxy = Proxy(self.server.port)
        self.user_proxy = Proxy(self.server.port)
        subprocess.run(
            [sys.executable, "-m", "zoolet", "jobs", "create", "--server", self.server.hosts,
             "--queue", ROOT, "--shards", str(self._shards)],
            check=True,
        )  # fmt: skip
        return self

    def start_workers(self, others: Sequence[WorkerKind]) -> None:
        """Start the workers, and ``others`` of other kinds, and start them again when they end."""
        self._kinds += others
        self._slots, self._numbers = [None] * len(self._kinds), [0] * len(self._kinds)
        for slot in range(len(self._slots)):
            self._start(slot)
        self._keeper.start()

    def running(self) -> list[WorkerProcess]:
        """Return the workers that run."""
        return [one for one in list(self._slots) if one is not None and one.status is None]

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        if self._keeper.ident is not None:
            self._keeper.join()
        for process in self._marks.find():
            process.send(signal.SIGKILL)
        self.worker_proxy.close()
        self.user_proxy.close()
        if self.server.is_running:
            self.server.kill()
        self.starvation.stop()

    # --- For faults

    def worker(self, number: int) -> WorkerProcess | None:
        """Return a worker that runs and that nobody asked to end; None if that one does not."""
        worker = self._slots[number % len(self._slots)]
        if worker is None or worker.status is not None or worker.expected_statuses:
            return None
        return worker

    @contextlib.contextmanager
    def server_away(self) -> Iterator[None]:
        """Note that nobody reaches the server."""
        with self.unreachable.open():
            yield

    def problem(self, text: str, key: object = None) -> None:
        """Note what was wrong; with a key only once."""
        if key is not None:
            if key in self._told:
                return
            self._told.add(key)
        self.problems.append(text)

    # --- The keeper: starts workers again, looks for processes that are left

    def _start(self, slot: int) -> None:
        self._numbers[slot] += 1
        kind = self._kinds[slot]
        tag = f"{kind.name}w{slot}-{self._numbers[slot]}"
        worker = WorkerProcess(self.home, self.worker_proxy.hosts, tag, kind)
        self.workers.append(worker)
        self._slots[slot] = worker

    def _keep(self) -> None:
        look_at = 0.0
        while not self._ending.wait(_LOOK_S):
            for slot, worker in enumerate(self._slots):
                if worker is not None and self._has_ended(worker):
                    self._slots[slot] = None
                    if not self._stopped.is_set():
                        self._start(slot)
                        self.restarts += 1
            if time.monotonic() > look_at:
                look_at = time.monotonic() + _LOOK_FOR_PROCESSES_S
                self._look_for_processes()

    def _has_ended(self, worker: WorkerProcess) -> bool:
        if worker.status is None:
            self._look_whether_it_stops(worker)
            return False
        worker.ended_ms = now_ms()
        expected = worker.expected_statuses
        if worker.was_killed_by_task:
            expected = (*expected, -signal.SIGKILL)
        # A stop while nobody reaches the server may say so.
        asked_ms = worker.stop_asked_ms
        if asked_ms is not None and self.unreachable.overlaps(asked_ms - 1000, worker.ended_ms):
            expected = (*expected, 1)
        if worker.status not in expected:
            self.problem(
                f"worker {worker.tag} ended by itself with status {worker.status}"
                f" (expected: {expected or 'not to end'}):\n{worker.log_end()}"
            )
        log = worker.log_path.read_text(errors="replace")
        for sign in _OTHER_ENDINGS:
            if sign in log:
                at = log.index(sign)
                self.problem(f"worker {worker.tag} logged: {log[at : at + 2500]}", (worker, sign))
        return True

    def _look_whether_it_stops(self, worker: WorkerProcess) -> None:
        asked_ms = worker.stop_asked_ms
        if asked_ms is None or self._ran_ms(asked_ms) < STOP_LIMIT_MS:
            return
        if not self.unreachable.overlaps(asked_ms, now_ms()):
            self.problem(
                f"worker {worker.tag} was asked to stop {now_ms() - asked_ms} ms ago, and runs"
                f" still, see its log:\n{worker.stacks()}",
                worker,
            )
        worker.kill()

    def _ran_ms(self, since_ms: int) -> int:
        """Return how long ago this was, without the time in which this machine ran others."""
        late_ms = self.starvation.frozen().between(since_ms, now_ms())
        return now_ms() - since_ms - LATENESS_FACTOR * late_ms

    def _look_for_processes(self) -> None:
        ended = {w.tag: w for w in self.workers if w.ended_ms is not None}
        for process in self._marks.find():
            self.last_seen_ms[process.pid] = now_ms()
            worker = ended.get(process.tag)
            if worker is None or self._ran_ms(worker.ended_ms or 0) < LEFT_LIMIT_MS:
                continue
            self.problem(
                f"process {process.pid} ({process.command[:120]}) is left of worker {worker.tag},"
                f" which ended {now_ms() - (worker.ended_ms or 0)} ms ago",
                (process.pid, process.tag),
            )
            process.send(signal.SIGKILL)

    # --- The end

    def stop_workers(self) -> None:
        """Ask all workers to stop; return when they have, and nothing of them is left."""
        self._stopped.set()
        for worker in list(self._slots):
            if worker is not None and worker.status is None:
                worker.expected_statuses += (0,)
                worker.stop_asked_ms = now_ms()
                worker.send(signal.SIGTERM)
        while any(worker is not None for worker in self._slots):
            time.sleep(_LOOK_S)
        ended_ms = now_ms()
        while self._marks.find() and self._ran_ms(ended_ms) < 2 * LEFT_LIMIT_MS:
            time.sleep(_LOOK_S)
        self._look_for_processes()
