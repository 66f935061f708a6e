"""Samples of the requests of the last minute, from which operators see what keeps a server busy.

`zoolet.server.connections.sampling` takes the samples, and `zoolet.server.operator.busiest` makes
estimates from them. Invariant: the number of samples is bounded.
"""

from collections import deque
from typing import Final, final

from mypy_extensions import mypyc_attr

WINDOW_S: Final = 60.0
"""Older samples are not shown."""

MOST_SAMPLES: Final = 8192
"""Most samples that are kept: those of a minute, and some bursts. Above it, the oldest go."""


@final
@mypyc_attr(acyclic=True)
class Sample:
    """A request that the server has looked at.

    Attributes:
        at_s: the time of the request, in seconds on the scheduler's clock.
        session_id: the id of the client's session; 0 if it has none any more.
        address: the IP address of the client.
        op_code: the op code of the request.
        path: the path in the request, or in the first part of a multi; None without a path.
        size_bytes: the size of the frame, with its length.
        weight: the number of requests for which the sample stands, itself included.
    """

    __slots__ = ("address", "at_s", "op_code", "path", "session_id", "size_bytes", "weight")

    def __init__(
        self,
        at_s: float,
        session_id: int,
        address: str,
        op_code: int,
        path: str | None,
        size_bytes: int,
        weight: int,
    ) -> None:
        self.at_s = at_s
        self.session_id = session_id
        self.address = address
        self.op_code = op_code
        self.path = path
        self.size_bytes = size_bytes
        self.weight = weight


@final
class Samples:
    """The samples of the last minute, the oldest first."""

    def __init__(self, now_s: float) -> None:
        """Begin without samples at ``now_s`` of the scheduler's clock."""
        self._samples: deque[Sample] = deque()
        self._complete_since_s = now_s

    def add(self, sample: Sample) -> None:
        """Add a sample that is not older than the others."""
        samples = self._samples
        if len(samples) >= MOST_SAMPLES:
            self._complete_since_s = samples.popleft().at_s
        samples.append(sample)

    def drop_old(self, now_s: float) -> None:
        """Drop the samples that are older than a minute."""
        samples = self._samples
        while samples and samples[0].at_s < now_s - WINDOW_S:
            samples.popleft()

    def clear(self, now_s: float) -> None:
        """Drop all samples: the clock was set back, so their ages are not known."""
        self._samples.clear()
        self._complete_since_s = now_s

    def recent(self, now_s: float) -> tuple[list[Sample], float]:
        """Return the samples of the last minute, and how many seconds they cover.

        They cover less than a minute if the server has started later, or if some samples of this
        minute were dropped because there are more than MOST_SAMPLES.
        """
        self.drop_old(now_s)
        covered_s = min(WINDOW_S, max(0.0, now_s - self._complete_since_s))
        return list(self._samples), covered_s
