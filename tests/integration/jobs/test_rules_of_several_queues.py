"""What a worker requires and does for its jobs holds for each of its queues.

That is: signatures, lists of permitted tasks, result stores, hooks for FAILED jobs, and the share
of the oldest jobs.
"""

import random
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl

from tests.support.jobs import (
    WorkerProcess,
    all_results,
    assert_done_once,
    next_result,
    numbered,
    write_tasks,
)
from tests.support.oldest_jobs import first_low, late_jobs, low_and_high
from tests.support.signing import write_keys
from tests.support.waiting import wait_until
from zoolet.jobs import (
    Dispatcher,
    FailureReason,
    JobFailure,
    JobHooks,
    JobRequest,
    JobState,
    Worker,
)
from zoolet.jobs.results.store import ResultStore

A, B = "/jobs/a", "/jobs/b"
STORES = {A: "reports", B: "mails"}
PERCENT = 20
TROUBLE = JobRequest("pipe_tasks:trouble", max_attempts=1)
WRITE = """
import os, sys
with open(sys.argv[1], "a") as file:
    file.write(os.environ["ZOOLET_QUEUE"] + " " + os.environ["ZOOLET_JOB"] + "\\n")
"""

Start = Callable[..., WorkerProcess]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_tasks(tmp_path)
    (tmp_path / "write.py").write_text(WRITE)
    (tmp_path / "other_tasks.py").write_text(
        'import pathlib\n(pathlib.Path(__file__).parent / "imported").touch()\n'
        "def run(*_):\n    pass\n"
    )
    return tmp_path


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys", "first")


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, str]:
    """The URLs of the stores by name."""
    return {name: f"sqlite:///{tmp_path / name}.db" for name in STORES.values()}


@pytest.fixture
def two(server: Any, keys: Path, stores: dict[str, str]) -> Iterator[list[Dispatcher]]:
    """Dispatchers with the keys on two queues, each with a store of its own."""
    with ExitStack() as opened:
        found = [
            opened.enter_context(
                Dispatcher(server.hosts, root, create=True, signing_keys=keys, result_stores=stores)
            )
            for root in (A, B)
        ]
        for one, root in zip(found, (A, B), strict=True):
            one.queue.configure(result_store=STORES[root])
        yield found


@pytest.fixture
def options(keys: Path, stores: dict[str, str], tasks: Path) -> list[str]:
    """The options of a worker with all rules, except the first queue."""
    command = shlex.join([sys.executable, str(tasks / "write.py"), str(tasks / "calls")])
    urls = [
        word for name, url in stores.items() for word in ("--result-store-url", f"{name}={url}")
    ]
    return [
        "--queue", B, "--signing-keys", str(keys), "--tasks", "pipe_tasks:*",
        "--on-failure", command, *urls,
    ]  # fmt: skip


def calls(tasks: Path) -> list[str]:
    path = tasks / "calls"
    return path.read_text().splitlines() if path.exists() else []


def is_called(tasks: Path, *wanted: str) -> bool:
    """Return whether the command was called for these jobs."""
    return set(wanted) <= set(calls(tasks))


def keys_in(url: str, key: str) -> bool:
    """Return whether a store has a result."""
    store = ResultStore(url)
    try:
        return store.get(key) is not None
    finally:
        store.close()


@pytest.mark.parametrize("kind", [(), ("--threads",), ("--async-concurrency", "2")])
def test_a_worker_applies_its_rules_to_each_queue(
    client: KazooClient,
    two: list[Dispatcher],
    start_worker: Start,
    options: list[str],
    tasks: Path,
    stores: dict[str, str],
    kind: tuple[str, ...],
) -> None:
    start_worker(*options, *kind, root=A)
    left = [one.submit("other_tasks:run").names[0] for one in two]
    for one, root in zip(two, (A, B), strict=True):
        stranger = Dispatcher(client, root)
        refused = next_result(stranger.submit_batch(numbered(1)))
        assert refused.state is JobState.FAILED
        assert "signature" in refused.last_error
        large = next_result(one.submit("pipe_tasks:text", parameters={"size": 200_000}))
        assert large.result == "x" * 200_000
        assert large.stored is not None
        holders = [name for name, url in stores.items() if keys_in(url, large.stored)]
        assert holders == [STORES[root]]
        failed = next_result(one.submit_batch([TROUBLE], reuse=False))
        wanted = {f"{root} {refused.name}", f"{root} {failed.name}"}
        wait_until(partial(is_called, tasks, *wanted), "the calls")
    for one, name in zip(two, left, strict=True):
        assert one.queue.counts()["unowned"] == 1
        assert one.queue.find(name).attempts == 0
    assert len(calls(tasks)) == len(set(calls(tasks))) == 4
    assert not (tasks / "imported").exists()


