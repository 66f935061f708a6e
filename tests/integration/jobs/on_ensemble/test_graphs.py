"""A graph of batches on three Apache members whose leader is killed: each job runs as it should."""

from collections.abc import Callable
from typing import Any

from tests.support.jobs import assert_in_one_place, next_result
from zoolet.jobs import Dispatcher, JobRequest, JobState, When

LEAVES = 30


def test_a_graph_ends_as_it_should_while_the_leader_is_killed(
    dispatcher: Dispatcher,
    start_worker: Callable[..., Any],
    kill_leader: Callable[[], None],
) -> None:
    for _ in range(2):
        start_worker(loader=None)
    leaves = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:number", parameters={"n": n, "s": 0.05}) for n in range(LEAVES)]
    )
    echo = JobRequest("pipe_tasks:echo")
    sums = [
        dispatcher.submit_batch(
            [echo], after=leaves.names[start : start + 10], when=When.ALL_SUCCEEDED, receive="of"
        )
        for start in range(0, LEAVES, 10)
    ]
    failing = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:trouble", max_attempts=1)], after=sums
    )
    handler = dispatcher.submit_batch([echo], after=failing, when=When.ONE_FAILED, receive="of")
    skipped = dispatcher.submit_batch([echo], after=[failing, *sums], when=When.ALL_SUCCEEDED)
    kill_leader()
    found = [next_result(one) for one in (*sums, failing, handler, skipped)]
    assert [job.result["parameters"]["of"] for job in found[:3]] == [
        list(range(start, start + 10)) for start in range(0, LEAVES, 10)
    ]
    assert [job.state for job in found[3:]] == [
        JobState.FAILED,
        JobState.SUCCESSFUL,
        JobState.FAILED,
    ]
    assert found[4].result["parameters"] == {"of": [None]}
    assert found[5].last_error.startswith("skipped: ")
    assert_in_one_place(dispatcher.queue, [*leaves.names, *(job.name for job in found)])
