"""The entries of the history are storable, whatever a job contains."""

import pytest

from zoolet.jobs import InvalidJobError, JobRequest
from zoolet.jobs.history.entries import HistoryPosition, entry_of
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import AttemptError


def job_with(message: str, **fields: object) -> Job:
    draft = Job.draft(JobRequest("m:f", "d", "1", {"a": "\x00\ud800"}), "s-0", 5)
    errors = (AttemptError(1, "w", message),)
    return draft.ended_by(9, "gone")._replace(errors=errors, **fields)  # type: ignore[arg-type]


def test_an_entry_has_the_attempts_and_times() -> None:
    entry = entry_of(job_with("it broke", started_ms=7, attempts=1))
    assert (entry.task, entry.dataset, entry.groupid, entry.state) == ("m:f", "d", "1", "FAILED")
    assert (entry.submitted_ms, entry.started_ms, entry.finished_ms) == (5, 7, 9)
    assert entry.duration_ms == 2
    assert entry.parameters == {"a": "\x00\ud800"}
    assert entry.errors == [{"attempt": 1, "worker": "w", "message": "it broke"}]


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", "x" * 5000])
def test_texts_can_be_stored(text: str) -> None:
    entry = entry_of(job_with(text, submission=text, worker=text))
    for stored in (entry.last_error, entry.submission, entry.worker or "", entry.details):
        assert "\x00" not in stored
        assert stored.encode()
    assert len(entry.submission) <= 100


def test_positions() -> None:
    assert HistoryPosition.parse(str(HistoryPosition(12, 3))) == HistoryPosition(12, 3)
    for text in ("", "1", "1-", "-1", "a-1", "1-2-3", f"1-{10**18}", "\u0661-1"):
        with pytest.raises(InvalidJobError, match="is not a position"):
            HistoryPosition.parse(text)
