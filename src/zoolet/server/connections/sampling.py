"""Takes samples of the requests, from which operators see what keeps a server busy.

Looking at every request would be too expensive. So the server looks at each request with a small
probability, which depends on the load and not on the request. Invariants: a batch of requests
without a sample costs one subtraction and two comparisons; about `TARGET_PER_S` samples are taken
in a second, whatever the load; a sample is small and refers to no bytes of a frame; it contains no
data of a znode and no secret.
"""

import math
import os
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64

from zoolet.big_endian.buffers import read_i32_be
from zoolet.model.codes import OpCode
from zoolet.server.common.samples import Sample, Samples
from zoolet.server.connections.receiving import ReceivingSide
from zoolet.wire.frames import LENGTH_BYTES, REQUEST_HEADER_BYTES

TARGET_PER_S: Final = 100
"""The number of samples that a server takes in a second, if it has as many requests."""

MOST_PATH_BYTES: Final = 200
"""A longer path is cut off."""

CUT: Final = "\u2026"
"""The end of a path that was cut off."""

_MOST_GAP: Final = 1 << 20
_SLOWDOWN_PER_S: Final = 8
"""The mean gap becomes smaller by at most this factor in a second. So a load that stops and begins
again does not cause a burst of samples each time."""

_INTERVAL_S: Final = 1.0
_MULTI_HEADER_BYTES: Final = 9

_PING: Final = OpCode.PING.value
_CREATE_SESSION: Final = OpCode.CREATE_SESSION.value
_MULTIS: Final = frozenset({OpCode.MULTI.value, OpCode.MULTI_READ.value})
_BEGIN_WITH_PATH: Final = frozenset(
    [
        op_code.value
        for op_code in (
            OpCode.CREATE,
            OpCode.CREATE2,
            OpCode.CREATE_CONTAINER,
            OpCode.CREATE_TTL,
            OpCode.DELETE,
            OpCode.SET_DATA,
            OpCode.SET_ACL,
            OpCode.EXISTS,
            OpCode.GET_DATA,
            OpCode.GET_ACL,
            OpCode.GET_CHILDREN,
            OpCode.GET_CHILDREN2,
            OpCode.GET_ALL_CHILDREN_NUMBER,
            OpCode.GET_EPHEMERALS,
            OpCode.ADD_WATCH,
            OpCode.CHECK_WATCHES,
            OpCode.REMOVE_WATCHES,
            OpCode.SYNC,
        )
    ]
)
"""The requests whose body begins with a path. A sample of any other request has no path."""


def _random() -> float:
    """Return a random number above 0 and not above 1; a client cannot predict it."""
    return float(int.from_bytes(os.urandom(6), "big") + 1) / (1 << 48)


