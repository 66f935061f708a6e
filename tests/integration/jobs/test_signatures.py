"""Signed jobs: a worker with keys runs only what someone with a key has submitted, unchanged.

The server, the workers and their executors are real. A program without a key is the client of the
test, which writes znodes.
"""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.fuzz.queue_values import any_value
from tests.support.jobs import ROOT, WorkerProcess, all_results, next_result, write_tasks
from tests.support.signed_jobs import (
    CHANGED,
    SIGNED_TASKS,
    ended,
    note,
    notes,
    rewrite,
    update,
)
from tests.support.signing import write_keys
from tests.support.waiting import wait_until
from zoolet.cli import main
from zoolet.jobs import (
    AsyncDispatcher,
    Dispatcher,
    Job,
    JobQueue,
    JobRequest,
    JobState,
    SignatureError,
    SigningKeyError,
    Worker,
)
from zoolet.jobs.signing.signatures import SIGNED

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_tasks(tmp_path)
    (tmp_path / "signed_tasks.py").write_text(SIGNED_TASKS)
    marker = 'import pathlib\n(pathlib.Path(__file__).parent / "imported").touch()\n'
    (tmp_path / "evil_tasks.py").write_text(f"{marker}def run(*_):\n    pass\n")
    return tmp_path


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys", "first")


@pytest.fixture
def dispatcher(server: Any, keys: Path) -> Iterator[Dispatcher]:
    """A dispatcher with the keys, on a new queue."""
    with Dispatcher(server.hosts, ROOT, create=True, signing_keys=keys) as dispatcher:
        yield dispatcher


@pytest.fixture
def stranger(server: Any, dispatcher: Dispatcher) -> Iterator[Dispatcher]:
    """A dispatcher without keys."""
    assert dispatcher.queue.signer is not None
    with Dispatcher(server.hosts, ROOT) as stranger:
        yield stranger


@pytest.fixture
def start(start_worker: StartWorker, keys: Path) -> StartWorker:
    """Start workers with the keys."""
    return lambda *options, **more: start_worker("--signing-keys", str(keys), *options, **more)


def test_a_job_with_a_changed_value_does_not_run(
    dispatcher: Dispatcher, client: KazooClient, start: StartWorker, tasks: Path
) -> None:
    assert set(CHANGED) == set(SIGNED)
    changed = {}
    for number, (field, value) in enumerate(CHANGED.items()):
        more: dict[str, Any] = {"not_before_ms": 1} if field == "not_before_ms" else {}
        more |= {"expires_ms": 3_900_000_000_000} if field == "expires_ms" else {}
        if field in {"dataset", "groupid", "source"}:
            more |= {"dataset": "flights", "groupid": "1"}
        batch = dispatcher.submit_request(note(number, field, **more), reuse=False)
        change = {field: value}
        changed[field] = rewrite(client, batch.names[0], partial(update, change))
    good = dispatcher.submit_batch([note(n) for n in range(100, 110)])
    start("--executors", "2", "--tag", "gpu")
    assert {job.state for job in all_results(good)} == {JobState.SUCCESSFUL}
    for job in ended(dispatcher, list(changed.values())):
        assert job.state is JobState.FAILED
        assert "the worker refused the job: its s" in job.last_error, job
        assert job.attempts == 0
    assert sorted(notes(tasks)) == sorted(f"{n} as signed" for n in range(100, 110))
    assert not (tasks / "imported").exists()


