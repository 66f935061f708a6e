"""The progress of a job: what is valid, and how people see it."""

import math
from typing import Any

import pytest

from zoolet.jobs.records.progress import (
    NOTE_LIMIT_CHARACTERS,
    Progress,
    checked_progress,
    decode_progress,
)


@pytest.mark.parametrize(
    ("progress", "text", "share"),
    [
        (Progress(3, 10, "reading"), "30% (3 of 10) reading", 0.3),
        (Progress(1234.5), "1,234.5", None),
        (Progress(0, 0), "100% (0 of 0)", 1.0),
        (Progress(12, 10), "100% (12 of 10)", 1.0),
        (Progress(999, 1000), "99% (999 of 1,000)", 0.999),
    ],
)
def test_people_see_the_share_and_the_numbers(
    progress: Progress, text: str, share: float | None
) -> None:
    assert str(progress) == text
    assert progress.share == share


@pytest.mark.parametrize("done", [-1, math.nan, math.inf, True, "1", None, 2**60])
def test_an_amount_that_is_no_number_in_range_is_refused(done: Any) -> None:
    with pytest.raises(ValueError, match=r"done .* is not a number"):
        checked_progress(done, 1, "")
    assert decode_progress({"done": done, "total": 1, "note": ""}) is None


@pytest.mark.parametrize("note", ["x" * 10_000, "\ud800" * 150, "\n\x1b[31m"])
def test_a_note_is_within_its_limit_and_can_be_encoded(note: str) -> None:
    found = checked_progress(1, None, note)
    assert len(found.note) <= NOTE_LIMIT_CHARACTERS
    assert found.note.encode()
    assert decode_progress(found._asdict()) == found


@pytest.mark.parametrize("value", [None, 1, [], [1, 2, "x"], {}, {"total": 1}, "3 of 10"])
def test_a_value_of_another_program_is_no_progress(value: Any) -> None:
    assert decode_progress(value) is None
