"""What holds for a queue: read from its znode, and refused where it cannot hold."""

import pytest

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records.settings import SHARDS_MAX, QueueSettings


def test_settings_are_read_as_they_were_written() -> None:
    settings = QueueSettings(8, 100, "sqlite:///x.db", 60_000, 7)
    assert QueueSettings.decode(settings.encode()) == settings
    assert QueueSettings.decode(b"{}") == QueueSettings()
    assert QueueSettings.decode(b'{"shards": 2, "of a later release": 1}') == QueueSettings(2)


@pytest.mark.parametrize("value", [b"", b"[]", b'"x"', b'{"shards": "many"}'])
def test_what_are_no_settings_is_a_clear_error(value: bytes) -> None:
    with pytest.raises(UnreadableJobError, match="the queue's znode settings"):
        QueueSettings.decode(value)


@pytest.mark.parametrize(
    "changes",
    [
        {"shards": 0},
        {"shards": SHARDS_MAX + 1},
        {"keep_done_ms": -1},
        {"keep_done_jobs": -1},
        {"keep_failed_ms": -1},
        {"history": 1},
        {"history": "true"},
        {"inline_limit_bytes": -1},
    ],
)
def test_what_cannot_hold_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(InvalidJobError):
        QueueSettings(**changes)  # type: ignore[arg-type]