def test_a_job_without_a_valid_signature_does_not_run(
    dispatcher: Dispatcher,
    stranger: Dispatcher,
    client: KazooClient,
    start: StartWorker,
    tasks: Path,
    server: Any,
) -> None:
    unsigned = stranger.submit("evil_tasks:run").names[0]
    own_keys = write_keys(tasks / "own", "first", secrets={"first": "ab" * 32})
    other_id = write_keys(tasks / "other", "second")
    found = {"it has no signature": unsigned}
    for path, message in ((own_keys, "is wrong"), (other_id, "does not have")):
        with Dispatcher(server.hosts, ROOT, signing_keys=path) as forger:
            found[message] = forger.submit("evil_tasks:run").names[0]
    # A job that someone with the key has submitted to another queue.
    with Dispatcher(
        server.hosts, "/jobs/other", create=True, signing_keys=tasks / "keys"
    ) as elsewhere:
        [name] = elsewhere.submit("evil_tasks:run").names
    value = client.get(f"/jobs/other/unowned/{name}")[0]
    path = client.create(f"{ROOT}/unowned/{name[:-10]}", value, sequence=True)
    found["for another queue"] = path.rpartition("/")[2]
    # The signature of another job.
    signed = dispatcher.submit("signed_tasks:note", parameters={"n": 1, "text": "x"}).names[0]
    signature = dispatcher.job(signed).signature
    [name] = stranger.submit("evil_tasks:run").names
    found["first is wrong"] = rewrite(client, name, lambda old: old.update(signature=signature))
    start()
    jobs = {job.name: job for job in ended(dispatcher, list(found.values()))}
    for message, name in found.items():
        assert jobs[name].state is JobState.FAILED
        assert message in jobs[name].last_error
    assert not (tasks / "imported").exists()
    assert ended(dispatcher, [signed])[0].state is JobState.SUCCESSFUL


def test_a_job_that_is_changed_after_it_was_taken_is_refused_by_the_next_worker(
    dispatcher: Dispatcher, client: KazooClient, start: StartWorker, tasks: Path
) -> None:
    file = tasks / "hangs"
    parameters = {"file": str(file)}
    batch = dispatcher.submit("pipe_tasks:hang_once", parameters=parameters, max_attempts=3)
    worker = start()
    wait_until(file.exists, "the start of the task")
    path = f"{ROOT}/owned/{batch.names[0]}"
    value = json.loads(client.get(path)[0]) | {"task": "evil_tasks:run"}
    client.set(path, json.dumps(value).encode())
    worker.kill()
    start()
    job = next_result(batch)
    assert (job.state, "the worker refused the job" in job.last_error) == (JobState.FAILED, True)
    assert not (tasks / "imported").exists()


@pytest.mark.parametrize("shards", [1, 3])
def test_moves_and_retries_keep_a_signature_valid(
    client: KazooClient, start: StartWorker, tasks: Path, keys: Path, shards: int
) -> None:
    """Back-off, a lost worker, a start time, a dependency, a limit, a retry after an expiry."""
    JobQueue(client, ROOT).ensure_layout()
    if shards > 1:
        client.delete(ROOT, recursive=True)
        done = CliRunner().invoke(
            main, ["jobs", "create", "--server", f"{client.hosts[0][0]}:{client.hosts[0][1]}",
                   "--queue", ROOT, "--shards", str(shards)]
        )  # fmt: skip
        assert done.exit_code == 0, done.output
    dispatcher = Dispatcher(client, ROOT, signing_keys=keys)
    file = tasks / "hangs"
    lost = dispatcher.submit("pipe_tasks:hang_once", parameters={"file": str(file)})
    worker = start()
    wait_until(file.exists, "the start of the task")
    wait_until(lambda: dispatcher.job(lost.names[0]).state == "RUNNING", "the record")
    worker.kill()
    failing = dispatcher.submit("signed_tasks:fail", max_attempts=3, backoff_ms=10)
    now_ms = dispatcher.queue.server_time_ms()
    later = dispatcher.submit_request(note(1, not_before_ms=now_ms + 1500))
    expired = dispatcher.submit_request(note(2, expires_ms=1))
    first = dispatcher.submit_batch([note(n) for n in (3, 4)])
    then = dispatcher.submit_batch([note(5)], after=first, receive="received")
    start()
    assert next_result(lost).result == "again"
    assert next_result(failing).attempts == 3
    assert {job.state for batch in (later, first) for job in all_results(batch)} == {"SUCCESSFUL"}
    received = next_result(then).result["received"]
    assert [one["n"] for one in received] == [3, 4]
    job = next_result(expired)
    assert "it expired" in job.last_error
    dispatcher.queue.retry(job.name)
    assert ended(dispatcher, [job.name])[0].state is JobState.SUCCESSFUL
    dispatcher.close()


