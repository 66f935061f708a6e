"""Described datasets on an ensemble whose leader is killed."""

from collections.abc import Callable
from pathlib import Path

from tests.support.jobs import TIMEOUT_S, WorkerProcess, all_results, assert_done_once, next_result
from zoolet.jobs import Dispatcher


def test_each_group_is_counted_once_although_the_leader_is_killed(
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    kill_leader: Callable[[], None],
    tmp_path: Path,
) -> None:
    (tmp_path / "data_tasks.py").write_text(
        "def count(rows, parameters):\n    return len(rows)\n\n"
        "def add(results):\n    return sum(results)\n"
    )
    start_worker("--executors", "2")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"n": 1}\n' * 60)
    created = dispatcher.datasets.create("rows", "jsonl", rows, {"bytes_per_group": 1})
    assert created.record.groups == 60
    result = dispatcher.map("data_tasks:count", "rows")
    jobs = [next_result(result.batch)]
    kill_leader()
    rows.write_text('{"n": 2}\n' * 61)
    refreshed = dispatcher.datasets.refresh("rows")
    assert dispatcher.datasets.describe("rows") == refreshed
    assert refreshed.record.groups == 61
    jobs += all_results(result.batch)
    assert len(jobs) == 60
    again = dispatcher.map("data_tasks:count", "rows", reduce="data_tasks:add")
    kill_leader()
    assert again.value(TIMEOUT_S) == 61
    found = all_results(again.batch)
    assert_done_once(dispatcher.queue, again.batch, found)
    assert [job.result for job in found] == [1] * 61
    dispatcher.datasets.remove("rows")
    assert dispatcher.datasets.names() == []
