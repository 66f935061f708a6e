"""Values of a queue that are not jobs: whatever any program wrote, each is read with one error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.jobs.errors import UnreadableJobError
from zoolet.jobs.records.batches import BatchRecord, decode_chunk, decode_entry
from zoolet.jobs.records.control import Control
from zoolet.jobs.records.settings import QueueSettings
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.records.worker_reports import NUMBERS, decode_report
from zoolet.jobs.submit.keys import submission_of_key
from zoolet.jobs.znodes.job_znodes import Znode

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
fields = st.dictionaries(
    st.sampled_from(
        ["jobs", "submitted_ms", "after", "paused", "paused_datasets", "cancellations", "shards",
         "inline_limit_bytes", "result_store", "keep_done_ms", "submission", "job", "batch",
         "executors", "kind", "FAILED", "SUCCESSFUL"]
    ),
    json_values | st.sampled_from([2**70, -1, "\ud800", "x" * 1000, ["entry-001-d:g-7"]]),
)  # fmt: skip
data_of_others = st.binary() | (json_values | fields).map(lambda v: json.dumps(v).encode())
NAME = "entry-001-d:g-0000000007"


@given(data_of_others)
def test_every_value_is_read_or_refused(data: bytes) -> None:
    for decode in (
        lambda: BatchRecord.decode("b", data).encode(),
        lambda: decode_chunk("b", data),
        lambda: decode_entry(data),
        lambda: Control.decode(data).encode(),
        lambda: range(QueueSettings.decode(data).shards),
        lambda: submission_of_key(Znode(data, 0, 0, 0)),
    ):
        try:
            decode()
        except UnreadableJobError:
            continue
    report = decode_report(data)
    assert sum(report.get(name, 0) for name in NUMBERS) >= 0


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"jobs": -1, "submitted_ms": 0},
        {"jobs": 10**15, "submitted_ms": 0},
        {"jobs": 1.5, "submitted_ms": 0},
        {"jobs": 1, "submitted_ms": 10**18},
        {"jobs": 1, "submitted_ms": 0, "after": "a/b"},
    ],
)
def test_a_batch_of_another_program_is_refused(value: Any) -> None:
    with pytest.raises(UnreadableJobError, match="batch b"):
        BatchRecord.decode("b", json.dumps(value).encode())


@pytest.mark.parametrize(
    "value", [{}, [1], [["x", "NEW"]], [[NAME, "OLD"]], [[NAME]], [[1, "NEW"]], "x"]
)
def test_names_of_a_batch_that_are_none_are_refused(value: Any) -> None:
    with pytest.raises(UnreadableJobError, match="does not name jobs"):
        decode_chunk("b", json.dumps(value).encode())
    assert decode_chunk("b", json.dumps([[NAME, "NEW"]]).encode()) == [(NAME, "NEW")]


def test_an_entry_of_a_log_names_only_jobs() -> None:
    value = {"FAILED": [NAME, 7, "x"], "ASLEEP": [NAME], "SUCCESSFUL": "x"}
    assert decode_entry(json.dumps(value).encode()) == {NAME: JobState.FAILED}
    assert decode_entry(b"\xff") == decode_entry(b"[1]") == {}


@pytest.mark.parametrize(
    "value",
    [{"paused": 1}, {"paused_datasets": "x"}, {"paused_datasets": [1]}, {"cancellations": -1}, []],
)
def test_a_control_of_another_program_says_what_to_do(value: Any) -> None:
    with pytest.raises(UnreadableJobError, match="zoolet jobs pause"):
        Control.decode(json.dumps(value).encode())


def test_control_is_read_as_it_was_written() -> None:
    control = Control(paused=True, paused_datasets=frozenset({"a", "b"}), cancellations=3)
    assert Control.decode(control.encode()) == control
    assert Control.decode(b"") == Control()


@pytest.mark.parametrize(
    "value",
    [{"shards": 2.5}, {"shards": True}, {"shards": 0}, {"keep_done_ms": "1"}, {"result_store": 1},
     {"inline_limit_bytes": None}, {"keep_done_jobs": 10**30}],
)  # fmt: skip
def test_settings_of_another_program_are_refused(value: Any) -> None:
    with pytest.raises(UnreadableJobError, match="settings"):
        QueueSettings.decode(json.dumps(value).encode())


def test_a_report_has_only_fields_of_the_right_type() -> None:
    value = {"executors": "x", "groups": True, "successful": 3, "kind": 7, "host": "h", "more": [1]}
    assert decode_report(json.dumps(value).encode()) == {
        "successful": 3,
        "host": "h",
        "more": [1],
    }
