"""What holds for a queue: read from its znode, and refused where it cannot hold."""

import json

import pytest

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records.settings import DEFAULT_STORE, IGNORED_URL, SHARDS_MAX, QueueSettings


def test_settings_are_read_as_they_were_written() -> None:
    settings = QueueSettings(8, 100, "results", 60_000, 7)
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


@pytest.mark.parametrize("url", ["sqlite:///x.db", "postgresql+psycopg://user:secret@host/db"])
def test_a_url_of_an_earlier_version_is_not_used_and_not_written_again(url: str) -> None:
    found = QueueSettings.decode(json.dumps({"result_store": url, "shards": 2}).encode())
    assert (found.store_name, found.shards) == (IGNORED_URL, 2)
    assert found.keeps_history  # no job is removed before the user has given the store a name
    assert url.encode() not in found.encode()


@pytest.mark.parametrize("name", ["", "a b", "x" * 101, "a/b", "sqlite:///x", 7, "\ud800"])
def test_only_a_name_is_the_setting_of_a_result_store(name: object) -> None:
    with pytest.raises(InvalidJobError, match="not a name of up to 100 letters") as raised:
        QueueSettings(result_store=name)  # type: ignore[arg-type]
    assert "sqlite" not in str(raised.value)
    assert QueueSettings().store_name == DEFAULT_STORE
