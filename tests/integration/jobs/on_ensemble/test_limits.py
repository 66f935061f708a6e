"""A limit on an ensemble whose leader is killed: it is never exceeded, and no job is lost."""

from collections.abc import Callable
from pathlib import Path

from tests.support.jobs import WorkerProcess, all_results, assert_in_one_place, next_result
from zoolet.jobs import Dispatcher, JobRequest, JobState, Limit


def test_a_limit_holds_although_the_leader_is_killed(
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    kill_leader: Callable[[], None],
    tmp_path: Path,
) -> None:
    queue = dispatcher.queue
    queue.limits.add(Limit("two", concurrent=2))
    queue.limits.add(Limit("rate", per_second=40))
    for _ in range(2):
        start_worker("--executors", "3")
    parameters = {"counted_in": str(tmp_path), "s": 0.01}
    batch = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:counted", parameters=parameters | {"n": n}) for n in range(60)]
    )
    jobs = [next_result(batch) for _ in range(10)]
    kill_leader()
    jobs += all_results(batch)
    assert_in_one_place(queue, batch.names)
    assert {job.state for job in jobs} == {JobState.SUCCESSFUL}
    assert max(job.result["running"] for job in jobs) <= 2
    assert all(job.slots == () for job in jobs)
    [rate, two] = queue.limits.all()
    assert (rate.waiting, two.running, two.waiting) == (0, 0, 0)
