"""Whatever stands in the znodes of a queue: a running worker lives, and good jobs are done.

A real worker and a real server. ``--fuzz-rounds`` makes it longer, ``--fuzz-seed`` makes it another
one. A failure names the last values that were written.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError

from tests.fuzz.queue_values import Write, writes
from tests.support.jobs import ROOT, TIMEOUT_S, numbered, write_tasks
from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher
from zoolet.jobs.cli.commands import jobs as jobs_command
from zoolet.testing import ServerProcess
from zoolet.testing.servers.guard import guarded_environment

WRITES_PER_ROUND = 25
GOOD_JOBS = 3
SHOWN = 30
NAMES_SHOWN = 12


class Worker:
    """A worker whose log is a file."""

    def __init__(self, hosts: str, directory: Path) -> None:
        self._log = directory / "worker.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "zoolet", "worker", "--server", hosts, "--queue", ROOT,
                 "--import-path", str(directory), "--executors", "2",
                 "--session-timeout-ms", "4000"],
                stdout=log,
                stderr=log,
                env=guarded_environment() | {"HOME": str(directory)},
            )  # fmt: skip
        wait_until(lambda: ": queue " in self.log or self.has_ended, "the start of the worker")

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT_S)


@pytest.fixture
def dispatcher(client: KazooClient) -> Iterator[Dispatcher]:
    with Dispatcher(client, ROOT, create=True) as dispatcher:
        yield dispatcher


@pytest.fixture
def worker(dispatcher: Dispatcher, server: ServerProcess, tmp_path: Path) -> Iterator[Worker]:
    assert dispatcher
    write_tasks(tmp_path)
    running = Worker(server.hosts, tmp_path)
    yield running
    running.close()


def write(client: Any, one: Write) -> None:
    """Write a value, whether there is a znode or not; what the server refuses is left out."""
    path = f"{ROOT}/{one.path}"
    with contextlib.suppress(KazooException, ValueError):
        try:
            client.create(path, one.data, makepath=True)
        except NodeExistsError:
            client.set(path, one.data)


def told(worker: Worker, written: list[Write]) -> str:
    last = "\n".join(f"{one.path!r}: {one.data[:150]!r}" for one in written[-SHOWN:])
    return f"the worker's log:\n{worker.log[-4000:]}\nwritten last:\n{last}"


@pytest.mark.timeout(3600)
def test_no_value_in_a_queue_ends_a_worker(
    dispatcher: Dispatcher,
    client: KazooClient,
    server: ServerProcess,
    worker: Worker,
    request: pytest.FixtureRequest,
) -> None:
    chance = random.Random(request.config.getoption("--fuzz-seed"))
    # Submitters and workers read the settings once; a new one may say that it cannot read them.
    settings = dispatcher.queue.settings
    written: list[Write] = []
    for number in range(request.config.getoption("--fuzz-rounds")):
        some = writes(chance, number * WRITES_PER_ROUND, WRITES_PER_ROUND)
        written += some
        for one in some:
            write(client, one)
        good = numbered(GOOD_JOBS, round=number)
        batch = dispatcher.submit_batch(good, name=f"good-{number}")
        for _ in range(GOOD_JOBS):
            job = batch.next_result(TIMEOUT_S)
            assert job is not None, f"round {number}: {told(worker, written)}"
            assert job.state == "SUCCESSFUL", f"{job.errors}: {told(worker, written)}"
        assert not worker.has_ended, told(worker, written)
    assert_commands_end_well(client, server, chance)
    dispatcher.queue.layout.write_settings(settings)
    assert_commands_end_well(client, server, chance)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(TIMEOUT_S) == 0, told(worker, written)
    for sign in ("Exception in thread", "the worker ends"):
        assert sign not in worker.log, told(worker, written)


def assert_commands_end_well(client: Any, server: ServerProcess, chance: random.Random) -> None:
    """Run the commands that look at a queue, also at jobs that are none: none has a traceback."""
    names: list[str] = []
    for place in ("unowned", "deferred", "owned", "done"):
        with contextlib.suppress(NoNodeError):
            names += client.get_children(f"{ROOT}/{place}")
    names = chance.sample(sorted(names), min(NAMES_SHOWN, len(names)))
    commands = [
        ["status"],
        ["list"],
        ["top", "--rounds", "1"],
        ["export"],
        ["list", "--batch", "b2"],
        ["dataset", "list"],
    ]
    commands += [[command, name] for name in names for command in ("show", "why")]
    with contextlib.suppress(NoNodeError):
        datasets = sorted(client.get_children(f"{ROOT}/datasets"))
        commands += [
            ["dataset", command, name]
            for name in chance.sample(datasets, min(NAMES_SHOWN, len(datasets)))
            for command in ("show", "refresh", "remove")
        ]
    for command in commands:
        where = ["--server", server.hosts, "--queue", ROOT, "--connect-timeout-ms", "10000"]
        result = CliRunner(env=dict(os.environ)).invoke(jobs_command, [*command, *where])
        is_told = result.exception is None or isinstance(result.exception, SystemExit)
        assert is_told, f"zoolet jobs {command}: {result.exception!r}"
        assert "Traceback" not in result.output, f"zoolet jobs {command}: {result.output}"
