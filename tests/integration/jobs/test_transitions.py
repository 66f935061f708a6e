"""Each row of the table of job transitions happens, with the operations that the row has."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.job_queue import request
from tests.support.jobs import ROOT
from zoolet.jobs import Dispatcher, Job, JobQueue, Limit
from zoolet.jobs.housekeeping.expiring import Expirer
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.records.job_outcomes import without_task
from zoolet.jobs.records.job_values import IMPORT_PATIENCE_MS
from zoolet.jobs.records.progress import Progress
from zoolet.jobs.records.transitions import TRANSITIONS, Event, JobState, Place, Step, Transition
from zoolet.jobs.znodes.edge import Znodes
from zoolet.jobs.znodes.failure_log import failures_path
from zoolet.jobs.znodes.operations import Create, Delete, Exists, Operation

START_MS = 4_000_000_000_000  # later than any clock of a server
LATER_MS = START_MS + 60_000


class Stage:
    """A queue with one job, whose multis are recorded; its clock stands still."""

    def __init__(self, client: KazooClient, row: Transition) -> None:
        self.client = client
        self.row = row
        self.now_ms = START_MS
        self.dispatcher = Dispatcher(client, ROOT, create=True)
        self.queue = JobQueue(client, ROOT, clock_ms=lambda: self.now_ms)
        assert self.queue.register("w")
        # A worker with hooks for failures has run.
        self.queue.layout.znodes.ensure(failures_path(self.queue.layout))
        self.name = ""

    def submit(self) -> None:
        """Submit the job, so that a failure leads to where the row ends."""
        row, after = self.row, None
        self.queue.limits.add(Limit("slots", concurrent=1, dataset="flights", key="k"))
        self.queue.limits.add(Limit("rate", per_second=100, key="k"))
        changes: dict[str, Any] = {"max_attempts": 1 if row.next_place is Place.DONE else 3}
        if row.next_place is Place.DEFERRED:
            changes["backoff_ms"] = 1000
        if row.event is Event.EXPIRE:
            changes["expires_ms"] = START_MS + 1
        if Place.DEFERRED in {row.place, row.next_place if row.place is None else None}:
            changes["not_before_ms"] = LATER_MS
        if row.event is Event.RELEASE and row.next_place is Place.DEFERRED:
            self.dispatcher.submit_batch([request("other")], name=(after := "first"))
        wanted = request(**changes, limit_key="k")
        batch = self.dispatcher.submit_batch([wanted], name="b", after=after)
        [self.name] = batch.names

    def prepare(self, state: JobState | None) -> None:
        """Put the job where the row begins, in this state."""
        if self.row.place is None:
            return
        self.submit()
        if self.row.place is Place.OWNED:
            job = self.queue.own_job(self.name, "w")
            if state is JobState.RUNNING:
                self.queue.update_state(job, JobState.RUNNING)
        elif self.row.place is Place.DONE:
            self.queue.cancel([self.name])

    def job(self) -> Job:
        """Return the job as it is now."""
        return self.queue.find(self.name)

    def move(self, after: Job, worker: str | None = None) -> None:
        """Move the job as the row says."""
        assert self.row.place is not None
        move = Move(self.row.event, self.row.place, self.job(), after)
        assert self.queue.mover.move([move], worker)

    def end_worker(self) -> None:
        """End the worker of the job, and look for jobs of such workers."""
        self.client.delete(f"{ROOT}/workers/w")
        assert self.queue.return_jobs_of_dead_workers()


def release(stage: Stage) -> None:
    if stage.row.next_place is Place.UNOWNED:
        stage.now_ms = LATER_MS
    stage.move(stage.job().put_off(stage.now_ms))


def defer(stage: Stage) -> None:
    if stage.row.next_place is Place.UNOWNED:
        stage.move(stage.job().held())  # for another batch, which there is not
    else:
        stage.move(stage.job()._replace(not_before_ms=LATER_MS).put_off(stage.now_ms))


def refuse(stage: Stage) -> None:
    stage.queue.taker.screen = lambda _: "it has no signature"
    assert stage.queue.own_jobs([stage.name], "w").owned == []


def expire(stage: Stage) -> None:
    stage.now_ms += 2
    if stage.row.place is Place.UNOWNED:
        stage.queue.own_jobs([stage.name], "w")
        return
    expirer = Expirer(stage.queue, lambda: None)
    expirer.begin()
    expirer.expire()


def fail_to_import(stage: Stage) -> None:
    job = stage.job()
    if stage.row.next_place is Place.DONE:
        job = job._replace(import_since_ms=START_MS - IMPORT_PATIENCE_MS)
    stage.move(without_task(job, stage.now_ms, "no module"), "w")


def make_unreadable(stage: Stage) -> None:
    assert stage.row.place is not None
    path = stage.queue.layout.job(stage.row.place, stage.name)
    stage.client.set(path, b'{"batch":"b","slots":["slots/slots/all-0"]}')
    if stage.row.place is Place.OWNED:
        stage.end_worker()
    elif stage.row.place is Place.UNOWNED:
        stage.queue.own_jobs([stage.name], "w")
    else:
        stage.move(stage.job().gave_up(stage.now_ms))


HAPPEN: dict[Event, Callable[[Stage], object]] = {
    Event.SUBMIT: Stage.submit,
    Event.RELEASE: release,
    Event.TAKE: lambda stage: stage.queue.own_job(stage.name, "w"),
    Event.DEFER: defer,
    Event.EXPIRE: expire,
    Event.REFUSE: refuse,
    Event.LOAD: lambda stage: stage.queue.update_state(stage.job(), JobState.STAGING),
    Event.START: lambda stage: stage.queue.update_state(stage.job(), JobState.RUNNING),
    Event.PROGRESS: lambda stage: stage.move(stage.job().progressed(Progress(1, 2)), "w"),
    Event.SUCCEED: lambda stage: stage.queue.finish(stage.job(), 1),
    Event.FAIL: lambda stage: stage.queue.fail(stage.job(), "no"),
    Event.NO_TASK: fail_to_import,
    Event.GIVE_BACK: lambda stage: stage.queue.release(stage.job()),
    Event.LOSE_WORKER: Stage.end_worker,
    Event.SKIP: lambda stage: stage.move(stage.job().ended_by(stage.now_ms, "skipped")),
    Event.CANCEL: lambda stage: stage.queue.cancel([stage.name]),
    Event.UNREADABLE: make_unreadable,
    Event.RETRY: lambda stage: stage.queue.retry(stage.name),
}


_BY_KIND = {
    (Exists, "workers"): Step.CHECK_WORKER,
    (Delete, "due"): Step.LEAVE_INDEX,
    (Delete, "chains"): Step.LEAVE_INDEX,
    (Create, "due"): Step.ENTER_INDEX,
    (Create, "chains"): Step.ENTER_INDEX,
    (Create, "limits"): Step.CLAIM,
    (Delete, "limits"): Step.FREE,
    (Create, "failures"): Step.NOTE_FAILURE,
    (Delete, "reserved"): Step.FREE_NAME,
}


def steps_in(operations: Sequence[Operation]) -> list[Step]:
    """Return what the operations of a multi are for."""
    found: list[Step] = []
    created: set[str] = set()
    for operation in operations:
        path = operation.path.removeprefix(f"{ROOT}/")
        kind = "reserved" if "reserved-" in path else path.partition("/")[0]
        known = _BY_KIND.get((type(operation), kind))
        match operation, kind:
            case _ if "/next/" in path:
                continue  # The slot of the job stands for all its limits.
            case _, "expiries":
                continue  # The entry in "due" stands for all entries.
            case _ if known is not None:
                found.append(known)
            case _, "keys":
                found.append(Step.WRITE_KEY)
            case _, "batches":
                found.append(Step.APPEND_TO_LOG)
            case Delete(), _:
                found.append(Step.DELETE)
            case Create(), _:
                found.append(Step.CREATE)
                created.add(path)
            case _ if path not in created:  # A rewrite makes the attempts the version.
                found.append(Step.SET)
    return found


@pytest.mark.parametrize(
    ("row", "state"),
    [(row, state) for row in TRANSITIONS for state in row.states or (None,)],
    ids=str,
)
def test_a_transition_is_one_multi_with_the_operations_of_its_row(
    client: KazooClient, monkeypatch: pytest.MonkeyPatch, row: Transition, state: JobState | None
) -> None:
    stage = Stage(client, row)
    stage.prepare(state)
    multis: list[list[Operation]] = []
    send = Znodes.multi

    def recorded(znodes: Znodes, operations: Iterable[Operation], landed: Any) -> Any:
        multis.append(list(operations))
        return send(znodes, multis[-1], landed)

    monkeypatch.setattr(Znodes, "multi", recorded)
    HAPPEN[row.event](stage)

    job = stage.job()
    assert (job.place, job.state) == (row.next_place, row.next_state)
    [found] = stage.queue.layout.read(row.next_place, [stage.name])
    assert found == job
    # Afterwards, a cancellation tells the workers.
    moves = [each for each in multis if [one.path for one in each] != [f"{ROOT}/control"]]
    assert steps_in(moves[-1]) == list(row.steps)
