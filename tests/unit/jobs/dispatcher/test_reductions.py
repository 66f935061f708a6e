"""The tree of jobs that merge the results of a map."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from zoolet.jobs.dispatcher.reductions import FAN_IN, Input, submit_reduction
from zoolet.jobs.execution.functions import TASKS, load_function
from zoolet.jobs.execution.merging import merge_results
from zoolet.jobs.records.dependencies import When
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.task_names import MERGE_TASK


def joined(results: list[list[int]]) -> list[int]:
    """Merge lists."""
    return [number for result in results for number in result]


class Tree:
    """Stands for a queue: runs each job when it is submitted."""

    def __init__(self, count: int) -> None:
        self.results: dict[str, Any] = {f"map-{n}": [n] for n in range(count)}
        self.keys: list[str] = []
        self.batches: list[str] = []

    def submit(
        self,
        requests: Sequence[JobRequest],
        *,
        name: str,
        after: list[str],
        when: When,
        receive: str,
    ) -> Any:
        [request] = requests
        assert request.task == MERGE_TASK
        assert request.priority == 6
        assert when is When.ALL_SUCCEEDED
        assert 1 <= len(after) <= FAN_IN
        inputs = [self.results[one] for one in after]
        job = f"merge-{len(self.keys)}"
        self.results[job] = merge_results(None, dict(request.parameters) | {receive: inputs})
        self.keys.append(request.key)
        self.batches.append(name)
        batch = type("OneJob", (), {})()
        batch.names = [job]
        return batch


def reduced(count: int) -> tuple[Tree, list[int]]:
    tree = Tree(count)
    inputs = [Input(name, f"key of {name}") for name in tree.results]
    batch = submit_reduction(tree.submit, f"{__name__}:joined", inputs, "b", priority=5)
    return tree, tree.results[batch.names[0]]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the merging function of this module by any name of the module."""
    monkeypatch.setattr("zoolet.jobs.execution.merging.load_function", lambda *_: joined)


@pytest.mark.parametrize("count", [1, 2, 16, 17, 256, 257, random.Random(3).randrange(300, 3000)])
def test_each_result_is_merged_once(count: int) -> None:
    tree, merged = reduced(count)
    assert sorted(merged) == list(range(count))
    assert len(set(tree.batches)) == len(tree.batches)
    assert tree.batches[-1] == "b-merged"
    assert len(set(tree.keys)) == len(tree.keys)


def test_the_same_inputs_have_the_same_keys() -> None:
    assert reduced(40)[0].keys == reduced(40)[0].keys
    assert not set(reduced(39)[0].keys[-1:]) & set(reduced(40)[0].keys)


def test_workers_find_the_task() -> None:
    assert load_function(MERGE_TASK, TASKS) is merge_results
