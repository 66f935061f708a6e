"""Incomplete frames that have arrived on a connection, and long requests in progress."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, final

from mypy_extensions import i64

from zoolet.big_endian.buffers import read_i32_be
from zoolet.server.operator.four_letter_words import (
    TRACE_MASK_BYTES,
    TRACE_MASK_WORD,
    WORD_BYTES,
)
from zoolet.wire.frames import LENGTH_BYTES

if TYPE_CHECKING:
    from zoolet.server.connections.batches import Batch


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
