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
    level, depth = list(inputs), 0
    while True:
        merged: list[Input] = []
        is_last = len(level) <= FAN_IN
        for number, start in enumerate(range(0, len(level), FAN_IN)):
            some = level[start : start + FAN_IN]
            request = _request(function, some, attributes)
            batch = submit(
                [request],
                name=f"{name}-merged" if is_last else f"{name}-merge-{depth}-{number}",
                after=[one.name for one in some],
                when=When.ALL_SUCCEEDED,
                receive=_RESULTS,
            )
            merged.append(Input(batch.names[0], request.key))
        if is_last:
            return batch
        level, depth = merged, depth + 1


def _request(function: str, inputs: Sequence[Input], attributes: dict[str, Any]) -> JobRequest:
    keys = hashlib.sha256(json.dumps([one.key for one in inputs]).encode()).hexdigest()
    return JobRequest(
        MERGE_TASK,
        parameters={"function": function},
        idempotency_key=f"merge {function} {keys}",
        **attributes,
    )
