"""The progress that a task reports about its job.

Invariant: `decode_progress` returns a valid progress or None, whatever the value is. This module
imports `texts` of its package.
"""

import math
from typing import Any, NamedTuple

from zoolet.jobs.records.texts import cut_end

NOTE_LIMIT_CHARACTERS = 200
"""The most characters of a note; the rest of a longer note is cut off."""
_NUMBER_MOST = 2**53


class Progress(NamedTuple):
    """The progress of a running job.

    Attributes:
        done: the amount of work that is done.
        total: the amount of all work; None if it is not known.
        note: a text for people, of up to 200 characters.
    """

    done: float
    total: float | None = None
    note: str = ""

    @property
    def share(self) -> float | None:
        """The share of the work that is done, from 0 to 1; None if the total is not known."""
        if self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total else 1.0

    def __str__(self) -> str:
        """Return the progress as people read it, like ``30% (3 of 10) reading``."""
        share = self.share
        if share is None or self.total is None:
            text = f"{self.done:,.12g}"
        else:
            text = f"{math.floor(share * 100)}% ({self.done:,.12g} of {self.total:,.12g})"
        return f"{text} {self.note}".rstrip()


def checked_progress(done: object, total: object, note: object) -> Progress:
    """Return the progress of these values.

    Raises:
        ValueError: a value is invalid; the message says which.
    """
    for name, value in (("done", done), ("total", total)):
        if not _is_amount(value) and not (name == "total" and value is None):
            raise ValueError(f"{name} {value!r} is not a number from 0 to 2**53")
    text = cut_end(str(note), NOTE_LIMIT_CHARACTERS)
    text = text.encode("utf-8", "backslashreplace").decode()[:NOTE_LIMIT_CHARACTERS]
    return Progress(done, total, text)  # type: ignore[arg-type]


def decode_progress(value: Any) -> Progress | None:
    """Return the progress in a JSON value, which any program may have written; None if invalid."""
    if not isinstance(value, dict):
        return None
    try:
        return checked_progress(value.get("done"), value.get("total"), value.get("note", ""))
    except ValueError:
        return None


def _is_amount(value: object) -> bool:
    # A bool is not a number here, and NaN is in no range.
    return type(value) in {int, float} and 0 <= value <= _NUMBER_MOST  # type: ignore[operator]
