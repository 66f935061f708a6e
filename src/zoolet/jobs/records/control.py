"""What all workers of a queue look at: what is paused, and that someone cancelled jobs.

It is the value of the znode ``control``. Imports the job system's JSON and errors.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Self

from zoolet.jobs.errors import UnreadableJobError
from zoolet.jobs.records.job_values import is_text
from zoolet.jobs.records.json_values import decode_json

_COUNT_MOST = 2**62


@dataclass(frozen=True, slots=True)
class Control:
    """What is paused, and how often someone cancelled running jobs.

    Attributes:
        paused: no worker takes a job.
        paused_datasets: no worker takes a job of one of these.
        cancellations: how often running jobs were cancelled; at a change, each worker looks
            whether what it runs is its own still.
    """

    paused: bool = False
    paused_datasets: frozenset[str] = field(default_factory=frozenset)
    cancellations: int = 0

    def allows(self, dataset: str | None) -> bool:
        """Say whether jobs of a dataset may be taken."""
        return not self.paused and dataset not in self.paused_datasets

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return what the znode says, which any program may have written; without data, nothing.

        Raises:
            UnreadableJobError: it is not the value of a control znode.
        """
        if not data:
            return cls()
        try:
            found = decode_json(data)
        except ValueError as error:
            raise _unreadable(str(error)) from None
        if not isinstance(found, dict):
            raise _unreadable("it is not a JSON object")
        paused = found.get("paused", False)
        datasets = found.get("paused_datasets", [])
        cancellations = found.get("cancellations", 0)
        if (
            type(paused) is bool
            and isinstance(datasets, list)
            and all(map(is_text, datasets))
            and type(cancellations) is int
            and 0 <= cancellations <= _COUNT_MOST
        ):
            return cls(paused, frozenset(datasets), cancellations)
        raise _unreadable("paused, paused_datasets or cancellations is wrong")

    def encode(self) -> bytes:
        """Return the znode's value."""
        return json.dumps(asdict(self) | {"paused_datasets": sorted(self.paused_datasets)}).encode()


def _unreadable(reason: str) -> UnreadableJobError:
    return UnreadableJobError(
        f"the queue's znode control cannot be read ({reason}), so nothing is paused: run zoolet"
        " jobs pause or resume, which write it again"
    )
