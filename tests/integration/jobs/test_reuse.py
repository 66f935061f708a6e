"""The same work submitted twice: which jobs reuse earlier work, and who is told."""

import json
import logging
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.job_queue import request
from tests.support.jobs import ROOT
from zoolet.cli import main
from zoolet.jobs import Dispatcher, InvalidJobError, JobRequest, Origin, QueueSettings
from zoolet.jobs.records.transitions import Place

NEW, JOINED, STORED = Origin.NEW, Origin.JOINED, Origin.STORED


@pytest.fixture
def dispatcher(client: KazooClient) -> Dispatcher:
    return Dispatcher(client, ROOT, create=True)


def finish_all(dispatcher: Dispatcher) -> None:
    queue = dispatcher.queue
    queue.register("w")
    for name in queue.waiting():
        queue.finish(queue.own_job(name.name, "w"), 1)


@pytest.mark.parametrize(
    ("request_", "reuse", "origins"),
    [
        (JobRequest("mail:send"), None, [NEW, NEW, NEW]),
        (JobRequest("mail:send", parameters={"to": "x"}), None, [NEW, NEW, NEW]),
        (JobRequest("mail:send"), True, [NEW, JOINED, STORED]),
        (JobRequest("mail:send", idempotency_key="k"), None, [NEW, JOINED, STORED]),
        (JobRequest("mail:send", idempotency_key="k"), False, [NEW, NEW, NEW]),
        (JobRequest("m:f", "d", "1"), None, [NEW, JOINED, STORED]),
        (JobRequest("m:f", "d", 1), True, [NEW, JOINED, STORED]),
        (JobRequest("m:f", "d", "1"), False, [NEW, NEW, NEW]),
    ],
)
def test_the_rule(
    dispatcher: Dispatcher, request_: JobRequest, reuse: bool | None, origins: list[Origin]
) -> None:
    found = []
    for _ in range(2):
        [submission] = dispatcher.submit_batch([request_], reuse=reuse).submissions
        found.append(submission.origin)
    finish_all(dispatcher)
    [submission] = dispatcher.queue.submit([request_], reuse=reuse)
    assert [*found, submission.origin] == origins


def test_jobs_that_are_not_reused_write_no_key(dispatcher: Dispatcher, client: KazooClient) -> None:
    dispatcher.submit_batch([JobRequest("mail:send")] * 3)
    dispatcher.submit("mail:send")
    assert client.get_children(f"{ROOT}/keys") == []
    dispatcher.submit("mail:send", idempotency_key="k")
    dispatcher.submit("m:f", "d", "1")
    assert len(client.get_children(f"{ROOT}/keys")) == 2


def test_a_batch_of_the_same_work_is_one_job_only_where_it_is_reused(
    dispatcher: Dispatcher,
) -> None:
    mixed = [JobRequest("mail:send"), JobRequest("m:f", "d", "1")] * 2
    batch = dispatcher.submit_batch(mixed)
    assert [submission.origin for submission in batch.submissions] == [NEW, NEW, NEW, JOINED]
    assert len(batch.names) == 3


def test_the_log_and_the_command_say_what_was_reused(
    server: Any, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "zoolet.jobs.submit.submission"):
        dispatcher.submit("m:f", "d", "1")
        assert caplog.messages == []
        [submission] = dispatcher.submit("m:f", "d", "1").submissions
        assert caplog.messages == [f"the same work is in progress already: job {submission.name}"]
    options = ["jobs", "submit", "--server", server.hosts, "--queue", ROOT, "--task", "m:f"]
    data = ["--dataset", "d", "--group", "1"]
    for more, origin in ((data, "JOINED"), ([], "NEW"), ([], "NEW"), (["--reuse"], "NEW"),
                         (["--reuse"], "JOINED"), ([*data, "--no-reuse"], "NEW")):  # fmt: skip
        result = CliRunner().invoke(main, [*options, *more])
        assert result.exit_code == 0, result.output
        assert origin in result.output


def test_a_job_without_data_has_a_name_of_its_own_and_null_in_its_value(
    client: KazooClient,
) -> None:
    queue = Dispatcher(client, ROOT, create=True).queue
    names = [submission.name for submission in queue.submit([JobRequest("m:f")] * 20)]
    jobs = [queue.find(name) for name in names]
    assert {(job.dataset, job.groupid, job.group) for job in jobs} == {(None, None, None)}
    groups = {job.named_group for job in jobs}
    assert len(groups) == 20
    assert {dataset for dataset, _ in groups} == {"_"}
    assert all(len(groupid) == 8 for _, groupid in groups)


def test_jobs_without_data_fill_shards_evenly(client: KazooClient) -> None:
    queue = Dispatcher(client, ROOT, create=True).queue
    other = type(queue)(client, "/jobs/sharded")
    other.ensure_layout(QueueSettings(shards=4))
    other.submit([JobRequest("m:f")] * 200)
    counts = [len(other.layout.pages(Place.UNOWNED, shard)) for shard in other.layout.shards]
    assert all(counts)
    assert other.counts()["unowned"] == 200


@pytest.mark.parametrize(
    "values", [{"dataset": "d"}, {"groupid": "1"}, {"dataset": "d", "groupid": True},
               {"dataset": "d", "groupid": 1.5}, {"dataset": 7, "groupid": 7}]
)  # fmt: skip
def test_half_of_the_data_is_refused(dispatcher: Dispatcher, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobError, match=r"dataset|groupid"):
        dispatcher.queue.submit([JobRequest("m:f", **values)])


def test_a_number_is_the_group_of_its_text(dispatcher: Dispatcher) -> None:
    [submission] = dispatcher.submit("m:f", "d", 7).submissions
    assert dispatcher.job(submission.name).groupid == "7"
    assert dispatcher.submit("m:f", "d", "7").submissions[0].origin is JOINED


def test_an_idempotency_key_says_what_is_the_same_work(dispatcher: Dispatcher) -> None:
    one = request("1", idempotency_key="order 7")
    other = request("2", idempotency_key="order 7")
    [first] = dispatcher.submit_batch([one]).submissions
    [second] = dispatcher.submit_batch([other]).submissions
    assert (second.name, second.origin) == (first.name, Origin.JOINED)
    [third] = dispatcher.submit_batch([request("1")]).submissions
    assert third.origin is Origin.NEW
    # A key that was named in a batch is found although nobody wrote the name into it.
    key = dispatcher.queue.layout.znodes.get(dispatcher.queue.layout.key(one.key))
    assert key is not None
    assert "job" not in json.loads(key.data)
