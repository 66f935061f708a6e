"""The dependencies of a batch: read as they were written, also in the form of older versions."""

import json
import random
from typing import Any

import pytest

from tests.fuzz.queue_values import any_bytes, changed
from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records.batches import BatchRecord
from zoolet.jobs.records.dependencies import AFTER_LIMIT, Dependencies, When, is_job

JOB = "entry-000-flights:1-0000000001"


@pytest.mark.parametrize(
    "dependencies",
    [
        Dependencies(("a",)),
        Dependencies(("a", "b", JOB)),
        Dependencies(("a",), When.ALL_SUCCEEDED),
        Dependencies((JOB,), When.ONE_FAILED),
        Dependencies(("{",)),
    ],
)
def test_dependencies_are_read_as_they_were_written(dependencies: Dependencies) -> None:
    assert Dependencies.decode("b", dependencies.encode()) == dependencies
    record = BatchRecord("b", 3, 5, dependencies)
    assert BatchRecord.decode("b", record.encode()) == record


def test_the_end_of_one_batch_has_the_form_of_older_versions() -> None:
    assert Dependencies(("other",)).encode() == b"other"
    record = {"jobs": 3, "submitted_ms": 5, "after": "other"}
    found = BatchRecord.decode("b", json.dumps(record).encode())
    assert found.dependencies == Dependencies(("other",))
    assert json.loads(found.encode()) == record


def test_names_of_jobs_and_batches_differ() -> None:
    assert is_job(JOB)
    assert not is_job("flights")


@pytest.mark.parametrize("after", [(), ("a/b",), ("",), ("x",) * (AFTER_LIMIT + 1)])
def test_invalid_dependencies_are_refused(after: tuple[str, ...]) -> None:
    with pytest.raises(InvalidJobError):
        Dependencies(after)


def test_random_values_are_read_or_refused_with_one_error() -> None:
    chance = random.Random(5)
    good = {"after": ["a", JOB], "when": "all succeeded"}
    read = 0
    for _ in range(500):
        data = any_bytes(chance) if chance.random() < 0.3 else changed(chance, good)
        try:
            found = Dependencies.decode("b", data)
        except UnreadableJobError:
            continue
        read += 1
        assert Dependencies.decode("b", found.encode()) == found
    assert read > 10


def test_a_record_with_invalid_dependencies_is_unreadable() -> None:
    wrong: list[dict[str, Any]] = [
        {"dependencies": []},
        {"dependencies": {"after": []}},
        {"after": "a/b"},
    ]
    for more in wrong:
        data = json.dumps({"jobs": 1, "submitted_ms": 1, **more}).encode()
        with pytest.raises(UnreadableJobError):
            BatchRecord.decode("b", data)
