"""Submits the jobs that merge the results of a map in a tree.

Each job of the tree merges up to `FAN_IN` results of the level below. It waits for exactly these
jobs, and its key is made of the function and the keys of these jobs. Invariants:

- The result of each job of the map is merged exactly once: it is an input of one job of each level.
- If the results of a map are stored or joined, so are the merged results.

This module imports `zoolet.jobs.records` and other modules of its package.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from zoolet.jobs.dispatcher.batch import Batch
from zoolet.jobs.records.dependencies import When
from zoolet.jobs.records.job_names import PRIORITY_MAX
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.task_names import MERGE_TASK

FAN_IN: Final = 16
"""The most results that one job merges."""
_RESULTS: Final = "results"


class Input(NamedTuple):
    """A job whose result is merged.

    Attributes:
        name: the name of the job.
        key: the key of its work (`JobRequest.key`).
    """

    name: str
    key: str


def batch_names(count: int, name: str) -> list[list[str]]:
    """Return the names of the batches that merge ``count`` results, at least one, by level.

    Each batch has one job. ``name`` is the start of the names.
    """
    levels: list[list[str]] = []
    while not levels or count > 1:
        count = -(-count // FAN_IN)
        depth = len(levels)
        levels.append(
            [f"{name}-merged"]
            if count == 1
            else [f"{name}-merge-{depth}-{number}" for number in range(count)]
        )
    return levels


def submit_reduction(
    submit: Callable[..., Batch],
    function: str,
    inputs: Sequence[Input],
    name: str,
    **attributes: Any,
) -> Batch:
    """Submit the jobs that merge the results of ``inputs``; return the batch of the last job.

    Args:
        submit: submits a batch (`Dispatcher.submit_batch`).
        function: the name of the function that merges a list of results.
        inputs: the jobs, at least one.
        name: the start of the names of the batches, each of which has one job.
        attributes: other attributes of the requests; ``priority`` is that of the map's jobs.
    """
    # A job that merges is ready later than jobs of the map, so it must not wait behind them.
    attributes["priority"] = min(PRIORITY_MAX, attributes.get("priority", 0) + 1)
    level = list(inputs)
    for names in batch_names(len(inputs), name):
        merged: list[Input] = []
        for number, batch_name in enumerate(names):
            some = level[number * FAN_IN : (number + 1) * FAN_IN]
            request = _request(function, some, attributes)
            batch = submit(
                [request],
                name=batch_name,
                after=[one.name for one in some],
                when=When.ALL_SUCCEEDED,
                receive=_RESULTS,
            )
            merged.append(Input(batch.names[0], request.key))
        level = merged
    return batch


def _request(function: str, inputs: Sequence[Input], attributes: dict[str, Any]) -> JobRequest:
    keys = hashlib.sha256(json.dumps([one.key for one in inputs]).encode()).hexdigest()
    return JobRequest(
        MERGE_TASK,
        parameters={"function": function},
        idempotency_key=f"merge {function} {keys}",
        **attributes,
    )
