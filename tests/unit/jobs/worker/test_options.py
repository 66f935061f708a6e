"""Options of a worker that contradict each other are refused before the worker starts."""

from typing import Any

import pytest

from zoolet.jobs import InvalidJobError, Worker


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"async_concurrency": 0}, "it must be at least 1"),
        ({"async_concurrency": 2, "threads": True}, "only for executors in processes"),
        ({"async_concurrency": 2, "attempt_memory_mib": 100}, "needs async_concurrency=1"),
        ({"executors": 0}, "at least 1 executor"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidJobError, match=complaint):
        Worker("127.0.0.1:1", **options)


def test_one_job_at_a_time_is_allowed_with_threads() -> None:
    assert Worker("127.0.0.1:1", async_concurrency=1, threads=True).in_hand == 0
