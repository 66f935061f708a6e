"""What a batch waits for: other batches and jobs, and the condition under which the batch starts.

The value of ``chains/<batch>`` and the record of the batch have the same dependencies. A batch that
waits for the end of one other batch is written in the form of older versions: the name of that
batch. This module imports `zoolet.jobs.errors` and other modules of its package.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.job_values import NAME_LIMIT_CHARACTERS, is_znode_name
from zoolet.jobs.records.json_values import decode_json

AFTER_LIMIT = 1000
"""The most batches and jobs for which a batch waits."""
SIZE_LIMIT_BYTES = 256 * 1024
"""The most bytes of the names of these batches and jobs, as JSON."""


class When(StrEnum):
    """The condition under which a batch with dependencies starts."""

    ALL_ENDED = "all ended"
    """All jobs have ended, SUCCESSFUL or FAILED."""
    ALL_SUCCEEDED = "all succeeded"
    """All jobs are SUCCESSFUL. If one is FAILED, the waiting jobs are FAILED."""
    ONE_FAILED = "one failed"
    """At least one job is FAILED. If all are SUCCESSFUL, the waiting jobs are FAILED."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The dependencies of a batch.

    Attributes:
        after: the names of batches and jobs; a text in the form of a job's name is a job.
        when: the condition under which the batch starts.
    """

    after: tuple[str, ...]
    when: When = When.ALL_ENDED

    def __post_init__(self) -> None:
        """Check the number and the size of the names.

        Raises:
            InvalidJobError: there are no names, or too many, or a name is invalid.
        """
        if not 1 <= len(self.after) <= AFTER_LIMIT:
            raise InvalidJobError(
                f"a batch waits for 1 to {AFTER_LIMIT} batches and jobs, not {len(self.after)}: let"
                " several batches wait, and then one for these"
            )
        for name in self.after:
            if not (is_znode_name(name) and len(name) <= NAME_LIMIT_CHARACTERS):
                raise InvalidJobError(f"{name!r} is not the name of a batch or a job")
        if len(json.dumps(self.after)) > SIZE_LIMIT_BYTES:
            raise InvalidJobError(
                f"the names in after have more than {SIZE_LIMIT_BYTES} bytes: submit the jobs as a"
                " batch, and pass the name of the batch"
            )

    @property
    def is_simple(self) -> bool:
        """Whether older versions can read the dependencies: the end of one batch."""
        return (
            len(self.after) == 1
            and self.when is When.ALL_ENDED
            and not is_job(self.after[0])
            and not self.after[0].startswith("{")
        )

    def __str__(self) -> str:
        """Return a text for people, like "all succeeded: a, b and 7 others"."""
        shown = ", ".join(self.after[:3])
        others = len(self.after) - 3
        return f"{self.when}: {shown}" + (f" and {others} others" if others > 0 else "")

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of the dependencies."""
        return {"after": list(self.after), "when": self.when}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Return the dependencies of a JSON object, which any program may have written.

        Raises:
            ValueError: the value does not have valid dependencies.
        """
        if not isinstance(value, dict) or not isinstance(value.get("after"), list):
            raise ValueError("it is not an object with a list after")  # noqa: TRY004
        return cls(tuple(value["after"]), When(value.get("when", When.ALL_ENDED)))

    def encode(self) -> bytes:
        """Return the value of a znode ``chains/<batch>``."""
        if self.is_simple:
            return self.after[0].encode()
        return json.dumps(self.as_json()).encode()

    @classmethod
    def decode(cls, batch: str, data: bytes) -> Self:
        """Decode the value of ``chains/<batch>``, which any program may have written.

        Raises:
            UnreadableJobError: the value is invalid.
        """
        try:
            if data.startswith(b"{"):
                return cls.from_json(decode_json(data))
            return cls((data.decode(),))
        except ValueError as error:
            raise UnreadableJobError(
                f"the value of chains/{batch} is invalid ({error}), so the batch waits: correct the"
                " znode; if you delete it, jobs of the batch that are in deferred start"
            ) from None


def is_job(name: str) -> bool:
    """Return whether a name in `Dependencies.after` is the name of a job, not of a batch."""
    return job_names.parse(name) is not None