def test_a_queue_has_its_own_share_of_the_oldest_jobs(
    two: list[Dispatcher], start_worker: Start, options: list[str]
) -> None:
    two[0].queue.configure(oldest_share_percent=PERCENT)
    batches = [one.submit_batch(low_and_high(20, 600, random.Random(1))) for one in two]
    start_worker(*options, "--threads", root=A)
    jobs = [all_results(batch) for batch in batches]
    layout = two[0].queue.layout
    assert late_jobs(jobs[0], PERCENT, 1, layout.shard_of, len(layout.shards)) == []
    assert first_low(jobs[0]) < 200
    assert first_low(jobs[1]) >= 400


def test_hooks_go_on_when_another_queue_is_deleted(
    server: Any,
    client: KazooClient,
    two: list[Dispatcher],
    start_worker: Start,
    options: list[str],
    tasks: Path,
    keys: Path,
    stores: dict[str, str],
) -> None:
    worker = start_worker(*options, root=A)
    client.delete(B, recursive=True)
    failed = [next_result(two[0].submit_batch([TROUBLE], reuse=False))]
    wait_until(lambda: calls(tasks) == [f"{A} {failed[0].name}"], "the call in the other queue")
    assert client.exists(B) is None
    with Dispatcher(server.hosts, B, create=True, signing_keys=keys, result_stores=stores) as again:
        batch = again.submit_batch(numbered(5))
        assert_done_once(again.queue, batch, all_results(batch))
        job = next_result(again.submit_batch([TROUBLE], reuse=False))
        wait_until(lambda: f"{B} {job.name}" in calls(tasks), "a call in the new queue")
    assert worker.process.poll() is None


def test_hooks_go_on_when_a_worker_gets_a_new_id(
    client: KazooClient, two: list[Dispatcher], start_worker: Start, options: list[str], tasks: Path
) -> None:
    start_worker(*options, root=A)
    for one, root in zip(two, (A, B), strict=True):
        [before] = one.queue.workers()
        lines = [client.get_children(f"{root}/{line}") for line in ("keeper", "failures/line")]
        client.delete(f"{root}/workers/{before}")
        job = next_result(one.submit_batch([TROUBLE], reuse=False))
        assert job.worker != before
        wait_until(partial(is_called, tasks, f"{root} {job.name}"), "a call")
        for line, places in zip(("keeper", "failures/line"), lines, strict=True):
            assert client.get_children(f"{root}/{line}") == places


def test_a_worker_that_has_left_a_queue_has_no_place_in_its_lines(
    client: KazooClient, two: list[Dispatcher], start_worker: Start, options: list[str], tasks: Path
) -> None:
    def places() -> list[int]:
        return [len(client.get_children(f"{B}/{line}")) for line in ("keeper", "failures/line")]

    start_worker(*options, root=A)
    wait_until(lambda: places() == [1, 1], "the places")
    client.add_auth("digest", "test:secret")
    client.set_acls(f"{B}/owned", [make_digest_acl("test", "secret", all=True)])
    batch = two[1].submit_batch([TROUBLE], reuse=False)
    wait_until(lambda: places() == [0, 0], "the end of the places")
    client.set_acls(f"{B}/owned", OPEN_ACL_UNSAFE)
    job = next_result(batch)
    wait_until(partial(is_called, tasks, f"{B} {job.name}"), "a call")
    assert places() == [1, 1]


def test_a_hook_in_python_gets_the_queue_and_is_interrupted_once(
    server: Any, two: list[Dispatcher], keys: Path
) -> None:
    found: list[JobFailure] = []
    interrupted: list[bool] = []

    class Keeping(JobHooks):
        def job_failed(self, failure: JobFailure) -> None:
            found.append(failure)

        def interrupt(self) -> None:
            interrupted.append(True)

    with Worker(
        server.hosts, queues={A: 1, B: 1}, threads=True, signing_keys=keys, hooks=[Keeping()]
    ):
        jobs = [next_result(one.submit("builtins:max", max_attempts=1)) for one in two]
        wait_until(lambda: len(found) == 2, "the calls")
    assert {(one.job.name, one.reason, one.queue) for one in found} == {
        (jobs[0].name, FailureReason.ATTEMPT, A),
        (jobs[1].name, FailureReason.ATTEMPT, B),
    }
    assert interrupted == [True]


def test_the_path_of_a_queue_for_hooks_is_without_the_chroot(server: Any, keys: Path) -> None:
    found: list[JobFailure] = []

    class Keeping(JobHooks):
        def job_failed(self, failure: JobFailure) -> None:
            found.append(failure)

    hosts = f"{server.hosts}/tenant"
    with (
        Dispatcher(hosts, "/q", create=True, signing_keys=keys) as dispatcher,
        Worker(hosts, queues={"/q": 1}, threads=True, signing_keys=keys, hooks=[Keeping()]),
    ):
        next_result(dispatcher.submit("builtins:max", max_attempts=1))
        wait_until(lambda: len(found) == 1, "the call")
    assert found[0].queue == "/q"
