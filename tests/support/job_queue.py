"""What tests of the moves of jobs have in common: requests, places, and a reply that is lost."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT
from zoolet.jobs import (
    JobQueue,
    JobRequest,
)
from zoolet.jobs.znodes.client_link import ClientLink
from zoolet.jobs.znodes.kazoo_link import KazooLink


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


def replace_multi(patch: pytest.MonkeyPatch, function: Callable[[Callable[[], Any]], Any]) -> None:
    """Call ``function(send)`` in place of each multi of the job system; ``send()`` sends it."""

    def replaced(multi: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: function(lambda: multi(*arguments))

    for kind in (ClientLink, KazooLink):
        patch.setattr(kind, "multi", replaced(kind.multi))


@contextlib.contextmanager
def reply_lost(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], *, done: bool
) -> Iterator[None]:
    """Let the first multi be done, or not, and its reply be lost."""
    lost = False
    with monkeypatch.context() as patch:

        def losing(send: Callable[[], Any]) -> None:
            nonlocal lost
            lost = True
            patch.undo()
            if done:
                send()
            raise error

        replace_multi(patch, losing)
        yield
    assert lost
