"""The faults of a soak test. Each one ends by itself, at the latest after `Fault.lasts_s`.

Signals go only to processes that the soak test started.
"""

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from tests.soak.plan import Fault
from tests.soak.processes import WorkerProcess, now_ms
from tests.soak.world import World

Act = Callable[[World, WorkerProcess, Fault], bool | None]
"""Makes a fault of a worker; returns False if there was nothing to do it to."""


def _kill(_: World, worker: WorkerProcess, __: Fault) -> None:
    worker.kill()


def _kill_all(_: World, worker: WorkerProcess, __: Fault) -> None:
    others = worker.others()
    worker.kill()
    for process in others:
        process.send(signal.SIGKILL)


def _freeze(_: World, worker: WorkerProcess, fault: Fault) -> None:
    with worker.frozen.open():
        worker.send(signal.SIGSTOP)
        time.sleep(fault.lasts_s)
        worker.send(signal.SIGCONT)


def _freeze_all(_: World, worker: WorkerProcess, fault: Fault) -> None:
    others = worker.others()
    with worker.frozen.open():
        worker.send(signal.SIGSTOP)
        for process in others:
            process.send(signal.SIGSTOP)
        time.sleep(fault.lasts_s)
        for process in others:
            process.send(signal.SIGCONT)
        worker.send(signal.SIGCONT)


def _stop(number: int, *, everyone: bool = False, twice: bool = False) -> Act:
    """Return what asks a worker to stop; ``everyone`` is what systemd does by default."""

    def act(_: World, worker: WorkerProcess, fault: Fault) -> None:
        others = worker.others() if everyone else []
        # A second signal ends it at once; its status then says that it did not finish.
        worker.expected_statuses += (0, 1, 130, 143) if twice else (0,)
        if not worker.has_started:
            # Python's own answer to SIGINT is an exception, and status 1.
            worker.expected_statuses += (-number, 1)
        worker.stop_asked_ms = now_ms()
        worker.send(number)
        for process in others:
            process.send(number)
        if twice:
            time.sleep(fault.lasts_s / 3)
            worker.send(number)

    return act


def _reload(_: World, worker: WorkerProcess, __: Fault) -> bool:
    # Before, the signal would end the process.
    if worker.has_started:
        worker.send(signal.SIGHUP)
    return worker.has_started


def _executor(number: int) -> Act:
    def act(_: World, worker: WorkerProcess, fault: Fault) -> bool:
        executors = worker.executors()
        if executors:
            executors[fault.target % len(executors)].send(number)
        return bool(executors)

    return act


def _freeze_executor(_: World, worker: WorkerProcess, fault: Fault) -> bool:
    executors = worker.executors()
    if not executors:
        return False
    with worker.frozen.open():
        chosen = executors[fault.target % len(executors)]
        chosen.send(signal.SIGSTOP)
        time.sleep(fault.lasts_s)
        chosen.send(signal.SIGCONT)
    return True


WORKER_FAULTS: dict[str, tuple[float, Act]] = {
    "worker killed": (3, _kill),
    "worker killed with all of its processes": (2, _kill_all),
    "worker frozen": (2, _freeze),
    "worker frozen with all of its processes": (1, _freeze_all),
    "worker got SIGTERM": (2, _stop(signal.SIGTERM)),
    "worker got SIGINT": (1, _stop(signal.SIGINT)),
    "worker and all of its processes got SIGTERM": (2, _stop(signal.SIGTERM, everyone=True)),
    "worker and all of its processes got SIGINT": (1, _stop(signal.SIGINT, everyone=True)),
    "worker got two SIGTERMs": (1, _stop(signal.SIGTERM, twice=True)),
    "worker got SIGHUP": (2, _reload),
    "executor killed": (3, _executor(signal.SIGKILL)),
    "executor got SIGTERM": (2, _executor(signal.SIGTERM)),
    "executor got SIGINT": (1, _executor(signal.SIGINT)),
    "executor frozen": (2, _freeze_executor),
}


@contextlib.contextmanager
def _server_killed(world: World) -> Iterator[None]:
    world.server.kill()
    yield
    world.server.start()


@contextlib.contextmanager
def _server_stopped(world: World) -> Iterator[None]:
    world.server.stop()
    yield
    world.server.start()


@contextlib.contextmanager
def _server_frozen(world: World) -> Iterator[None]:
    world.server.pause()
    try:
        yield
    finally:
        world.server.resume()


@contextlib.contextmanager
def _cut(world: World) -> Iterator[None]:
    world.worker_proxy.cut()
    yield


@contextlib.contextmanager
def _user_cut(world: World) -> Iterator[None]:
    world.user_proxy.cut()
    yield


SERVER_FAULTS: dict[
    str, tuple[float, Callable[[World], contextlib.AbstractContextManager[None]]]
] = {
    "server killed": (2, _server_killed),
    "server stopped": (1, _server_stopped),
    "server frozen": (2, _server_frozen),
    "connections of workers cut": (2, _cut),
    "workers cut off": (2, lambda world: world.worker_proxy.cut_off()),
    "replies to workers lost": (2, lambda world: world.worker_proxy.replies_lost()),
    "replies to workers held": (1, lambda world: world.worker_proxy.replies_held()),
    "connections of the submitter cut": (2, _user_cut),
    "submitter cut off": (1, lambda world: world.user_proxy.cut_off()),
    "replies to the submitter lost": (2, lambda world: world.user_proxy.replies_lost()),
}

WEIGHTS = {name: weight for name, (weight, _) in (*WORKER_FAULTS.items(), *SERVER_FAULTS.items())}


class Faults:
    """Makes faults, those that last in threads of their own."""

    def __init__(self, world: World) -> None:
        self.counts: Counter[str] = Counter()
        self._world = world
        self._threads: list[threading.Thread] = []
        self._busy: set[str] = set()

    def make(self, fault: Fault) -> None:
        """Begin a fault."""
        act = self._worker_fault if fault.name in WORKER_FAULTS else self._server_fault
        thread = threading.Thread(target=act, args=(fault,), daemon=True)
        thread.start()
        self._threads = [*(t for t in self._threads if t.is_alive()), thread]

    def wait(self) -> None:
        """Return when all faults have ended."""
        for thread in self._threads:
            thread.join()

    def _worker_fault(self, fault: Fault) -> None:
        worker = self._world.worker(fault.target)
        if worker is None or worker.tag in self._busy:
            return
        self._busy.add(worker.tag)
        try:
            if WORKER_FAULTS[fault.name][1](self._world, worker, fault) is not False:
                self.counts[fault.name] += 1
        finally:
            self._busy.discard(worker.tag)

    def _server_fault(self, fault: Fault) -> None:
        world = self._world
        if not world.server_lock.acquire(blocking=False):
            return
        try:
            of_users = "submitter" in fault.name
            window = contextlib.nullcontext() if of_users else world.server_away()
            with window, SERVER_FAULTS[fault.name][1](world):
                self.counts[fault.name] += 1
                time.sleep(fault.lasts_s)
        finally:
            world.server_lock.release()
