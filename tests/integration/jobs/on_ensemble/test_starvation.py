"""The share of the oldest jobs on an ensemble whose leader is killed."""

import random
from collections.abc import Callable, Iterator

import pytest

from tests.support.jobs import WorkerProcess, all_results, assert_in_one_place, next_result
from tests.support.oldest_jobs import late_jobs, low_and_high
from zoolet.jobs import Dispatcher, JobState

PERCENT = 20
WORKERS = 2


@pytest.fixture
def dispatcher(hosts: str, root: str) -> Iterator[Dispatcher]:
    """A dispatcher on the test's new queue, which has a share of the oldest jobs."""
    with Dispatcher(hosts, root, create=True) as dispatcher:
        dispatcher.queue.configure(oldest_share_percent=PERCENT)
        yield dispatcher


def test_the_oldest_jobs_are_taken_in_time_although_the_leader_is_killed(
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    kill_leader: Callable[[], None],
) -> None:
    queue = dispatcher.queue
    batch = dispatcher.submit_batch(low_and_high(40, 1200, random.Random(7), s=0.002))
    for _ in range(WORKERS):
        start_worker()
    jobs = [next_result(batch) for _ in range(20)]
    kill_leader()
    jobs += all_results(batch)
    assert_in_one_place(queue, batch.names)
    assert {job.state for job in jobs} == {JobState.SUCCESSFUL}
    layout = queue.layout
    assert late_jobs(jobs, PERCENT, WORKERS, layout.shard_of, len(layout.shards)) == []
