"""A mirror is killed under writers, and so are the servers on both sides: the copy becomes equal.

The writer changes the source all the time. A seed decides its writes and the faults; the timing of
the processes differs in each run. Nobody else writes to the target, so the mirror must never report
a conflict. `make mirror-faults` makes a long run.
"""

import contextlib
import random
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from tests.support.mirrors import MirrorProcess, check_equal, run_here
from tests.support.waiting import wait_until
from zoolet.client import CallFuture, Client, ClientOptions, CreateMode, Multi, ZooKeeperError
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.process import ExternalServer

ROOT = "/app"
COPY = "/copy"
QUEUES = [f"{ROOT}/queue-{number}" for number in range(4)]
NAMES = [f"{ROOT}/d{number // 50}/n{number % 50}" for number in range(1000)]
RATE = 1000
OUTSTANDING = 2000


class Writer:
    """Writes to the source, up to `RATE` times a second.

    Attributes:
        count: the number of writes that the server has confirmed.
    """

    def __init__(self, hosts: str, seed: int) -> None:
        self._client = Client(hosts, ClientOptions(session_timeout_ms=30_000))
        self._chance = random.Random(seed)
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer")
        self._pending: deque[CallFuture[Any]] = deque()
        self._known: deque[str] = deque()
        self.count = 0

    def start(self) -> None:
        """Create the first znodes, and begin to write."""
        self._client.start()
        self._client.create(ROOT, b"root")
        for parent in [*QUEUES, *{name.rpartition("/")[0] for name in NAMES}]:
            self._client.create(parent)
        self._thread.start()

    def stop(self) -> None:
        """Stop to write, and wait for the replies."""
        self._stops.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        began_s, sent = time.monotonic(), 0
        while not self._stops.is_set():
            self._pending.append(self._write())
            sent += 1
            while self._pending and (self._pending[0].done() or len(self._pending) > OUTSTANDING):
                self._take()
            self._stops.wait(max(0.0, began_s + sent / RATE - time.monotonic()))
        while self._pending:
            self._take()

    def _take(self) -> None:
        """Note the reply of the oldest write."""
        with contextlib.suppress(ZooKeeperError, TimeoutError):
            created = self._pending.popleft().result()
            self.count += 1
            path = getattr(created, "path", "")
            if "/queue-" in path:
                self._known.append(path)

    def _write(self) -> CallFuture[Any]:
        chance, futures = self._chance, self._client.futures
        step, name = chance.random(), chance.choice(NAMES)
        value = str(chance.random()).encode()
        if step < 0.35:
            return futures.set(name, value)
        if step < 0.6:
            return futures.create(name, value)
        if step < 0.7:
            return futures.delete(name)
        if step < 0.8:
            mode = CreateMode.PERSISTENT_SEQUENTIAL
            return futures.create(f"{chance.choice(QUEUES)}/n-", value, mode=mode)
        if step < 0.95 and self._known:
            return futures.delete(self._known.popleft())
        batch = Multi().create(f"{name}/below", value).set(name, value)
        return futures.multi(batch)


def number_of(client: Client, queue: str) -> int:
    created = client.create(f"{queue}/n-", mode=CreateMode.PERSISTENT_SEQUENTIAL)
    return int(created.path.rpartition("-")[2])


@pytest.mark.timeout(3600)
def test_the_copy_becomes_equal_after_faults(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    rounds: int = request.config.getoption("--mirror-rounds")
    seed = request.config.getoption("--mirror-seed") or random.randrange(10**6)
    kind: str = request.config.getoption("--mirror-target")
    print(f"seed {seed}, {rounds} rounds, target {kind}")
    chance = random.Random(seed)
    target: ExternalServer = ServerProcess(tmp_path / "target")
    if kind == "apache":
        jars = request.getfixturevalue("apache_jars")
        target = ApacheServer(tmp_path / "target", jars)
    with ServerProcess(tmp_path / "source") as source, target:
        writer = Writer(source.hosts, seed)
        writer.start()
        places = (f"{source.hosts}{ROOT}", f"{target.hosts}{COPY}", tmp_path / "state.sqlite")
        try:
            for number in range(rounds):
                with MirrorProcess(*places, "--session-timeout-ms", "5000") as running:
                    fault = "mirror" if number % 2 else chance.choice(["source", "target"])
                    confirmed = writer.count + chance.randrange(100, 2 * RATE)
                    print(f"round {number}: kill {fault} after {confirmed} writes")
                    if chance.random() < 0.7:
                        running.wait_for("compared")
                    wait_until(lambda: writer.count >= confirmed, "writes")  # noqa: B023
                    if fault != "mirror":
                        server = source if fault == "source" else target
                        server.kill()
                        server.start()
                    running.kill()
                    assert "in the target" not in running.text, running.text
                    assert "zoolet: " not in running.text, running.text
        finally:
            writer.stop()
        assert writer.count > rounds * 100
        status, text = run_here(*places, "--once")
        assert status == 0, text
        print(f"{writer.count} confirmed writes; {text.splitlines()[-1]}")
        with Client(source.hosts) as at_source, Client(target.hosts) as at_target:
            check_equal(at_source, ROOT, at_target, COPY)
            for queue in QUEUES:
                copy = COPY + queue[len(ROOT) :]
                assert number_of(at_target, copy) >= number_of(at_source, queue)
