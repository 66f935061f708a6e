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
    dispatcher.queue.configure(result_store=f"sqlite:///{tmp_path}/results.db")
    batch = dispatcher.submit_batch([JobRequest("m:f", parameters={"n": n}) for n in range(1000)])
    batch.cancel()
    with Dispatcher(hosts, root) as other:
        removers = [
            threading.Thread(target=Remover(one.queue, one.results).apply, args=(0, None))
            for one in (dispatcher, other)
        ]
        for thread in removers:
            thread.start()
        kill_leader()
        for thread in removers:
            thread.join()
        # One of them may have found some jobs in the hands of the other.
        Remover(other.queue, other.results).apply(0, None)
    assert dispatcher.queue.counts()["done"] == 0
    history = JobHistory(dispatcher.queue, dispatcher.results)
    assert sorted(entry.job for entry in history.search()) == sorted(batch.names)