def test_a_retry_signs_only_what_was_signed(
    dispatcher: Dispatcher, stranger: Dispatcher, client: KazooClient
) -> None:
    """Someone without a key writes FAILED jobs, and waits until an operator retries all jobs."""
    queue = dispatcher.queue
    assert queue.register("w")
    names = []
    for number in range(4):
        [name] = dispatcher.submit_request(
            note(number, max_attempts=1, expires_ms=4 * 10**12)
        ).names
        queue.fail(queue.own_job(name, "w"), "no")
        names.append(name)
    changed, expiry, unsigned, good = names
    for name, change in (
        (changed, {"task": "evil_tasks:run"}),
        (expiry, {"expires_ms": None}),
        (unsigned, {"task": "evil_tasks:run", "signature": None}),
    ):
        path = f"{ROOT}/done/{name}"
        value = json.loads(client.get(path)[0]) | change
        client.set(path, json.dumps(value).encode())
    for name in (changed, expiry):
        with pytest.raises(SignatureError, match=f"{name} is not retried: its signature"):
            queue.retry(name)
    assert dispatcher.retry_failed().jobs == 2
    waiting = {job.name: job for job in queue.waiting()}
    assert set(waiting) == {unsigned, good}
    assert waiting[unsigned].signature is None
    assert waiting[good].expires_ms is None
    assert queue.signer is not None
    assert queue.signer.problem(waiting[good]) is None
    # Without a key, a retry changes no signed value.
    queue.fail(queue.own_job(good, "w"), "no")
    [late] = dispatcher.submit_request(note(9, expires_ms=4 * 10**12, not_before_ms=1)).names
    stranger.queue.cancel([late])
    for name in (good, late):
        stranger.queue.retry(name)
        assert queue.signer.problem(queue.find(name)) is None
    assert queue.find(late).expires_ms == 4 * 10**12


def test_keys_are_rotated_while_jobs_wait(
    dispatcher: Dispatcher, start: StartWorker, keys: Path
) -> None:
    """The order that the page gives: first the new key verifies, then it signs."""
    dispatcher.queue.pause()
    start()
    waiting = dispatcher.submit_batch([note(n) for n in range(5)])
    write_keys(keys, "first", "second")
    verified = dispatcher.submit_batch([note(n) for n in range(5, 10)])
    write_keys(keys, "second", "first")
    signed = dispatcher.submit_batch([note(n) for n in range(10, 15)])
    found = {
        name: dispatcher.job(name).signature or "" for name in (*verified.names, *signed.names)
    }
    assert {found[name].split(":")[1] for name in verified.names} == {"first"}
    assert {found[name].split(":")[1] for name in signed.names} == {"second"}
    dispatcher.queue.pause(paused=False)
    for batch in (waiting, verified, signed):
        assert {job.state for job in all_results(batch)} == {JobState.SUCCESSFUL}
    dispatcher.queue.pause()
    late = dispatcher.submit_batch([note(20)])
    write_keys(keys, "third")
    dispatcher.queue.pause(paused=False)
    job = next_result(late)
    assert (job.state, "the key second, which this process does not have" in job.last_error) == (
        JobState.FAILED, True
    )  # fmt: skip
    assert next_result(dispatcher.submit_batch([note(21)])).state is JobState.SUCCESSFUL


