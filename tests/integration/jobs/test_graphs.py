"""Batches that wait for several batches and jobs, with a condition, and receive their results."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess, next_result, write_tasks
from tests.support.waiting import wait_until
from zoolet.cli import main
from zoolet.jobs import (
    Batch,
    Dispatcher,
    InvalidJobError,
    Job,
    JobNotFoundError,
    JobQueue,
    JobRequest,
    JobState,
    UnknownBatchError,
    When,
)
from zoolet.jobs.housekeeping.releasing import Releaser
from zoolet.jobs.overview.graphs import DEPTH, MOST_NODES, tree
from zoolet.jobs.overview.overview import explain_job
from zoolet.jobs.queue import deleted_jobs
from zoolet.jobs.records.dependencies import Dependencies
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.submit.submission import Submitter
from zoolet.jobs.worker.inputs import read_inputs
from zoolet.jobs.znodes.batch_log import chunk_path
from zoolet.jobs.znodes.layout import Layout


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_tasks(tmp_path)
    return tmp_path


@pytest.fixture
def local(client: KazooClient) -> Iterator[Dispatcher]:
    """A dispatcher whose queue has a worker ``w`` in the test."""
    with Dispatcher(client, ROOT, create=True) as found:
        assert found.queue.register("w")
        yield found


class Housekeeper:
    """Releases jobs, as a worker does."""

    def __init__(self, queue: JobQueue) -> None:
        self._releaser = Releaser(queue, lambda: None)
        self._releaser.begin()

    def work(self) -> float | None:
        while (left_s := self._releaser.release()) == 0.0:
            pass
        return left_s

    def work_until(self, condition: Callable[[], bool]) -> None:
        def is_so() -> bool:
            self.work()
            return condition()

        wait_until(is_so, "the release")


def request(number: int = 0, **changes: Any) -> JobRequest:
    return JobRequest("m:f", parameters={"n": number}, max_attempts=1, **changes)


def place(dispatcher: Dispatcher, name: str) -> str | None:
    return dispatcher.queue.layout.where([name])[0]


def end(dispatcher: Dispatcher, name: str, *, fails: bool = False) -> None:
    job = dispatcher.queue.own_job(name, "w")
    if fails:
        dispatcher.queue.fail(job, "no luck")
    else:
        dispatcher.queue.finish(job, {"of": name})


CASES = [
    (When.ALL_ENDED, [False, True], JobState.PENDING),
    (When.ALL_ENDED, [False, False], JobState.PENDING),
    (When.ALL_SUCCEEDED, [False, False], JobState.PENDING),
    (When.ALL_SUCCEEDED, [False, True], JobState.FAILED),
    (When.ONE_FAILED, [False, True], JobState.PENDING),
    (When.ONE_FAILED, [False, False], JobState.FAILED),
]


@pytest.mark.parametrize(("when", "fails", "state"), CASES)
@pytest.mark.parametrize("kind", ["jobs", "batches", "alone"])
def test_the_condition_decides(
    local: Dispatcher, when: When, fails: list[bool], state: JobState, kind: str
) -> None:
    if kind == "alone":
        first: list[Any] = [local.submit("m:f"), local.submit("m:f")]
    else:
        first = [local.submit_batch([request(n)], name=f"b{n}") for n in range(2)]
    names = [batch.names[0] for batch in first]
    after = {"jobs": names, "batches": ["b0", "b1"], "alone": first}[kind]
    waiting = local.submit_batch([request(7), request(8)], after=after, when=when)
    keeper = Housekeeper(local.queue)
    keeper.work()
    assert {place(local, name) for name in waiting.names} == {Place.DEFERRED}
    why = explain_job(local.queue, local.queue.find(waiting.names[0]))
    assert str(when) in why
    for name, is_failed in zip(names, fails, strict=True):
        assert {place(local, name) for name in waiting.names} == {Place.DEFERRED}
        if kind == "alone" and is_failed:
            local.queue.cancel([name])
        else:
            end(local, name, fails=is_failed)
    expected = Place.UNOWNED if state is JobState.PENDING else Place.DONE
    keeper.work_until(lambda: {place(local, n) for n in waiting.names} == {expected})
    found = [local.queue.find(name) for name in waiting.names]
    assert {job.state for job in found} == {state}
    if state is JobState.FAILED:
        assert found[0].last_error.startswith(f"skipped: it waits for the condition {when}: ")
    assert local.queue.layout.znodes.children(f"{ROOT}/chains") == []


def test_jobs_that_have_ended_before_decide_at_once(local: Dispatcher) -> None:
    first = local.submit_batch([request()])
    end(local, first.names[0])
    keeper = Housekeeper(local.queue)
    waiting = local.submit_batch([request(1)], after=first.names, when=When.ALL_SUCCEEDED)
    keeper.work_until(lambda: place(local, waiting.names[0]) == Place.UNOWNED)


def test_a_failure_decides_before_all_jobs_have_ended(local: Dispatcher) -> None:
    first = local.submit_batch([request(n) for n in range(3)])
    skipped = local.submit_batch([request(7)], after=first, when=When.ALL_SUCCEEDED)
    handler = local.submit_batch([request(8)], after=first, when=When.ONE_FAILED)
    last = local.submit_batch([request(9)], after=[skipped, first], when=When.ALL_SUCCEEDED)
    keeper = Housekeeper(local.queue)
    keeper.work()
    end(local, first.names[1], fails=True)
    keeper.work_until(lambda: place(local, handler.names[0]) == Place.UNOWNED)
    keeper.work_until(lambda: place(local, last.names[0]) == Place.DONE)
    assert local.queue.find(skipped.names[0]).last_error.endswith("has a FAILED job")
    assert first.progress()[JobState.PENDING] == 2


def test_a_removed_job_has_not_succeeded(
    local: Dispatcher, client: KazooClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleted_jobs, "FIRST_S", 0.01)
    first = local.submit_batch([request(n) for n in range(2)])
    alone = local.submit("m:f")
    after: list[str | Batch] = [first, *alone.names]
    ended = local.submit_batch([request(7)], after=after)
    skipped = local.submit_batch([request(8)], after=after, when=When.ALL_SUCCEEDED)
    keeper = Housekeeper(local.queue)
    keeper.work()
    for name in (*first.names, *alone.names):
        client.delete(local.queue.layout.unowned(name))
    keeper.work_until(lambda: place(local, ended.names[0]) == Place.UNOWNED)
    keeper.work_until(lambda: place(local, skipped.names[0]) == Place.DONE)
    assert local.queue.find(skipped.names[0]).last_error.endswith("was removed")


def test_the_jobs_that_are_submitted_after_the_decision_are_skipped_too(
    local: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = local.submit_batch([request()])
    keeper = Housekeeper(local.queue)
    submit_chunk = Submitter._submit_chunk
    chunks = 0

    def slow(self: Submitter, chunk: Any) -> Any:
        nonlocal chunks
        chunks += 1
        found = submit_chunk(self, chunk)
        if chunks == 1:
            end(local, first.names[0], fails=True)
            names = f"{ROOT}/chains/late"
            keeper.work_until(lambda: local.queue.layout.znodes.children(names) == [])
        return found

    monkeypatch.setattr(Submitter, "_submit_chunk", slow)
    late = local.submit_batch(
        [request(n) for n in range(120)], name="late", after=first, when=When.ALL_SUCCEEDED
    )
    keeper.work_until(lambda: late.progress()[JobState.FAILED] == 120)
    keeper.work_until(lambda: not local.queue.layout.znodes.exists(f"{ROOT}/chains/late"))


def test_what_does_not_exist_is_refused(local: Dispatcher) -> None:
    first = local.submit_batch([request()], name="a")
    with pytest.raises(UnknownBatchError, match="no batch b is"):
        local.submit_batch([request()], name="b", after=["a", "b"])
    with pytest.raises(JobNotFoundError):
        local.submit_batch([request()], after=[*first.names, "entry-000-_:0-0000000099"])
    with pytest.raises(InvalidJobError, match="receive needs after"):
        local.submit_batch([request()], receive="results")
    with pytest.raises(InvalidJobError, match="1 to 1000"):
        local.submit_batch([request()], after=[])
    with pytest.raises(UnknownBatchError, match="no batch b is"):
        local.submit("m:f", after="b")
    with pytest.raises(InvalidJobError, match="receive needs after"):
        local.submit("m:f", receive="results")
    assert local.queue.layout.znodes.children(f"{ROOT}/chains") == []


def test_random_graphs(local: Dispatcher) -> None:
    chance = random.Random(11)
    keeper = Housekeeper(local.queue)
    after: dict[str, Dependencies] = {}
    ends: dict[str, bool] = {}
    """Whether the job of a batch fails, by batch, if it starts."""
    for number in range(40):
        name = f"g{number:02d}"
        known = sorted(ends)
        chosen = tuple(chance.sample(known, min(len(known), chance.randrange(4))))
        when = chance.choice([*When])
        batch = local.submit_batch([request(number)], name=name, after=chosen or None, when=when)
        ends[name] = chance.random() < 0.3
        if chosen:
            after[name] = Dependencies(chosen, when)
        if chance.random() < 0.3:
            keeper.work()
        del batch
    failed = _model(after, ends)
    queue = local.queue
    while queue.counts()["unowned"] or queue.counts()["deferred"]:
        waiting = queue.waiting()
        if waiting:
            job = chance.choice(waiting)
            end(local, job.name, fails=ends[str(job.batch)])
        if chance.random() < 0.1:
            keeper = Housekeeper(queue)
        keeper.work_until(lambda: bool(queue.counts()["unowned"] or not queue.counts()["deferred"]))
    found = {str(job.batch): job.state is JobState.FAILED for job in queue.done()}
    assert found == failed


def _model(after: dict[str, Dependencies], ends: dict[str, bool]) -> dict[str, bool]:
    """Return for each batch, in the order of submission, whether its job is FAILED."""
    failed: dict[str, bool] = {}
    for name, fails in ends.items():
        dependencies = after.get(name)
        starts = True
        if dependencies is not None:
            of = [failed[other] for other in dependencies.after]
            starts = {
                When.ALL_ENDED: True,
                When.ALL_SUCCEEDED: not any(of),
                When.ONE_FAILED: any(of),
            }[dependencies.when]
        failed[name] = fails or not starts
    return failed


def test_a_chord_receives_the_results(
    client: KazooClient,
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    tmp_path: Path,
) -> None:
    store = f"sqlite:///{tmp_path / 'results.db'}"
    start_worker("--result-store-url", f"default={store}", loader=None)
    large = "x" * 40_000
    requests = [JobRequest("pipe_tasks:number", parameters={"n": n}) for n in (1, 2)]
    requests.append(JobRequest("pipe_tasks:text", parameters={"size": len(large)}))
    then = JobRequest("pipe_tasks:echo", parameters={"own": True})
    with Dispatcher(client, ROOT, result_stores={"default": store}) as reader:
        chord = reader.submit_chord(requests, then, name="chord")
        found = next_result(chord).result["parameters"]
        assert found == {"own": True, "results": [1, 2, large]}
        failing = JobRequest("pipe_tasks:trouble", max_attempts=1)
        first = reader.submit_batch([requests[0], failing])
        second = reader.submit_batch([then], after=[*first.names, "chord-jobs"], receive="results")
        found = next_result(second).result["parameters"]["results"]
        assert found == [1, None, 1, 2, large]
    # The results are not copied into the znode of the job.
    assert dispatcher.queue.find(second.names[0]).parameters == {"own": True}


def test_a_single_job_waits_for_others_and_receives_their_results(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess]
) -> None:
    first = dispatcher.submit("pipe_tasks:number", parameters={"n": 1})
    bad = dispatcher.submit("pipe_tasks:trouble", max_attempts=1)
    second = dispatcher.submit(
        "pipe_tasks:echo", after=[first, *bad.names], when=When.ONE_FAILED, receive="of"
    )
    skipped = dispatcher.submit_request(
        JobRequest("pipe_tasks:echo"), after=bad, when=When.ALL_SUCCEEDED
    )
    assert {place(dispatcher, one.names[0]) for one in (second, skipped)} == {Place.DEFERRED}
    start_worker(loader=None)
    received = next_result(second).result["parameters"]["of"]
    # The failure of one job is enough: the other one may not have ended.
    assert received[1] is None
    assert next_result(skipped).last_error.startswith("skipped: ")
    # It is a batch, which another process can follow.
    assert second.name is not None
    assert dispatcher.batch(second.name).names == second.names


def test_a_removed_result_fails_the_attempt(
    dispatcher: Dispatcher, client: KazooClient, start_worker: Callable[..., WorkerProcess]
) -> None:
    dispatcher.queue.pause()
    start_worker(loader=None)
    first = dispatcher.submit_batch([JobRequest("pipe_tasks:number", parameters={"n": 1})])
    echo = JobRequest("pipe_tasks:echo", max_attempts=1)
    second = dispatcher.submit_batch([echo], after=first.names, receive="results")
    client.delete(dispatcher.queue.layout.unowned(first.names[0]))
    dispatcher.queue.pause(paused=False)
    job = next_result(second)
    assert "the results that the job receives cannot be read" in job.last_error


def test_a_job_that_has_not_ended_has_no_result_yet(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess]
) -> None:
    number = JobRequest("pipe_tasks:number", parameters={"n": 1})
    later = dispatcher.queue.server_time_ms() + 3_600_000
    late = JobRequest("pipe_tasks:number", parameters={"n": 2}, not_before_ms=later)
    bad = JobRequest("pipe_tasks:trouble", max_attempts=1)
    start_worker(loader=None)
    ended = dispatcher.submit_batch([number])
    assert next_result(ended).result == 1
    first = dispatcher.submit_batch([late, bad], name="first")
    handler = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:echo", max_attempts=1)],
        after=[*ended.names, "first", first.names[0]],
        when=When.ONE_FAILED,
        receive="of",
    )
    job = next_result(handler)
    assert job.state is JobState.SUCCESSFUL, job.errors
    assert job.result["parameters"]["of"] == [1, None, None, None]


def test_random_results_are_received_while_jobs_move(
    local: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(4)
    read = Layout.read
    moving: set[str] = set()

    def read_and_move(self: Layout, place: Place, names: Any) -> list[Job]:
        """Read jobs, and move some of them before the caller looks for those that it missed."""
        found = read(self, place, names)
        for name in sorted(moving.intersection(names)):
            moving.remove(name)
            _step(local, name, chance)
        return found

    monkeypatch.setattr(Layout, "read", read_and_move)
    for number in range(12):
        first = local.submit_batch(
            [request(n) for n in range(chance.randint(1, 6))], name=f"first{number}"
        )
        for name in first.names:
            for _ in range(chance.randrange(3)):
                _step(local, name, chance)
        names = first.names[: chance.randrange(3)]
        then = local.submit_batch(
            [request(9)], after=[*names, f"first{number}"], when=When.ONE_FAILED, receive="of"
        )
        job = local.queue.find(then.names[0])
        if chance.random() < 0.2:
            gone = chance.choice(first.names)
            local.queue.layout.znodes.delete(local.queue.layout.job(_place_of(local, gone), gone))
            with pytest.raises(JobNotFoundError, match=f"{gone} was removed"):
                read_inputs(job, local.queue, local.results)
            continue
        before = {name: _result_of(local, name) for name in first.names}
        moves = {name for name in first.names if chance.random() < 0.3}
        moving |= moves
        received = read_inputs(job, local.queue, local.results)
        for name, result in zip([*names, *first.names], received, strict=True):
            assert result == before[name] or (name in moves and result == _result_of(local, name))
        assert not moving


def test_a_job_that_is_not_submitted_yet_has_no_result_yet(local: Dispatcher) -> None:
    first = local.submit_batch([request(n) for n in range(120)], name="first")
    end(local, first.names[-1])
    then = local.submit_batch([request()], after="first", when=When.ONE_FAILED, receive="of")
    job = local.queue.find(then.names[0])
    # The submission of the batch is not complete before this znode exists.
    local.queue.layout.znodes.delete(chunk_path(local.queue.layout, "first", 1))
    received = read_inputs(job, local.queue, local.results)
    assert received == [*[None] * 119, {"of": first.names[-1]}]


def _place_of(dispatcher: Dispatcher, name: str) -> Place:
    return Place(str(place(dispatcher, name)))


def _result_of(dispatcher: Dispatcher, name: str) -> Any:
    job = dispatcher.queue.find(name)
    return job.result if job.state is JobState.SUCCESSFUL else None


def _step(dispatcher: Dispatcher, name: str, chance: random.Random) -> None:
    """Make a random transition of a job that waits or is FAILED."""
    job = dispatcher.queue.find(name)
    if job.state is JobState.PENDING:
        end(dispatcher, name, fails=chance.random() < 0.4)
    elif job.state is JobState.FAILED:
        dispatcher.queue.retry(name)


def test_the_commands_submit_and_show_graphs(server: Any, dispatcher: Dispatcher) -> None:
    def run(command: str, *arguments: str) -> str:
        options = ["--server", server.hosts, "--queue", ROOT]
        result = CliRunner().invoke(main, ["jobs", command, *options, *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    run("submit", "--task", "m:f", "--batch", "a")
    run("submit", "--task", "m:f", "--batch", "b", "--after", "a")
    name = dispatcher.batch("b").names[0]
    condition = ("--when", "all succeeded", "--receive", "results")
    run("submit", "--task", "m:f", "--batch", "c", "--after", "a", "--after", name, *condition)
    shown = run("show", "--batch", "c").splitlines()[1:]
    assert shown == [
        "c: 1 jobs, 0 SUCCESSFUL, 0 FAILED, waits for all succeeded",
        "├── a: 1 jobs, 0 SUCCESSFUL, 0 FAILED",
        f"└── {name}: PENDING, waits for all ended",
        "    └── a: 1 jobs, 0 SUCCESSFUL, 0 FAILED",
    ]
    alone = run("submit", "--task", "m:f", "--after", name, *condition).splitlines()
    [job] = dispatcher.batch(alone[1].removeprefix("batch ").partition(":")[0]).names
    assert alone[0] == f"{job} NEW"
    assert place(dispatcher, job) == Place.DEFERRED
    found = json.loads(run("show", dispatcher.batch("c").names[0], "--output", "json"))
    assert [one["name"] for one in found["graph"]["after"]] == ["a", name]
    assert found["receives"] == "results"


def test_a_tree_is_bounded(local: Dispatcher) -> None:
    first = local.submit_batch([request(n) for n in range(1000)], name="many")
    local.submit_batch([request(7)], name="last", after=first.names)
    found = tree(local.queue, "last")
    assert len(list(found.lines())) == MOST_NODES + 1
    assert len(found.after) + found.left_out == 1000
    before = "last"
    for number in range(DEPTH + 10):
        local.submit_batch([request()], name=f"n{number}", after=before)
        before = f"n{number}"
    assert len(list(tree(local.queue, before).lines())) == DEPTH + 2
