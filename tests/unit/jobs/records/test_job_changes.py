"""The record of a change in progress, which any program may have written."""

import json
import random

import pytest

from tests.fuzz.queue_values import any_bytes, changed
from zoolet.jobs import JobFilter, JobState
from zoolet.jobs.records.job_changes import ChangeRecord, JobChange

SELECTED = JobFilter(state=JobState.PENDING, task="m:f", dataset="d", error="no", until_ms=3)


@pytest.mark.parametrize("change", JobChange)
def test_a_record_is_read_as_it_was_written(change: JobChange) -> None:
    record = ChangeRecord(change, SELECTED, 17)
    assert ChangeRecord.decode(record.encode()) == record


def test_the_record_of_a_retry_of_an_older_version_is_read() -> None:
    old = {"began_ms": 17, "filter": {"state": "FAILED", "task": None, "batch": "b"}}
    found = ChangeRecord.decode(json.dumps(old).encode())
    assert found == ChangeRecord(JobChange.RETRY, JobFilter(JobState.FAILED, batch="b"), 17)


def test_an_invalid_filter_does_not_hide_the_record() -> None:
    found = ChangeRecord.decode(b'{"began_ms": 17, "change": "cancel", "filter": {"task": 3}}')
    assert found == ChangeRecord(JobChange.CANCEL, None, 17)


def test_random_records_are_read_or_ignored() -> None:
    chance = random.Random(3)
    good = json.loads(ChangeRecord(JobChange.PAUSE, SELECTED, 17).encode())
    for _ in range(500):
        data = any_bytes(chance) if chance.random() < 0.3 else changed(chance, good)
        found = ChangeRecord.decode(data)
        assert found is None or found.began_ms >= 0
