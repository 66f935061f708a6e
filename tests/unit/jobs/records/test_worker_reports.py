"""What a worker's report says about its executors."""

from typing import Any

import pytest

from zoolet.jobs.records.worker_reports import decode_report, executors_text


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ({"executors": 4}, "4"),
        ({"executors": 4, "queues": 1}, "4"),
        ({"executors": 4, "queues": 2, "weight": 3, "weights": 4}, "4, share 3/4 of 2 queues"),
        ({"executors": 4, "queues": 2}, "4, share ?/? of 2 queues"),
        ({}, "?"),
    ],
)
def test_the_executors_are_shown_with_the_share_of_the_queue(
    report: dict[str, Any], text: str
) -> None:
    assert executors_text(report) == text


def test_a_share_of_a_wrong_type_is_left_out() -> None:
    found = decode_report(b'{"executors": 2, "queues": "x", "weight": -1, "weights": [1]}')
    assert found == {"executors": 2}