@final
class Sampler:
    """Takes samples, each request with the probability 1 / ``gap``.

    The number of requests until the next sample has a geometric distribution, so it may be drawn
    again at any request. Therefore estimates are correct on average although the gap changes: each
    sample counts as many requests as the gap was when it was taken.

    Attributes:
        samples: the samples of the last minute.
        gap: the mean number of requests for each sample.
    """

    def __init__(self, now_s: float, random: Callable[[], float] = _random) -> None:
        """Begin at ``now_s`` of the scheduler's clock; ``random`` returns numbers in (0, 1]."""
        self.samples = Samples(now_s)
        self.gap = 1
        self._random = random
        self._left: i64 = 1
        self._drawn: i64 = 1
        self._began_s = now_s
        self._due_s = now_s + _INTERVAL_S
        self._taken_in_interval = 0

    def passed(
        self, client: ReceivingSide, data: bytes, count: i64, is_first: bool, now_s: float
    ) -> None:
        """Look at those requests of a batch that are due, then change the gap if that is due.

        Args:
            client: the connection with the requests, which were processed.
            data: bytes that begin with the frames of the batch.
            count: the number of frames.
            is_first: whether the first frame is the one with which a connection begins.
            now_s: the time of the batch.
        """
        self._left -= count
        if self._left <= 0:
            self._take(client, data, count, is_first, now_s)
        if now_s >= self._due_s:
            self._adapt(now_s)

    def recent(self, now_s: float) -> tuple[list[Sample], float]:
        """Return the samples of the last minute, and how many seconds they cover."""
        if now_s < self._began_s:
            self._adapt(now_s)
        return self.samples.recent(now_s)

    def _take(
        self, client: ReceivingSide, data: bytes, count: i64, is_first: bool, now_s: float
    ) -> None:
        if now_s < self._began_s:
            self._adapt(now_s)
        position: i64 = 0
        number: i64 = 1
        while self._left <= 0:
            wanted: i64 = count + self._left
            while number < wanted:
                position += LENGTH_BYTES + i64(read_i32_be(data, position))
                number += 1
            end: i64 = position + LENGTH_BYTES + i64(read_i32_be(data, position))
            if is_first and number == 1:
                self._add(client, data, _CREATE_SESSION, position, end, now_s)
            elif end - position >= LENGTH_BYTES + REQUEST_HEADER_BYTES:
                op_code: int = read_i32_be(data, position + 2 * LENGTH_BYTES)
                if op_code != _PING:
                    self._add(client, data, op_code, position, end, now_s)
            self._taken_in_interval += 1
            if self._taken_in_interval >= 2 * TARGET_PER_S:  # too many before the gap is due
                self._taken_in_interval = TARGET_PER_S
                self.gap = min(_MOST_GAP, 2 * self.gap)
            drawn = self._draw()
            self._drawn += drawn
            self._left += drawn

    def _add(
        self, client: ReceivingSide, data: bytes, op_code: int, start: i64, end: i64, now_s: float
    ) -> None:
        session = client.session
        self.samples.add(
            Sample(
                now_s,
                0 if session is None else session.session_id,
                client.address,
                op_code,
                _path_in(data, op_code, start + LENGTH_BYTES + REQUEST_HEADER_BYTES, end),
                int(end - start),
                self.gap,
            )
        )

    def _draw(self) -> int:
        """Return the number of requests until the next sample, itself included."""
        if self.gap == 1:
            return 1
        return 1 + int(math.log(self._random()) / math.log1p(-1 / self.gap))

    def _adapt(self, now_s: float) -> None:
        """Change the gap to what the requests since the last change need; begin to count again."""
        elapsed_s = now_s - self._began_s
        if elapsed_s < 0.0:  # the clock was set back
            self.samples.clear(now_s)
        else:
            per_s = int(self._drawn - self._left) / max(elapsed_s, _INTERVAL_S)
            wanted = math.ceil(per_s / TARGET_PER_S)
            least = int(self.gap / _SLOWDOWN_PER_S ** min(elapsed_s, 10.0))
            self.gap = max(1, min(_MOST_GAP, max(wanted, least)))
        self._began_s = now_s
        self._due_s = now_s + _INTERVAL_S
        self._taken_in_interval = 0
        self._drawn = self._left = self._draw()
        self.samples.drop_old(now_s)


def _path_in(data: bytes, op_code: int, start: i64, end: i64) -> str | None:
    """Return the path of a request whose body is ``data[start:end]``; None if it has none."""
    if op_code in _MULTIS:
        start += _MULTI_HEADER_BYTES
    elif op_code not in _BEGIN_WITH_PATH:
        return None
    if end - start < LENGTH_BYTES:
        return None
    size_bytes: i64 = i64(read_i32_be(data, start))
    start += LENGTH_BYTES
    if size_bytes < 0 or size_bytes > end - start:
        return None
    is_cut = size_bytes > MOST_PATH_BYTES
    stop: i64 = start + (MOST_PATH_BYTES if is_cut else size_bytes)
    path = data[start:stop].decode("utf-8", "replace")
    return path.rstrip("\ufffd") + CUT if is_cut else path
