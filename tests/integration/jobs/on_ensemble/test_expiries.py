"""Jobs that expire while they wait for a limit, on an ensemble whose leader is killed."""

from collections.abc import Callable
from pathlib import Path

from tests.support.jobs import WorkerProcess, all_results, assert_in_one_place, next_result
from zoolet.jobs import Dispatcher, JobRequest, JobState, Limit


def test_jobs_expire_or_run_although_the_leader_is_killed(
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    kill_leader: Callable[[], None],
    tmp_path: Path,
) -> None:
    queue = dispatcher.queue
    queue.limits.add(Limit("one", concurrent=1))
    for _ in range(2):
        start_worker()
    late_ms = queue.server_time_ms() + 1_000
    parameters = {"counted_in": str(tmp_path), "s": 0.05}
    batch = dispatcher.submit_batch(
        [
            JobRequest(
                "pipe_tasks:counted",
                parameters=parameters | {"n": n},
                expires_ms=late_ms if n % 2 else None,
            )
            for n in range(60)
        ]
    )
    jobs = [next_result(batch) for _ in range(5)]
    kill_leader()
    jobs += all_results(batch)
    assert_in_one_place(queue, batch.names)
    failed = [job for job in jobs if job.state is JobState.FAILED]
    assert all(job.expires_ms is not None and not job.attempts for job in failed)
    assert {job.state for job in jobs if job.expires_ms is None} == {JobState.SUCCESSFUL}
    znodes = queue.layout.znodes
    parent = znodes.path("expiries")
    assert not [e for b in znodes.children(parent) for e in znodes.children(f"{parent}/{b}")]