def test_tasks_submit_signed_jobs_and_a_map_is_reduced(
    dispatcher: Dispatcher, start: StartWorker, tasks: Path
) -> None:
    start("--tasks", "signed_tasks:*", "--loaders", "csv", loader=None)
    parent = dispatcher.submit("signed_tasks:spawn", parameters={"n": 1, "text": "from a task"})
    [child] = next_result(parent).result
    assert ended(dispatcher, [child])[0].state is JobState.SUCCESSFUL
    assert notes(tasks) == ["1 from a task"]
    for number in range(20):
        (tasks / f"{number}.csv").write_text("x\n1\n2\n")
    dispatcher.datasets.create("rows", "csv", tasks)
    result = dispatcher.map("signed_tasks:count", "rows", reduce="signed_tasks:add")
    assert result.value(60) == 40


def test_during_a_migration_a_worker_runs_jobs_without_a_signature_and_refuses_invalid_ones(
    dispatcher: Dispatcher,
    stranger: Dispatcher,
    client: KazooClient,
    start: StartWorker,
) -> None:
    start("--accept-unsigned")
    assert next_result(stranger.submit_batch([note(1)])).state is JobState.SUCCESSFUL
    dispatcher.queue.pause()
    [name] = dispatcher.submit_request(note(2)).names
    name = rewrite(client, name, lambda old: old.update(priority=9))
    dispatcher.queue.pause(paused=False)
    assert ended(dispatcher, [name])[0].state is JobState.FAILED


def test_a_dispatcher_with_keys_joins_only_valid_jobs(
    dispatcher: Dispatcher, stranger: Dispatcher, client: KazooClient
) -> None:
    data = {"dataset": "flights", "groupid": "1"}
    wanted = note(1, **data)
    forged = stranger.submit_request(wanted)
    [name] = dispatcher.submit_request(wanted).names
    assert name != forged.names[0]
    again = dispatcher.submit_request(wanted)
    assert (again.names, again.submissions[0].origin) == ([name], "JOINED")
    # The key of one job is made to name another valid job.
    [other] = dispatcher.submit_request(note(2, **data)).names
    key = dispatcher.job(name).key
    value = {"submission": dispatcher.job(other).submission, "job": other}
    client.set(f"{ROOT}/keys/{key}", json.dumps(value).encode())
    assert dispatcher.submit_request(wanted).names[0] not in {other, forged.names[0]}


def test_only_signed_schedules_submit_jobs(
    dispatcher: Dispatcher,
    stranger: Dispatcher,
    client: KazooClient,
    start: StartWorker,
    tasks: Path,
    server: Any,
    keys: Path,
) -> None:
    evil = JobRequest("evil_tasks:run")
    stranger.schedules.add("unsigned", evil, every_ms=1000)
    for name in ("good", "changed"):
        dispatcher.schedules.add(name, note(1, name), every_ms=1000)
    path = f"{ROOT}/schedules/changed"
    value = json.loads(client.get(path)[0])
    value["request"]["task"] = "evil_tasks:run"
    client.set(path, json.dumps(value).encode())
    start()
    wait_until(lambda: len(notes(tasks)) >= 3, "three runs")
    assert set(notes(tasks)) == {"1 good"}
    assert not (tasks / "imported").exists()
    jobs = list(dispatcher.queue.jobs())
    assert {job.task for job in jobs} == {"signed_tasks:note"}
    problems = {one.name: one.problem for one in dispatcher.schedules.all()}
    assert problems["good"] == ""
    assert "it has no signature" in problems["unsigned"]
    assert "its signature with the key first is wrong" in problems["changed"]
    with pytest.raises(SignatureError, match="Add the schedule again"):
        dispatcher.schedules.run_now("unsigned")
    [run] = [dispatcher.schedules.run_now("good")]
    assert ended(dispatcher, [run])[0].state is JobState.SUCCESSFUL
    listed = CliRunner().invoke(
        main, ["jobs", "schedule", "list", "--server", server.hosts, "--queue", ROOT,
               "--signing-keys", str(keys), "--output", "json"]
    )  # fmt: skip
    assert listed.exit_code == 0, listed.output
    assert "Add the schedule again" in listed.output


