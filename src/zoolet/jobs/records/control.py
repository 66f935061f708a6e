"""The value of the znode ``control``, which all workers watch: pauses and cancellations.

This module imports `zoolet.jobs.errors` and other modules of its package.
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
    """The pauses of a queue, and the number of cancellations of running jobs.

    Attributes:
        paused: whether no worker takes any job.
        paused_datasets: the datasets whose jobs no worker takes.
        cancellations: how many times running jobs were cancelled. When this number changes, each
            worker checks whether it still owns the jobs that it runs.
    """

    paused: bool = False
    paused_datasets: frozenset[str] = field(default_factory=frozenset)
    cancellations: int = 0

    def allows(self, dataset: str | None) -> bool:
        """Return whether workers may take jobs of a dataset."""
        return not self.paused and dataset not in self.paused_datasets

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode the znode's value, which any program may have written; no data means no pause.

        Raises:
            UnreadableJobError: the value is not valid for the znode ``control``.
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
        raise _unreadable("paused, paused_datasets or cancellations has an invalid value")

    def encode(self) -> bytes:
        """Return the znode's value."""
        return json.dumps(asdict(self) | {"paused_datasets": sorted(self.paused_datasets)}).encode()


def _unreadable(reason: str) -> UnreadableJobError:
    return UnreadableJobError(
        f"the value of the queue's znode control is invalid ({reason}), so nothing is paused: run"
        " zoolet jobs pause or resume, which write the value again"
    )
