"""What tests of signed jobs have in common: tasks, and writes of a program without a key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient

from tests.support.jobs import ROOT
from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher, Job, JobRequest
from zoolet.jobs.records.transitions import Place

SIGNED_TASKS = """
import pathlib
from zoolet.jobs import current_job

def note(group, parameters):
    with (pathlib.Path(__file__).parent / "notes").open("a") as file:
        file.write(f"{parameters['n']} {parameters['text']}\\n")
    return parameters

def spawn(group, parameters):
    batch = current_job().dispatcher.submit("signed_tasks:note", parameters=parameters)
    return batch.names

def fail(group, parameters):
    raise ValueError("this task fails")

def add(results):
    return sum(results)

def count(rows, parameters):
    return len(rows)
"""
CHANGED: dict[str, Any] = {
    "task": "evil_tasks:run",
    "parameters": {"n": 0, "text": "changed"},
    "max_attempts": 7,
    "key": "0" * 64,
    "submission": "other-0",
    "submitted_ms": 1,
    "backoff_ms": 1,
    "timeout_ms": 60_000,
    "not_before_ms": None,
    "expires_ms": 4_000_000_000_000,
    "batch": "other",
    "receives": "text",
    "soft_timeout_ms": 1000,
    "jitter_percent": 1,
    "source": {"loader": "evil_tasks:run", "options": {}, "columns": None, "position": {}},
    "tags": ["gpu"],
    "limit_key": "k",
    "trace": "00-1-2-01",
    "priority": 9,
    "dataset": "other",
    "groupid": "other",
}
"""Another valid value of each signed field of a job."""


def note(number: int, text: str = "as signed", **changes: Any) -> JobRequest:
    parameters = {"n": number, "text": text}
    return JobRequest("signed_tasks:note", parameters=parameters, **changes)


def notes(tasks: Path) -> list[str]:
    path = tasks / "notes"
    return path.read_text().splitlines() if path.exists() else []


def rewrite(client: KazooClient, name: str, change: Callable[[dict[str, Any]], None]) -> str:
    """Change the value of a waiting job, and its name if that follows; return the name."""
    path = f"{ROOT}/unowned/{name}"
    value = json.loads(client.get(path)[0])
    before = dict(value)
    change(value)
    new = name
    if value["priority"] != before["priority"]:
        new = f"entry-{value['priority']:03d}-{name.split('-', 2)[2]}"
    if (value["dataset"], value["groupid"]) != (before["dataset"], before["groupid"]):
        start, sequence = f"entry-{value['priority']:03d}", name.rpartition("-")[2]
        new = f"{start}-{value['dataset']}:{value['groupid']}-{sequence}"
    client.delete(path)
    client.create(f"{ROOT}/unowned/{new}", json.dumps(value).encode())
    return new


def update(change: dict[str, Any], value: dict[str, Any]) -> None:
    value.update(change)


def ended(dispatcher: Dispatcher, names: list[str]) -> list[Job]:
    queue = dispatcher.queue
    wait_until(lambda: len(queue.layout.read(Place.DONE, names)) == len(names), "the end of jobs")
    return queue.layout.read(Place.DONE, names)
