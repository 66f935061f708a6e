"""Jobs are removed by two programs at once while the leader is killed: each has one entry."""

import threading
from collections.abc import Callable
from pathlib import Path

from zoolet.jobs import Dispatcher, JobHistory, JobRequest
from zoolet.jobs.housekeeping.removal import Remover


def test_each_removed_job_has_one_entry_although_the_leader_is_killed(
    hosts: str,
    root: str,
    dispatcher: Dispatcher,
    kill_leader: Callable[[], None],
    tmp_path: Path,
) -> None:
    dispatcher.queue.configure(result_store="results")
    stores = {"results": f"sqlite:///{tmp_path}/results.db"}
    batch = dispatcher.submit_batch([JobRequest("m:f", parameters={"n": n}) for n in range(1000)])
    batch.cancel()
    with (
        Dispatcher(hosts, root, result_stores=stores) as one,
        Dispatcher(hosts, root, result_stores=stores) as other,
    ):
        removers = [
            threading.Thread(target=Remover(each.queue, each.results).apply, args=(0, None))
            for each in (one, other)
        ]
        for thread in removers:
            thread.start()
        kill_leader()
        for thread in removers:
            thread.join()
        # One of them may have found some jobs in the hands of the other.
        Remover(other.queue, other.results).apply(0, None)
        history = JobHistory(one.queue, one.results)
        assert sorted(entry.job for entry in history.search()) == sorted(batch.names)
    assert dispatcher.queue.counts()["done"] == 0
