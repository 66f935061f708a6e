"""Jobs without any special feature, on an ensemble whose leader is killed."""

from collections.abc import Callable

from tests.support.jobs import WorkerProcess, all_results, assert_done_once, next_result, numbered
from zoolet.jobs import Dispatcher


def test_each_job_ends_once_although_the_leader_is_killed(
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    kill_leader: Callable[[], None],
) -> None:
    start_worker()
    batch = dispatcher.submit_batch(numbered(100))
    jobs = [next_result(batch)]
    kill_leader()
    jobs += all_results(batch)
    assert_done_once(dispatcher.queue, batch, jobs)
