"""Changes of many jobs, and the znodes that exist while such a change is in progress.

    retries/<id>            a retry; the id is that of the filter (`JobFilter.id`)
    changes/<change>-<id>   another change

This module imports other modules of its package.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self

from zoolet.jobs.records.job_filters import JobFilter
from zoolet.jobs.records.job_values import TIME_LIMIT_MS
from zoolet.jobs.records.json_values import decode_object
from zoolet.jobs.records.transitions import Place


class JobChange(StrEnum):
    """A change of all jobs that a filter selects."""

    RETRY = "retry"
    """FAILED jobs wait again."""
    CANCEL = "cancel"
    """Jobs that have not ended are FAILED."""
    PAUSE = "pause"
    """Waiting jobs wait until the pause is ended."""

    @property
    def places(self) -> tuple[Place, ...]:
        """The places of the jobs that the change may change, in the order in which jobs move."""
        return _PLACES[self]


_PLACES = {
    JobChange.RETRY: (Place.DONE,),
    JobChange.CANCEL: (Place.DEFERRED, Place.UNOWNED, Place.OWNED),
    JobChange.PAUSE: (Place.DEFERRED, Place.UNOWNED),
}


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """The value of the znode that exists while a change is in progress.

    Attributes:
        change: the change.
        selected: the filter; None if its value is invalid.
        began_ms: the time when the change began, by the server's clock. Jobs that came into the
            queue, ended or were retried later are not changed, so that each job is changed once.
    """

    change: JobChange
    selected: JobFilter | None
    began_ms: int

    @classmethod
    def decode(cls, data: bytes) -> Self | None:
        """Decode the value, which any program may have written; None if it is invalid."""
        found = decode_object(data)
        began_ms = found.get("began_ms")
        if type(began_ms) is not int or not 0 <= began_ms <= TIME_LIMIT_MS:
            return None
        try:
            # Earlier versions knew only retries.
            change = JobChange(found.get("change", JobChange.RETRY))
        except ValueError:
            return None
        try:
            selected = JobFilter.from_json(found.get("filter"))
        except (ValueError, TypeError):
            return cls(change, None, began_ms)
        return cls(change, selected, began_ms)

    def encode(self) -> bytes:
        """Return the znode's value."""
        values = {} if self.selected is None else asdict(self.selected)
        return json.dumps(
            {"change": self.change, "began_ms": self.began_ms, "filter": values}
        ).encode()
