"""Incomplete frames that have arrived on a connection, and long requests in progress."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from zoolet.big_endian.buffers import read_i32_be
from zoolet.server.operator.four_letter_words import (
    TRACE_MASK_BYTES,
    TRACE_MASK_WORD,
    WORD_BYTES,
)
from zoolet.wire.frames import LENGTH_BYTES, frame_end
from zoolet.wire.jute import MalformedError

if TYPE_CHECKING:
    from zoolet.server.connections.batches import Batch

_BYTES_PER_US: Final = 16
"""In a request with many parts, this number of bytes takes about 1 us; used for estimates."""


def has_frame(arrived: bytes, max_bytes: i64) -> bool:
    """Return whether a whole frame has arrived, or one that is malformed."""
    try:
        return frame_end(arrived, 0, max_bytes) >= 0
    except MalformedError:
        return True


def estimated_cost_us(arrived: bytes) -> int:
    """Return the estimated duration of the first request; 0 if it has not arrived completely."""
    if len(arrived) < LENGTH_BYTES:
        return 0
    frame_bytes = read_i32_be(arrived, 0)
    return 1 + frame_bytes // _BYTES_PER_US if 0 <= frame_bytes <= len(arrived) else 0


def wanted_bytes(arrived: bytes) -> i64:
    """Return the size of the first frame with its length field, in bytes.

    If the length field has not arrived completely, return the size of the length field.
    """
    if len(arrived) < LENGTH_BYTES:
        return LENGTH_BYTES
    return LENGTH_BYTES + i64(read_i32_be(arrived, 0))


def whole_word(arrived: bytes) -> tuple[str, bytes] | None:
    """Return the four-letter word that has arrived, and its argument; None if bytes are missing."""
    word = arrived[:WORD_BYTES]
    argument = arrived[WORD_BYTES : WORD_BYTES + TRACE_MASK_BYTES]
    if word == TRACE_MASK_WORD and len(argument) < TRACE_MASK_BYTES:
        return None
    return word.decode(), argument


@final
class PartialFrame:
    """A frame that arrives in many pieces; the pieces are collected in one buffer."""

    def __init__(self, first: bytes, second: bytes, wanted_bytes: i64) -> None:
        self._content = bytearray(first)
        self._content += second
        self._wanted_bytes = wanted_bytes

    def add(self, data: bytes) -> bytes | None:
        """Add a piece; returns all bytes if the frame is complete, otherwise None."""
        self._content += data
        return bytes(self._content) if len(self._content) >= self._wanted_bytes else None


@final
class LongRequest:
    """A request that is processed in several steps.

    Attributes:
        steps: the steps that remain.
        began_s: the time at which the first step was due, in seconds on the scheduler's clock.
        deferred: the frames to send after the reply, each with the batch that must be durable
            before the frame is sent; None if the frame need not wait for a batch.
    """

    def __init__(self, steps: Iterator[int], began_s: float) -> None:
        self.steps = steps
        self.began_s = began_s
        self.deferred: list[tuple[Batch | None, bytes]] = []