def test_the_command_signs_with_the_keys_of_its_environment(
    dispatcher: Dispatcher, start: StartWorker, server: Any, keys: Path
) -> None:
    start()
    arguments = [
        "jobs", "submit", "--server", server.hosts, "--queue", ROOT, "--wait",
        "--task", "signed_tasks:note", "--parameters", '{"n": 1, "text": "x"}',
    ]  # fmt: skip
    done = CliRunner().invoke(main, arguments, env={"ZOOLET_SIGNING_KEYS": str(keys)})
    assert (done.exit_code, done.stdout) == (0, '{"n": 1, "text": "x"}\n')
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1
    assert "it has no signature: submit it with the option --signing-keys" in refused.output
    keys.chmod(0o644)
    unsafe = CliRunner().invoke(main, [*arguments, "--signing-keys", str(keys)])
    assert (unsafe.exit_code, "chmod 0600" in unsafe.output) == (1, True)
    assert dispatcher.queue.counts()["done"] == 2


def test_an_asynchronous_dispatcher_signs_too(
    dispatcher: Dispatcher, start: StartWorker, server: Any, keys: Path
) -> None:
    start()

    async def submit() -> Job:
        async with AsyncDispatcher(server.hosts, ROOT, signing_keys=keys) as submitting:
            batch = await submitting.submit("signed_tasks:note", parameters={"n": 1, "text": "x"})
            [job] = await batch
            return job

    job = asyncio.run(submit())
    assert job.state is JobState.SUCCESSFUL
    assert dispatcher.job(job.name).signature is not None


def test_a_program_whose_keys_cannot_be_used_does_not_start(
    dispatcher: Dispatcher, client: KazooClient, server: Any, keys: Path
) -> None:
    sessions = len(client.get_children(f"{ROOT}/workers"))
    keys.chmod(0o644)
    with pytest.raises(SigningKeyError, match="other users can read"):
        Dispatcher(server.hosts, ROOT, signing_keys=keys)
    worker = Worker(server.hosts, ROOT, signing_keys=keys)
    with pytest.raises(SigningKeyError, match="other users can read"):
        worker.start()
    assert len(client.get_children(f"{ROOT}/workers")) == sessions
    # The dispatcher that uses the file already keeps its keys.
    [name] = dispatcher.submit_request(note(1)).names
    assert dispatcher.job(name).signature is not None


@pytest.mark.parametrize("seed", range(3))
def test_random_writes_of_a_program_without_a_key_run_nothing_else(
    dispatcher: Dispatcher, client: KazooClient, start: StartWorker, tasks: Path, seed: int
) -> None:
    """Each job is changed at random; what runs are jobs as they were signed."""
    chance = random.Random(seed)
    batch = dispatcher.submit_batch([note(n, f"text {n}") for n in range(60)])
    paths = [f"{ROOT}/unowned/{name}" for name in batch.names]
    values = [client.get(path)[0] for path in paths]
    for path, data in zip(paths, values, strict=True):
        value = json.loads(data)
        kind = chance.randrange(5)
        if kind == 0:
            changed = bytearray(data)
            changed[chance.randrange(len(data))] = chance.randrange(256)
            client.set(path, bytes(changed))
        elif kind == 1:
            value[chance.choice([*SIGNED, "signature"])] = any_value(chance)
            client.set(path, json.dumps(value, default=str).encode())
        elif kind == 2:
            other = json.loads(chance.choice(values))
            for field in chance.sample([*SIGNED, "signature"], 5):
                value[field] = other.get(field)
            client.set(path, json.dumps(value).encode())
        elif kind == 3:
            value["parameters"] = {"n": chance.randrange(60), "text": "forged"}
            client.set(path, json.dumps(value).encode())
    start("--executors", "2")
    queue = dispatcher.queue
    wait_until(lambda: queue.counts()["done"] >= 60, "the end of all jobs")
    ran = notes(tasks)
    assert set(ran) <= {f"{n} text {n}" for n in range(60)}
    assert len(ran) == len(set(ran))
    failed = [job for job in queue.done() if job.state is JobState.FAILED]
    assert len(failed) + len(ran) == 60
    assert 10 < len(failed) < 60
