"""The queues of a worker: which arguments are refused, and the tags that keep queues apart."""

from typing import Any

import pytest

from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.jobs import InvalidJobError, Worker, WorkerQueue
from zoolet.jobs.worker.served_queues import (
    QUEUES_MOST,
    WEIGHT_MOST,
    options_by_root,
    served_queues,
)


@pytest.mark.parametrize(
    ("queues", "complaint"),
    [
        ({}, "a worker has 1 to 32 queues, not 0"),
        ({f"/q{n}": 1 for n in range(QUEUES_MOST + 1)}, "not 33: start further workers"),
        ({"/a": 0}, "the weight 0 of the queue /a is not a whole number from 1 to 1000"),
        ({"/a": WEIGHT_MOST + 1}, "the weight 1001"),
        ({"/a": True}, "the weight True"),
        ({"/a": 1.5}, "the weight 1.5"),
        ({"/a": WorkerQueue(-1)}, "the weight -1"),
        ({"a": 1}, "'a' is not a valid path of a queue"),
        ({"/a/": 1}, "not a valid path"),
    ],
)
def test_wrong_queues_are_refused(queues: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidJobError, match=complaint):
        Worker("127.0.0.1:1", queues=queues)


def test_a_path_and_queues_contradict_each_other() -> None:
    with pytest.raises(InvalidJobError, match="either the path of one queue or queues="):
        Worker("127.0.0.1:1", "/a", queues={"/b": 1})


def test_a_single_queue_has_no_tag() -> None:
    for options in (options_by_root("/a", None), options_by_root("/", {"/a": 7})):
        [served] = served_queues(options, "m:load")
        assert (served.root, served.tag, served.number) == ("/a", "", 0)
        assert served.has_loader


def test_several_queues_have_different_tags_and_their_own_options() -> None:
    options = options_by_root("/", {"/a": 3, "/b": WorkerQueue(2, "m:b"), "/c": 1})
    served = served_queues(options, None)
    assert [(one.root, one.tag, one.weight) for one in served] == [
        ("/a", "0/", 3), ("/b", "1/", 2), ("/c", "2/", 1),
    ]  # fmt: skip
    assert [one.has_loader for one in served] == [False, True, False]


def test_a_queue_has_the_path_of_the_user_and_the_root_on_the_server() -> None:
    moved = ConnectionSettings("127.0.0.1:1/tenant")
    options = options_by_root("/", {"/a": 1, "/": 1})
    served = served_queues(options, None, lambda path: moved.moving_chroot(path)[1])
    assert [(one.path, one.root) for one in served] == [("/a", "/tenant/a"), ("/", "/tenant")]


def test_a_worker_that_is_not_started_has_no_queues_yet() -> None:
    worker = Worker("127.0.0.1:1/jobs", queues={"/a": 3, "/b": 1})
    assert [worker.worker_ids, worker.tallies(), worker.tally()] == [{}, {}, {}]
    with pytest.raises(Exception, match="not started"):
        assert worker.queues
