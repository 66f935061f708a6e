"""What tests of the moves of jobs have in common: requests, places, and a reply that is lost."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT
from zoolet.client.kazoo import call
from zoolet.jobs import (
    JobQueue,
    JobRequest,
)
from zoolet.jobs.znodes import edge


def request(groupid: str = "1", **changes: Any) -> JobRequest:
    return JobRequest(**{"task": "m:f", "dataset": "flights", "groupid": groupid} | changes)


def submitted(queue: JobQueue, groupid: str = "1", **changes: Any) -> str:
    [submission] = queue.submit([request(groupid, **changes)])
    return submission.name


def places(client: KazooClient, name: str) -> list[str]:
    return [
        place
        for place in ("unowned", "owned", "done")
        if client.exists(f"{ROOT}/{place}/{name}") is not None
    ]


def value(client: KazooClient, place: str, name: str) -> Any:
    data, _ = client.get(f"{ROOT}/{place}/{name}")
    return json.loads(data)


@contextlib.contextmanager
def reply_lost(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], *, done: bool
) -> Iterator[None]:
    """Let the first multi be done, or not, and its reply be lost."""
    send, lost = call, False

    def losing(client: KazooClient, request: Any) -> None:
        nonlocal lost
        lost = True
        monkeypatch.setattr(edge, "call", send)
        if done:
            results = send(client, request).get()
            assert not [result for result in results if isinstance(result, Exception)]
        raise error

    monkeypatch.setattr(edge, "call", losing)
    yield
    assert lost
