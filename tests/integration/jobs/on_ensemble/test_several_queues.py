"""A worker with several queues on an ensemble whose leader is killed: no queue loses a job."""

from collections.abc import Callable

from tests.support.jobs import WorkerProcess, all_results, assert_done_once, next_result, numbered
from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher


def test_the_jobs_of_all_queues_end_once_although_the_leader_is_killed(
    hosts: str,
    root: str,
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    kill_leader: Callable[[], None],
) -> None:
    other_root = f"{root}-b"
    with Dispatcher(hosts, other_root, create=True) as other:
        for _ in range(2):
            start_worker("--queue", other_root, "--weight", f"{root}=3", "--executors", "2")
        both = (dispatcher, other)
        batches = [one.submit_batch(numbered(80, s=0.02)) for one in both]
        first = [[next_result(batch) for _ in range(10)] for batch in batches]
        kill_leader()
        for one, batch, some in zip(both, batches, first, strict=True):
            found = some + all_results(batch)
            assert_done_once(one.queue, batch, found)
            assert {job.result for job in found} == set(range(80))
        wait_until(lambda: [len(one.queue.workers()) for one in both] == [2, 2], "both workers")
        # A queue that is deleted while the ensemble works does not stop the other queue.
        other.queue.layout.znodes.delete_tree(other_root)
        batch = dispatcher.submit_batch(numbered(20, round=2))
        assert_done_once(dispatcher.queue, batch, all_results(batch))
